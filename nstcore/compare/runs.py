"""The runs that are compared, read from their folders, finished or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from nstcore.config.run import SEED
from nstcore.core.settings import Settings
from nstcore.errors import StoreError
from nstcore.plan.record import CellRecord
from nstcore.plan.values import display_text
from nstcore.results.tables import Grid, metric_names, metrics_table, read_grid, read_records


@dataclass(frozen=True)
class Run:
    """One run, finished or not.

    Attributes:
        name: different for every run that is compared.
        folder: where it is.
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


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Read runs and give each a unique name: its folder's, or the path where folders have one name.

    Raises:
        StoreError: a folder is not a run, or a run has no cells.
    """
    names = [folder.name or folder.resolve().name for folder in folders]
    paths = [folder.as_posix() for folder in folders]
    names = [
        path if names.count(name) > 1 else name for name, path in zip(names, paths, strict=True)
    ]
    return [
        read_run(
            folder, name if names.count(name) == 1 else f"{name} ({names[:n].count(name) + 1})"
        )
        for n, (folder, name) in enumerate(zip(folders, names, strict=True))
    ]


def read_run(folder: Path, name: str) -> Run:
    """Read one run.

    Raises:
        StoreError: it is not a run, or has no cells.
    """
    table = folder / "grid.tsv"
    if not table.is_file():
        raise StoreError(
            f"{folder}: not a run, as it has no grid.tsv; give a folder such as results/demo"
        )
    grid = read_grid(table)
    if not grid.rows:
        raise StoreError(f"{table}: has no cells")
    records = [record.without_trace() for record, _ in read_records(grid, folder)]
    return Run(
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
    known = [(row, own) for row, own in zip(grid.rows, texts, strict=True) if own]
    bundles = [axis for axis in grid.axes if axis not in Settings.model_fields]
    likely: dict[tuple[str, ...], dict[str, str]] = {}
    found = []
    for row, own in zip(grid.rows, texts, strict=True):
        if not own:
            kind = tuple(row[axis] for axis in bundles)
            if kind not in likely:
                alike = [o for r, o in known if tuple(r[axis] for axis in bundles) == kind]
                likely[kind] = _shared(alike)
            # Without a neighbour nobody knows what a bundle sets: its name then stands for it.
            axes = [a for a in grid.axes if a not in bundles or not likely[kind]]
            own = {**likely[kind], **{axis: display_text(axis, row[axis]) for axis in axes}}
        found.append({**own, SEED: str(int(row["seed"]))})
    return found


def _shared(settings: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The settings that several cells share."""
    if not settings:
        return {}
    first, *others = settings
    return {
        name: text
        for name, text in first.items()
        if all(other.get(name) == text for other in others)
    }
