"""What two runs were made from and with, and what of that keeps their numbers from being compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from nstcore.compare.align import Alignment, without_partner
from nstcore.compare.runs import Run
from nstcore.plan.record import CellRecord

Digests = dict[tuple[str, str, str], dict[str, None]]
"""``content`` or ``style``, id and size -> digests; a dictionary for its order."""


def same_judge(alignment: Alignment) -> bool:
    """Whether the pictures of both runs were measured at one size by one encoder."""
    return len(judges(alignment.baseline) | judges(alignment.run)) <= 1


def judges(run: Run) -> set[str]:
    """How finished cells were measured, in words; where the weights' file stood does not matter."""
    found = set()
    for cell in range(len(run)):
        record = run.record(cell)
        judge = record.evaluation if record else {}
        if judge and run.status[cell] == "ok":
            facts = {name: value for name, value in judge.items() if name not in ("source", "path")}
            found.add(", ".join(f"{name} {value}" for name, value in sorted(facts.items())))
    return found


def made_with(alignment: Alignment) -> dict[str, tuple[str, str]]:
    """Versions and devices that differ: what -> those of the baseline and of the run."""
    mine, theirs = (_versions(run) for run in (alignment.baseline, alignment.run))
    return {
        name: (_listed(mine[name]), _listed(theirs[name]))
        for name in mine
        if name in theirs and set(mine[name]) != set(theirs[name])
    }


def known_to_one(alignment: Alignment) -> dict[str, tuple[str, str]]:
    """Settings that only one of the two runs knows, as `made_with`."""
    mine, theirs = alignment.baseline.values, alignment.run.values
    return {
        **{name: (_listed(mine[name]), "–") for name in mine if name not in theirs},
        **{name: ("–", _listed(theirs[name])) for name in theirs if name not in mine},
    }


def warnings_of(alignment: Alignment) -> list[str]:
    """What a reader must know before looking at any number."""
    lines = []
    if not same_judge(alignment):
        lines.append(
            "The runs were measured in different ways: do not compare their metrics. Give both the same "
            "`evaluation` (encoder, weights and size)."
        )
    lines += _other_pictures(alignment)
    if not alignment.pairs:
        reasons = " and ".join(without_partner(alignment))
        why = f": they have no value in common of {reasons}" if reasons else ""
        lines.append(f"No cell of {alignment.run.name} is one of {alignment.baseline.name}{why}.")
    return lines


def identical(alignment: Alignment) -> int:
    """How many pairs have the same picture, to the pixel where the records tell, else to the byte."""
    a, b = alignment.baseline, alignment.run
    return sum(_same_picture(a.record(mine), b.record(theirs)) for mine, theirs in alignment.pairs)


def _same_picture(one: CellRecord | None, other: CellRecord | None) -> bool:
    if one is None or other is None or one.image is None or other.image is None:
        return False
    if one.image.pixels and other.image.pixels:
        return one.image.pixels == other.image.pixels
    return one.image.sha256 is not None and one.image.sha256 == other.image.sha256


def _other_pictures(alignment: Alignment) -> Iterator[str]:
    """A line for each id under which the runs have different pictures."""
    mine, theirs = (_digests(run) for run in (alignment.baseline, alignment.run))
    different = {
        (kind, name)
        for (kind, name, size), digests in mine.items()
        if (kind, name, size) in theirs and theirs[kind, name, size].keys() != digests.keys()
    }
    for kind, name in sorted(different):
        yield (
            f"The {kind} {name} is another picture in {alignment.run.name} than in "
            f"{alignment.baseline.name}."
        )


def _digests(run: Run) -> Digests:
    """Digests of the decoded pictures; contents are prepared at each size, which is another picture."""
    found: Digests = {}
    for cell in range(len(run)):
        record = run.record(cell)
        if record is None or record.inputs is None:
            continue
        content, style = record.inputs.content, record.inputs.style
        size = f"{content.width}x{content.height}"
        found.setdefault(("content", run.content[cell], size), {})[content.digest] = None
        parts = " ".join(f"{part.digest} {part.weight}" for part in style)
        found.setdefault(("style", run.style[cell], ""), {})[parts] = None
    return found


def _versions(run: Run) -> dict[str, dict[str, None]]:
    found: dict[str, dict[str, None]] = {}
    for cell in range(len(run)):
        record = run.record(cell)
        if record is None:
            continue
        device = record.optimization.device
        for name, value in {**record.versions, **({"device": device} if device else {})}.items():
            found.setdefault(name, {})[value] = None
    return found


def _listed(values: Mapping[str, None] | Sequence[str]) -> str:
    return ", ".join(values)
