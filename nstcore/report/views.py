"""What two views of the report show: About, how images were made; Failures, why some were not."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from nstcore.plan.record import CellRecord, OptimizationInfo
from nstcore.plan.values import format_count
from nstcore.results.tables import MISSING

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
    records: Mapping[int, CellRecord], batches: Sequence[str], run_dir: Path, page_dir: Path
) -> dict[str, Any]:
    """What the view Failures shows.

    Args:
        records: of cells, by their numbers in the grid.
        batches: the batch of each cell of the grid; empty where it is not known.
        run_dir, page_dir: folders; links start from that of the page.

    Returns:
        ``groups``: kind, title and cells, each with its number, reason and log (an index, or null);
        ``logs``: file and last lines of each; the lines are null after `MOST_TAILS` logs.
    """
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    logs: dict[Path, int] = {}
    for number, record in records.items():
        kind, reason = _classify(record)
        if kind is not None:
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


def _classify(record: CellRecord) -> tuple[str | None, str]:
    """The kind of a cell's failure, None where nothing failed, and the reason."""
    if record.status == "ok":
        notes = degraded_notes(record)
        return ("degraded" if notes else None), "; ".join(notes)
    text = record.reason or "no reason is known"
    if record.status == "failed" and "out of memory" in text.lower():
        return "memory", text
    return record.status, text


def degraded_notes(record: CellRecord) -> list[str]:
    """In what a finished cell differs from its settings."""
    how = record.optimization
    notes = [how.degraded] if how.degraded else []
    if record.settings.get("optimizer") == "lbfgs" and how.rollbacks >= _ROLLBACKS_UNTIL_ADAM:
        notes.append(
            f"the loss exploded {how.rollbacks} times: Adam took over from L-BFGS at the best state"
        )
    return notes


def job_log(run_dir: Path, batch: str) -> Path | None:
    """The log of the job that makes a batch, if there is one.

    ``batch`` is as in the grid: the values of the axes that define batches, joined by slashes.
    """
    logs = run_dir / "logs" / "stylize"
    if not batch or ".." in PurePosixPath(batch).parts or batch.startswith("/"):
        return None
    # Runs of earlier versions name the log of a style and a content `batch.log`.
    earlier = logs / ("" if batch == "all" else batch) / "batch.log"
    return next((path for path in (logs / f"{batch}.log", earlier) if path.is_file()), None)


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


# --- About: versions, encoders, devices, time; and what deserves a warning ---

_CIRCUMSTANCES = ("precision", "instructions", "deterministic", "threads")
"""What of a record's ``optimization`` may change an image's last bits, apart from the device."""


def provenance(metrics: pd.DataFrame, records: Sequence[CellRecord]) -> dict[str, Any]:
    """What the view About shows, apart from files and configuration.

    Returns:
        ``facts``: pairs of a heading and its lines; ``warnings``: lines.
    """
    known = [record for record in records if record.status != MISSING]
    versions = _distinct(record.versions for record in known)
    evaluations = _distinct(record.evaluation for record in known)
    statuses = Counter(metrics["status"].tolist()).most_common()
    created = sorted(record.created for record in known if record.created)
    seconds, iterations = metrics["seconds"].sum(), int(metrics["iterations_done"].sum())
    memory = metrics["peak_memory_mb"].max()
    rows: list[tuple[str, list[str]]] = [
        ("Cells", [f"{count} {status}" for status, count in statuses]),
        ("Computed", [f"{elapsed_text(seconds)} in all, {iterations:,} iterations"]),
        ("Devices", _devices(known)),
        ("Memory", [f"{memory:,.0f} MB at most"] if pd.notna(memory) else []),
        (
            "Circumstances",
            _distinct(
                {name: entry[name] for name in _CIRCUMSTANCES if entry.get(name)}
                for entry in (record.optimization.to_json() for record in known)
            ),
        ),
        ("Encoder", _distinct(r.inputs.encoder.to_json() for r in known if r.inputs)),
        ("Measured with", evaluations),
        ("Versions", versions),
        ("Finished", [created[0], created[-1]] if created else []),
    ]
    warnings = []
    if len(versions) > 1:
        warnings.append("Cells were made by different versions of the programs.")
    if len(evaluations) > 1:
        warnings.append("Cells were measured in different ways: do not compare their metrics.")
    unfinished = [f"{count} {status}" for status, count in statuses if status != "ok"]
    if unfinished:
        warnings.append(f"Not every cell is finished: {', '.join(unfinished)}.")
    degraded = sum(r.status == "ok" and bool(degraded_notes(r)) for r in known)
    if degraded:
        cells = "A cell was" if degraded == 1 else f"{degraded} cells were"
        warnings.append(f"{cells} not made as the settings say; Failures shows which.")
    return {
        "facts": [[name, list(dict.fromkeys(lines))] for name, lines in rows if lines],
        "warnings": warnings,
    }


def elapsed_text(seconds: float) -> str:
    """A measured time: ``12 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if not math.isfinite(seconds) or seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _devices(records: Iterable[CellRecord]) -> list[str]:
    """A line for each device: how many cells, their time on it, iterations a second."""
    found: dict[str, list[OptimizationInfo]] = {}
    for record in records:
        device = record.optimization.device or "unknown"
        found.setdefault(device, []).append(record.optimization)
    lines = []
    for device, cells in sorted(found.items(), key=lambda pair: -len(pair[1])):
        line = f"{device} ({format_count(len(cells), 'cell')}"
        seconds = sum(cell.seconds or 0 for cell in cells)
        if seconds > 0:
            rate = sum(cell.iterations or 0 for cell in cells) / seconds
            line += f", {elapsed_text(seconds)}, {rate:.3g} iterations a second"
        lines.append(f"{line})")
    return lines


def _distinct(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line for each different entry, with the number of its cells if not all have the same."""
    lines = Counter(", ".join(f"{k} {v}" for k, v in entry.items()) for entry in entries if entry)
    if len(lines) == 1:
        return list(lines)
    return [f"{line} ({count} cells)" for line, count in lines.most_common()]
