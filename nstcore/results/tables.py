"""The two tables of a run: metrics, one row a cell, and loss curves, one row an iteration.

Both are built from ``grid.tsv`` and the records beside the images, in the order of the grid, so
that the same run always gives the same bytes.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nstcore.core.metrics import LAYER_PREFIX, METRICS
from nstcore.errors import StoreError
from nstcore.plan import paths
from nstcore.plan.plan import Plan
from nstcore.plan.record import CellRecord
from nstcore.plan.values import parse_column
from nstcore.store.files import atomic_path

Missing = Literal["error", "placeholder"]

MISSING: str = "missing"
"""The status of a cell that has no record."""

IDENTITY = ("style", "content", "setting", "seed")
"""The columns that name a cell, in this order in every table."""

LOSSES = ("total_loss", "content_loss", "style_loss", "tv_loss")
"""The columns of the loss curves with values of a trace."""


@dataclass(frozen=True)
class Grid:
    """``grid.tsv`` as read: the rows as text and the names of the sweep axes."""

    rows: list[dict[str, str]]
    axes: list[str]


def read_grid(path: Path) -> Grid:
    """Read ``grid.tsv``; the sweep axes are the columns between ``seed`` and ``key``.

    Args:
        path: a table with the columns style, content, setting, seed, the axes, key, batch, image.

    Raises:
        StoreError: the file is missing, is not such a table, or has a damaged line.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *lines = list(csv.reader(file, delimiter="\t")) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StoreError(f"{path}: cannot be read as a grid ({error})") from error
    absent = [name for name in (*IDENTITY, "key", "image") if name not in header]
    if absent:
        raise StoreError(f"{path}: not a grid, as the column {absent[0]!r} is missing")
    rows = []
    for number, line in enumerate(lines, start=2):
        where = f"{path}: line {number}"
        if len(line) != len(header):
            raise StoreError(f"{where} has {len(line)} fields, the header has {len(header)}")
        row = dict(zip(header, line, strict=True))
        if re.fullmatch(r"-?\d{1,18}", row["seed"]) is None:
            raise StoreError(f"{where}: the seed {row['seed']!r} is not a whole number")
        rows.append(row)
    return Grid(rows, header[header.index("seed") + 1 : header.index("key")])


