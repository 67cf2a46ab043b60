"""The report of a run: one page that opens from the disk, with the network off.

The page is ``index.html`` with its style, program and data inside; beside it stand the thumbnails,
the loss curves and the records, which the page loads when they are looked at.  Full pictures are
those of the run folder itself.  Where all that is small the page holds it too, and can be mailed.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from nstcore.contact_sheet.labels import Titles
from nstcore.contact_sheet.pictures import Sources, find_sources
from nstcore.errors import StoreError
from nstcore.plan import paths
from nstcore.plan.record import CellRecord
from nstcore.report.embed import SingleFile, inlined
from nstcore.report.failures import failures_of
from nstcore.report.page import fill
from nstcore.report.payload import cells_of, curves_of, escaped_json, settings_of
from nstcore.report.provenance import about
from nstcore.report.reproduce_snippet import again_of
from nstcore.report.thumbnails import Thumbnails, pictures_of
from nstcore.report.vendor import credits_of_libraries, script_text
from nstcore.results.tables import collect, matching_record, read_grid, read_table
from nstcore.store.files import write_text

log = logging.getLogger(__name__)

SCRIPTS = (
    "dom",
    "data",
    "missing",
    "selection",
    "chunks",
    "curves",
    "viewer",
    "compare",
    "detail",
    "overlay",
    "axes",
    "matrix",
    "table",
    "failures",
    "about",
    "columns",
    "pareto",
    "plots",
    "scatter",
    "parallel",
    "effects",
    "losses",
    "explore",
    "theme",
    "app",
)
"""The page's program, in the order in which its parts build on each other."""

STYLES = ("report.css", "explore.css")

CHUNKS = {"curves": 100, "records": 25}
"""What is loaded when it is looked at: how many cells' a file holds."""

FILES = (
    "metrics.csv",
    "metrics.parquet",
    "loss_curves.parquet",
    "grid.tsv",
    "config.yaml",
    "refined.csv",
    "sheets/*.png",
    "sheets/*.pdf",
)
"""What else a run leaves behind that people may want to open."""

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
    single_file: SingleFile = "auto",
    to_come: Iterable[str] = (),
) -> None:
    """Build the report of a run from whatever there is of it.

    Cells that failed or have no record yet get a placeholder that says why.

    Args:
        run_dir: the run's folder, from where the run was started.
        out_html: the page; thumbnails, curves and records go into folders beside it.
        title: its title (default: the run's name).
        layout: the axes on ``rows``, ``cols`` and ``pages`` when the page is opened.
        values: the axes' values in the order to show (default: the grid's).
        titles: what is shown in place of values.
        sources: pictures of styles and contents (default: those under ``inputs/``).
        thumb: longest side of a thumbnail in pixels.
        threads: how many pictures are read at the same time (default: up to four).
        links: words -> file relative to the page, for what else the run has to show.
        single_file: whether the page holds everything itself; ``auto`` for what is small.
        to_come: files of the run, from its folder, that will be there when it is finished.

    Raises:
        StoreError: the grid cannot be read.
    """
    metrics = _metrics(run_dir)
    records = [
        _record(paths.record_path(run_dir / image), key)
        for image, key in zip(metrics["image"], metrics["key"], strict=True)
    ]
    if [record and record.status for record in records] != metrics["status"].tolist():
        # The table is of an earlier state: pictures were deleted, or made since.
        metrics = collect(run_dir / "grid.tsv", run_dir, missing="placeholder")[0]
    folder = out_html.parent
    thumbs = Thumbnails(folder / "thumbs", thumb, threads or min(4, os.cpu_count() or 1))
    run = next((str(name) for name in metrics["run"].dropna()), run_dir.name)
    root = Path(os.path.relpath(run_dir, folder)).as_posix()
    batches = [row.get("batch", "") for row in read_grid(run_dir / "grid.tsv").rows]
    payload = {
        "title": title or run,
        "run": run,
        "root": root,
        "thumb": thumb,
        "layout": {
            place: list((layout or {}).get(place, [])) for place in ("rows", "cols", "pages")
        },
        **cells_of(metrics, values, titles),
        "settings": settings_of(records),
        "sources": _sources(find_sources(run_dir) if sources is None else sources, folder, thumbs),
        "about": about(metrics, records),
        "failures": failures_of(metrics, records, batches, run_dir, folder),
        "files": [f"{root}/{name}" for name in _files(run_dir, to_come)],
        "config": _text(run_dir / "config.yaml"),
        "curves": {"perFile": CHUNKS["curves"]},
        "records": {"perFile": CHUNKS["records"]},
        "libraries": credits_of_libraries(),
    }
    cells: dict[str, Any] = payload["cells"]
    cells["thumb"], cells["view"] = pictures_of(run_dir, metrics, records, thumbs)
    thumbs.remove_unused()
    chunks = {
        "curves": _chunks("curves", [curves_of(record) for record in records]),
        "records": _chunks(
            "records",
            [
                again_of(record, run_dir / image)
                for record, image in zip(records, metrics["image"], strict=True)
            ],
        ),
    }
    small, full = _picture_files(payload, folder)
    texts = sum(len(escaped_json(parts)) for parts in chunks.values())
    pictures = inlined(single_file, texts, small, full)
    payload["inline"] = None if pictures is None else {"pictures": pictures, **chunks}
    for name, parts in chunks.items():
        _write_chunks(folder / name, name, parts if pictures is None else [])
    write_text(out_html, render(payload, links))


