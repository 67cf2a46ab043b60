"""Build the report of a run: one page that opens from the disk, with the network off.

The page is ``index.html`` with its style, program and data inside; beside it are the thumbnails, the
loss curves and the records, which the page loads when somebody looks at them.  Full images are those of
the run's folder.  Where all of that is small the page holds it too, and can be mailed.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nstcore.contact_sheet.axes import Titles
from nstcore.contact_sheet.layout import Sources
from nstcore.jobs.snapshots import snapshots_of
from nstcore.plan.paths import snapshot_file
from nstcore.plan.record import CellRecord
from nstcore.report.html_page import (
    SingleFile,
    embed_images,
    escaped_json,
    library_credits,
    library_scripts,
    render_html,
)
from nstcore.report.payload import cells_payload, loss_curves, reproduction, settings_payload
from nstcore.report.thumbnails import Thumbnails
from nstcore.report.views import find_failures, provenance
from nstcore.results.tables import Grid, metrics_table, read_grid, read_records
from nstcore.store.files import write_text

log = logging.getLogger(__name__)

SCRIPTS = (
    *(
        "dom",
        "data",
        "missing",
        "selection",
        "chunks",
        "curves",
        "viewer",
        "film",
        "compare",
        "detail",
    ),
    *("overlay", "axes", "matrix", "table", "failures", "about", "columns", "pareto", "plots"),
    *("scatter", "parallel", "effects", "losses", "explore", "theme", "live", "app"),
)
"""The page's program, in the order in which its parts build on each other."""

STYLES = ("report.css", "explore.css")

CHUNKS = {"curves": 100, "records": 25}
"""What the page loads when somebody looks at it, and how many cells a file holds."""

PENDING = "pending"
"""The status of a cell that a run under way has still to make."""

FILES = (
    *("metrics.csv", "metrics.parquet", "loss_curves.parquet", "grid.tsv", "config.yaml"),
    *("refined.csv", "sheets/*.png", "sheets/*.pdf"),
)
"""Other results of a run, to which the page has links."""


@dataclass
class Report:
    """The report of a run; cells that it lacks get a placeholder that says why.

    Attributes:
        run_dir: the run's folder, from where the run was started.
        page: the HTML file; thumbnails, curves and records go into folders beside it.
        title: its title (default: the run's name).
        layout: the axes on ``rows``, ``cols`` and ``pages`` when the page is opened.
        values: the axes' values in the order to show (default: the order of the grid).
        titles: what is shown in place of values.
        sources: images of styles and contents.
        thumb: long side of a thumbnail in pixels.
        threads: how many images are read at the same time (default: up to four).
        links: text -> file relative to the page, for other results of the run.
        single_file: whether the page holds everything itself; ``auto`` for what is small.
        expected_files: files in the run's folder that will exist when the run is finished.
    """

    run_dir: Path
    page: Path
    title: str | None = None
    layout: Mapping[str, Sequence[str]] = field(default_factory=dict)
    values: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    titles: Titles = field(default_factory=dict)
    sources: Sources = field(default_factory=dict)
    thumb: int = 320
    threads: int | None = None
    links: Mapping[str, str] = field(default_factory=dict)
    single_file: SingleFile = "auto"
    expected_files: Iterable[str] = ()

    def build(self) -> None:
        """Build the page and all that stands beside it.

        Raises:
            StoreError: the grid cannot be read.
        """
        grid, folder = read_grid(self.run_dir / "grid.tsv"), self.page.parent
        records = []
        for record, problem in read_records(grid, self.run_dir):
            if problem is not None:
                log.warning("report: %s", problem)
            records.append(record)
        thumbnails = Thumbnails(folder / "thumbs", self.thumb, self.threads)
        payload = self.payload(grid, records, thumbnails)
        thumbnails.remove_unused()
        chunks = {
            name: [
                self.chunk(name, grid, dict(enumerate(records[start : start + size], start)))
                for start in range(0, len(records), size)
            ]
            for name, size in CHUNKS.items()
        }
        text_bytes = sum(len(escaped_json(parts)) for parts in chunks.values())
        embedded = embed_images(self.single_file, text_bytes, *_image_files(payload, folder))
        if embedded is not None:
            payload["inline"] = {"pictures": embedded, **chunks}
        for name, parts in chunks.items():
            kept = parts if embedded is None else []
            for number, entries in enumerate(kept):
                write_chunk(folder / name, number, entries)
            for path in (folder / name).glob("*.js"):
                if path.stem.isdigit() and int(path.stem) >= len(kept):
                    path.unlink(missing_ok=True)
        write_text(self.page, render_report(payload, self.links))

    def chunk(
        self, name: str, grid: Grid, records: Mapping[int, CellRecord]
    ) -> list[dict[str, Any] | None]:
        """What one of `CHUNKS` holds of some cells, whose records are given by their numbers."""
        if name == "curves":
            return [loss_curves(record) for record in records.values()]
        images = {cell: self.run_dir / grid.rows[cell]["image"] for cell in records}
        return [reproduction(record, images[cell]) for cell, record in records.items()]

    def payload(
        self,
        grid: Grid,
        records: list[CellRecord],
        thumbnails: Thumbnails,
        pending: Collection[int] = (),
    ) -> dict[str, Any]:
        """The data of the page, without what stands beside it or is embedded in it.

        Args:
            pending: numbers of cells that have no record because they are still to be made.
        """
        run_dir, folder = self.run_dir, self.page.parent
        metrics = metrics_table(grid, records)
        metrics.loc[list(pending), ["status", "reason"]] = [PENDING, None]
        run = next((str(name) for name in metrics["run"].dropna()), run_dir.name)
        root = Path(os.path.relpath(run_dir, folder)).as_posix()
        cells = cells_payload(metrics, self.values, self.titles)
        names, views = thumbnails.of_cells(run_dir, metrics, records)
        cells["cells"] |= {"thumb": names, "view": views}
        batches = [row.get("batch", "") for row in grid.rows]
        known = {cell: record for cell, record in enumerate(records) if cell not in pending}
        return {
            "title": self.title or run,
            "run": run,
            "root": root,
            "thumb": self.thumb,
            "thumbs": Path(os.path.relpath(thumbnails.folder, folder)).as_posix(),
            "layout": {name: list(self.layout.get(name, [])) for name in ("rows", "cols", "pages")},
            **cells,
            "snapshots": {
                number: list(found)
                for number, row in enumerate(grid.rows)
                if (found := snapshots_of(run_dir, row["image"], row["key"]))
            },
            "settings": settings_payload(records),
            "sources": {
                axis: {
                    name: {
                        "thumb": thumbnails.of_source(axis, name, images),
                        "files": [
                            Path(os.path.relpath(path, folder)).as_posix() for path in images
                        ],
                    }
                    for name, images in sources.items()
                }
                for axis, sources in self.sources.items()
            },
            "about": provenance(metrics, records),
            "failures": find_failures(known, batches, run_dir, folder),
            "files": [f"{root}/{name}" for name in _files(run_dir, self.expected_files)],
            "config": _text(run_dir / "config.yaml"),
            **{name: {"perFile": count} for name, count in CHUNKS.items()},
            "inline": None,
            "live": None,
            "libraries": library_credits(),
        }