def collect(
    grid_tsv: Path, run_dir: Path, *, missing: Missing = "error"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Build the metrics and the curves of a run from its grid and its cells' records.

    Args:
        grid_tsv: the run's grid.
        run_dir: the folder that the grid's image paths start from.
        missing: ``"error"`` refuses a run with a missing or wrong record; ``"placeholder"`` gives such a
            cell the status ``missing`` and the reason instead.

    Returns:
        The metrics, one row a cell in grid order, and the curves, one row an iteration.  Columns and
        dtypes do not depend on which cells failed, except for columns of metrics that no record has; see
        ``Metric.always``.

    Raises:
        StoreError: the grid cannot be read, or a record is missing, unreadable or of another key.
    """
    grid = read_grid(grid_tsv)
    records: list[CellRecord] = []
    traces: list[Mapping[str, NDArray[np.float64]]] = []
    problems: list[str] = []
    for record, problem in read_records(grid, run_dir):
        traces.append(_trace(record))
        # As a list of numbers the trace takes four times as much memory.
        records.append(record.without_trace())
        if problem is not None:
            problems.append(problem)
    if problems and missing == "error":
        more = len(problems) - 1
        rest = f" (and {more} more of {len(grid.rows)} cells)" if more else ""
        raise StoreError(problems[0] + rest)
    return metrics_table(grid, records), _curves_table(grid, traces)


def read_records(grid: Grid, run_dir: Path) -> Iterator[tuple[CellRecord, str | None]]:
    """Read the records of a grid's cells, in its order.

    Yields:
        A cell's record and None; for a missing or wrong record, one with the status ``missing`` and the
        reason, and a line that says what is wrong.
    """
    for row in grid.rows:
        path = paths.record_path(run_dir / row["image"])
        try:
            record = CellRecord.read(path)
            if record.key != row["key"]:
                raise StoreError(
                    f"{path}: this record was made for another configuration (its key is "
                    f"{record.key[:12]}, the grid's is {row['key'][:12]}); delete it and run the "
                    "workflow again"
                )
            yield record, None
        except StoreError as error:
            reason = str(error).removeprefix(f"{path}: ").split(";")[0]
            yield CellRecord.absent(row["key"], reason), str(error)


def sweep_axes(metrics: pd.DataFrame) -> list[str]:
    """The names of the sweep axes: the columns of the metrics between ``seed`` and ``key``."""
    columns = [str(name) for name in metrics.columns]
    return columns[columns.index("seed") + 1 : columns.index("key")]


def metric_names(metrics: pd.DataFrame) -> list[str]:
    """The columns of metrics: losses, similarities, iterations, time, memory."""
    columns = [str(name) for name in metrics.columns]
    first, last = columns.index("reason") + 1, columns.index("image")
    return [name for name in columns[first:last] if name not in ("width", "height")]


def write_metrics(metrics: pd.DataFrame, parquet: Path, csv: Path) -> None:
    """Write the metrics as parquet and as CSV, atomically and always to the same bytes."""
    write_parquet(metrics, parquet)
    with atomic_path(csv) as temporary:
        metrics.to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")


def make_tables(plan: Plan) -> None:
    """Write the metrics and the loss curves of a finished run."""
    run = Path(plan.config.run_dir)
    metrics, curves = collect(run / "grid.tsv", run)
    write_metrics(metrics, run / "metrics.parquet", run / "metrics.csv")
    write_parquet(curves, run / "loss_curves.parquet")


def write_parquet(table: pd.DataFrame, path: Path) -> None:
    """Write a table, atomically and always to the same bytes."""
    with atomic_path(path) as temporary:
        table.to_parquet(temporary, engine="pyarrow", index=False, compression="zstd")


def read_table(parquet: Path) -> pd.DataFrame:
    """Read a table that `write_parquet` wrote.

    Raises:
        StoreError: the file is missing or is not a parquet file.
    """
    try:
        return pd.read_parquet(parquet, engine="pyarrow")
    except (OSError, ValueError) as error:
        raise StoreError(f"{parquet}: cannot be read as a table ({error})") from error


def metrics_table(grid: Grid, records: list[CellRecord]) -> pd.DataFrame:
    """The metrics of a grid's cells from their records, one row a cell in grid order."""
    names = {name for record in records for name in record.metrics}
    names |= {metric.name for metric in METRICS.values() if metric.always}
    run = next((record.run for record in records if record.run), None)

    columns: dict[str, pd.Series[Any]] = {"run": _text(record.run or run for record in records)}
    columns |= _identity(grid)
    for axis in grid.axes:
        dtype, values = parse_column([row[axis] for row in grid.rows])
        columns[axis] = pd.Series(values, dtype=dtype)
    columns["key"] = _text(row["key"] for row in grid.rows)
    columns["status"] = _text(record.status for record in records)
    columns["reason"] = _text(record.reason for record in records)
    for name in sorted(names, key=_metric_order):
        columns[name] = _floats(record.metrics.get(name) for record in records)
    for metric in METRICS.values():
        if metric.recorded_as:
            column = _integers if metric.whole else _floats
            columns[metric.name] = column(
                getattr(record.optimization, metric.recorded_as, None) for record in records
            )
    for name in ("width", "height"):
        columns[name] = _integers(getattr(record.image, name, None) for record in records)
    columns["image"] = _text(row["image"] for row in grid.rows)
    return pd.DataFrame(columns)


def _curves_table(grid: Grid, traces: Sequence[Mapping[str, NDArray[np.float64]]]) -> pd.DataFrame:
    lengths = [len(trace["iteration"]) for trace in traces]
    columns: dict[str, Any] = {
        name: per_cell.repeat(lengths).reset_index(drop=True)
        for name, per_cell in _identity(grid).items()
    }
    for name in ("iteration", "level", *LOSSES):
        values = np.concatenate([*(trace[name] for trace in traces), np.empty(0)])
        if name not in LOSSES:
            whole = np.where(np.isfinite(values), values, np.nan).round()
            columns[name] = pd.Series(whole).astype("Int64")
        else:
            columns[name] = values
    return pd.DataFrame(columns)


def _identity(grid: Grid) -> dict[str, pd.Series[Any]]:
    columns = {name: _text(row[name] for row in grid.rows) for name in IDENTITY}
    return {**columns, "seed": _integers(int(row["seed"]) for row in grid.rows)}


def _trace(record: CellRecord) -> dict[str, NDArray[np.float64]]:
    """A record's trace; empty where there is none, NaN where a curve is shorter than the others."""
    length = len(record.trace.get("iteration", ()))
    found = {}
    for name in ("iteration", "level", *LOSSES):
        found[name] = np.full(length, np.nan)
        values = record.trace.get(name, [])[:length]
        found[name][: len(values)] = np.array(values, dtype=np.float64)  # None becomes NaN
    return found


def _metric_order(name: str) -> tuple[int, list[tuple[int, str]]]:
    """The order of the registry, with the style losses of layers together and unknown metrics last."""
    known = list(METRICS)
    if name.startswith(LAYER_PREFIX):
        place = next(n for n, other in enumerate(known) if other.startswith(LAYER_PREFIX))
    else:
        place = known.index(name) if name in METRICS else len(known)
    parts = re.split(r"(\d+)", name)  # relu10 comes after relu9
    return place, [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _text(values: Iterable[Any]) -> pd.Series[Any]:
    return pd.Series([None if v is None else str(v) for v in values], dtype="string")


def _floats(values: Iterable[Any]) -> pd.Series[Any]:
    return pd.Series([float("nan") if v is None else float(v) for v in values], dtype="float64")


def _integers(values: Iterable[Any]) -> pd.Series[Any]:
    whole = [None if v is None or not math.isfinite(v) else int(v) for v in values]
    return pd.Series(whole, dtype="Int64")
