"""A comparison as files for other programs: a row for each pair of cells, and a summary."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nstcore.compare.changes import CONFIDENCE, Change, paired, relative_change
from nstcore.compare.comparison import ADDED, Compared, Comparison
from nstcore.compare.limits import ThresholdResult
from nstcore.config.run import SEED
from nstcore.store.files import write_text


def write_pairs(comparison: Comparison, path: Path) -> None:
    """Write one row for each compared run and each cell of the baseline, then the cells added.

    Columns: ``run``, ``state``, ``style``, ``content``, every setting that tells cells apart, the
    pictures of both, and for each metric its value in the baseline (``_a``) and the run (``_b``), the
    difference (``_change``) and the relative change (``_relative``); empty where there is none.
    """
    telling = [name for name in comparison.telling if name != SEED]
    names = [
        f"{metric}_{what}"
        for metric in comparison.metrics
        for what in ("a", "b", "change", "relative")
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["run", "state", "style", "content", *telling, SEED, "image_a", "image_b"]
    writer.writerow([*head, *names])
    for one in comparison.compared:
        writer.writerows(_rows(comparison, one, telling))
    write_text(path, text.getvalue())


def _rows(comparison: Comparison, one: Compared, telling: Sequence[str]) -> list[list[str]]:
    columns: list[list[str]] = []
    for metric in comparison.metrics:
        a, b = paired(one.alignment, metric)
        columns += [
            [_field(value) for value in values.tolist()]
            for values in (a, b, b - a, relative_change(a, b))
        ]
    rows = []
    for cell, partner in enumerate(one.alignment.partners):
        own = one.baseline.settings[cell]
        image = "" if partner is None else one.run.image[partner]
        rows.append(
            [one.run.name, one.states[cell], one.baseline.style[cell], one.baseline.content[cell]]
            + [own.get(name, "") for name in (*telling, SEED)]
            + [one.baseline.image[cell], image, *(column[cell] for column in columns)]
        )
    for cell in one.alignment.added:
        own = one.run.settings[cell]
        rows.append(
            [one.run.name, ADDED, one.run.style[cell], one.run.content[cell]]
            + [own.get(name, "") for name in (*telling, SEED)]
            + ["", one.run.image[cell], *("" for _ in columns)]
        )
    return rows


def summary(comparison: Comparison, outcomes: Sequence[ThresholdResult] = ()) -> dict[str, Any]:
    """Everything but the single cells, as JSON can hold it; null for what is not a number."""
    return {
        "baseline": {"name": comparison.baseline.name, "cells": len(comparison.baseline)},
        "ignored": list(comparison.ignored),
        "runs": [
            {
                "name": one.run.name,
                "cells": len(one.run),
                **one.counts,
                "changed": one.changed,
                "made_with": one.made_with,
                "comparable": one.same_judge,
                "warnings": one.warnings,
                "metrics": metric_values(comparison, one),
            }
            for one in comparison.compared
        ],
        "limits": [
            {
                "limit": outcome.limit.text,
                "run": outcome.run,
                "exceeded": outcome.exceeded,
                "says": outcome.says,
                "problem": outcome.problem,
            }
            for outcome in outcomes
        ],
    }


def metric_values(comparison: Comparison, one: Compared) -> dict[str, Any]:
    """How each metric changed from the baseline to a run."""
    return {name: _values(comparison, change) for name, change in one.changes.items()}


def _values(comparison: Comparison, change: Change) -> dict[str, Any]:
    """How a metric changed; all changes but ``median_difference`` are relative."""
    largest = change.largest
    cell = None
    if largest is not None:
        group = change.groups[largest]
        cell = comparison.words(comparison.baseline, group[0], seed=len(group) == 1)
    what, count = change.over
    return {
        "n": change.count,
        "median_difference": finite(change.statistic("median", relative=False)),
        "median": finite(change.statistic("median", relative=True)),
        "quartiles": [finite(change.quantile(share)) for share in (0.25, 0.75)],
        "interval": None if change.interval is None else list(change.interval),
        "confidence": CONFIDENCE,
        "interval_over": {"what": what, "count": count},
        "largest": None if largest is None else finite(float(change.relative[largest])),
        "largest_cell": cell,
    }


def finite(value: float) -> float | None:
    """The value, None where it is not finite."""
    return value if math.isfinite(value) else None


def _field(value: float) -> str:
    """A number as text from which the same number is read; empty for none."""
    return "" if math.isnan(value) else repr(value)
