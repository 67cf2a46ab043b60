"""Whether a run is within the limits that it was given against the baseline."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nstcore.compare.comparison import Compared, Comparison
from nstcore.compare.words import change_text, count_text
from nstcore.config.expressions import COUNTS, Threshold, parse_threshold
from nstcore.errors import ConfigError, UserError


@dataclass(frozen=True)
class ThresholdResult:
    """What came of one limit for one run.

    Attributes:
        limit: the limit.
        run: name of the run.
        exceeded: whether it is beyond the limit.
        says: the value and what it is of, in words.
        problem: why that cannot be told; then it is not within the limit either.
    """

    limit: Threshold
    run: str
    exceeded: bool
    says: str
    problem: str | None = None

    @property
    def line(self) -> str:
        """The outcome in one line."""
        if self.problem is not None:
            return f"{self.run}: {self.limit.text} cannot be told: {self.problem}"
        verdict = "exceeded" if self.exceeded else "within"
        return f"{self.run}: {self.limit.text} {verdict}: {self.says}"


def parse_thresholds(texts: Iterable[str]) -> list[Threshold]:
    """Read limits, with all mistakes at once.

    Raises:
        ConfigError: one line for each mistake.
    """
    found, problems = [], []
    for text in texts:
        try:
            found.append(parse_threshold(text))
        except ValueError as error:
            problems.append(f"fail-if: {error}")
    if problems:
        raise ConfigError(problems)
    return found


def check_thresholds(
    comparison: Comparison, limits: Sequence[Threshold], only: Compared | None = None
) -> list[ThresholdResult]:
    """Hold the runs against limits.

    Args:
        comparison: the runs.
        limits: on metrics and counts.
        only: the run that they are for; None for every run that is compared.

    Raises:
        UserError: if a limit is on a metric that no run has.
    """
    known = [*comparison.metrics, *COUNTS]
    for limit in limits:
        if limit.name not in known:
            close = difflib.get_close_matches(limit.name, known, n=1)
            meant = f"did you mean `{close[0]}`?" if close else f"there are: {', '.join(known)}"
            raise UserError(f"fail-if: the runs have no metric `{limit.name}` in common; {meant}")
    runs = comparison.compared if only is None else [only]
    return [_check(one, limit) for limit in limits for one in runs]


def _check(one: Compared, limit: Threshold) -> ThresholdResult:
    if limit.counts:
        count = one.counts[limit.name]
        return ThresholdResult(
            limit, one.run.name, limit.beyond(count), f"{count} {COUNTS[limit.name]}"
        )
    change = one.changes.get(limit.name)
    problem = None
    if change is None or not change.count:
        problem = "no two cells that belong together have it"
    elif not one.comparable(limit.name):
        problem = "the runs were measured in different ways"
    if change is None or problem is not None:
        return ThresholdResult(limit, one.run.name, False, "", problem)
    if limit.statistic == "any":
        values = change.relative if limit.relative else change.differences
        beyond = [v for v in values[np.isfinite(change.a)].tolist() if limit.beyond(v)]
        worst = max(beyond, key=abs, default=math.nan)
        says = f"{len(beyond)} of {count_text(change.count, 'cell')}"
        if beyond:
            says += f", up to {change_text(worst, relative=limit.relative)}"
        return ThresholdResult(limit, one.run.name, bool(beyond), says)
    value = change.statistic(limit.statistic, relative=limit.relative)
    if math.isnan(value):
        return ThresholdResult(
            limit, one.run.name, False, "", "changes from zero have no such statistic"
        )
    says = (
        f"{change_text(value, relative=limit.relative)} "
        f"({limit.statistic} of {count_text(change.count, 'cell')})"
    )
    return ThresholdResult(limit, one.run.name, limit.beyond(value), says)
