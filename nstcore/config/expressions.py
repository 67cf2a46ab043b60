"""What a user may write as text to be computed: conditions on cells, and limits on metrics.

Both are parsed, and never evaluated as a program.
"""

from __future__ import annotations

import ast
import difflib
import math
import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from nstcore.errors import did_you_mean

# --- Conditions such as ``style_weight <= 500 or size < 512``. ---

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda value, many: value in many,
    ast.NotIn: lambda value, many: value not in many,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_POSSIBLE = (
    *(ast.Constant, ast.Name, ast.Compare, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.List, ast.Tuple),
    *(ast.Load, ast.Not, ast.USub, ast.UAdd, ast.boolop),
    *_COMPARISONS,
    *_ARITHMETIC,
)
"""Parts of a condition."""

_CONSTANTS = {"true": True, "false": False, "none": None, "null": None}

Lookup = Callable[[str], Any]


class FilterExpression:
    """A condition on the axes and settings of a cell.

    Own code and not the package simpleeval: numbers, texts and truth values are kept apart here, and
    every message quotes the part that is wrong, for which each of its methods would be overridden.

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
                f"{text!r} is not a condition ({error.msg}); write for example `size < 512`"
            ) from None
        except (RecursionError, MemoryError):
            raise ValueError("is nested too deeply") from None

    @property
    def names(self) -> set[str]:
        """The names whose values it needs."""
        found = {node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name)}
        return found - _CONSTANTS.keys()

    def holds(self, lookup: Lookup) -> bool:
        """Whether the condition holds for the values that ``lookup`` gives.

        Raises:
            ValueError: if values cannot be compared or computed, or the result is not true or false.
        """
        return self._truth(self._tree, lookup)

    def _check(self, node: ast.expr, names: Collection[str]) -> None:
        parts = [node, *(n for n in ast.iter_child_nodes(node) if not isinstance(n, ast.expr))]
        value = node.value if isinstance(node, ast.Constant) else None
        if not all(isinstance(part, _POSSIBLE) for part in parts) or not (
            value is None or isinstance(value, (bool, int, float, str))
        ):
            raise ValueError(
                f"`{ast.unparse(node)}` is not possible here; use comparisons, and, or, not, in, "
                "+ - * / and parentheses"
            )
        if isinstance(node, ast.Name) and node.id not in {*names, *_CONSTANTS}:
            close = difflib.get_close_matches(node.id, names, n=1)
            meant = f"did you mean `{close[0]}`?" if close else "put a text in quotes"
            raise ValueError(f"unknown axis or setting `{node.id}`; {meant}")
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
                # As in Python: once the result is certain, the rest is not evaluated.
                test = all if isinstance(op, ast.And) else any
                return test(self._truth(part, lookup) for part in parts)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not self._truth(operand, lookup)
            case ast.UnaryOp(op=op, operand=operand):
                number = self._number(operand, lookup)
                return -number if isinstance(op, ast.USub) else number
            case ast.BinOp(left=left, op=op, right=right):
                a, b = self._number(left, lookup), self._number(right, lookup)
                try:
                    return _ARITHMETIC[type(op)](a, b)
                except (ZeroDivisionError, OverflowError) as error:
                    raise ValueError(f"`{ast.unparse(node)}`: {error}") from None
            case ast.Compare(left=first, ops=comparisons, comparators=others):
                left = self._value(first, lookup)
                for comparison, other in zip(comparisons, others, strict=True):
                    right = self._value(other, lookup)
                    try:
                        fulfilled = bool(_COMPARISONS[type(comparison)](left, right))
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
            raise ValueError(f"`{ast.unparse(node)}` is {value!r}, which is not a number")
        return value


# --- Limits such as ``style_loss > +5%``: what must not happen from one run to another. ---

COUNTS: Mapping[str, str] = {
    "pairs": "cells that both runs have",
    "identical": "pairs whose images are the same to the pixel",
    "broken": "cells that are finished in the baseline only",
    "failed": "cells of the run that failed or diverged",
    "missing": "cells of the run without a record",
    "gone": "cells that only the baseline has",
    "added": "cells that only the run has",
}
"""Names that a limit may have in place of a metric."""

STATISTICS = ("median", "mean", "min", "max", "any")
COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}

_THRESHOLD = re.compile(
    r"\s*(?P<name>[A-Za-z]\w*)(?:\s+(?P<statistic>[A-Za-z]\w*))?"
    r"\s*(?P<sign>>=|<=|>|<)\s*(?P<bound>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(?P<percent>%?)\s*"
)
_EXAMPLE = "write for example `style_loss > +5%`, `ssim any < -0.02` or `failed > 0`"


@dataclass(frozen=True)
class Threshold:
    """A limit on how a metric changes, or on a count.

    Attributes:
        name: a metric, or one of `COUNTS`.
        statistic: of the changes of all pairs, one of `STATISTICS`; ``any`` is exceeded if a single
            pair is beyond the bound.
        bound: a fraction if it is relative: 0.05 for 5%.
        relative: whether changes are divided by the baseline's value.
    """

    text: str
    name: str
    statistic: str
    sign: str
    bound: float
    relative: bool

    def beyond(self, value: float) -> bool:
        """Whether a value is beyond the bound."""
        return COMPARE[self.sign](value, self.bound)


def parse_threshold(text: str) -> Threshold:
    """Read ``METRIC [median|mean|min|max|any] > ±N[%]``, or a count without a statistic.

    Raises:
        ValueError: if it is something else; the message says what.
    """
    found = _THRESHOLD.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a limit; {_EXAMPLE}")
    name, statistic = found["name"], found["statistic"]
    relative = found["percent"] == "%"
    bound = float(found["bound"])
    if not math.isfinite(bound):
        raise ValueError(f"{text!r}: {found['bound']} is too large a number")
    if name in COUNTS:
        if statistic or relative:
            raise ValueError(f"{text!r}: `{name}` is a count; write for example `{name} > 0`")
    elif statistic and statistic not in STATISTICS:
        meant = did_you_mean(statistic, STATISTICS)
        raise ValueError(f"{text!r}: unknown statistic `{statistic}`; {meant}")
    return Threshold(
        text.strip(),
        name,
        statistic or ("count" if name in COUNTS else "median"),
        found["sign"],
        bound / 100 if relative else bound,
        relative,
    )
