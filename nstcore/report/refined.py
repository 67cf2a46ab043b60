"""Refined cells in a table and on a sheet, beside the small ones that they started from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from nstcore.contact_sheet import SheetSpec, plan_pages, render_page, source_sizes
from nstcore.jobs.prepare import write_grid
from nstcore.plan.plan import Plan
from nstcore.plan.refine import FOLDER
from nstcore.report.stages import sources
from nstcore.results.select_refined import promoted
from nstcore.results.tables import collect, read_table, write_metrics

SHOWN = ("run", "style", "content", "setting", "seed")
STATE = ("key", "status", "reason", "image", "width", "height")
"""Columns that a sheet looks at; its axes stand between the two."""


def make_refined_table(plan: Plan) -> None:
    """Write the metrics of the refined cells as ``refined.csv`` and ``refined.parquet``."""
    run = Path(plan.config.run_dir)
    grid = run / FOLDER / "grid.tsv"
    write_grid(plan, grid, [refined for _, refined in promoted(plan)])
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
        # Larger than on the other sheets: what is finer shall be seen.
        thumb=min(2048, 2 * report.thumbnail),
        run=plan.config.run,
    )
    pairs = side_by_side(
        plan, read_table(run / "metrics.parquet"), read_table(run / f"{FOLDER}.parquet")
    )
    pictures = sources(plan)
    (page,) = plan_pages(pairs, spec, sizes=source_sizes(pictures))
    sheet = run / "sheets" / FOLDER
    render_page(page, run, pictures, png=sheet.with_suffix(".png"), pdf=sheet.with_suffix(".pdf"))


def side_by_side(plan: Plan, small: pd.DataFrame, refined: pd.DataFrame) -> pd.DataFrame:
    """One row for each picture of the sheet, in the order of choice."""
    states = {
        image: row
        for table in (small, refined)
        for image, row in zip(
            table["image"].tolist(), table[[*SHOWN, *STATE]].to_dict("records"), strict=True
        )
    }
    rows: list[dict[str, Any]] = []
    for pair in promoted(plan):
        for label, cell in zip(("small", "refined"), pair, strict=True):
            row = states[cell.image]
            first = {name: row[name] for name in SHOWN}
            axes = {"cell": cell.point.stem, "picture": label}
            rows.append({**first, **axes, **{name: row[name] for name in STATE}})
    columns = [*SHOWN, "cell", "picture", *STATE]
    return pd.DataFrame(rows, columns=columns, dtype=object)
