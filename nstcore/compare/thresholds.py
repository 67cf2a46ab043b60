"""Whether runs exceed the thresholds that they were given, such as ``style_loss > +5%``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nstcore.compare.changes import change_text
from nstcore.compare.comparison import Comparison, RunComparison
from nstcore.config.expressions import COUNTS, Threshold, parse_threshold
from nstcore.errors import ConfigError, UserError, did_you_mean
from nstcore.plan.values import format_count


@dataclass(frozen=True)
class ThresholdResult:
    """The result of one threshold for one run.

    Attributes:
        threshold: what was checked.
        run: name of the run.
        exceeded: whether the run exceeds it.
        value: what was compared with the threshold, in words.
        problem: why it cannot be checked, in which case it does not count as kept; None if it was.
    """

    threshold: Threshold
    run: str
    exceeded: bool
    value: str
    problem: str | None = None

    @property
    def line(self) -> str:
        """The result in one line."""
        if self.problem is not None:
            return f"{self.run}: {self.threshold.text} cannot be checked: {self.problem}"
        verdict = "exceeded" if self.exceeded else "within"
        return f"{self.run}: {self.threshold.text} {verdict}: {self.value}"


def parse_thresholds(texts: Iterable[str]) -> list[Threshold]:
    """Read thresholds.

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
    comparison: Comparison, thresholds: Sequence[Threshold], only: RunComparison | None = None
) -> list[ThresholdResult]:
    """Check every run that is compared, or only one of them, against thresholds.

    Raises:
        UserError: if a threshold is on a metric that no run has.
    """
    known = [*comparison.metrics, *COUNTS]
    for one in thresholds:
        if one.name not in known:
            meant = did_you_mean(one.name, known)
            raise UserError(f"fail-if: the runs have no metric `{one.name}` in common; {meant}")
    runs = comparison.compared if only is None else [only]
    return [_check(run, one) for one in thresholds for run in runs]


def _check(compared: RunComparison, threshold: Threshold) -> ThresholdResult:
    def result(exceeded: bool, value: str = "", problem: str | None = None) -> ThresholdResult:
        return ThresholdResult(threshold, compared.run.name, exceeded, value, problem)

    name, relative = threshold.name, threshold.relative
    if name in COUNTS:
        count = compared.counts[name]
        return result(threshold.beyond(count), f"{count} {COUNTS[name]}")
    change = compared.changes.get(name)
    if change is None or not change.count:
        return result(False, problem="no two cells that belong together have it")
    if not compared.comparable(name):
        return result(False, problem="the runs were measured in different ways")
    cells = format_count(change.count, "cell")
    if threshold.statistic == "any":
        values = change.known(relative=relative).tolist()
        beyond = [value for value in values if threshold.beyond(value)]
        text = f"{len(beyond)} of {cells}"
        if beyond:
            text += f", up to {change_text(max(beyond, key=abs), relative=relative)}"
        return result(bool(beyond), text)
    value = change.statistic(threshold.statistic, relative=relative)
    if math.isnan(value):
        return result(False, problem="changes from zero have no such statistic")
    text = f"{change_text(value, relative=relative)} ({threshold.statistic} of {cells})"
    return result(threshold.beyond(value), text)
