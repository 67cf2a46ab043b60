"""Which cell of one run belongs to which of another: the one with the same common settings."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from nstcore.compare.runs import Run
from nstcore.config.run import SEED
from nstcore.errors import UserError, did_you_mean

Identity = tuple[str, ...]


@dataclass(frozen=True)
class Alignment:
    """The cells of a run beside those of the baseline.

    Attributes:
        baseline: what is compared with.
        run: what is compared.
        keys: the settings by which cells are matched: known to both runs, not ignored, not changed as a
            whole.
        changed: setting -> its only value in the baseline and its only value in the run.
        partners: for each cell of the baseline its cell of the run, None where there is none.
        added: the cells of the run that the baseline does not have.
    """

    baseline: Run
    run: Run
    keys: tuple[str, ...]
    changed: Mapping[str, tuple[str, str]]
    partners: Sequence[int | None]
    added: Sequence[int]

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """The cells of both runs that belong together."""
        return [(a, b) for a, b in enumerate(self.partners) if b is not None]

    @property
    def has_seeds(self) -> bool:
        """Whether the baseline has several seeds, and cells are matched by them."""
        return SEED in self.keys and len(self.baseline.values[SEED]) > 1


def align(baseline: Run, run: Run, ignore: Collection[str] = ()) -> Alignment:
    """Find the cells of two runs that belong together.

    Args:
        baseline: what is compared with.
        run: what is compared.
        ignore: settings in which two cells that belong together may differ.

    Raises:
        UserError: several cells of a run have the same identity.
    """
    common = [name for name in baseline.values if name in run.values and name not in ignore]
    changed = {
        name: (baseline.values[name][0], run.values[name][0])
        for name in common
        if len(baseline.values[name]) == len(run.values[name]) == 1
        and baseline.values[name] != run.values[name]
    }
    keys = tuple(name for name in common if name not in changed)
    mine, theirs = (_by_identity(one, keys, ignore) for one in (baseline, run))
    return Alignment(
        baseline,
        run,
        keys,
        changed,
        [theirs.get(identity(baseline, cell, keys)) for cell in range(len(baseline))],
        [cell for cell in range(len(run)) if identity(run, cell, keys) not in mine],
    )


def check_ignored(ignore: Collection[str], runs: Sequence[Run]) -> None:
    """Refuse to ignore a setting that no run has.

    Raises:
        UserError: with the name that was probably meant.
    """
    known = dict.fromkeys(name for run in runs for name in run.values)
    for name in ignore:
        if name not in known:
            raise UserError(f"ignore: no run has a setting `{name}`; {did_you_mean(name, known)}")


def identity(run: Run, cell: int, keys: Sequence[str]) -> Identity:
    """What cells are matched by: style, content, and the text of each key, empty if unknown."""
    own = run.settings[cell]
    return (run.style[cell], run.content[cell], *(own.get(key, "") for key in keys))


def _by_identity(run: Run, keys: Sequence[str], ignore: Collection[str]) -> dict[Identity, int]:
    found: dict[Identity, list[int]] = {}
    for cell in range(len(run)):
        found.setdefault(identity(run, cell, keys), []).append(cell)
    for (style, content, *_), cells in found.items():
        different = {
            name: values
            for name in run.values
            if len(values := dict.fromkeys(run.settings[c].get(name, "") for c in cells)) > 1
        }
        # Two names for one setting, as of a bundle, are one cell: the images are the same.  The settings
        # of cells without a record may be unknown.
        if different and any(run.status[cell] != "missing" for cell in cells):
            raise UserError(_ambiguity(run, f"{content} in the style {style}", different, ignore))
    return {key: cells[0] for key, cells in found.items()}


def _ambiguity(
    run: Run, cell: str, different: Mapping[str, Collection[str]], ignore: Collection[str]
) -> str:
    listed = " and ".join(f"`{name}` ({', '.join(values)})" for name, values in different.items())
    ignored = [name for name in different if name in ignore]
    if ignored:
        hint = f"do not ignore `{ignored[0]}`, or compare with a run that has one value of it"
    else:
        hint = "which the other run does not know; compare with a run that has one value of it"
    return f"{run.folder}: several cells are {cell} and differ only in {listed}: {hint}"


def disjoint_settings(alignment: Alignment) -> list[str]:
    """The settings of which two runs have no value in common, so that no cell has a partner."""
    a, b = alignment.baseline, alignment.run
    values = [("style", a.style, b.style), ("content", a.content, b.content)]
    values += [(key, a.values[key], b.values[key]) for key in alignment.keys]
    return [
        f"`{name}` ({_first_four(mine)} / {_first_four(theirs)})"
        for name, mine, theirs in values
        if not set(mine) & set(theirs)
    ]


def _first_four(values: Sequence[str]) -> str:
    different = list(dict.fromkeys(values))
    more = f" and {len(different) - 4} more" if len(different) > 4 else ""
    return ", ".join(different[:4]) + more
