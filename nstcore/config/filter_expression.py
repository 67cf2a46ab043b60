"""Conditions such as ``style_weight <= 500 or size < 512``: parsed, never evaluated as a program."""

from __future__ import annotations

import ast
import difflib
import operator
from collections.abc import Callable, Collection
from typing import Any

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda value, many: value in many,
    ast.NotIn: lambda value, many: value not in many,
}
_COMPUTE: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_CONSTANTS = {"true": True, "false": False, "none": None, "null": None}

Lookup = Callable[[str], Any]


class FilterExpression:
    """A condition on the axes and settings of a cell.

    Args:
        text: comparisons (also chained), ``and``, ``or``, ``not``, ``in``, ``+ - * /``, parentheses,
            numbers, texts in quotes, lists, ``true``, ``false``, ``none``, and names.
        names: the names that have a value.

    Raises:
        ValueError: if it holds anything else; the message names it.
    """

    def __init__(self, text: str, names: Collection[str]) -> None:
        self.text = text
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
            self._check(self._tree, names)
        except SyntaxError as error:
            raise ValueError(
                f"{text!r} is no condition ({error.msg}); write for example `size < 512`"
            ) from None
        except (RecursionError, MemoryError):
            raise ValueError("is nested too deeply") from None

    @property
    def names(self) -> set[str]:
        """The names that it asks for."""
        found = {node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name)}
        return found - _CONSTANTS.keys()

    def holds(self, lookup: Lookup) -> bool:
        """Whether it is fulfilled.

        Args:
            lookup: gives the value of a name.

        Raises:
            ValueError: if values cannot be compared or computed, or the result is not yes or no.
        """
        value = self._value(self._tree, lookup)
        if not isinstance(value, bool):
            raise ValueError(f"{self.text!r} is {value!r}, neither true nor false; compare it")
        return value

    def _check(self, node: ast.expr, names: Collection[str]) -> None:
        match node:
            case ast.Constant(value=value):
                known = value is None or isinstance(value, (bool, int, float, str))
            case ast.Name(id=name):
                known = True
                if name not in names and name not in _CONSTANTS:
                    close = difflib.get_close_matches(name, names, n=1)
                    meant = f"did you mean `{close[0]}`?" if close else "put a text in quotes"
                    raise ValueError(f"there is no axis or setting `{name}`; {meant}")
            case ast.Compare(ops=ops):
                known = all(type(op) in _COMPARE for op in ops)
            case ast.BinOp(op=op):
                known = type(op) in _COMPUTE
            case ast.UnaryOp(op=op):
                known = isinstance(op, (ast.Not, ast.USub, ast.UAdd))
            case ast.BoolOp() | ast.List() | ast.Tuple():
                known = True
            case _:
                known = False
        if not known:
            raise ValueError(
                f"`{ast.unparse(node)}` is not possible here; there are comparisons, and, or, not, in, "
                "+ - * / and parentheses"
            )
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self._check(child, names)

    def _value(self, node: ast.expr, lookup: Lookup) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return _CONSTANTS[name] if name in _CONSTANTS else lookup(name)
            case ast.List(elts=parts) | ast.Tuple(elts=parts):
                return [self._value(part, lookup) for part in parts]
            case ast.BoolOp(op=op, values=parts):
                every = isinstance(op, ast.And)
                # As in Python: what cannot change the result is not looked at.
                for part in parts:
                    if self._truth(part, lookup) is not every:
                        return not every
                return every
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not self._truth(operand, lookup)
            case ast.UnaryOp(op=op, operand=operand):
                number = self._number(operand, lookup)
                return -number if isinstance(op, ast.USub) else number
            case ast.BinOp(left=left, op=op, right=right):
                a, b = self._number(left, lookup), self._number(right, lookup)
                try:
                    return _COMPUTE[type(op)](a, b)
                except (ZeroDivisionError, OverflowError) as error:
                    raise ValueError(f"`{ast.unparse(node)}`: {error}") from None
            case ast.Compare(left=first, ops=comparisons, comparators=others):
                left = self._value(first, lookup)
                for comparison, other in zip(comparisons, others, strict=True):
                    right = self._value(other, lookup)
                    try:
                        fulfilled = bool(_COMPARE[type(comparison)](left, right))
                    except TypeError:
                        raise ValueError(
                            f"`{ast.unparse(node)}` cannot compare {left!r} with {right!r}"
                        ) from None
                    if not fulfilled:
                        return False
                    left = right
                return True
        raise AssertionError(f"unchecked: {ast.dump(node)}")

    def _truth(self, node: ast.expr, lookup: Lookup) -> bool:
        value = self._value(node, lookup)
        if not isinstance(value, bool):
            raise ValueError(
                f"`{ast.unparse(node)}` is {value!r}, neither true nor false; compare it"
            )
        return value

    def _number(self, node: ast.expr, lookup: Lookup) -> float:
        value = self._value(node, lookup)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"`{ast.unparse(node)}` is {value!r}, which is no number")
        return value
