"""Contact sheets have the sizes that were told before there was a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from nstcore.config.loader import parse_config
from nstcore.contact_sheet.render import write_sheets
from nstcore.images import fit_size
from nstcore.plan.plan import Plan
from nstcore.report.outputs import SheetForecast, forecast_sheets, sheet_spec, sheet_warnings
from nstcore.resources.estimate import InputSizes


def make_plan(folder: Path, **values: Any) -> Plan:
    sizes = {"tall": (30, 48), "wide": (64, 20), "paint": (40, 40)}
    for name, size in sizes.items():
        Image.new("RGB", size, "#88aacc").save(folder / f"{name}.png")
    raw = {
        "contents": {name: str(folder / f"{name}.png") for name in ("tall", "wide")},
        "styles": {"paint": str(folder / "paint.png")},
        "results": str(folder / "results"),
        "settings": {"size": 64},
        "sweep": {"axes": {"style_weight": [1, 10], "pooling": ["max", "avg"]}},
        "report": {"thumbnail": 64},
        **values,
    }
    return Plan(parse_config(raw))


@pytest.mark.parametrize("pages", [[], ["content"], ["style_weight", "pooling"]])
def test_sheets_come_out_as_they_were_foretold(tmp_path: Path, pages: list[str]) -> None:
    plan = make_plan(tmp_path, report={"thumbnail": 64, "pages": pages})
    sizes = InputSizes.of(plan)
    told = {sheet.name: sheet for sheet in forecast_sheets(plan, sizes)}
    rows = []
    for cell in plan.cells():
        size = fit_size(sizes.contents[cell.content], 64)
        path = tmp_path / "results" / "run" / cell.image
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        rows.append(
            {
                "run": "run",
                "style": cell.style,
                "content": cell.content,
                "setting": cell.point.name,
                "seed": 0,
                **cell.point.values,
                "key": "",
                "status": "ok",
                "reason": None,
                "width": size[0],
                "height": size[1],
                "image": cell.image,
            }
        )
    sources = {
        "content": {name: [tmp_path / f"{name}.png"] for name in plan.contents},
        "style": {"paint": [tmp_path / "paint.png"]},
    }
    written = write_sheets(
        pd.DataFrame(rows),
        sheet_spec(plan),
        tmp_path / "results" / "run",
        tmp_path / "sheets",
        sources=sources,
        values=plan.axis_values,
    )
    pictures = [path for path in written if path.suffix == ".png"]
    assert {path.stem for path in pictures} == set(told)
    for path in pictures:
        with Image.open(path) as image:
            assert [image.size] == list(told[path.stem].parts)
        size = path.stat().st_size + path.with_suffix(".pdf").stat().st_size
        assert size <= told[path.stem].bytes
        assert told[path.stem].fits
    assert not list(sheet_warnings(list(told.values()), 64))


def test_a_sheet_whose_pictures_must_shrink_and_one_that_comes_in_parts(tmp_path: Path) -> None:
    report = {"thumbnail": 256, "rows": ["content"]}
    for count, words in ((60, "shows them with"), (200, "parts with images of 64 px")):
        weights = [float(number) for number in range(1, count + 1)]
        plan = make_plan(tmp_path, sweep={"axes": {"style_weight": weights}}, report=report)
        (line,) = sheet_warnings(forecast_sheets(plan, InputSizes.of(plan)), 256)
        assert words in line
        assert "`report.pages`" in line
        spread = make_plan(
            tmp_path,
            sweep={"axes": {"style_weight": weights}},
            report={**report, "pages": ["style_weight"]},
        )
        assert not list(sheet_warnings(forecast_sheets(spread, InputSizes.of(spread)), 256))


def test_a_sheet_beyond_what_viewers_open(tmp_path: Path) -> None:
    # A single column cannot be split; only its heads can make it that large.
    (line,) = sheet_warnings([SheetForecast("all", 64, [(900, 13_000)], False)], 64)
    assert "900 x 13000 px, more than viewers open" in line
