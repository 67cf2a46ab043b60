"""Changes and their intervals, held against numpy, against scipy and against what can be enumerated."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from editing import edit, scale
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from synthetic import write_run

from nstcore.compare.changes import (
    RESAMPLES,
    interval_over_cells,
    interval_over_seeds,
    relative_change,
)
from nstcore.compare.comparison import compare_runs

numbers = st.floats(-1e6, 1e6).map(lambda x: 0.0 if abs(x) < 1e-6 else x)
columns = hnp.arrays(np.float64, st.integers(1, 30), elements=numbers)


@given(columns)
def test_nothing_changes_from_a_run_to_itself(a: np.ndarray) -> None:
    assert (relative_change(a, a) == 0).all()


@given(
    st.integers(1, 20).flatmap(lambda n: st.tuples(*[hnp.arrays(float, n, elements=numbers)] * 2))
)
def test_a_relative_change_leads_from_one_to_the_other(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = pair
    change = relative_change(a, b)
    assert (np.sign(change) == np.sign(b - a)).all(), "upwards is upwards below zero, too"
    sure = a != 0
    np.testing.assert_allclose(
        a[sure] + change[sure] * np.abs(a[sure]), b[sure], rtol=1e-9, atol=1e-6
    )
    assert np.isinf(change[~sure & (b != 0)]).all()


@given(columns, st.floats(0.1, 10), st.floats(0.01, 3))
def test_it_does_not_depend_on_the_unit(a: np.ndarray, unit: float, factor: float) -> None:
    a = np.abs(a) + 1
    np.testing.assert_allclose(relative_change(unit * a, unit * a * factor), factor - 1, atol=1e-9)


def test_one_factor_on_all_cells(tmp_path: Path) -> None:
    before, after = (write_run(tmp_path, run=run) for run in ("before", "after"))
    edit(after, scale("style_loss", 1.1))
    (one,) = compare_runs([before, after]).compared
    change = one.changes["style_loss"]
    assert change.count == 12
    assert change.over == ("cells", 12)
    np.testing.assert_allclose(change.relative, 0.1, rtol=1e-9)
    np.testing.assert_allclose(change.interval, (0.1, 0.1), rtol=1e-9)
    assert change.statistic("median", relative=True) == pytest.approx(0.1)
    median = np.median(0.1 * np.array(one.baseline.metrics["style_loss"]))
    assert change.statistic("median", relative=False) == pytest.approx(median)
    assert (one.changes["content_loss"].differences == 0).all()


def test_swapping_runs_turns_differences_round(tmp_path: Path) -> None:
    before, after = (write_run(tmp_path, run=run, failed=[1]) for run in ("before", "after"))
    for number, cell in enumerate(["*/cat/*", "*/rocket/*"]):
        edit(after, scale("ssim", 0.9 - 0.3 * number), cell)
    (there,) = compare_runs([before, after]).compared
    (back,) = compare_runs([after, before]).compared
    for name, change in there.changes.items():
        other = back.changes[name]
        np.testing.assert_array_equal(change.differences, -other.differences)
        there_and_back = (1 + change.relative) * (1 + other.relative)
        np.testing.assert_allclose(there_and_back[np.isfinite(change.a)], 1, rtol=1e-9)


def test_statistics_are_those_of_numpy(tmp_path: Path) -> None:
    before, after = (write_run(tmp_path, run=run) for run in ("before", "after"))
    factors = iter(np.random.default_rng(0).uniform(0.5, 2, 12))
    edit(after, lambda record: scale("tv", next(factors))(record))
    (one,) = compare_runs([before, after]).compared
    change = one.changes["tv"]
    a, b = (np.array(run.metrics["tv"]) for run in (one.baseline, one.run))
    expected = b / a - 1
    for name in ("median", "mean", "min", "max"):
        value = change.statistic(name, relative=True)
        assert value == pytest.approx(getattr(np, name)(expected))
    assert change.quartiles()[0] == pytest.approx(np.quantile(expected, 0.25))
    assert change.largest == int(np.argmax(np.abs(expected)))
    low, high = change.interval or (math.nan, math.nan)
    assert expected.min() <= low <= np.median(expected) <= high <= expected.max()


def test_the_interval_over_cells_is_that_of_scipy() -> None:
    changes = np.random.default_rng(1).normal(0.05, 0.1, 40)
    found = interval_over_cells(changes)
    # Scipy's own loop over the statistic, with other draws: the same up to their noise.
    expected = stats.bootstrap(
        (changes,),
        lambda x: float(np.median(x)),
        vectorized=False,
        n_resamples=4 * RESAMPLES,
        method="percentile",
        random_state=np.random.default_rng(99),
    ).confidence_interval
    assert found is not None
    assert found == pytest.approx((expected.low, expected.high), abs=0.01)
    assert found == interval_over_cells(changes), "always the same"
    assert found != interval_over_cells(changes + 0.1)


def test_the_interval_covers_the_median_as_often_as_it_says() -> None:
    random = np.random.default_rng(2)
    hits = 0
    for _ in range(100):
        interval = interval_over_cells(random.exponential(1.0, 25) - math.log(2))
        assert interval is not None
        hits += interval[0] <= 0 <= interval[1]
    assert 85 <= hits <= 100  # 95 expected; below 85 has a probability of 1e-4


def test_the_interval_over_seeds_is_that_of_all_draws() -> None:
    random = np.random.default_rng(3)
    a = random.uniform(1, 2, (5, 3))
    b = a * random.uniform(0.8, 1.4, (1, 3)) * random.uniform(0.95, 1.05, (5, 3))
    medians = [
        np.median(b[:, draw].mean(axis=1) / a[:, draw].mean(axis=1) - 1)
        for draw in itertools.product(range(3), repeat=3)
    ]
    # Each of 27 draws has a share of 3.7%: the ends of 95% are the least and the greatest.
    found = interval_over_seeds(a, b)
    assert found == pytest.approx((min(medians), max(medians)))


def test_a_failed_seed_is_left_out() -> None:
    random = np.random.default_rng(4)
    a, b = random.uniform(1, 2, (2, 6, 4))
    a[0, 1] = b[0, 1] = np.nan
    a[:, 2] = b[:, 2] = np.nan
    found = interval_over_seeds(a, b)
    assert found is not None
    assert found == interval_over_seeds(np.delete(a, 2, axis=1), np.delete(b, 2, axis=1))


def test_repetitions_are_averaged_before_they_are_compared(tmp_path: Path) -> None:
    seeds = (0, 1, 2, 3)
    before, after = (write_run(tmp_path, run=run, seeds=seeds) for run in ("before", "after"))
    factors = {0: 0.9, 1: 1.0, 2: 1.2, 3: 1.3}
    edit(after, lambda record: scale("style_loss", factors[record["cell"]["seed"]])(record))
    (one,) = compare_runs([before, after]).compared
    change = one.changes["style_loss"]
    assert change.count == 12
    assert len(one.pairs) == 48
    assert change.over == ("seeds", 4)
    a, b = (np.array(run.metrics["style_loss"]).reshape(12, 4) for run in (one.baseline, one.run))
    np.testing.assert_allclose(change.relative, b.mean(axis=1) / a.mean(axis=1) - 1)
    assert [len(group) for group in change.groups] == [4] * 12
    low, high = change.interval or (math.nan, math.nan)
    assert low < np.median(change.relative) < high
    assert -0.1 <= low < high <= 0.3


@pytest.mark.parametrize(("contents", "interval"), [(["cat"], False), (["cat", "rocket"], True)])
def test_two_values_have_no_interval(tmp_path: Path, contents: list[str], interval: bool) -> None:
    before = write_run(tmp_path, contents=contents, axes={}, styles=["night", "wave"])
    (one,) = compare_runs([before, before]).compared
    assert (one.changes["style_loss"].interval is not None) == interval


def test_a_change_from_zero_is_larger_than_any_other(tmp_path: Path) -> None:
    before = edit(write_run(tmp_path, run="before"), scale("tv", 0.0), "night/cat/*")
    after = write_run(tmp_path, run="after")
    (one,) = compare_runs([before, after]).compared
    change = one.changes["tv"]
    assert change.statistic("max", relative=True) == math.inf
    assert change.interval is None
    assert change.statistic("median", relative=True) == 0
