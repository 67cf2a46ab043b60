"""The speed that measurements tell."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nstcore.core.settings import Settings
from nstcore.plan.values import format_duration, format_size
from nstcore.resources.throughput import IterationTime, Throughput, iteration_key

PARTS = st.floats(0, 1)


@given(fixed=PARTS, picture=PARTS, pixel=st.floats(1e-9, 1e-5))
def test_a_fit_finds_what_made_the_measurements(fixed: float, picture: float, pixel: float) -> None:
    true = IterationTime(fixed, picture, pixel)
    places = [(16384.0, 1), (16384.0, 3), (65536.0, 1)]
    found = IterationTime.fit([(m, n, true.seconds(m, n)) for m, n in places])
    for pixels, count in [*places, (262144.0, 2)]:
        assert found.seconds(pixels, count) == pytest.approx(true.seconds(pixels, count), rel=1e-6)


@given(times=st.lists(st.floats(1e-4, 10), min_size=3, max_size=3))
def test_nothing_is_ever_below_zero(times: list[float]) -> None:
    places = [(16384.0, 1), (16384.0, 3), (65536.0, 1)]
    found = IterationTime.fit([(m, n, t) for (m, n), t in zip(places, times, strict=True)])
    assert min(found.fixed, found.picture, found.pixel) >= 0
    assert found.seconds(65536.0, 8) >= found.seconds(16384.0, 2) > 0


def test_rates_survive_json() -> None:
    rates = Throughput("cpu", 4.0, 1.0, 6e8, 1e-7, 1e-7, {"a": IterationTime(1, 2, 3)}, {"b": 1e-6})
    assert Throughput.from_json(json.loads(json.dumps(asdict(rates)))) == rates


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"style_weight": 3.0}, True),
        ({"size": 1024}, True),
        ({"iterations": 7}, True),
        ({"encoder": "vgg19"}, False),
        ({"statistic": "w2"}, False),
        ({"style_layers": ["relu1_1"]}, False),
        ({"optimizer": "adam"}, False),
        ({"history": 100}, False),
        ({"pooling": "avg"}, False),
    ],
)
def test_settings_that_take_as_long_are_measured_once(
    changed: dict[str, object], same: bool
) -> None:
    key = iteration_key(Settings(), "float32")
    assert (iteration_key(Settings.model_validate(changed), "float32") == key) is same
    assert iteration_key(Settings(), "bfloat16") != key


@example(14.0, 1.0)
@example(96.0, 1.0)
@given(st.floats(1, 1e7), st.floats(1, 10))
def test_more_time_never_sounds_like_less(seconds: float, factor: float) -> None:
    assert _seconds(format_duration(seconds)) <= _seconds(format_duration(seconds * factor))
    if seconds >= 10:
        assert _seconds(format_duration(seconds)) == pytest.approx(seconds, rel=0.25)


@given(st.floats(1e6, 1e14))
def test_sizes_have_two_figures(count: float) -> None:
    number, unit = format_size(count).split()
    spoken = float(number) * {"MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]
    assert spoken == pytest.approx(count, rel=0.06)


def _seconds(words: str) -> float:
    if words == "under 10 s":
        return 9.9
    number, unit = words.split()
    return float(number) * {"s": 1, "min": 60, "h": 3600, "days": 86400}[unit]