def render_report(payload: Mapping[str, Any], links: Mapping[str, str] | None = None) -> str:
    """The report as HTML."""
    return render_html(
        "index.html.j2",
        styles=STYLES,
        scripts=[f"{name}.js" for name in SCRIPTS],
        libraries=library_scripts(),
        data=payload,
        title=payload["title"],
        links=links or {},
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _image_files(
    payload: Mapping[str, Any], folder: Path
) -> tuple[dict[str, Path], dict[str, Path]]:
    """Thumbnails and full images: the page's names for them -> where they are."""
    cells = payload["cells"]
    sources = [source for images in payload["sources"].values() for source in images.values()]
    thumbs = [*cells["thumb"], *(source["thumb"] for source in sources)]
    full = [
        f"{payload['thumbs']}/{cells['view'][number]}"
        if number in cells["view"]
        else f"{payload['root']}/{cells['image'][number]}"
        for number, thumb in enumerate(cells["thumb"])
        if thumb
    ]
    full += [file for source in sources for file in source["files"]]
    full += [
        f"{payload['root']}/{snapshot_file(cells['image'][number], cells['key'][number], iteration)}"
        for number, iterations in payload["snapshots"].items()
        for iteration in iterations
    ]
    small = [f"{payload['thumbs']}/{name}" for name in thumbs if name]
    return {name: folder / name for name in small}, {name: folder / name for name in full}


def _files(run_dir: Path, expected_files: Iterable[str]) -> list[str]:
    """Other results of the run, those that exist and those that will."""
    found = [
        path.relative_to(run_dir).as_posix()
        for pattern in FILES
        for path in sorted(run_dir.glob(pattern))
        if not path.name.startswith(".")  # another job is writing it
    ]
    return list(dict.fromkeys([*found, *expected_files]))


def write_chunk(folder: Path, number: int, entries: Sequence[Any]) -> None:
    """Write a script, which a page may load from the disk; JSON it may not."""
    call = f"nstChunk({json.dumps(folder.name)},{number},{escaped_json(entries)});\n"
    write_text(folder / f"{number}.js", call)
