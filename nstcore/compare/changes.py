"""How a metric differs between the cells of two runs: change, spread, and an interval.

Cells are first averaged over seeds, where there are several.  A relative change is the difference
over the baseline's value, so that +5% means the same for every metric, cell and encoder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from nstcore.compare.runs import Alignment
from nstcore.config.run import SEED
from nstcore.plan.values import format_count

Values = NDArray[np.float64]

CONFIDENCE = 0.95
RESAMPLES = 2000
STATISTICS: Mapping[str, Callable[[Values], Any]] = {
    "median": np.median,
    "mean": np.mean,
    "min": np.min,
    "max": np.max,
}
MIN_VALUES = 3
"""Of fewer values there is no interval."""


@dataclass(frozen=True)
class Change:
    """How one metric changed.

    Attributes:
        groups: for each entry of ``a`` and ``b`` the cells of the baseline that it is the mean of.
        a: (G,) the baseline's values, NaN where one of the two runs has none.
        b: (G,) the run's.
        interval: ends of the interval of the median relative change; None with too few values.
        over: what the interval is over, ``seeds`` or ``cells``, and how many of them.
    """

    groups: Sequence[Sequence[int]]
    a: Values
    b: Values
    interval: tuple[float, float] | None
    over: tuple[str, int]

    @cached_property
    def differences(self) -> Values:
        """(G,) ``b - a``."""
        return self.b - self.a

    @cached_property
    def relative(self) -> Values:
        """(G,) ``(b - a) / |a|``."""
        return relative_change(self.a, self.b)

    @property
    def count(self) -> int:
        """How many values there are in both runs."""
        return int(np.isfinite(self.a).sum())

    def quartiles(self) -> tuple[float, float]:
        """The first and the third quartile of the relative changes; NaN without any."""
        if not self.count:
            return math.nan, math.nan
        with np.errstate(invalid="ignore"):  # between two infinite changes there is no value
            low, high = np.quantile(self.known(relative=True), (0.25, 0.75)).tolist()
        return low, high

    def statistic(self, name: str, *, relative: bool) -> float:
        """One of `STATISTICS` of the relative changes or of the differences; NaN without any."""
        return float(STATISTICS[name](self.known(relative=relative))) if self.count else math.nan

    def known(self, *, relative: bool) -> Values:
        """The relative changes or the differences, where there are any."""
        return (self.relative if relative else self.differences)[np.isfinite(self.a)]

    @property
    def largest(self) -> int | None:
        """Index of the largest relative change up or down; None without any."""
        if not self.count:
            return None
        return int(np.argmax(np.where(np.isfinite(self.a), np.abs(self.relative), -1)))


def relative_change(a: Values, b: Values) -> Values:
    """``(b - a) / |a|``: no change of zero is 0, any other infinite, and NaN stays NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        change = (b - a) / np.abs(a)
    return np.where((a == 0) & (b == 0), 0.0, change)


def change_of(alignment: Alignment, metric: str) -> Change:
    """How a metric changed over all cells that are finished in both runs."""
    a, b = paired_values(alignment, metric)
    groups = seed_groups(alignment)
    table_a, table_b = (_by_seed(alignment, groups, values) for values in (a, b))
    mean_a, mean_b = _means(table_a, table_b)
    interval: tuple[float, float] | None = None
    seeds = int(np.isfinite(table_a).any(axis=0).sum())
    finite = np.isfinite(mean_a)
    over = ("cells", int(finite.sum()))
    if seeds >= MIN_VALUES:
        over = ("seeds", seeds)
        interval = interval_over_seeds(table_a, table_b)
    elif over[1] >= MIN_VALUES:
        interval = interval_over_cells(relative_change(mean_a, mean_b)[finite])
    return Change(groups, mean_a, mean_b, interval, over)


def paired_values(alignment: Alignment, metric: str) -> tuple[Values, Values]:
    """A metric of both runs for each cell of the baseline, NaN unless both cells are finished."""
    baseline, run = alignment.baseline, alignment.run
    a = np.full(len(baseline), np.nan)
    b = np.full(len(baseline), np.nan)
    if metric in baseline.metric_names and metric in run.metric_names:
        mine, theirs = (
            one.metrics[metric].to_numpy(dtype="float64", na_value=np.nan)
            for one in (baseline, run)
        )
        for cell, partner in alignment.pairs:
            if baseline.status[cell] == run.status[partner] == "ok":
                a[cell], b[cell] = mine[cell], theirs[partner]
    both = np.isfinite(a) & np.isfinite(b)
    return np.where(both, a, np.nan), np.where(both, b, np.nan)


