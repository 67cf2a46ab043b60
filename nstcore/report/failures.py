"""Every cell that failed or was not made as its settings say: why, and the end of its job's log."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from nstcore.plan.record import CellRecord

TAIL_LINES = 40
TAIL_BYTES = 16_384
"""How much of a log is shown: so many lines, and no more bytes than that."""
MOST_TAILS = 100
"""Of how many logs the end is shown; to the others there are links."""

KINDS = {
    "memory": "Out of memory",
    "failed": "Failed",
    "diverged": "Diverged",
    "missing": "Not made yet",
    "degraded": "Made, but not as the settings say",
}
"""Kind of failure -> title, in the order in which they are shown."""

_ROLLBACKS_UNTIL_ADAM = 3
"""After so many rollbacks an optimization by L-BFGS continues with Adam."""


def find_failures(
    metrics: pd.DataFrame,
    records: Sequence[CellRecord],
    batches: Sequence[str],
    run_dir: Path,
    page_dir: Path,
) -> dict[str, Any]:
    """What the view Failures shows.

    Args:
        metrics, records: of all cells, in the same order.
        batches: the batch of each, as in the grid; empty where it is not known.
        run_dir, page_dir: folders; links start from that of the page.

    Returns:
        ``groups``: kind, title and cells, each with its number, reason and log (an index, or null);
        ``logs``: file and last lines of each; the lines are null after `MOST_TAILS` logs.
    """
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    logs: dict[Path, int] = {}
    reasons = metrics["reason"].astype(object).where(metrics["reason"].notna(), None).tolist()
    for number, status in enumerate(metrics["status"].tolist()):
        kind, reason = _classify(status, reasons[number], records[number])
        if kind is None:
            continue
        log = job_log(run_dir, batches[number])
        index = None if log is None else logs.setdefault(log, len(logs))
        found[kind].append({"cell": number, "reason": reason, "log": index})
    return {
        "groups": [
            {"kind": kind, "title": KINDS[kind], "cells": cells}
            for kind, cells in found.items()
            if cells
        ],
        "logs": [
            {
                "file": Path(os.path.relpath(path, page_dir)).as_posix(),
                "tail": last_lines(path) if index < MOST_TAILS else None,
            }
            for path, index in logs.items()
        ],
    }


def _classify(status: str, reason: str | None, record: CellRecord) -> tuple[str | None, str]:
    """The kind of a cell's failure, None where nothing failed, and the reason."""
    if status != "ok":
        text = reason or "no reason is known"
        if status == "failed" and "out of memory" in text.lower():
            return "memory", text
        return (status if status in KINDS else "failed"), text
    notes = degraded_notes(record)
    return ("degraded" if notes else None), "; ".join(notes)


def degraded_notes(record: CellRecord) -> list[str]:
    """In what a finished cell differs from its settings."""
    optimization = record.optimization
    notes = [optimization.degraded] if optimization.degraded else []
    rollbacks, lbfgs = optimization.rollbacks, record.settings.get("optimizer") == "lbfgs"
    if lbfgs and rollbacks >= _ROLLBACKS_UNTIL_ADAM:
        notes.append(
            f"the loss exploded {rollbacks} times: Adam took over from L-BFGS at the best state"
        )
    return notes


def job_log(run_dir: Path, batch: str) -> Path | None:
    """The log of the job that makes a batch, if there is one.

    ``batch`` is as in the grid: the values of the axes that define batches, joined by slashes.
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


def last_lines(path: Path) -> str | None:
    """The last lines of a log; None if it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return None
    # Not splitlines(), which also splits at characters that editors do not take for a line's end.
    return "\n".join(text.rstrip("\n").split("\n")[-TAIL_LINES:])
