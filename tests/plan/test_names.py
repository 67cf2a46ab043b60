"""Names of settings are readable, safe as file names, and different for different values."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nstcore.core.encoders import LAYERS
from nstcore.core.settings import Settings
from nstcore.plan.values import format_value, parse_column, parse_text, setting_name, table_text
from nstcore.store.files import digest

WEIGHTS = st.dictionaries(
    st.sampled_from(LAYERS), st.floats(0, 1e6, allow_nan=False), min_size=1, max_size=16
)
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = NUMBERS | st.text() | WEIGHTS | st.lists(st.integers(1, 9999), min_size=1, max_size=40)
POINTS = st.dictionaries(st.sampled_from(list(Settings.model_fields)), VALUES, max_size=8)


def is_safe(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9._+,=~-]+", name) is not None and name not in (".", "..")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (10, "10"),
        (10.0, "10"),
        (1e3, "1000"),
        (0.1, "0.1"),
        (1e-5, "0.00001"),
        (1e38, "1e+38"),
        ("content", "content"),
        (True, "true"),
        (None, "none"),
        ([200, 100], "200+100"),
        ({"relu1_1": 1.0, "relu3_1": 1.0}, "relu1_1+relu3_1"),
        ({"relu1_1": 1.0, "relu3_1": 0.5}, "relu1_1x1+relu3_1x0.5"),
    ],
)
def test_people_can_read_them(value: Any, text: str) -> None:
    assert format_value(value) == text


@given(st.integers(-(2**50), 2**50))
def test_a_whole_number_is_spelt_one_way(number: int) -> None:
    assert format_value(number) == format_value(float(number))


@given(NUMBERS)
def test_a_number_reads_back_as_itself(number: float) -> None:
    assert float(format_value(number)) == number


@given(VALUES, VALUES)
def test_two_values_of_a_kind_never_share_a_name(one: Any, other: Any) -> None:
    if type(one) is type(other) and one != other:
        assert format_value(one) != format_value(other)


@given(WEIGHTS, st.floats(0.001, 1000))
def test_the_scale_of_weights_is_spelt_too(weights: dict[str, float], factor: float) -> None:
    """In the article's formulas the sum of the layers' weights counts."""
    scaled = {name: value * factor for name, value in weights.items()}
    if scaled != weights:
        assert format_value(scaled) != format_value(weights)


@given(POINTS)
def test_names_are_safe_as_files(values: dict[str, Any]) -> None:
    name = setting_name(values)
    assert is_safe(name)
    assert len(f".{name},seed={2**53 - 1}.0123456789ab.tmp.json".encode()) <= 255


@given(POINTS, POINTS)
def test_points_of_one_sweep_never_share_a_name(one: dict[str, Any], other: dict[str, Any]) -> None:
    axes = [name for name in one if name in other and type(one[name]) is type(other[name])]
    left, right = ({axis: point[axis] for axis in axes} for point in (one, other))
    if left != right:
        assert setting_name(left) != setting_name(right)


@pytest.mark.parametrize(
    "value",
    [
        "../../etc/passwd",
        "a/b",
        "a\\b",
        "a\0b",
        "a\nb",
        "é",
        "",
        ".",
        "..",
        "a" * 5000,
        "CON",
        "{x}",
    ],
)
def test_hostile_values_stay_in_their_folder(value: str) -> None:
    name = setting_name({"init_file": value})
    assert is_safe(name)
    assert len(name) <= 160


@pytest.mark.parametrize(
    ("texts", "values", "dtype"),
    [
        (["1", "10"], [1, 10], "Int64"),
        (["0.5", "1e-3", "2"], [0.5, 0.001, 2.0], "float64"),
        (["true", "False"], [True, False], "boolean"),
        (["vgg19", "10"], ["vgg19", "10"], "string"),
        (["nan", "1"], ["nan", "1"], "string"),
        (["9" * 30], [1e30], "float64"),
        (["", "2"], [None, 2], "Int64"),
    ],
)
def test_axes_get_the_narrowest_type(texts: list[str], values: list[object], dtype: str) -> None:
    kind, read = parse_column(texts)
    assert read == pytest.approx(values)
    assert kind == dtype


@given(NUMBERS | st.lists(st.integers(1, 9999)) | WEIGHTS | st.booleans() | st.none())
def test_a_field_of_a_table_reads_back(value: Any) -> None:
    assert parse_text(table_text(value)) == value


def test_no_axis_is_the_default() -> None:
    assert setting_name({}) == "default"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_a_digest_knows_no_order_and_survives_json(value: dict[str, Any]) -> None:
    backwards = dict(reversed(value.items()))
    assert digest(backwards) == digest(value) == digest(json.loads(json.dumps(value)))


def test_a_digest_of_what_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        digest({"a": math.nan})
