"""The page of a comparison: numbers first, then the pictures of all runs side by side.

It opens from the disk like a run's report, of which it is made; full pictures are those of the runs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from nstcore.compare.comparison import ADDED, Compared, Comparison
from nstcore.compare.limits import ThresholdResult
from nstcore.compare.runs import Run
from nstcore.compare.tables import finite, metric_values
from nstcore.compare.words import STATES, state_words
from nstcore.report.html_page import TEMPLATES, render_html
from nstcore.report.payload import metric_labels
from nstcore.report.thumbnails import Thumbnails
from nstcore.store.files import write_text

OWN = resources.files("nstcore.compare") / "templates"
STYLES = ("report.css", "compare.css")
SCRIPTS = ("dom.js", "wipe.js", "numbers.js", "pairs.js", "theme.js", "start.js")
"""The page's program, in the order in which its parts build on each other."""


def write_page(
    comparison: Comparison,
    path: Path,
    outcomes: Sequence[ThresholdResult] = (),
    *,
    title: str | None = None,
    files: Mapping[str, str] | None = None,
    thumb: int = 320,
    threads: int | None = None,
) -> None:
    """Write the page and the small pictures beside it.

    Args:
        comparison: what to show.
        path: the page; the small pictures go into ``thumbs`` beside it.
        outcomes: what came of the limits.
        title: its title (default: the names of the runs).
        files: words -> file relative to the page, for what else there is.
        thumb: longest side of a small picture in pixels.
        threads: how many pictures are read at the same time (default: up to four).
    """
    thumbs = Thumbnails(path.parent / "thumbs", thumb, threads)
    payload = {
        "title": title or " · ".join(run.name for run in comparison.runs),
        "runs": [_run(comparison, run, path.parent, thumbs) for run in comparison.runs],
        "words": [
            comparison.words(comparison.baseline, n) for n in range(len(comparison.baseline))
        ],
        "ignored": list(comparison.ignored),
        "compared": [_compared(comparison, one) for one in comparison.compared],
        "metrics": comparison.metrics,
        "labels": metric_labels(comparison.metrics),
        "limits": [
            {"line": outcome.line, "bad": outcome.exceeded or outcome.problem is not None}
            for outcome in outcomes
        ],
    }
    thumbs.remove_unused()
    page = render_html(
        "compare.html.j2",
        styles=STYLES,
        scripts=SCRIPTS,
        data=payload,
        folders=(OWN, TEMPLATES),
        title=payload["title"],
        files=files or {},
    )
    write_text(path, page)


def _run(comparison: Comparison, run: Run, folder: Path, thumbs: Thumbnails) -> dict[str, Any]:
    """A run's cells, as columns to keep the page small."""
    names, views = thumbs.of_cells(run.folder, run.metrics, run.records)
    plain = run.metrics.astype(object).where(run.metrics.notna(), None)
    finished = [status == "ok" for status in run.status]
    return {
        "name": run.name,
        "root": Path(os.path.relpath(run.folder, folder)).as_posix(),
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


def _compared(comparison: Comparison, one: Compared) -> dict[str, Any]:
    """One run beside the baseline: its cells' partners, and the numbers over all of them."""
    return {
        "name": one.run.name,
        "partners": list(one.alignment.partners),
        "counts": one.counts,
        "changed": [[name, *pair] for name, pair in one.changed.items()],
        "made": [[name, *pair] for name, pair in one.made_with.items()],
        "warnings": one.warnings,
        "comparable": [name for name in one.changes if one.comparable(name)],
        "metrics": metric_values(comparison, one),
        "lists": _lists(comparison, one),
    }


def _lists(comparison: Comparison, one: Compared) -> list[tuple[str, list[str]]]:
    """The cells that cannot be compared: what they are, and each in words."""
    found = []
    for state in STATES:
        run, cells = one.baseline, [n for n, own in enumerate(one.states) if own == state]
        if state == ADDED:
            run, cells = one.run, list(one.alignment.added)
        if cells:
            found.append((state_words(state, one), [comparison.words(run, n) for n in cells]))
    return found
