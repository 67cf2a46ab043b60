"""What the report's page knows: one JSON value, with columns rather than rows to keep it small."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from nstcore.sheet.axes import axis_values
from nstcore.sheet.names import SOURCES, Titles, shown, value_text
from nstcore.tables import LOSSES, metric_names

Record = Mapping[str, Any]

CURVE_POINTS = 200
"""The most points of a loss curve that are kept, first and last among them."""


def escaped_json(value: Any) -> str:
    """JSON that is safe anywhere within HTML and scripts: no ``<``, ``>``, ``&``, ASCII only.

    Raises:
        ValueError: for NaN or infinity.
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def cells_of(
    metrics: pd.DataFrame,
    values: Mapping[str, Sequence[Any]] | None = None,
    titles: Titles | None = None,
) -> dict[str, Any]:
    """The axes, the cells and their metrics.

    Args:
        metrics: one row a cell.
        values: the axes' values in the order to show (default: the grid's).
        titles: what is shown in place of values.

    Returns:
        ``axes``: name, values as text, what is shown of them, and whether they are pictures;
        ``cells``: for each axis the position of each cell's value, then status, reason, setting, key
        and size; ``metrics``: for each metric its values, null where there is none.
    """
    orders = axis_values(metrics)
    for axis, given in (values or {}).items():
        if axis in orders:
            texts = [value_text(axis, value) for value in given]
            orders[axis] = list(dict.fromkeys([*texts, *orders[axis]]))
    places = {axis: {text: n for n, text in enumerate(order)} for axis, order in orders.items()}
    cells: dict[str, list[Any]] = {
        axis: [places[axis][value_text(axis, value)] for value in metrics[axis].tolist()]
        for axis in orders
    }
    plain = metrics.astype(object).where(metrics.notna(), None)
    return {
        "axes": [
            {
                "name": axis,
                "values": order,
                "shown": [shown(titles or {}, axis, value) for value in order],
                "pictures": axis in SOURCES,
            }
            for axis, order in orders.items()
        ],
        "cells": {
            "at": cells,
            **{name: plain[name].tolist() for name in ("status", "reason", "setting", "key")},
            **{name: plain[name].tolist() for name in ("width", "height", "image")},
        },
        "metrics": {
            name: [_number(value) for value in plain[name].tolist()]
            for name in metric_names(metrics)
        },
    }


def settings_of(records: Sequence[Record | None]) -> dict[str, Any]:
    """The settings, those that all cells share apart from each cell's own.

    Returns:
        ``same``: setting to text; ``own``: setting to one text a cell, null where unknown.
    """
    texts = [
        {name: value_text(name, value) for name, value in _section(record, "settings").items()}
        for record in records
    ]
    names = list(dict.fromkeys(name for entry in texts for name in entry))
    same, own = {}, {}
    for name in names:
        found = {entry.get(name) for entry in texts if entry}
        if len(found) == 1:
            same[name] = found.pop()
        else:
            own[name] = [entry.get(name) for entry in texts]
    return {"same": same, "own": own}


def curves_of(record: Record | None) -> dict[str, list[Any]] | None:
    """A cell's loss curves, thinned out to `CURVE_POINTS`; None where there is no trace.

    The last point of each level of the pyramid is kept, so that levels stay where they are.
    """
    trace = _section(record, "trace")
    steps = list(trace.get("iteration") or [])
    if not steps:
        return None
    levels = list(trace.get("level") or [0] * len(steps))
    wanted = {round(n * (len(steps) - 1) / (CURVE_POINTS - 1)) for n in range(CURVE_POINTS)}
    wanted |= {n for n in range(len(levels) - 1) if levels[n] != levels[n + 1]}
    kept = [n for n in sorted(wanted) if n < len(steps)]
    curves = {"iteration": [steps[n] for n in kept], "level": [levels[n] for n in kept]}
    for name in LOSSES:
        values = list(trace.get(name) or [])
        if values:
            curves[name] = [_short(values[n]) if n < len(values) else None for n in kept]
    return curves


def about(metrics: pd.DataFrame, records: Sequence[Record | None]) -> dict[str, Any]:
    """Where the pictures come from: programs, encoders, devices, time; and what deserves a warning.

    Returns:
        ``facts``: pairs of a heading and its lines; ``warnings``: lines.
    """
    known = [record for record in records if record is not None]
    versions = _counted(_section(r, "versions") for r in known)
    encoders = _counted(_section(_section(r, "inputs"), "encoder") for r in known)
    judges = _counted(_section(r, "evaluation") for r in known)
    devices = Counter(str(_section(r, "optimization").get("device", "unknown")) for r in known)
    statuses = Counter(metrics["status"].tolist())
    created = sorted(str(r["created"]) for r in known if r.get("created"))
    seconds = float(metrics["seconds"].sum())
    iterations = int(metrics["iterations_done"].sum())
    memory = metrics["peak_memory_mb"].max()
    facts: list[tuple[str, list[str]]] = [
        ("Cells", [f"{count} {status}" for status, count in statuses.most_common()]),
        ("Computed", [f"{seconds_text(seconds)} in all, {iterations:,} iterations"]),
        ("Memory", [f"{memory:,.0f} MB at most"] if pd.notna(memory) else []),
        ("Devices", [f"{device} ({count} cells)" for device, count in devices.most_common()]),
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


def _counted(facts: Iterable[Mapping[str, Any]]) -> list[str]:
    """Each different set of facts as one line, with how many cells it holds for if not for all."""
    lines = Counter(", ".join(f"{k} {v}" for k, v in entry.items()) for entry in facts if entry)
    if len(lines) == 1:
        return list(lines)
    return [f"{line} ({count} cells)" for line, count in lines.most_common()]


def _section(record: Record | None, name: str) -> Mapping[str, Any]:
    value = (record or {}).get(name)
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> float | int | None:
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return value


def _short(value: Any) -> float | None:
    number = _number(value)
    return None if number is None else float(f"{number:.4g}")