def seed_groups(alignment: Alignment) -> list[list[int]]:
    """The cells of the baseline in groups that differ only in their seed."""
    if not alignment.has_seeds:
        return [[cell] for cell in range(len(alignment.baseline))]
    keys = [key for key in alignment.keys if key != SEED]
    found: dict[tuple[str, ...], list[int]] = {}
    for cell in range(len(alignment.baseline)):
        found.setdefault(alignment.baseline.identity(cell, keys), []).append(cell)
    return list(found.values())


def _by_seed(alignment: Alignment, groups: Sequence[Sequence[int]], values: Values) -> Values:
    """(G, S) a value for each group and seed, NaN where there is none; one column without seeds."""
    if not alignment.has_seeds:
        return values[:, None]
    baseline = alignment.baseline
    place = {seed: n for n, seed in enumerate(baseline.values[SEED])}
    table = np.full((len(groups), len(place)), np.nan)
    for number, cells in enumerate(groups):
        for cell in cells:
            table[number, place[baseline.settings[cell][SEED]]] = values[cell]
    return table


def _means(a: Values, b: Values) -> tuple[Values, Values]:
    """(..., S) -> (...): means over the seeds that both have; NaN where there are none."""
    both = np.isfinite(a) & np.isfinite(b)
    count = both.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_a, mean_b = (np.where(both, values, 0.0).sum(axis=-1) / count for values in (a, b))
    return mean_a, mean_b


def interval_over_cells(changes: Values) -> tuple[float, float] | None:
    """Percentile bootstrap interval of the median of relative changes (Efron 1979)."""
    if not np.isfinite(changes).all():
        return None
    return _bootstrap(changes, np.median)


def interval_over_seeds(a: Values, b: Values) -> tuple[float, float] | None:
    """As `interval_over_cells`, but resampling seeds: all cells of a seed stay together.

    Args:
        a, b: (G, S) values of both runs for each group of cells and each seed.
    """
    mean_a, mean_b = _means(a, b)
    if not np.isfinite(relative_change(mean_a, mean_b)[np.isfinite(mean_a)]).all():
        return None
    used = np.isfinite(a).any(axis=0)
    a, b = a[:, used], b[:, used]

    def median(chosen: Values, axis: int = -1) -> Values:
        drawn = np.moveaxis(chosen.astype(int), axis, -1)
        changes = relative_change(*_means(a[:, drawn], b[:, drawn]))  # (G, …)
        if np.isfinite(changes).all():
            return np.asarray(np.median(changes, axis=0))
        # A cell all of whose drawn seeds failed says nothing; it must not make the median NaN.
        finite = np.where(np.isfinite(changes), changes, np.nan)
        some = np.isfinite(changes).any(axis=0)
        return np.where(some, np.nanmedian(np.where(some, finite, 0.0), axis=0), np.nan)

    return _bootstrap(np.arange(a.shape[1]), median)


def _bootstrap(data: NDArray[np.generic], statistic: object) -> tuple[float, float] | None:
    result = stats.bootstrap(
        (data,),
        statistic,
        n_resamples=RESAMPLES,
        batch=100,
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        # The same data give the same interval, whenever and wherever they are compared.
        random_state=np.random.default_rng(0),
    ).confidence_interval
    low, high = float(result.low), float(result.high)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


# --- In words, for terminals and logs. ---


def change_text(value: float, *, relative: bool) -> str:
    """A change with its sign: ``+5.3 %`` or ``-0.0123``; a dash where there is none."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "from zero" if value > 0 else "below zero from zero"
    if value == 0:
        return "0 %" if relative else "0"
    if not relative:
        return f"{value:+.4g}"
    percent = 100 * value
    return f"{percent:+.1f} %" if abs(percent) < 1000 else f"{percent:+.3g} %"


def interval_text(change: Change) -> str:
    """``-1.0 % … +2.0 % (12 cells)``; a dash where there is no interval."""
    what, count = change.over
    over = format_count(count, what.removesuffix("s"))
    if change.interval is None:
        return f"– ({over})"
    low, high = (change_text(end, relative=True) for end in change.interval)
    return f"{low} … {high} ({over})"
