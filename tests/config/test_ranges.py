"""Ranges meet their ends, have the values that a person would write, and fit their setting."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nstcore.config.loader import parse_config
from nstcore.config.sweep import Log, Range, Uniform, listed_values, takes_integers
from nstcore.core.settings import Settings
from nstcore.errors import ConfigError

TENTHS = st.integers(-5000, 5000).map(lambda n: n / 10)


@given(start=TENTHS, step=st.integers(1, 300).map(lambda n: n / 100), count=st.integers(1, 50))
def test_steps_are_those_of_exact_fractions(start: float, step: float, count: int) -> None:
    """0.1 + 0.2 is 0.3 here: what was written counts, not its nearest binary number."""
    first, distance = Fraction(str(start)), Fraction(str(step))
    end = float(first + count * distance)
    exact = [float(first + n * distance) for n in range(count + 1)]
    assert Range(range=[start, end], step=step).values() == exact


@given(start=TENTHS, span=st.integers(1, 9999).map(lambda n: n / 10), num=st.integers(2, 40))
def test_equal_distances(start: float, span: float, num: int) -> None:
    end = float(Decimal(repr(start)) + Decimal(repr(span)))
    values = Range(range=[start, end], num=num).values()
    assert (values[0], values[-1], len(values)) == (start, end, num)
    np.testing.assert_allclose(values, np.linspace(start, end, num), rtol=1e-5, atol=1e-12)


@given(
    low=st.floats(1e-6, 1e6, allow_subnormal=False),
    ratio=st.floats(1.5, 1e6),
    num=st.integers(2, 40),
)
def test_equal_ratios(low: float, ratio: float, num: int) -> None:
    high = low * ratio
    values = Log(log=[low, high], num=num).values()
    assert (values[0], values[-1], len(values)) == (low, high, num)
    np.testing.assert_allclose(values, np.geomspace(low, high, num), rtol=1e-5)


@pytest.mark.parametrize(
    ("given", "values"),
    [
        (Log(log=[10, 1000], num=5), [10, 31.6228, 100, 316.228, 1000]),
        (Log(log=[0.001, 1000], num=7), [0.001, 0.01, 0.1, 1, 10, 100, 1000]),
        (Range(range=[0.1, 0.7], step=0.1), [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]),
        (Range(range=[256, 512], step=128), [256, 384, 512]),
        (Range(range=[0, 1], num=4), [0, 0.333333, 0.666667, 1]),
        (Range(range=[1000000, 1000001], num=3), [1000000, 1000000.5, 1000001]),
        (Uniform(uniform=[0, 1]), []),
        (Range(range=[0, 1]), []),
    ],
)
def test_values_are_those_that_a_person_would_write(given: Any, values: list[float]) -> None:
    assert given.values() == values


def test_whole_numbers_where_the_setting_has_them() -> None:
    assert listed_values("size", Log(log=[128, 1024], num=4)) == [128, 256, 512, 1024]
    assert listed_values("size", Log(log=[100, 1000], num=3)) == [100, 316, 1000]
    assert listed_values("style_weight", Log(log=[100, 1000], num=3)) == [100, 316.228, 1000]
    whole = {name for name in Settings.model_fields if takes_integers(name)}
    assert {"size", "pyramid_start", "history", "iterations"} <= whole
    assert not whole & {"style_weight", "learning_rate", "tolerance", "optimizer", "style_layers"}


@given(st.floats(0, 1, exclude_max=True))
def test_a_drawn_value_is_within_the_ends_and_short(share: float) -> None:
    for axis in (Log(log=[0.12345, 678.9]), Uniform(uniform=[-2, 3]), Range(range=[7, 9.5])):
        low, high = map(float, axis.bounds)
        value = axis.at(share)
        assert low <= value <= high
        digits = Decimal(repr(value)).normalize().as_tuple().digits
        assert len(digits) <= 4 or value in (low, high)
    middle = Log(log=[0.12345, 678.9]).at(share)
    exact = 0.12345 * math.exp(share * math.log(678.9 / 0.12345))
    assert middle == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Range(range=[0, 1], step=0.3), "let it end at 0.9 or at 1.2"),
        (lambda: Range(range=[0, 1], step=2), "let it end at 0 or at 2"),
        (lambda: Range(range=[1, 0], step=1), "must be below"),
        (lambda: Range(range=[0, 1], step=0), "above 0"),
        (lambda: Range(range=[0, 1], step=1, num=2), "not both"),
        (lambda: Range(range=[0, 1], step=1e-9), "at most 1,000,000"),
        (lambda: Range(range=[0, 1], num=1), "greater than or equal to 2"),
        (lambda: Log(log=[0, 1], num=2), "above 0"),
        (lambda: Log(log=[0.1, float("inf")], num=2), "finite"),
        (lambda: Log(log=[1], num=2), "at least 2 items"),
    ],
)
def test_what_is_impossible_is_named(make: Any, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        make()


@pytest.mark.parametrize(
    ("axes", "line"),
    [
        (
            {"size": {"range": [1, 64], "num": 3}},
            "size: input should be greater than or equal to 32",
        ),
        ({"size": {"rnage": [1, 64], "num": 3}}, "size.rnage: unknown key; did you mean `range`?"),
        ({"pooling": {"range": [1, 2], "num": 2}}, "pooling: input should be 'max'"),
        ({"style_weight": {"log": [1, 10]}}, "style_weight: give `num`, or let `sweep.sample`"),
        ({"style_weight": {"range": [1, 10]}}, "style_weight: give `step` or `num`, or let"),
        ({"style_weight": {"log": [1]}}, "style_weight.log: list should have at least 2 items"),
        ({"style_weight": {"a": {"size": 64}}}, "style_weight: is a setting and needs a list"),
        ({"look": {"a": {"siz": 64}}}, "look.a.siz: unknown key; did you mean `size`?"),
        ({"look": {"a": {"size": 3}}}, "look.a.size: input should be greater"),
        ({"look": {"1": {"size": 64}}}, "look.1: string should match pattern"),
        ({"look": {"a": None, "b": {}}}, "look.a: input should be a valid dictionary"),
        ({"look": {"a": {"size": 64}, "b": 3}}, "look.b: input should be a valid dictionary"),
        ({"size": {"range": [64, 96], "step": "x"}}, "size.step: input should be a valid number"),
        (
            {"size": {"range": [64, 100], "step": 16}},
            "size: steps of 16 from 64 do not meet 100; let it end at 96 or at 112",
        ),
        ({"look": {}}, "look: dictionary should have at least 1 item"),
        ({"a b": {"x": {}}}, "a b: a bundle's name may have letters"),
        ({"seed": {"x": {}}}, "seed: is a reserved name"),
        (
            {"look": {"a": {"size": 64}}, "size": [64, 96]},
            "size: sets `size`, which `look` sets too",
        ),
        ({"stile_weight": [1]}, "stile_weight: unknown setting; did you mean `style_weight`?"),
    ],
)
def test_axes_that_cannot_be_are_named(axes: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"contents": "a", "styles": "b", "sweep": {"axes": axes}})
    lines = [problem.removeprefix("sweep.axes.") for problem in caught.value.problems]
    assert any(found.startswith(line) for found in lines), lines
