"""The files of a comparison: a page for people, a table and a summary for programs.

The page opens from the disk like a run's report, of whose parts it is made: numbers first, then the
images of all runs side by side.  Full images are those in the folders of the runs.
"""

from __future__ import annotations

import csv
import io
import logging
import math
import os
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from nstcore.compare.changes import CONFIDENCE, paired_values, relative_change
from nstcore.compare.comparison import ADDED, STATES, Comparison, RunComparison, compare_runs
from nstcore.compare.runs import ComparedRun
from nstcore.compare.thresholds import ThresholdResult, check_thresholds, parse_thresholds
from nstcore.config.run import SEED
from nstcore.plan import paths
from nstcore.plan.plan import Plan
from nstcore.report.html_page import TEMPLATES, render_html
from nstcore.report.payload import finite, metric_labels
from nstcore.report.thumbnails import Thumbnails
from nstcore.store.files import write_json, write_text

log = logging.getLogger(__name__)

OWN_TEMPLATES = resources.files("nstcore.compare") / "templates"
STYLES = ("report.css", "compare.css")
SCRIPTS = ("dom.js", "wipe.js", "numbers.js", "pairs.js", "theme.js", "start.js")
"""The page's program, in the order in which its parts build on each other."""

LINKS = {"Table of all pairs": paths.COMPARE_TABLE, "summary": paths.COMPARE_SUMMARY}
"""What the page has links to."""

THUMBNAIL = 320
"""Long side of the page's thumbnails in pixels."""


def make_comparison(plan: Plan, *, threads: int | None = None) -> None:
    """Compare a finished run with those that its configuration names.

    Thresholds are for this run only.  Whether one is exceeded is written into the summary, so that
    everything is made before the run ends with an error.
    """
    config = plan.config.compare
    assert config is not None
    run = Path(plan.config.run_dir)
    comparison = compare_runs([*map(Path, paths.compared_runs(plan.config)), run], config.ignore)
    own = comparison.compared[-1]
    results = check_thresholds(comparison, parse_thresholds(config.fail_if), only=own)
    for line in [*own.warnings, *own.overview(), *(result.line for result in results)]:
        log.info("%s", line)
    write_comparison(comparison, run / paths.COMPARE_FOLDER, results, threads=threads)


def write_comparison(
    comparison: Comparison,
    folder: Path,
    results: Sequence[ThresholdResult] = (),
    *,
    title: str | None = None,
    threads: int | None = None,
) -> None:
    """Write the page, the table and the summary into a folder.

    Args:
        title: of the page (default: the names of the runs).
        threads: how many images are read at the same time (default: up to four).
    """
    _write_table(comparison, folder / paths.COMPARE_TABLE)
    _write_page(comparison, folder / paths.COMPARE_PAGE, results, title, threads)
    write_json(folder / paths.COMPARE_SUMMARY, summary(comparison, results))


# --- The table ---


def _write_table(comparison: Comparison, path: Path) -> None:
    """Write one row for each compared run and each cell of the baseline, then the added cells.

    Columns: ``run``, ``state``, ``style``, ``content``, every setting that varies, the images of both,
    and for each metric its value in the baseline (``_a``) and the run (``_b``), the difference
    (``_change``) and the relative change (``_relative``); empty where there is none.
    """
    settings = [*(name for name in comparison.varying_settings if name != SEED), SEED]
    values = ("a", "b", "change", "relative")
    names = [f"{metric}_{value}" for metric in comparison.metrics for value in values]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["run", "state", "style", "content", *settings, "image_a", "image_b"]
    writer.writerow([*head, *names])
    for compared in comparison.compared:
        writer.writerows(_rows(comparison, compared, settings))
    write_text(path, text.getvalue())


def _rows(
    comparison: Comparison, compared: RunComparison, settings: Sequence[str]
) -> Iterator[list[str]]:
    columns: list[list[str]] = []
    for metric in comparison.metrics:
        a, b = paired_values(compared, metric)
        columns += [
            ["" if math.isnan(value) else repr(value) for value in values.tolist()]
            for values in (a, b, b - a, relative_change(a, b))
        ]

    def start(run: ComparedRun, cell: int, state: str) -> list[str]:
        own = run.settings[cell]
        ids = [compared.run.name, state, run.style[cell], run.content[cell]]
        return ids + [own.get(name, "") for name in settings]

    baseline, run = compared.baseline, compared.run
    for cell, partner in enumerate(compared.partners):
        images = [baseline.image[cell], "" if partner is None else run.image[partner]]
        values = [column[cell] for column in columns]
        yield [*start(baseline, cell, compared.states[cell]), *images, *values]
    for cell in compared.added:
        yield [*start(run, cell, ADDED), "", run.image[cell], *("" for _ in columns)]