def render(payload: Mapping[str, Any], links: Mapping[str, str] | None = None) -> str:
    """The report as HTML."""
    return fill(
        "index.html.j2",
        styles=STYLES,
        scripts=[f"{name}.js" for name in SCRIPTS],
        libraries=script_text(),
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


def _record(path: Path, key: str) -> CellRecord | None:
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


def _picture_files(
    payload: Mapping[str, Any], folder: Path
) -> tuple[dict[str, Path], dict[str, Path]]:
    """Thumbnails, and full pictures: what the page calls them, and where they are."""
    cells = payload["cells"]
    small = [f"thumbs/{name}" for name in cells["thumb"] if name]
    full = [
        f"thumbs/{cells['view'][number]}"
        if number in cells["view"]
        else f"{payload['root']}/{cells['image'][number]}"
        for number, thumb in enumerate(cells["thumb"])
        if thumb
    ]
    for pictures in payload["sources"].values():
        for source in pictures.values():
            small += [f"thumbs/{source['thumb']}"] if source["thumb"] else []
            full += source["files"]
    return {name: folder / name for name in small}, {name: folder / name for name in full}


def _files(run_dir: Path, to_come: Iterable[str]) -> list[str]:
    """Other results of the run, as far as they are there or will be."""
    found = [
        path.relative_to(run_dir).as_posix()
        for pattern in FILES
        for path in sorted(run_dir.glob(pattern))
        if not path.name.startswith(".")  # another job is writing it
    ]
    return list(dict.fromkeys([*found, *to_come]))


def _chunks(name: str, entries: Sequence[Any]) -> list[Sequence[Any]]:
    """One entry a cell, dealt out to files."""
    per_file = CHUNKS[name]
    return [entries[start : start + per_file] for start in range(0, len(entries), per_file)]


def _write_chunks(folder: Path, name: str, chunks: Sequence[Sequence[Any]]) -> None:
    """Write scripts, which a page may load from the disk where JSON it may not."""
    for number, entries in enumerate(chunks):
        call = f"nstChunk({json.dumps(name)},{number},{escaped_json(entries)});\n"
        write_text(folder / f"{number}.js", call)
    for path in folder.glob("*.js"):
        if path.stem.isdigit() and int(path.stem) >= len(chunks):
            path.unlink(missing_ok=True)
