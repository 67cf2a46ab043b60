"""A comparison: every run beside the first, cell by cell and metric by metric."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nstcore.compare.changes import Change, change_of
from nstcore.compare.runs import Alignment, ComparedRun, read_runs
from nstcore.config.run import SEED
from nstcore.core.metrics import metric_named
from nstcore.errors import UserError, did_you_mean
from nstcore.plan.record import ImageInfo
from nstcore.plan.values import format_count

BROKEN, MENDED, UNFINISHED, MISSING, BOTH = "broken", "mended", "unfinished", "missing", "both"
GONE, ADDED = "gone", "added"

STATES = {
    BROKEN: "finished in {a}, not in {b}",
    MENDED: "finished in {b}, not in {a}",
    UNFINISHED: "finished in neither",
    MISSING: "without a record in one of them",
    GONE: "gone: only in {a}",
    ADDED: "added: only in {b}",
}
"""The states of cells that cannot be compared, the worst first, in words."""


class RunComparison(Alignment):
    """One run beside the baseline."""

    @cached_property
    def changes(self) -> dict[str, Change]:
        """Metric -> how it changed, for every metric that both runs have."""
        names = [n for n in self.baseline.metric_names if n in self.run.metric_names]
        return {name: change_of(self, name) for name in names}

    @cached_property
    def states(self) -> list[str]:
        """What became of each cell of the baseline.

        ``both`` are finished, or ``broken``: only the baseline's, ``mended``: only the run's,
        ``unfinished``: neither; ``missing``: one has no record; ``gone``: the run does not have it.
        """
        found = []
        for cell, partner in enumerate(self.partners):
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

    def state_text(self, state: str) -> str:
        """What a state means, with the names of the two runs."""
        return STATES[state].replace("{a}", self.baseline.name).replace("{b}", self.run.name)

    @cached_property
    def counts(self) -> dict[str, int]:
        """The counts that thresholds may name, see ``nstcore.config.expressions.COUNTS``."""
        status = self.run.status
        return {
            "pairs": len(self.pairs),
            "identical": sum(
                _same_image(self.baseline.records[mine].image, self.run.records[theirs].image)
                for mine, theirs in self.pairs
            ),
            "broken": self.states.count(BROKEN),
            "failed": status.count("failed") + status.count("diverged"),
            "missing": status.count("missing"),
            "gone": self.states.count(GONE),
            "added": len(self.added),
        }

    @cached_property
    def same_evaluation(self) -> bool:
        """Whether the images of both runs were measured at one size by one encoder."""
        return len(_evaluations(self.baseline) | _evaluations(self.run)) <= 1

    def comparable(self, metric: str) -> bool:
        """Whether a metric means the same in both runs."""
        return self.same_evaluation or bool(metric_named(metric).recorded_as)

    @cached_property
    def warnings(self) -> list[str]:
        """What a reader must know before looking at any number."""
        lines = []
        if not self.same_evaluation:
            lines.append(
                "The runs were measured in different ways: do not compare their metrics. Give both the "
                "same `evaluation` (encoder, weights and size)."
            )
        a, b = self.baseline.name, self.run.name
        mine, theirs = _input_digests(self.baseline), _input_digests(self.run)
        changed = {key[:2] for key in mine if key in theirs and set(mine[key]) != set(theirs[key])}
        for kind, name in sorted(changed):
            lines.append(f"The {kind} {name} is another image in {b} than in {a}.")
        if not self.pairs:
            reasons = " and ".join(self.disjoint_settings())
            why = f": they have no value in common of {reasons}" if reasons else ""
            lines.append(f"No cell of {b} is one of {a}{why}.")
        return lines

    @cached_property
    def made_with(self) -> dict[str, tuple[str, str]]:
        """As ``changed``, of versions and devices, and of settings that only one of the runs knows."""
        mine, theirs = _versions(self.baseline), _versions(self.run)
        found = {
            name: (", ".join(mine[name]), ", ".join(theirs[name]))
            for name in mine
            if name in theirs and set(mine[name]) != set(theirs[name])
        }
        a, b = self.baseline.values, self.run.values
        found |= {name: (", ".join(a[name]), "–") for name in a if name not in b}
        return found | {name: ("–", ", ".join(b[name])) for name in b if name not in a}

    def overview(self) -> Iterator[str]:
        """What to say of the run before its metrics, line by line."""
        counts = self.counts
        yield (
            f"{self.run.name} against {self.baseline.name}: {format_count(counts['pairs'], 'pair')} of "
            f"cells, {counts['identical']} with identical images"
        )
        for name, (before, after) in self.changed.items():
            yield f"changed: {name} {before} → {after}"
        for name, (before, after) in self.made_with.items():
            yield f"made with: {name} {before} → {after}"
        for state in STATES:
            count = counts["added"] if state == ADDED else self.states.count(state)
            if count:
                yield f"{format_count(count, 'cell')} {self.state_text(state)}"


@dataclass(frozen=True)
class Comparison:
    """Runs beside the first of them.

    Attributes:
        ignored: settings that may differ between cells that belong together.
    """

    baseline: ComparedRun
    compared: Sequence[RunComparison]
    ignored: Sequence[str]

    @property
    def runs(self) -> list[ComparedRun]:
        """All runs, the baseline first."""
        return [self.baseline, *(one.run for one in self.compared)]

    @cached_property
    def metrics(self) -> list[str]:
        """Every metric that the baseline and another run have."""
        names = {name for one in self.compared for name in one.changes}
        return [name for name in self.baseline.metric_names if name in names]

    @cached_property
    def varying_settings(self) -> list[str]:
        """The settings of which a run has several values, ``seed`` last."""
        known = dict.fromkeys(name for run in self.runs for name in run.values)
        varying = [n for n in known if any(len(run.values.get(n, [])) > 1 for run in self.runs)]
        return sorted(varying, key=lambda name: name == SEED)

    def cell_text(self, run: ComparedRun, cell: int, *, seed: bool = True) -> str:
        """What a cell is, in words, perhaps without its seed."""
        own = run.settings[cell]
        rest = [
            f"{name} {own[name]}"
            for name in self.varying_settings
            if name in own and len(run.values[name]) > 1 and (seed or name != SEED)
        ]
        return ", ".join([f"{run.content[cell]} in the style {run.style[cell]}", *rest])


def compare_runs(folders: Sequence[Path], ignore: Collection[str] = ()) -> Comparison:
    """Compare runs, finished or not, with the first of them.

    Args:
        folders: of two or more runs.
        ignore: settings in which cells that belong together may differ.

    Raises:
        UserError: if there are too few runs, one cannot be read, cells have the same identity, or no
            run has a setting to ignore.
    """
    if len(folders) < 2:
        raise UserError("compare: give the folders of at least two runs, the baseline first")
    baseline, *others = runs = read_runs(folders)
    known = dict.fromkeys(name for run in runs for name in run.values)
    for name in ignore:
        if name not in known:
            raise UserError(f"ignore: no run has a setting `{name}`; {did_you_mean(name, known)}")
    compared = [RunComparison.of(baseline, run, ignore) for run in others]
    return Comparison(baseline, compared, list(dict.fromkeys(ignore)))


# --- What the records tell. ---


def _same_image(one: ImageInfo | None, other: ImageInfo | None) -> bool:
    """Whether two images are equal, to the pixel where the records have it, else to the byte."""
    if one is None or other is None:
        return False
    if one.pixels and other.pixels:
        return one.pixels == other.pixels
    return one.sha256 is not None and one.sha256 == other.sha256


def _evaluations(run: ComparedRun) -> set[str]:
    """How finished cells were measured, in words; the place of the weights' file does not matter."""
    found = set()
    for record in run.records:
        if record.evaluation and record.status == "ok":
            parts = sorted(record.evaluation.items())
            found.add(", ".join(f"{k} {v}" for k, v in parts if k not in ("source", "path")))
    return found


def _input_digests(run: ComparedRun) -> dict[tuple[str, str, str], list[str]]:
    """``content`` or ``style``, id and size -> digests of the decoded images.

    A content is prepared at each size, which gives another image.
    """
    found: dict[tuple[str, str, str], list[str]] = {}
    for cell, record in enumerate(run.records):
        if record.inputs is None:
            continue
        content, style = record.inputs.content, record.inputs.style
        size = f"{content.width}x{content.height}"
        found.setdefault(("content", run.content[cell], size), []).append(content.digest)
        parts = " ".join(f"{part.digest} {part.weight}" for part in style)
        found.setdefault(("style", run.style[cell], ""), []).append(parts)
    return found


def _versions(run: ComparedRun) -> dict[str, dict[str, None]]:
    """Program or ``device`` -> its versions, in the order of the cells."""
    found: dict[str, dict[str, None]] = {}
    for record in run.records:
        for name, value in {**record.versions, "device": record.optimization.device}.items():
            if value:
                found.setdefault(name, {})[value] = None
    return found
