"""Conditions mean what they mean in Python, and nothing else is possible in them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nstcore.config.expressions import FilterExpression

NAMES = {"a": 3, "b": 0.5, "text": "max", "none_here": None, "layers": {"relu1_1": 1.0}}

NUMBERS = st.sampled_from(["a", "b", "2", "0.25", "-1", "7e1"])


def sums(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds("({} {} {})".format, inner, st.sampled_from("+-*/"), inner)


VALUES = st.recursive(NUMBERS, sums, max_leaves=5)
COMPARISONS = st.builds(
    "{} {} {} {} {}".format,
    VALUES,
    st.sampled_from(["<", "<=", "==", "!=", ">", ">="]),
    VALUES,
    st.sampled_from(["<", ">=", "=="]),
    VALUES,
) | st.builds("{} {} [{}, {}, 3]".format, VALUES, st.sampled_from(["in", "not in"]), VALUES, VALUES)


def joined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    both = st.builds("({}) {} ({})".format, inner, st.sampled_from(["and", "or"]), inner)
    return both | st.builds("not ({})".format, inner)


@given(st.recursive(COMPARISONS, joined, max_leaves=5))
def test_a_condition_is_what_python_makes_of_it(text: str) -> None:
    condition = FilterExpression(text, NAMES)
    try:
        expected = eval(text, {"__builtins__": {}}, dict(NAMES))
    except ZeroDivisionError:
        with pytest.raises(ValueError, match="division by zero"):
            condition.holds(NAMES.__getitem__)
        return
    assert condition.holds(NAMES.__getitem__) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("text == 'max'", True),
        ("none_here == none or a > 2", True),
        ("true", True),
        ("False", False),
        ("text in ['avg', \"l2\"]", False),
        ("a > 5 and 1 / 0 > 1", False),
        ("a < 5 or text < 3", True),
        (" a == 3 ", True),
        ("(a\n== 3)", True),
        ("layers == layers", True),
    ],
)
def test_texts_truth_and_short_circuits(text: str, expected: bool) -> None:
    assert FilterExpression(text, NAMES).holds(NAMES.__getitem__) is expected


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("__import__('os').system('true')", "__import__"),
        ("open('x')", "open('x')"),
        ("a.real > 1", "a.real"),
        ("().__class__", "().__class__"),
        ("text[0] == 'm'", "text[0]"),
        ("[x for x in [1]]", "[x for x in [1]]"),
        ("(lambda: 1)() == 1", "lambda"),
        ("a ** 99999999 > 1", "a ** 99999999"),
        ("a % 2 == 1", "a % 2"),
        ("a if b else b", "a if b else b"),
        ("(a := 1) == 1", "a := 1"),
        ("f'{a}' == '3'", "f'"),
        ("a is none", "a is none"),
        ("b'x' == b'x'", "b'x'"),
        ("{1: 2} == {}", "{1: 2}"),
        ("a and c > 1", "`c`"),
        ("unknown == 1", "unknown"),
        ("a >", "a >"),
        ("a = 3", "a = 3"),
        ("", "''"),
        ("a\0", "null"),
        ("-" * 1900 + "a", "deeply"),
    ],
)
def test_anything_else_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        FilterExpression(text, NAMES)
    assert named in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a", "is 3, neither true nor false"),
        ("a and b", "`a` is 3, neither"),
        ("not text", "neither"),
        ("a < text", "cannot compare 3 with 'max'"),
        ("none_here > 1", "cannot compare None with 1"),
        ("a in 5", "cannot compare"),
        ("text * 1000000000 == text", "`text` is 'max', which is not a number"),
        ("-text == 1", "not a number"),
        ("true + 1 == 2", "not a number"),
        ("a / (b - b) > 1", "division by zero"),
    ],
)
def test_values_that_do_not_fit_are_named(text: str, reason: str) -> None:
    condition = FilterExpression(text, NAMES)
    with pytest.raises(ValueError, match=r".") as caught:
        condition.holds(lookup)
    assert reason in str(caught.value)


def lookup(name: str) -> Any:
    return NAMES[name]
