"""The workflow's last stages: tables, contact sheets and report of a plan."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from nstcore.config.settings import Settings
from nstcore.grid import compared, paths
from nstcore.grid.plan import Plan
from nstcore.grid.refine import FOLDER
from nstcore.report.build import build_report
from nstcore.sheet import SheetSpec, page_names, write_sheets
from nstcore.tables import collect, read_table, write_curves, write_metrics

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


def make_sheet(plan: Plan, page: str) -> None:
    """Draw one page of the run's contact sheets, as PNG and as PDF."""
    run = Path(plan.config.run_dir)
    write_sheets(
        read_table(run / "metrics.parquet"),
        sheet_spec(plan),
        run,
        run / "sheets",
        sources=sources(plan),
        values=plan.axis_values,
        only=page,
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
    )


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
