"""What the last rules of the workflow make of a plan: contact sheets, report, refined cells."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from nstcore.contact_sheet.axes import SheetSpec, page_names
from nstcore.contact_sheet.layout import MAX_AREA, plan_pages, source_sizes
from nstcore.contact_sheet.render import render_page, write_sheets
from nstcore.core.geometry import image_size
from nstcore.core.settings import Settings
from nstcore.jobs.prepare import write_grid
from nstcore.jobs.workflow_files import selected_cells
from nstcore.plan import paths
from nstcore.plan.plan import Plan
from nstcore.plan.refine import FOLDER
from nstcore.report.build import Report
from nstcore.resources.estimate import InputSizes
from nstcore.results.tables import IDENTITY, collect, read_table, write_metrics
from nstcore.store.cells import link

REPORT = Path("report", "index.html")
"""Where the report is, in the run's folder."""

LINKS_AFTERWARDS = {
    "refine": {
        "Refined cells beside the small ones": f"../sheets/{FOLDER}.png",
        "as PDF": f"../sheets/{FOLDER}.pdf",
        "their metrics": f"../{FOLDER}.csv",
    },
    "compare": {"Comparison with other runs": f"../{paths.COMPARE_FOLDER}/{paths.COMPARE_PAGE}"},
}
"""Section of a configuration -> links of the report to what is made after it."""

BYTES_PER_PIXEL = 4.0
"""Most bytes that a pixel of a sheet takes: 3 as PNG, and as PDF a JPEG of it."""

_STATE = ("key", "status", "reason", "image", "width", "height")
"""Columns that a sheet reads, behind the run, the identity and the axes."""


# --- Contact sheets ---


def make_sheet(plan: Plan, page: str, *, threads: int = 1) -> None:
    """Draw one page of the run's contact sheets, one of `page_names`, as PNG and as PDF."""
    run = Path(plan.config.run_dir)
    write_sheets(
        read_table(run / "metrics.parquet"),
        sheet_spec(plan),
        run,
        run / "sheets",
        sources=prepared_inputs(plan),
        values=plan.axis_values,
        only=page,
        threads=threads,
    )


def sheet_spec(plan: Plan) -> SheetSpec:
    """What the run's contact sheets show, and where."""
    report = plan.config.report
    return SheetSpec(
        title=report.title or plan.config.run,
        rows=plan.layout["rows"],
        cols=plan.layout["cols"],
        pages=plan.layout["pages"],
        thumb=report.thumbnail,
        fixed=fixed_settings(plan),
        titles=plan.titles,
    )


def fixed_settings(plan: Plan) -> dict[str, Any]:
    """Settings that all cells share and a reader has to know: those not at their defaults."""
    first, default = plan.settings[0], Settings()
    return {
        name: value
        for name, value in first.model_dump().items()
        if name not in plan.config.sweep.axes
        and all(getattr(settings, name) == value for settings in plan.settings)
        and (value != getattr(default, name) or name in ("encoder", "size"))
    }


def prepared_inputs(plan: Plan) -> dict[str, dict[str, list[Path]]]:
    """The prepared images of every content and style, for the heads of rows and columns."""
    run, largest = Path(plan.config.run_dir), list(plan.sizes)[-1]
    return {
        "content": {
            content: [run / paths.CONTENT.format(content=content, size=largest)]
            for content in plan.contents
        },
        "style": {
            style: [
                run / paths.STYLE.format(style=style, index=i) for i in range(len(source.paths))
            ]
            for style, source in plan.styles.items()
        },
    }


# --- The report ---


def make_report(plan: Plan, *, threads: int | None = None, bundle: str | None = None) -> None:
    """Build the run's report, and put it into the folder ``bundle`` too; see :func:`bundle_report`."""
    run = Path(plan.config.run_dir)
    pages = page_names(plan.axis_values, plan.layout["pages"])
    _remove_stale_sheets(run / "sheets", pages if plan.config.refine is None else [*pages, FOLDER])
    report_of(plan, run / REPORT, threads=threads).build()
    if bundle is not None:
        bundle_report(run / REPORT.parent, Path(bundle))


def report_of(plan: Plan, page: Path, *, threads: int | None = None) -> Report:
    """The report of a run as its configuration wants it, in the file ``page``."""
    pages = page_names(plan.axis_values, plan.layout["pages"])
    return Report(
        Path(plan.config.run_dir),
        page,
        title=plan.config.report.title,
        layout=plan.layout,
        values=plan.axis_values,
        titles=plan.titles,
        sources=prepared_inputs(plan),
        threads=threads,
        links={
            text: file
            for section, links in LINKS_AFTERWARDS.items()
            if getattr(plan.config, section) is not None
            for text, file in links.items()
        },
        single_file=plan.config.report.single_file,
        # The workflow draws the sheets at the same time as the report.
        expected_files=[f"sheets/{page}.{suffix}" for page in pages for suffix in ("png", "pdf")],
    )


def _remove_stale_sheets(folder: Path, pages: Sequence[str]) -> None:
    """Remove the sheets of an earlier layout, which nothing would ever draw again."""
    for path in folder.glob("*.*"):
        if path.name.startswith("."):
            continue  # another job is writing it
        if re.sub(r"(\.part\d+)?\.(png|pdf)$", "", path.name) not in pages:
            path.unlink()


