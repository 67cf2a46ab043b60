"""The workflow's last stages: tables, contact sheets and report of a plan."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from nstcore.contact_sheet import SheetSpec, page_names, write_sheets
from nstcore.core.settings import Settings
from nstcore.plan import compared, paths
from nstcore.plan.plan import Plan
from nstcore.plan.refine import FOLDER
from nstcore.report.build import build_report
from nstcore.results.tables import collect, read_table, write_curves, write_metrics
from nstcore.store.cells import link

REFINED_LINKS = {
    "Refined cells beside the small ones": f"../sheets/{FOLDER}.png",
    "as PDF": f"../sheets/{FOLDER}.pdf",
    "their metrics": f"../{FOLDER}.csv",
}
COMPARED_LINKS = {"Comparison with other runs": f"../{compared.FOLDER}/{compared.PAGE}"}
"""What the report points to, from where it stands; made after it."""


def make_tables(plan: Plan) -> None:
    """Write the metrics and the loss curves of a finished run."""
    run = Path(plan.config.run_dir)
    metrics, curves = collect(run / "grid.tsv", run)
    write_metrics(metrics, run / "metrics.parquet", run / "metrics.csv")
    write_curves(curves, run / "loss_curves.parquet")


def make_sheet(plan: Plan, page: str, *, threads: int = 1) -> None:
    """Draw one page of the run's contact sheets, as PNG and as PDF.

    Args:
        plan: the run.
        page: its name, one of `page_names`.
        threads: how many pictures are read at the same time.
    """
    run = Path(plan.config.run_dir)
    write_sheets(
        read_table(run / "metrics.parquet"),
        sheet_spec(plan),
        run,
        run / "sheets",
        sources=sources(plan),
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
        run=plan.config.run,
        fixed=fixed_settings(plan),
        titles=plan.titles,
    )


def make_report(plan: Plan, *, threads: int | None = None) -> None:
    """Build the run's report."""
    run = Path(plan.config.run_dir)
    _remove_stale_sheets(plan)
    build_report(
        run,
        run / "report" / "index.html",
        title=plan.config.report.title,
        layout=plan.layout,
        values=plan.axis_values,
        titles=plan.titles,
        sources=sources(plan),
        threads=threads,
        links={
            **(REFINED_LINKS if plan.config.refine is not None else {}),
            **(COMPARED_LINKS if plan.config.compare is not None else {}),
        },
        single_file=plan.config.report.single_file,
        to_come=sheet_files(plan),
    )


def sheet_files(plan: Plan) -> list[str]:
    """The contact sheets, from the run's folder; the workflow draws them beside the report."""
    pages = page_names(plan.axis_values, plan.layout["pages"])
    return [f"sheets/{page}.{suffix}" for page in pages for suffix in ("png", "pdf")]


def bundle_report(plan: Plan, folder: Path) -> None:
    """Put the report and all that stands beside it into a folder that can be given away.

    `snakemake --report` takes one page in only with the whole folder around it, and a job loses its
    folder whenever it runs again, thumbnails included; so it gets a folder of links.  The pictures
    themselves are not in it: the page then shows its thumbnails in their place.
    """
    report = Path(plan.config.run_dir) / "report"
    for source in sorted(report.rglob("*")):
        destination = folder / source.relative_to(report)
        if source.name.startswith(".") or not source.is_file():
            continue
        if source.parent == report:
            # A link would date the page anew, and what is made after it would seem older.
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, destination)
        else:
            link(source, destination)


def _remove_stale_sheets(plan: Plan) -> None:
    """Remove the sheets of an earlier layout, which nothing would ever draw again."""
    pages = page_names(plan.axis_values, plan.layout["pages"])
    if plan.config.refine is not None:
        pages = [*pages, FOLDER]
    for path in (Path(plan.config.run_dir) / "sheets").glob("*.*"):
        if path.name.startswith("."):
            continue  # another job is writing it
        if re.sub(r"(\.part\d+)?\.(png|pdf)$", "", path.name) not in pages:
            path.unlink()


def sources(plan: Plan) -> dict[str, dict[str, list[Path]]]:
    """The prepared pictures of every content and style, for the heads of rows and columns."""
    run = Path(plan.config.run_dir)
    largest = list(plan.sizes)[-1]
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
