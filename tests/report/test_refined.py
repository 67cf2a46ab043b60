"""Chosen cells stand on their sheet small and refined side by side, failed ones with their reason."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pypdf import PdfReader

from nstcore.config.loader import parse_config
from nstcore.jobs.workflow_files import selected_cells
from nstcore.plan.plan import Cell, Plan
from nstcore.report.outputs import make_refined_sheet, side_by_side
from nstcore.results.select_refined import write_selection

SMALL, LARGE = "#c03020", "#2040c0"


def row_of(cell: Cell, size: tuple[int, int] | None, losses: tuple[float, float]) -> dict[str, Any]:
    width, height = size or (None, None)
    return {
        "run": "run",
        "style": cell.style,
        "content": cell.content,
        "setting": cell.point.name,
        "seed": cell.point.seed,
        "style_weight": cell.point.values["style_weight"],
        "key": "",
        "status": "ok" if size else "failed",
        "reason": None if size else "no memory",
        "content_loss": losses[0],
        "style_loss": losses[1],
        "width": width,
        "height": height,
        "image": cell.image,
    }


def draw(path: Path, size: tuple[int, int], color: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A finished grid of two contents; of one the refined cell failed."""
    for name in ("tall", "wide", "paint"):
        draw(tmp_path / f"{name}.png", (40, 30), "#808080")
    plan = Plan(
        parse_config(
            {
                "contents": {name: str(tmp_path / f"{name}.png") for name in ("tall", "wide")},
                "styles": {"paint": str(tmp_path / "paint.png")},
                "results": str(tmp_path / "results"),
                "settings": {"size": 40},
                "sweep": {"axes": {"style_weight": [1, 10]}},
                "report": {"thumbnail": 100},
                "refine": {"count": 1, "settings": {"size": 160}},
            }
        )
    )
    run = Path(plan.config.run_dir)
    rows = []
    for cell in plan.cells():
        draw(run / cell.image, (40, 30), SMALL)
        better = cell.point.values["style_weight"] == 10
        rows.append(row_of(cell, (40, 30), (0.1, 0.1) if better else (0.2, 0.2)))
    pd.DataFrame(rows).to_parquet(run / "metrics.parquet")
    write_selection(plan)
    again = [refined for _, refined in selected_cells(plan)]
    assert [cell.content for cell in again] == ["tall", "wide"]
    draw(run / again[0].image, (160, 120), LARGE)
    table = [
        row_of(again[0], (160, 120), (0.1, 0.1)),
        row_of(again[1], None, (math.nan, math.nan)),
    ]
    pd.DataFrame(table).to_parquet(run / "refined.parquet")
    return plan


def test_each_row_is_a_chosen_cell(plan: Plan) -> None:
    run = Path(plan.config.run_dir)
    tables = [pd.read_parquet(run / name) for name in ("metrics.parquet", "refined.parquet")]
    rows = side_by_side(plan, *tables)
    assert rows[["content", "cell", "picture", "status"]].to_numpy().tolist() == [
        ["tall", "style_weight=10", "small", "ok"],
        ["tall", "style_weight=10", "refined", "ok"],
        ["wide", "style_weight=10", "small", "ok"],
        ["wide", "style_weight=10", "refined", "failed"],
    ]


def test_the_sheet_shows_both(plan: Plan) -> None:
    make_refined_sheet(plan)
    sheets = Path(plan.config.run_dir) / "sheets"
    with Image.open(sheets / "refined.png") as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    # Both at the same size, twice the thumbnails' of the other sheets; the small one twice.
    areas = {
        color: int(
            (pixels == np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])).all(1).sum()
        )
        for color in (SMALL, LARGE)
    }
    assert areas[LARGE] == pytest.approx(200 * 150, rel=0.01)
    assert areas[SMALL] == pytest.approx(2 * 200 * 150, rel=0.01)
    words = PdfReader(sheets / "refined.pdf").pages[0].extract_text()
    for word in ("small", "refined", "style_weight=10", "failed", "no memory"):
        assert word in words


def test_a_grid_of_which_nothing_was_chosen(plan: Plan) -> None:
    run = Path(plan.config.run_dir)
    for name in ("metrics", "refined"):
        table = pd.read_parquet(run / f"{name}.parquet")
        table["status"] = "failed"
        (table if name == "metrics" else table.head(0)).to_parquet(run / f"{name}.parquet")
    write_selection(plan)
    assert selected_cells(plan) == []
    make_refined_sheet(plan)
    assert (run / "sheets" / "refined.png").stat().st_size > 0