def bundle_report(report: Path, folder: Path) -> None:
    """Put the report and everything beside it into a folder that can be given away.

    `snakemake --report` takes a page only with the whole folder around it, and a job loses its folder
    whenever it runs again, thumbnails included; so it gets a folder of links.  The full images are not in
    it: the page then shows its thumbnails in their place.
    """
    for source in sorted(report.rglob("*")):
        destination = folder / source.relative_to(report)
        if source.name.startswith(".") or not source.is_file():
            continue
        if source.parent == report:
            # A link would give the page a new time, and what is made after it would seem older.
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, destination)
        else:
            link(source, destination)


# --- Refined cells ---


def make_refined_table(plan: Plan) -> None:
    """Write the metrics of the refined cells as ``refined.csv`` and ``refined.parquet``."""
    run = Path(plan.config.run_dir)
    grid = run / FOLDER / "grid.tsv"
    write_grid(plan, grid, [refined for _, refined in selected_cells(plan)])
    metrics, _ = collect(grid, run)
    write_metrics(metrics, run / f"{FOLDER}.parquet", run / f"{FOLDER}.csv")


def make_refined_sheet(plan: Plan) -> None:
    """Draw the chosen cells, small and refined side by side, as ``sheets/refined``."""
    run = Path(plan.config.run_dir)
    report = plan.config.report
    spec = SheetSpec(
        title=f"{report.title or plan.config.run}: refined",
        rows=("style", "content", "cell"),
        cols=("picture",),
        thumb=min(2048, 2 * report.thumbnail),  # larger, so that the finer details show
    )
    metrics = [read_table(run / name) for name in ("metrics.parquet", f"{FOLDER}.parquet")]
    sources = prepared_inputs(plan)
    (page,) = plan_pages(side_by_side(plan, *metrics), spec, sizes=source_sizes(sources))
    render_page(replace(page, name=FOLDER), run, run / "sheets", sources=sources)


def side_by_side(plan: Plan, small: pd.DataFrame, refined: pd.DataFrame) -> pd.DataFrame:
    """One row for each image of the sheet, in the order of choice."""
    identity = ["run", *IDENTITY]
    both = pd.concat([small, refined])[[*identity, *_STATE]].astype(object)
    states: dict[Any, Any] = {row["image"]: row for row in both.to_dict("records")}
    rows = [
        {**states[cell.image], "cell": cell.point.stem, "picture": label}
        for pair in selected_cells(plan)
        for label, cell in zip(("small", "refined"), pair, strict=True)
    ]
    return pd.DataFrame(rows, columns=[*identity, "cell", "picture", *_STATE], dtype=object)


# --- Sheets of a run that has not begun ---


@dataclass(frozen=True)
class SheetForecast:
    """One contact sheet of a run that has not begun.

    Attributes:
        name: of its files.
        thumb: long side of its images in pixels, after any shrinking.
        parts: width and height in pixels of each part; more than one where one would grow too large.
        fits: whether programs open every part without complaint.
    """

    name: str
    thumb: int
    parts: Sequence[tuple[int, int]]
    fits: bool

    @property
    def bytes(self) -> float:
        """Most bytes of its PNG and PDF."""
        return BYTES_PER_PIXEL * sum(width * height for width, height in self.parts)


def forecast_sheets(plan: Plan, sizes: InputSizes) -> list[SheetForecast]:
    """The sheets as they will be drawn if every cell is made."""
    heads = {("content", content): size for content, size in sizes.contents.items()}
    heads |= {("style", style): found[0] for style, found in sizes.styles.items()}
    table = _expected_metrics(plan, sizes)
    sheets = []
    for page in plan_pages(table, sheet_spec(plan), sizes=heads, values=plan.axis_values):
        parts = [(part.width, part.height) for part in page.parts]
        fits = all(max(part) <= page.max_side and part[0] * part[1] <= MAX_AREA for part in parts)
        sheets.append(SheetForecast(page.name, page.thumb, parts, fits))
    return sheets


def _expected_metrics(plan: Plan, sizes: InputSizes) -> pd.DataFrame:
    """The columns of the run's metrics that sheets read."""
    rows: list[dict[str, Any]] = []
    for cell in plan.cells():
        native = sizes.contents.get(cell.content)
        width, height = image_size(native, cell.settings) if native else (None, None)
        identity = {name: cell.axes[name] for name in ("style", "content", "seed")}
        state = {
            "status": "ok",
            "reason": None,
            "image": cell.image,
            "width": width,
            "height": height,
        }
        axes = {name: value for name, value in cell.axes.items() if name not in identity}
        rows.append({"run": plan.config.run, **identity, **axes, "key": "", **state})
    return pd.DataFrame(rows, dtype=object)


def sheet_warnings(sheets: Sequence[SheetForecast], thumbnail: int) -> Iterator[str]:
    """One line for every sheet that will not have images of ``thumbnail`` pixels on one page."""
    for sheet in sheets:
        width, height = max(sheet.parts, key=lambda part: part[0] * part[1])
        if not sheet.fits:
            yield (
                f"report: the sheet {sheet.name} has {width} x {height} px, more than viewers open; "
                "shorten its labels, or lower `report.thumbnail`"
            )
        elif len(sheet.parts) > 1:
            yield (
                f"report: the sheet {sheet.name} is too large for one image and is divided into "
                f"{len(sheet.parts)} parts with images of {sheet.thumb} px; put an axis on "
                "`report.pages`"
            )
        elif sheet.thumb < thumbnail:
            yield (
                f"report: the sheet {sheet.name} would be too large with images of {thumbnail} px and "
                f"shows them with {sheet.thumb} px; put an axis on `report.pages`, or lower "
                "`report.thumbnail`"
            )
