"""The runs that are compared, finished or not, and which of their cells belong together."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import pandas as pd

from nstcore.config.run import SEED
from nstcore.core.settings import Settings
from nstcore.errors import StoreError, UserError
from nstcore.plan.record import CellRecord
from nstcore.plan.values import display_text
from nstcore.results.tables import Grid, metric_names, metrics_table, read_grid, read_records

Identity = tuple[str, ...]


@dataclass(frozen=True)
class ComparedRun:
    """One run, finished or not.

    Attributes:
        name: different for every run that is compared.
        style, content: ids of the inputs of each cell, in grid order.
        image: path of each cell's image, from the folder.
        status: ``ok``, ``diverged``, ``failed`` or ``missing``, for each cell.
        metrics: one row a cell.
        records: of the cells; a cell without one has one with the status ``missing``.
        settings: the text of every known setting of each cell, ``seed`` among them.
    """

    name: str
    folder: Path
    style: Sequence[str]
    content: Sequence[str]
    image: Sequence[str]
    status: Sequence[str]
    metrics: pd.DataFrame
    records: Sequence[CellRecord]
    settings: Sequence[Mapping[str, str]]

    def __len__(self) -> int:
        return len(self.records)

    @cached_property
    def values(self) -> dict[str, list[str]]:
        """Every setting with the different texts that cells have, in grid order."""
        found: dict[str, dict[str, None]] = {}
        for own in self.settings:
            for name, text in own.items():
                found.setdefault(name, {})[text] = None
        return {name: list(texts) for name, texts in found.items()}

    @property
    def metric_names(self) -> list[str]:
        """Columns of the metrics."""
        return metric_names(self.metrics)

    def identity(self, cell: int, keys: Sequence[str]) -> Identity:
        """What a cell is matched by: style, content, and the text of each key, empty if unknown."""
        own = self.settings[cell]
        return (self.style[cell], self.content[cell], *(own.get(key, "") for key in keys))


# --- Reading. ---


def read_runs(folders: Sequence[Path]) -> list[ComparedRun]:
    """Read runs and give each a unique name: its folder's, or the path where folders have one name.

    Raises:
        StoreError: a folder is not a run, or a run has no cells.
    """
    names = [folder.name or folder.resolve().name for folder in folders]
    names = [
        folder.as_posix() if names.count(name) > 1 else name
        for name, folder in zip(names, folders, strict=True)
    ]
    return [
        _read_run(
            folder, name if names.count(name) == 1 else f"{name} ({names[:n].count(name) + 1})"
        )
        for n, (folder, name) in enumerate(zip(folders, names, strict=True))
    ]


def _read_run(folder: Path, name: str) -> ComparedRun:
    table = folder / "grid.tsv"
    if not table.is_file():
        raise StoreError(
            f"{folder}: not a run, as it has no grid.tsv; give a folder such as results/demo"
        )
    grid = read_grid(table)
    if not grid.rows:
        raise StoreError(f"{table}: has no cells")
    records = [record.without_trace() for record, _ in read_records(grid, folder)]
    return ComparedRun(
        name=name,
        folder=folder,
        style=[row["style"] for row in grid.rows],
        content=[row["content"] for row in grid.rows],
        image=[row["image"] for row in grid.rows],
        status=[str(record.status) for record in records],
        metrics=metrics_table(grid, records),
        records=records,
        settings=_settings(grid, records),
    )


def _settings(grid: Grid, records: Sequence[CellRecord]) -> list[dict[str, str]]:
    """The settings of every cell; for a cell without a record, what its neighbours share."""
    texts = [
        {name: display_text(name, value) for name, value in record.settings.items()}
        for record in records
    ]
    bundles = [axis for axis in grid.axes if axis not in Settings.model_fields]
    shared: dict[Identity, dict[str, str]] = {}
    for row, own in zip(grid.rows, texts, strict=True):
        if own:
            bundle = tuple(row[axis] for axis in bundles)
            alike = shared.setdefault(bundle, own)
            shared[bundle] = {name: text for name, text in alike.items() if own.get(name) == text}
    found = []
    for row, own in zip(grid.rows, texts, strict=True):
        if not own:
            likely = shared.get(tuple(row[axis] for axis in bundles), {})
            # Without a neighbour nobody knows what a bundle sets: its name then stands for it.
            axes = [axis for axis in grid.axes if axis not in bundles or not likely]
            own = {**likely, **{axis: display_text(axis, row[axis]) for axis in axes}}
        found.append({**own, SEED: str(int(row["seed"]))})
    return found


# --- Which cells belong together: those with the same common settings. ---


@dataclass(frozen=True)
class Alignment:
    """The cells of a run beside those of the baseline.

    Attributes:
        keys: the settings by which cells are matched: known to both runs, not ignored, not changed as a
            whole.
        changed: setting -> its only value in the baseline and its only value in the run.
        partners: for each cell of the baseline its cell of the run, None where there is none.
        added: the cells of the run that the baseline does not have.
    """

    baseline: ComparedRun
    run: ComparedRun
    keys: tuple[str, ...]
    changed: Mapping[str, tuple[str, str]]
    partners: Sequence[int | None]
    added: Sequence[int]

    @classmethod
    def of(cls, baseline: ComparedRun, run: ComparedRun, ignore: Collection[str] = ()) -> Self:
        """Find the cells that belong together, though they may differ in settings to ignore.

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
        partners = [theirs.get(baseline.identity(cell, keys)) for cell in range(len(baseline))]
        added = [cell for cell in range(len(run)) if run.identity(cell, keys) not in mine]
        return cls(baseline, run, keys, changed, partners, added)

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """The cells of both runs that belong together."""
        return [(a, b) for a, b in enumerate(self.partners) if b is not None]

    @property
    def has_seeds(self) -> bool:
        """Whether the baseline has several seeds, and cells are matched by them."""
        return SEED in self.keys and len(self.baseline.values[SEED]) > 1

    def disjoint_settings(self) -> list[str]:
        """The settings of which the runs have no value in common, so that no cell has a partner."""
        a, b = self.baseline, self.run
        values = [("style", a.style, b.style), ("content", a.content, b.content)]
        values += [(key, a.values[key], b.values[key]) for key in self.keys]
        return [
            f"`{name}` ({_first_four(mine)} / {_first_four(theirs)})"
            for name, mine, theirs in values
            if not set(mine) & set(theirs)
        ]


def _by_identity(
    run: ComparedRun, keys: Sequence[str], ignore: Collection[str]
) -> dict[Identity, int]:
    found: dict[Identity, list[int]] = {}
    for cell in range(len(run)):
        found.setdefault(run.identity(cell, keys), []).append(cell)
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
    run: ComparedRun, cell: str, different: Mapping[str, Collection[str]], ignore: Collection[str]
) -> str:
    listed = " and ".join(f"`{name}` ({', '.join(values)})" for name, values in different.items())
    ignored = [name for name in different if name in ignore]
    if ignored:
        hint = f"do not ignore `{ignored[0]}`, or compare with a run that has one value of it"
    else:
        hint = "which the other run does not know; compare with a run that has one value of it"
    return f"{run.folder}: several cells are {cell} and differ only in {listed}: {hint}"


def _first_four(values: Sequence[str]) -> str:
    different = list(dict.fromkeys(values))
    more = f" and {len(different) - 4} more" if len(different) > 4 else ""
    return ", ".join(different[:4]) + more
