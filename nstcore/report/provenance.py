"""How a run's images were made: versions, encoders, devices, time; and what deserves a warning."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from nstcore.plan.record import CellRecord
from nstcore.report.failures import degraded_notes
from nstcore.results.tables import MISSING

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
    cells: Counter[str] = Counter()
    totals: Counter[tuple[str, str]] = Counter()
    for record in records:
        optimization = record.optimization
        device = optimization.device or "unknown"
        cells[device] += 1
        for name in ("seconds", "iterations"):
            value = getattr(optimization, name)
            if value is not None and math.isfinite(value):
                totals[device, name] += value
    lines = []
    for device, count in cells.most_common():
        line = f"{device} ({count} {'cell' if count == 1 else 'cells'}"
        seconds = totals[device, "seconds"]
        if seconds > 0:
            rate = totals[device, "iterations"] / seconds
            line += f", {elapsed_text(seconds)}, {rate:.3g} iterations a second"
        lines.append(f"{line})")
    return lines


def _distinct(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line for each different entry, with the number of its cells if not all have the same."""
    lines = Counter(", ".join(f"{k} {v}" for k, v in entry.items()) for entry in entries if entry)
    if len(lines) == 1:
        return list(lines)
    return [f"{line} ({count} cells)" for line, count in lines.most_common()]