# --- The summary ---


def summary(comparison: Comparison, results: Sequence[ThresholdResult] = ()) -> dict[str, Any]:
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
                "comparable": one.same_evaluation,
                "warnings": one.warnings,
                "metrics": _metric_changes(comparison, one),
            }
            for one in comparison.compared
        ],
        "limits": [
            {
                "limit": result.threshold.text,
                "run": result.run,
                "exceeded": result.exceeded,
                "says": result.value,
                "problem": result.problem,
            }
            for result in results
        ],
    }


def _metric_changes(comparison: Comparison, compared: RunComparison) -> dict[str, Any]:
    """How each metric changed; all changes but ``median_difference`` are relative."""
    found: dict[str, Any] = {}
    for name, change in compared.changes.items():
        largest, cell = change.largest, None
        if largest is not None:
            group = change.groups[largest]
            cell = comparison.cell_text(comparison.baseline, group[0], seed=len(group) == 1)
        what, count = change.over
        found[name] = {
            "n": change.count,
            "median_difference": change.statistic("median", relative=False),
            "median": change.statistic("median", relative=True),
            "quartiles": list(change.quartiles()),
            "interval": None if change.interval is None else list(change.interval),
            "confidence": CONFIDENCE,
            "interval_over": {"what": what, "count": count},
            "largest": None if largest is None else float(change.relative[largest]),
            "largest_cell": cell,
        }
    changes: dict[str, Any] = finite(found)
    return changes


# --- The page ---


def _write_page(
    comparison: Comparison,
    path: Path,
    results: Sequence[ThresholdResult],
    title: str | None,
    threads: int | None,
) -> None:
    thumbnails = Thumbnails(path.parent / "thumbs", THUMBNAIL, threads)
    baseline = comparison.baseline
    payload = {
        "title": title or " · ".join(run.name for run in comparison.runs),
        "runs": [_run_payload(comparison, run, thumbnails) for run in comparison.runs],
        "words": [comparison.cell_text(baseline, cell) for cell in range(len(baseline))],
        "ignored": list(comparison.ignored),
        "compared": [_comparison_payload(comparison, one) for one in comparison.compared],
        "metrics": comparison.metrics,
        "labels": metric_labels(comparison.metrics),
        "limits": [
            {"line": result.line, "bad": result.exceeded or result.problem is not None}
            for result in results
        ],
    }
    thumbnails.remove_unused()
    page = render_html(
        "compare.html.j2",
        styles=STYLES,
        scripts=SCRIPTS,
        data=payload,
        folders=(OWN_TEMPLATES, TEMPLATES),
        title=payload["title"],
        files=LINKS,
    )
    write_text(path, page)


def _run_payload(
    comparison: Comparison, run: ComparedRun, thumbnails: Thumbnails
) -> dict[str, Any]:
    """A run's cells, as columns to keep the page small."""
    names, views = thumbnails.of_cells(run.folder, run.metrics, run.records)
    plain = run.metrics.astype(object).where(run.metrics.notna(), None)
    finished = [status == "ok" for status in run.status]
    return {
        "name": run.name,
        "root": Path(os.path.relpath(run.folder, thumbnails.folder.parent)).as_posix(),
        "status": run.status,
        "reason": plain["reason"].tolist(),
        "image": run.image,
        "thumb": names,
        "view": views,
        "width": plain["width"].tolist(),
        "height": plain["height"].tolist(),
        "values": {
            name: [
                finite(float(value)) if ok and value is not None else None
                for ok, value in zip(finished, plain[name].tolist(), strict=True)
            ]
            for name in comparison.metrics
            if name in run.metric_names
        },
    }


def _comparison_payload(comparison: Comparison, compared: RunComparison) -> dict[str, Any]:
    """One run beside the baseline: its cells' partners, and the numbers over all of them."""
    return {
        "name": compared.run.name,
        "partners": list(compared.partners),
        "counts": compared.counts,
        "changed": [[name, *pair] for name, pair in compared.changed.items()],
        "made": [[name, *pair] for name, pair in compared.made_with.items()],
        "warnings": compared.warnings,
        "comparable": [name for name in compared.changes if compared.comparable(name)],
        "metrics": _metric_changes(comparison, compared),
        "lists": list(_incomparable_cells(comparison, compared)),
    }


def _incomparable_cells(
    comparison: Comparison, compared: RunComparison
) -> Iterator[tuple[str, list[str]]]:
    """For each state of cells that cannot be compared: what it is, and its cells in words."""
    for state in STATES:
        run, cells = compared.baseline, [n for n, own in enumerate(compared.states) if own == state]
        if state == ADDED:
            run, cells = compared.run, list(compared.added)
        if cells:
            yield compared.state_text(state), [comparison.cell_text(run, n) for n in cells]
