"""The contact sheets of a run that has not begun: how many, how large, and what to say about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from nstcore.contact_sheet import plan_pages
from nstcore.contact_sheet.layout import MAX_AREA
from nstcore.contact_sheet.page import Page
from nstcore.core.pyramid import picture_size
from nstcore.plan.plan import Plan
from nstcore.report.stages import sheet_spec
from nstcore.resources.estimate import InputSizes

PAGE_BYTES = 4.0
"""Most bytes that a pixel of a sheet takes: 3 as PNG, and as PDF a JPEG of it."""


@dataclass(frozen=True)
class Sheet:
    """One contact sheet.

    Attributes:
        name: of its files.
        thumb: long side of its pictures in pixels, after any shrinking.
        parts: width and height in pixels of each part; more than one where one picture would grow
            too large.
        fits: whether programs open every part without complaint.
    """

    name: str
    thumb: int
    parts: Sequence[tuple[int, int]]
    fits: bool

    @property
    def bytes(self) -> float:
        """Most bytes of its PNG and PDF."""
        return PAGE_BYTES * sum(width * height for width, height in self.parts)


def forecast_sheets(plan: Plan, sizes: InputSizes) -> list[Sheet]:
    """The sheets as they will be drawn if every cell is made."""
    heads = {("content", content): size for content, size in sizes.contents.items()}
    heads |= {("style", style): found[0] for style, found in sizes.styles.items()}
    pages = plan_pages(_table(plan, sizes), sheet_spec(plan), sizes=heads, values=plan.axis_values)
    return [_sheet(page) for page in pages]


def _sheet(page: Page) -> Sheet:
    parts = [(part.width, part.height) for part in page.parts]
    fits = all(max(part) <= page.max_side and part[0] * part[1] <= MAX_AREA for part in parts)
    return Sheet(page.name, page.thumb, parts, fits)


def _table(plan: Plan, sizes: InputSizes) -> pd.DataFrame:
    """The metrics of the run as far as sheets look at them."""
    rows: list[dict[str, Any]] = []
    for cell in plan.cells():
        native = sizes.contents.get(cell.content)
        width, height = picture_size(native, cell.settings) if native else (None, None)
        axes = dict(cell.axes)
        rows.append(
            {
                "run": plan.config.run,
                "style": axes.pop("style"),
                "content": axes.pop("content"),
                "setting": cell.point.name,
                "seed": axes.pop("seed"),
                **axes,
                "key": "",
                "status": "ok",
                "reason": None,
                "width": width,
                "height": height,
                "image": cell.image,
            }
        )
    return pd.DataFrame(rows, dtype=object)


def sheet_warnings(sheets: Sequence[Sheet], asked: int) -> Iterator[str]:
    """One line for every sheet that is not as it was asked for.

    Args:
        sheets: of the run.
        asked: long side of the pictures that the configuration asks for.
    """
    for sheet in sheets:
        width, height = max(sheet.parts, key=lambda part: part[0] * part[1])
        if not sheet.fits:
            yield (
                f"report: the sheet {sheet.name} has {width} x {height} px, more than viewers open; "
                "shorten its labels, or lower `report.thumbnail`"
            )
        elif len(sheet.parts) > 1:
            yield (
                f"report: the sheet {sheet.name} is too large for one picture and comes in "
                f"{len(sheet.parts)} parts with pictures of {sheet.thumb} px; put an axis on "
                "`report.pages`"
            )
        elif sheet.thumb < asked:
            yield (
                f"report: the sheet {sheet.name} would be too large with pictures of {asked} px and "
                f"shows them with {sheet.thumb} px; put an axis on `report.pages`, or lower "
                "`report.thumbnail`"
            )
