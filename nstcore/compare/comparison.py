"""A comparison: every run beside the first, cell by cell and metric by metric."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nstcore.compare import facts
from nstcore.compare.align import Alignment, align, check_ignored
from nstcore.compare.changes import Change, change_of
from nstcore.compare.runs import Run, read_runs
from nstcore.config.run import SEED
from nstcore.core.metrics import metric_named
from nstcore.errors import UserError

BROKEN, MENDED, UNFINISHED, MISSING, BOTH = "broken", "mended", "unfinished", "missing", "both"
GONE, ADDED = "gone", "added"


@dataclass(frozen=True)
class Compared:
    """One run beside the baseline."""

    alignment: Alignment

    @property
    def run(self) -> Run:
        """What is compared."""
        return self.alignment.run

    @property
    def baseline(self) -> Run:
        """What it is compared with."""
        return self.alignment.baseline

    @cached_property
    def changes(self) -> dict[str, Change]:
        """Metric -> how it changed, for every metric that both runs have."""
        names = [n for n in self.baseline.metric_names if n in self.run.metric_names]
        return {name: change_of(self.alignment, name) for name in names}

    @cached_property
    def states(self) -> list[str]:
        """What became of each cell of the baseline.

        ``both`` are finished, or ``broken``: only the baseline's, ``mended``: only the run's,
        ``unfinished``: neither; ``missing``: one has no record; ``gone``: the run does not have it.
        """
        found = []
        for cell, partner in enumerate(self.alignment.partners):
            if partner is None:
                found.append(GONE)
                continue
            mine, theirs = self.baseline.status[cell], self.run.status[partner]
            if MISSING in (mine, theirs):
                found.append(MISSING)
            elif mine == "ok":
                found.append(BOTH if theirs == "ok" else BROKEN)
            else:
                found.append(MENDED if theirs == "ok" else UNFINISHED)
        return found

    @cached_property
    def counts(self) -> dict[str, int]:
        """The counts on which there may be a limit, see ``nstcore.config.expressions.COUNTS``."""
        status = self.run.status
        return {
            "pairs": len(self.alignment.pairs),
            "identical": facts.identical(self.alignment),
            "broken": self.states.count(BROKEN),
            "failed": status.count("failed") + status.count("diverged"),
            "missing": status.count("missing"),
            "gone": len(self.alignment.gone),
            "added": len(self.alignment.added),
        }

    @cached_property
    def same_judge(self) -> bool:
        """Whether metrics of the pictures may be compared at all."""
        return facts.same_judge(self.alignment)

    def comparable(self, metric: str) -> bool:
        """Whether a metric means the same in both runs."""
        return self.same_judge or bool(metric_named(metric).recorded_as)

    @cached_property
    def warnings(self) -> list[str]:
        """What a reader must know first."""
        return facts.warnings_of(self.alignment)

    @cached_property
    def changed(self) -> dict[str, tuple[str, str]]:
        """Setting -> its value throughout the baseline and throughout the run, where they differ."""
        return dict(self.alignment.changed)

    @cached_property
    def made_with(self) -> dict[str, tuple[str, str]]:
        """The same of versions, devices, and settings that only one of the runs knows."""
        return {**facts.made_with(self.alignment), **facts.known_to_one(self.alignment)}


@dataclass(frozen=True)
class Comparison:
    """Runs beside the first of them.

    Attributes:
        baseline: the first run.
        compared: the others.
        ignored: settings that were declared to differ.
    """

    baseline: Run
    compared: Sequence[Compared]
    ignored: Sequence[str]

    @property
    def runs(self) -> list[Run]:
        """All runs, the baseline first."""
        return [self.baseline, *(one.run for one in self.compared)]

    @cached_property
    def metrics(self) -> list[str]:
        """Every metric that the baseline and another run have."""
        names = {name for one in self.compared for name in one.changes}
        return [name for name in self.baseline.metric_names if name in names]

    @cached_property
    def telling(self) -> list[str]:
        """The settings that cells of the runs have to be told apart by, ``seed`` last."""
        named = [
            name
            for name in dict.fromkeys(name for run in self.runs for name in run.values)
            if any(len(run.values.get(name, [])) > 1 for run in self.runs)
        ]
        return [name for name in named if name != SEED] + [name for name in named if name == SEED]

    def words(self, run: Run, cell: int, *, seed: bool = True) -> str:
        """What a cell is, in words, perhaps without its seed."""
        own: Mapping[str, str] = run.settings[cell]
        rest = [
            f"{name} {own[name]}"
            for name in self.telling
            if name in own and len(run.values[name]) > 1 and (seed or name != SEED)
        ]
        return ", ".join([f"{run.content[cell]} in the style {run.style[cell]}", *rest])


def compare_runs(folders: Sequence[Path], ignore: Collection[str] = ()) -> Comparison:
    """Compare runs with the first of them.

    Args:
        folders: two or more folders of runs, finished or not.
        ignore: settings in which cells that belong together may differ.

    Raises:
        UserError: if there are too few runs, one cannot be read, or cells cannot be told apart.
    """
    if len(folders) < 2:
        raise UserError("compare: give the folders of at least two runs, the baseline first")
    baseline, *others = runs = read_runs(folders)
    check_ignored(ignore, runs)
    compared = [Compared(align(baseline, run, ignore)) for run in others]
    return Comparison(baseline, compared, list(dict.fromkeys(ignore)))
