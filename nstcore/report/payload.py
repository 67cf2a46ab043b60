"""What the report's page knows: one JSON value, with columns rather than rows to keep it small."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from nstcore.contact_sheet.axes import axis_values
from nstcore.contact_sheet.labels import Titles, shown
from nstcore.core.metrics import metric_named
from nstcore.plan.record import CellRecord
from nstcore.plan.values import INPUT_AXES, display_text
from nstcore.results.tables import LOSSES, metric_names

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
        and size; ``metrics``: for each metric its values, null where there is none; ``senses``: the
        better end of each: -1 the low, 1 the high, 0 neither; ``labels``: what is shown of its name.
    """
    orders = axis_values(metrics)
    for axis, given in (values or {}).items():
        if axis in orders:
            texts = [display_text(axis, value) for value in given]
            orders[axis] = list(dict.fromkeys([*texts, *orders[axis]]))
    places = {axis: {text: n for n, text in enumerate(order)} for axis, order in orders.items()}
    cells: dict[str, list[Any]] = {
        axis: [places[axis][display_text(axis, value)] for value in metrics[axis].tolist()]
        for axis in orders
    }
    plain = metrics.astype(object).where(metrics.notna(), None)
    names = metric_names(metrics)
    return {
        "axes": [
            {
                "name": axis,
                "values": order,
                "shown": [shown(titles or {}, axis, value) for value in order],
                "pictures": axis in INPUT_AXES,
            }
            for axis, order in orders.items()
        ],
        "cells": {
            "at": cells,
            **{name: plain[name].tolist() for name in ("status", "reason", "setting", "key")},
            **{name: plain[name].tolist() for name in ("width", "height", "image")},
        },
        "metrics": {name: [_number(value) for value in plain[name].tolist()] for name in names},
        "senses": {name: metric_named(name).direction for name in names},
        "labels": labels_of(names),
    }


def labels_of(names: Iterable[str]) -> dict[str, str]:
    """What pages show of the names of metrics."""
    return {name: metric_named(name).label for name in names}


def settings_of(records: Sequence[CellRecord | None]) -> dict[str, Any]:
    """The settings, those that all cells share apart from each cell's own.

    Returns:
        ``same``: setting to text; ``own``: setting to one text a cell, null where unknown.
    """
    texts = [
        {name: display_text(name, v) for name, v in record.settings.items()} if record else {}
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


def curves_of(record: CellRecord | None) -> dict[str, list[Any]] | None:
    """A cell's loss curves, thinned out to `CURVE_POINTS`; None where there is no trace.

    The last point of each level of the pyramid is kept, so that levels stay where they are.
    """
    trace = record.trace if record else {}
    steps = trace.get("iteration")
    if not steps:
        return None
    levels = trace.get("level") or [0.0] * len(steps)
    wanted = {round(n * (len(steps) - 1) / (CURVE_POINTS - 1)) for n in range(CURVE_POINTS)}
    wanted |= {n for n in range(len(levels) - 1) if levels[n] != levels[n + 1]}
    kept = [n for n in sorted(wanted) if n < len(steps)]
    curves = {"iteration": [steps[n] for n in kept], "level": [levels[n] for n in kept]}
    for name in LOSSES:
        values = trace.get(name)
        if values:
            curves[name] = [_short(values[n]) if n < len(values) else None for n in kept]
    return curves


def finite(value: Any) -> Any:
    """A JSON value with null in place of NaN and infinity, which pages cannot read."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {name: finite(part) for name, part in value.items()}
    return [finite(part) for part in value] if isinstance(value, list) else value


def _number(value: Any) -> float | int | None:
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return value


def _short(value: Any) -> float | None:
    number = _number(value)
    return None if number is None else float(f"{number:.4g}")
