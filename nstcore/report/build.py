"""The report of a run: one page that opens from the disk, with the network off.

The page is ``index.html`` with its style, program and data inside; beside it stand the thumbnails
and the loss curves, which the page loads when they are looked at.  Full pictures are those of the
run folder itself.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from nstcore.errors import StoreError
from nstcore.report.page import fill
from nstcore.report.payload import about, cells_of, curves_of, escaped_json, settings_of
from nstcore.report.thumbnails import Thumbnails, pictures_of
from nstcore.sheet.names import Titles
from nstcore.sheet.pictures import Sources, find_sources
from nstcore.store.atomic import write_text
from nstcore.tables import collect, matching_record, read_grid, read_table, record_path

log = logging.getLogger(__name__)

SCRIPTS = ("dom", "data", "curves", "detail", "matrix", "table", "theme", "app")
"""The page's program, in the order in which its parts build on each other."""

STYLES = ("report.css",)

CURVES_PER_FILE = 100

Layout = Mapping[str, Sequence[str]]


def build_report(
    run_dir: Path,
    out_html: Path,
    *,
    title: str | None = None,
    layout: Layout | None = None,
    values: Mapping[str, Sequence[Any]] | None = None,
    titles: Titles | None = None,
    sources: Sources | None = None,
    thumb: int = 320,
    threads: int | None = None,
    links: Mapping[str, str] | None = None,
) -> None:
    """Build the report of a run from whatever there is of it.

    Cells that failed or have no record yet get a placeholder that says why.

    Args:
        run_dir: the run's folder.
        out_html: the page; thumbnails and curves go into folders beside it.
        title: its title (default: the run's name).
        layout: the axes on ``rows``, ``cols`` and ``pages`` when the page is opened.
        values: the axes' values in the order to show (default: the grid's).
        titles: what is shown in place of values.
        sources: pictures of styles and contents (default: those under ``inputs/``).
        thumb: longest side of a thumbnail in pixels.
        threads: how many pictures are read at the same time (default: up to four).
        links: words -> file relative to the page, for what else the run has to show.

    Raises:
        StoreError: the grid cannot be read.
    """
    metrics = _metrics(run_dir)
    records = [
        _record(record_path(run_dir, image), key)
        for image, key in zip(metrics["image"], metrics["key"], strict=True)
    ]
    folder = out_html.parent
    thumbs = Thumbnails(folder / "thumbs", thumb, threads or min(4, os.cpu_count() or 1))
    run = next((str(name) for name in metrics["run"].dropna()), run_dir.name)
    payload = {
        "title": title or run,
        "run": run,
        "root": Path(os.path.relpath(run_dir, folder)).as_posix(),
        "layout": {
            place: list((layout or {}).get(place, [])) for place in ("rows", "cols", "pages")
        },
        **cells_of(metrics, values, titles),
        "settings": settings_of(records),
        "sources": _sources(find_sources(run_dir) if sources is None else sources, folder, thumbs),
        "about": about(metrics, records),
        "config": _text(run_dir / "config.yaml"),
        "curves": {"perFile": CURVES_PER_FILE},
    }
    cells: dict[str, Any] = payload["cells"]
    cells["thumb"], cells["view"] = pictures_of(run_dir, metrics, records, thumbs)
    thumbs.remove_unused()
    _write_curves(folder / "curves", records)
    write_text(out_html, render(payload, links))


def render(payload: Mapping[str, Any], links: Mapping[str, str] | None = None) -> str:
    """The report as HTML."""
    return fill(
        "index.html.j2",
        styles=STYLES,
        scripts=[f"{name}.js" for name in SCRIPTS],
        data=payload,
        title=payload["title"],
        links=links or {},
    )


def _metrics(run_dir: Path) -> pd.DataFrame:
    """The run's metrics if they are of its grid as it is now, else what its records hold."""
    grid_tsv = run_dir / "grid.tsv"
    table = run_dir / "metrics.parquet"
    if table.is_file():
        try:
            metrics = read_table(table)
            keys = [row["key"] for row in read_grid(grid_tsv).rows]
            if metrics["key"].tolist() == keys:
                return metrics
        except (StoreError, KeyError) as error:
            log.warning("report: %s", error)
    return collect(grid_tsv, run_dir, missing="placeholder")[0]


def _record(path: Path, key: str) -> Mapping[str, Any] | None:
    try:
        return matching_record(path, key)
    except StoreError as error:
        log.warning("report: %s", error)
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _sources(sources: Sources, folder: Path, thumbs: Thumbnails) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for axis, pictures in sources.items():
        found[axis] = {}
        for name, picture in pictures.items():
            files = [picture] if isinstance(picture, Path) else list(picture)
            links = [Path(os.path.relpath(file, folder)).as_posix() for file in files]
            found[axis][name] = {"thumb": thumbs.of_source(axis, name, picture), "files": links}
    return found


def _write_curves(folder: Path, records: Sequence[Mapping[str, Any] | None]) -> None:
    """Write the curves as scripts, which a page may load from the disk where JSON it may not."""
    count = 0
    for start in range(0, len(records), CURVES_PER_FILE):
        curves = [curves_of(record) for record in records[start : start + CURVES_PER_FILE]]
        write_text(folder / f"{count}.js", f"nstCurves({count},{escaped_json(curves)});\n")
        count += 1
    for path in folder.glob("*.js"):
        if path.stem.isdigit() and int(path.stem) >= count:
            path.unlink(missing_ok=True)
