"""The data of the report's page: one JSON value, with columns in place of rows to keep it small."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import pandas as pd

from nstcore.config.yaml_files import dump_yaml
from nstcore.contact_sheet.axes import Titles, axis_texts, axis_values, shown
from nstcore.core.metrics import metric_named
from nstcore.plan.record import CellRecord
from nstcore.plan.values import INPUT_AXES, display_text
from nstcore.results.tables import LOSSES, MISSING, metric_names

CURVE_POINTS = 200
"""Most points of a loss curve that are kept, the first and the last among them."""


def cells_payload(
    metrics: pd.DataFrame,
    values: Mapping[str, Sequence[Any]] | None = None,
    titles: Titles | None = None,
) -> dict[str, Any]:
    """The axes, the cells and their metrics.

    Args:
        metrics: one row a cell.
        values: the axes' values in the order to show (default: the order of the grid).
        titles: what is shown in place of values.

    Returns:
        ``axes``: name, values as text, what is shown of them, and whether they are images;
        ``cells``: for each axis the position of each cell's value, then status, reason, setting, key
        and size; ``metrics``: the values of each metric, null where there is none; ``senses``: which end
        of each is better, -1 the low, 1 the high, 0 neither; ``labels``: what is shown of its name.
    """
    texts = axis_texts(metrics)
    orders = axis_values(texts, values)
    places = {axis: {text: n for n, text in enumerate(order)} for axis, order in orders.items()}
    plain = metrics.astype(object).where(metrics.notna(), None)
    names = metric_names(metrics)
    columns = ("status", "reason", "setting", "key", "width", "height", "image")
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
            "at": {axis: [places[axis][text] for text in texts[axis]] for axis in orders},
            **{name: plain[name].tolist() for name in columns},
        },
        "metrics": {name: finite(plain[name].tolist()) for name in names},
        "senses": {name: metric_named(name).direction for name in names},
        "labels": metric_labels(names),
    }


def metric_labels(names: Iterable[str]) -> dict[str, str]:
    """Name -> what people see."""
    return {name: metric_named(name).label for name in names}


def settings_payload(records: Sequence[CellRecord]) -> dict[str, Any]:
    """The cells' settings, separated into those that all share and the others.

    Returns:
        ``same``: setting to text; ``own``: setting to one text a cell, null where unknown.
    """
    texts = [
        {name: display_text(name, value) for name, value in record.settings.items()}
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


def loss_curves(record: CellRecord) -> dict[str, list[Any]] | None:
    """A cell's loss curves, reduced to `CURVE_POINTS`; None without a trace.

    The last point of each level of the pyramid is kept.
    """
    trace = record.trace
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


def reproduction(record: CellRecord, image: PurePath) -> dict[str, Any] | None:
    """What the page shows of how a cell's image was made; None if the cell has no record.

    Returns:
        ``record`` without its trace, which the curves show; ``yaml``: its settings; ``command``: what
        makes it again, None for a cell that was not made.
    """
    if record.status == MISSING:
        return None
    made = record.status == "ok" and record.image is not None
    return {
        "record": finite(record.to_json(exclude={"trace"})),
        "yaml": settings_yaml(record),
        "command": reproduce_command(image) if made else None,
    }


def reproduce_command(image: PurePath) -> str:
    """The command that makes an image again, for a POSIX shell."""
    path = image.as_posix()
    if path.startswith("-"):
        path = f"./{path}"  # else it is an option
    return shlex.join(["nst", "reproduce", path])


def settings_yaml(record: CellRecord) -> str | None:
    """All settings of a cell as YAML for a configuration; None where they are unknown."""
    return dump_yaml({"settings": record.settings}) if record.settings else None


def finite(value: Any) -> Any:
    """A JSON value with null in place of NaN and infinity, which pages cannot read."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {name: finite(part) for name, part in value.items()}
    return [finite(part) for part in value] if isinstance(value, list) else value


def _short(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")
