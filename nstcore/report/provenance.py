"""Where a run's pictures come from: programs, encoders, devices, time; and what deserves a warning."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from nstcore.plan.record import CellRecord
from nstcore.report.failures import degraded_notes

_CIRCUMSTANCES = ("precision", "instructions", "deterministic", "threads")
"""What of a record's ``optimization`` may change a picture's last bits, apart from the device."""


def about(metrics: pd.DataFrame, records: Sequence[CellRecord | None]) -> dict[str, Any]:
    """What the view About tells, apart from files and configuration.

    Args:
        metrics: one row a cell.
        records: of all cells, in the same order.

    Returns:
        ``facts``: pairs of a heading and its lines; ``warnings``: lines.
    """
    known = [record for record in records if record is not None]
    versions = _counted(r.versions for r in known)
    encoders = _counted(r.inputs.encoder.to_json() for r in known if r.inputs)
    judges = _counted(r.evaluation for r in known)
    circumstances = _counted(
        {name: how[name] for name in _CIRCUMSTANCES if how.get(name)}
        for how in (r.optimization.to_json() for r in known)
    )
    statuses = Counter(metrics["status"].tolist())
    created = sorted(r.created for r in known if r.created)
    seconds = float(metrics["seconds"].sum())
    iterations = int(metrics["iterations_done"].sum())
    memory = metrics["peak_memory_mb"].max()
    facts: list[tuple[str, list[str]]] = [
        ("Cells", [f"{count} {status}" for status, count in statuses.most_common()]),
        ("Computed", [f"{seconds_text(seconds)} in all, {iterations:,} iterations"]),
        ("Devices", _devices(known)),
        ("Memory", [f"{memory:,.0f} MB at most"] if pd.notna(memory) else []),
        ("Circumstances", circumstances),
        ("Encoder", encoders),
        ("Measured with", judges),
        ("Versions", versions),
        ("Finished", [created[0], created[-1]] if created else []),
    ]
    warnings = []
    if len(versions) > 1:
        warnings.append("Cells were made by different versions of the programs.")
    if len(judges) > 1:
        warnings.append("Cells were measured in different ways: do not compare their metrics.")
    flawed = [f"{n} {status}" for status, n in statuses.most_common() if status != "ok"]
    if flawed:
        warnings.append(f"Not every cell is finished: {', '.join(flawed)}.")
    degraded = sum(r.status == "ok" and bool(degraded_notes(r)) for r in known)
    if degraded:
        cells = "A cell was" if degraded == 1 else f"{degraded} cells were"
        warnings.append(f"{cells} made otherwise than the settings say; Failures tells which.")
    return {
        "facts": [[name, list(dict.fromkeys(lines))] for name, lines in facts if lines],
        "warnings": warnings,
    }


def seconds_text(seconds: float) -> str:
    """A time as people say it: ``12 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if not math.isfinite(seconds) or seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _devices(records: Iterable[CellRecord]) -> list[str]:
    """What each device did: cells, their share of its time, iterations a second."""
    cells: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    iterations: Counter[str] = Counter()
    for record in records:
        how = record.optimization
        device = how.device or "unknown"
        cells[device] += 1
        for total, value in ((seconds, how.seconds), (iterations, how.iterations)):
            if value is not None and math.isfinite(value):
                total[device] += value  # type: ignore[assignment]
    lines = []
    for device, count in cells.most_common():
        line = f"{device} ({count} {'cell' if count == 1 else 'cells'}"
        if seconds[device] > 0:
            rate = iterations[device] / seconds[device]
            line += f", {seconds_text(seconds[device])}, {rate:.3g} iterations a second"
        lines.append(f"{line})")
    return lines


def _counted(facts: Iterable[Mapping[str, Any]]) -> list[str]:
    """Each different set of facts as one line, with how many cells it holds for if not for all."""
    lines = Counter(", ".join(f"{k} {v}" for k, v in entry.items()) for entry in facts if entry)
    if len(lines) == 1:
        return list(lines)
    return [f"{line} ({count} cells)" for line, count in lines.most_common()]
