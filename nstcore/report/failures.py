"""Every cell that is not as it should be: why, and what its job's log says at the end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from nstcore.plan.record import CellRecord

TAIL_LINES = 40
"""How much of a log is shown; the rest is in the file."""
TAIL_BYTES = 16_384
"""The same, where lines are long."""
MOST_TAILS = 100
"""Of how many logs; of any more there are links."""

KINDS = {
    "memory": "Out of memory",
    "failed": "Failed",
    "diverged": "Diverged",
    "missing": "Not made yet",
    "degraded": "Made, but not as the settings say",
}
"""In the order in which they are shown."""

_GIVEN_UP = 3
"""From so many rollbacks on a descent by L-BFGS goes on with Adam."""


def failures_of(
    metrics: pd.DataFrame,
    records: Sequence[CellRecord | None],
    batches: Sequence[str],
    run_dir: Path,
    folder: Path,
) -> dict[str, Any]:
    """What the view Failures shows.

    Args:
        metrics: one row a cell.
        records: of all cells, in the same order.
        batches: the batch of each, as in the grid; empty where it is not known.
        run_dir: the run's folder.
        folder: the page's, from which links start.

    Returns:
        ``groups``: kind, title and cells, each with its number, reason and log (an index, or null);
        ``logs``: of each its file and its last lines, null for more than `MOST_TAILS`.
    """
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    logs: dict[Path, int] = {}
    reasons = metrics["reason"].astype(object).where(metrics["reason"].notna(), None).tolist()
    for number, (status, reason) in enumerate(
        zip(metrics["status"].tolist(), reasons, strict=True)
    ):
        kind, why = _judged(status, reason, records[number])
        if kind is None:
            continue
        log = log_of(run_dir, batches[number])
        index = None if log is None else logs.setdefault(log, len(logs))
        found[kind].append({"cell": number, "reason": why, "log": index})
    return {
        "groups": [
            {"kind": kind, "title": KINDS[kind], "cells": cells}
            for kind, cells in found.items()
            if cells
        ],
        "logs": [
            {
                "file": Path(os.path.relpath(path, folder)).as_posix(),
                "tail": tail(path) if index < MOST_TAILS else None,
            }
            for path, index in logs.items()
        ],
    }


def _judged(status: str, reason: str | None, record: CellRecord | None) -> tuple[str | None, str]:
    """Which kind of failure a cell is, if any, and why."""
    if status != "ok":
        text = reason or "no reason is known"
        if status == "failed" and "out of memory" in text.lower():
            return "memory", text
        return (status if status in KINDS else "failed"), text
    notes = degraded_notes(record)
    return ("degraded" if notes else None), "; ".join(notes)


def degraded_notes(record: CellRecord | None) -> list[str]:
    """What of a finished cell was done otherwise than its settings say."""
    if record is None:
        return []
    how = record.optimization
    notes = [how.degraded] if how.degraded else []
    rollbacks = how.rollbacks
    if record.settings.get("optimizer") == "lbfgs" and rollbacks >= _GIVEN_UP:
        notes.append(
            f"the loss exploded {rollbacks} times: Adam took over from L-BFGS at the best state"
        )
    return notes


def log_of(run_dir: Path, batch: str) -> Path | None:
    """The log of the job that had to make a batch, if there is one.

    Args:
        run_dir: the run's folder.
        batch: as in the grid: the values of the axes that make batches, joined by slashes.
    """
    logs = run_dir / "logs" / "stylize"
    parts = PurePosixPath(batch).parts if batch != "all" else ()
    if not batch or ".." in parts or batch.startswith("/"):
        return None
    place = logs.joinpath(*parts)
    for path in (place / "batch.log", place.with_name(f"{place.name}.log")):
        if path != logs.with_name("stylize.log") and path.is_file():
            return path
    return None


def tail(path: Path) -> str | None:
    """The last lines of a log; None if it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return None
    # Not splitlines(), for which a line has more ends than an editor knows.
    return "\n".join(text.rstrip("\n").split("\n")[-TAIL_LINES:])
