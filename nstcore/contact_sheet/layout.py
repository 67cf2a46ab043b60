"""The plan of a contact sheet: where each header, label and cell goes.

Of images only the sizes are read, and nothing is drawn.  Every label is wrapped to the width that it
has, and every row and column is made as tall as its labels need, so that no text can overlap another
or be cut.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from nstcore.contact_sheet.axes import (
    Arrangement,
    Key,
    SheetSpec,
    arrange,
    axis_texts,
    axis_values,
    groups,
    shown,
)
from nstcore.contact_sheet.headers import (
    Dimensions,
    HeaderBuilder,
    Sizes,
    fit_within,
    positions,
)
from nstcore.contact_sheet.page import (
    Box,
    Page,
    Part,
    SheetCell,
    Text,
    line_height,
    text_at,
)
from nstcore.errors import ImageError
from nstcore.images.reading import upright_size
from nstcore.plan.values import display_text, format_count

SMALLEST_THUMB = 64
"""Where a page still is too large with images of this size, it is split."""

MAX_AREA = 80_000_000
"""Pixels of a page: just below where Pillow warns of a decompression bomb."""

_NARROWEST = 560
_NARROWEST_COLUMN = 4  # of the widest letters


@dataclass(frozen=True)
class _Sheet:
    """What all parts of one page share."""

    spec: SheetSpec
    arrangement: Arrangement
    cells: Mapping[tuple[Key, Key], Mapping[str, Any]]
    sizes: Sizes
    legend: Sequence[str]


def plan_pages(
    metrics: pd.DataFrame,
    spec: SheetSpec,
    *,
    sizes: Sizes | None = None,
    values: Mapping[str, Sequence[Any]] | None = None,
    only: str | None = None,
) -> list[Page]:
    """Plan every sheet of a run.

    Args:
        metrics: one row a cell, as `nstcore.results.tables.collect` gives it.
        spec: what goes where.
        sizes: sizes of the source images (see `source_sizes`); 4 x 3 where unknown.
        values: the values of the axes, in the order to show (default: in the grid's order).
        only: the name of the one page to plan (default: all).

    Returns:
        One page for each combination of the page axes' values, named as `page_names` has it; a
        combination without cells gives a page that says so.

    Raises:
        UserError: an axis does not exist or appears twice.
    """
    names = ["status", "reason", "image", "width", "height", "content"]
    table = metrics[names].astype(object).where(metrics[names].notna(), None)
    rows = [dict(zip(names, row, strict=True)) for row in table.to_numpy().tolist()]
    pages = []
    for arrangement in arrange(metrics, spec, values):
        if only not in (None, arrangement.name):
            continue
        cells = {place: rows[n] for place, n in arrangement.places.items()}
        legend = _legend(metrics, spec, arrangement)
        pages.append(_fit(_Sheet(spec, arrangement, cells, sizes or {}, legend)))
    return pages


def _legend(metrics: pd.DataFrame, spec: SheetSpec, arrangement: Arrangement) -> list[str]:
    here = metrics.iloc[sorted(arrangement.places.values())]
    statuses = Counter(here["status"].tolist())
    what = [f"Run {run}" for run in metrics["run"].dropna().tolist()[:1]]
    what.append(format_count(len(here), "cell"))
    what += [f"{statuses[s]} {s}" for s in ("diverged", "failed", "missing") if statuses[s]]
    same = {name: display_text(name, value) for name, value in spec.fixed.items()}
    for axis, found in axis_values(axis_texts(here)).items():
        same.pop(axis, None)
        if len(found) == 1 and axis not in (*spec.rows, *arrangement.cols, *spec.pages):
            same[axis] = found[0]
    pairs = ", ".join(f"{name} {shown(spec.titles, name, value)}" for name, value in same.items())
    full = len(arrangement.row_keys) * len(arrangement.col_keys)
    explained = {
        "Pale red: no picture, and why": statuses["failed"] + statuses["missing"],
        "diverged: the last good state of a picture that went wrong": statuses["diverged"],
        "Pale grey: not in the grid": full - len(here),
    }
    lines = [
        " · ".join(what),
        pairs and f"The same for all cells: {pairs}",
        " · ".join(text for text, count in explained.items() if count),
    ]
    return [line for line in lines if line]


def _fit(sheet: _Sheet) -> Page:
    """Shrink the images until the page fits; at the smallest size split it instead."""
    limit, thumb = sheet.spec.max_side, sheet.spec.thumb
    rows, cols = sheet.arrangement.row_keys, sheet.arrangement.col_keys
    floor = min(SMALLEST_THUMB, thumb)
    part = _lay_out(sheet, rows, cols, thumb, "")
    while thumb > floor and not _fits(part, limit):
        too_large = math.sqrt(part.width * part.height / MAX_AREA)
        excess = max(part.width / limit, part.height / limit, too_large)
        thumb = max(floor, min(thumb - 1, round(thumb / excess)))
        part = _lay_out(sheet, rows, cols, thumb, "")
    parts = [part]
    if not _fits(part, limit):
        pieces = _split(sheet, rows, cols, thumb)
        parts = [
            _lay_out(sheet, *piece, thumb, f"part {number} of {len(pieces)}")
            for number, piece in enumerate(pieces, start=1)
        ]
    title = " · ".join([sheet.spec.title, *_page_values(sheet)])
    return Page(sheet.arrangement.name, title, thumb, limit, tuple(parts))


def _fits(part: Part, limit: int) -> bool:
    return max(part.width, part.height) <= limit and part.width * part.height <= MAX_AREA


Piece = tuple[tuple[Key, ...], tuple[Key, ...]]


def _split(sheet: _Sheet, rows: tuple[Key, ...], cols: tuple[Key, ...], thumb: int) -> list[Piece]:
    part = _lay_out(sheet, rows, cols, thumb, "part 88888 of 88888")
    limit = sheet.spec.max_side
    if _fits(part, limit) or (len(rows) <= 1 and len(cols) <= 1):
        return [(rows, cols)]
    wide, tall = part.width / limit, part.height / limit
    if max(wide, tall) <= 1:  # only the area is too large: halve the longer side
        wide, tall = (1.5, 1.0) if part.width >= part.height else (1.0, 1.5)
    across = (wide >= tall and len(cols) > 1) or len(rows) <= 1
    keys = cols if across else rows
    count = min(len(keys), max(2, math.ceil(wide if across else tall)))
    bounds = [len(keys) * n // count for n in range(count + 1)]
    pieces = []
    for start, stop in itertools.pairwise(bounds):
        some = keys[start:stop]
        pieces.extend(_split(sheet, *((rows, some) if across else (some, cols)), thumb))
    return pieces


def _page_values(sheet: _Sheet) -> list[str]:
    """The values of the page's own axes."""
    titles = sheet.spec.titles
    return [f"{axis} {shown(titles, axis, v)}" for axis, v in sheet.arrangement.values.items()]


def _lay_out(
    sheet: _Sheet, rows: Sequence[Key], cols: Sequence[Key], thumb: int, part: str
) -> Part:
    """Lay out the cells at ``rows`` × ``cols``, with all headers, the title and the legend."""
    row_axes, col_axes = sheet.spec.rows, sheet.arrangement.cols
    # With the headers of all levels a third of the page, title and legend still have room.
    tallest = sheet.spec.max_side // (3 * max(1, len(col_axes)))
    m = Dimensions.of(thumb, max(len(rows), len(cols)), tallest)
    builder = HeaderBuilder(m, sheet.sizes, sheet.spec.titles)
    side = builder.side_widths(row_axes, rows)
    left = m.margin + sum(side) + len(side) * m.gap + (m.gap if side else 0)
    widths, heights = _cell_sizes(sheet, rows, cols, m)
    lefts, right = positions(widths, cols, left, m)
    width = max(right + m.margin, _NARROWEST)

    texts, top = _masthead(sheet, part, width, m)
    if not sheet.cells:
        none = "No cell of this run belongs on this page."
        texts.append(text_at(m.margin, top, width - 2 * m.margin, none, m.label, "muted"))
        legend, rule, height = _footer(sheet, texts[-1].box.bottom, width, m)
        return Part(width, height, (*texts, *legend), (), (), (rule,))

    headers, rules, y = builder.columns(col_axes, cols, lefts, widths, top)
    texts += builder.column_titles(headers, left, width - m.margin - left)
    titles, y = builder.side_titles(row_axes, side, top, y)
    texts += titles
    if headers or titles:
        rules.append(Box(m.margin, y, right - m.margin, 1))
        y += m.gap + 1
    beside, tops, heights, y = builder.rows(row_axes, rows, side, heights, y)
    headers += beside
    for start, _ in groups(rows, 0)[1:] if len(row_axes) > 1 else []:
        rules.append(Box(m.margin, tops[start] - m.group_gap // 2, right - m.margin, 1))
    cells = [
        _cell(sheet, row, col, Box(lefts[j], tops[i], widths[j], heights[i]), m)
        for i, row in enumerate(rows)
        for j, col in enumerate(cols)
    ]
    legend, rule, height = _footer(sheet, y, width, m)
    thick = max(1, width // 2000)
    lines = tuple(Box(line.x, line.y, line.width, thick) for line in (*rules, rule))
    return Part(width, height, (*texts, *legend), tuple(headers), tuple(cells), lines)


def _cell_sizes(
    sheet: _Sheet, rows: Sequence[Key], cols: Sequence[Key], m: Dimensions
) -> tuple[list[int], list[int]]:
    """Width of each column and height of each row: those of their largest image, or of a word."""
    widths = [max(round(m.thumb * 0.6), _NARROWEST_COLUMN * m.label)] * len(cols)
    heights = [max(round(m.thumb * 0.3), line_height(m.small) + 2 * m.gap)] * len(rows)
    for (i, row), (j, col) in itertools.product(enumerate(rows), enumerate(cols)):
        cell = sheet.cells.get((row, col))
        if cell is None:
            continue
        size = sheet.sizes.get(("content", str(cell["content"])), (4, 3))
        if cell["width"] and cell["height"]:
            size = (int(cell["width"]), int(cell["height"]))
        width, height = fit_within(size, m.thumb, m.thumb)
        widths[j], heights[i] = max(widths[j], width), max(heights[i], height)
    return widths, heights


def _cell(sheet: _Sheet, row: Key, col: Key, box: Box, m: Dimensions) -> SheetCell:
    cell = sheet.cells.get((row, col))
    if cell is None:
        return SheetCell(box, "empty", None)
    status, pad, size = str(cell["status"]), m.gap, m.small
    line = line_height(size)
    inner = max(1, box.width - 2 * pad)
    if status == "ok" or (status == "diverged" and cell["width"]):
        if status == "ok" or inner < 3 * size:
            return SheetCell(box, status, str(cell["image"]))
        note = text_at(box.x + pad, box.bottom - pad - line, inner, status, size, "alert", limit=1)
        return SheetCell(box, status, str(cell["image"]), (note,))
    notes: list[Text] = []
    x, y = box.x + pad, box.y + pad
    room = (box.height - 2 * pad) // line if inner >= 3 * size else 0  # lines
    if room >= 1:
        notes.append(text_at(x, y, inner, status, size, "alert", limit=1))
    if cell["reason"] and room >= 2:
        reason = str(cell["reason"])
        notes.append(text_at(x, y + line, inner, reason, size, "muted", limit=room - 1))
    return SheetCell(box, status, None, tuple(notes))


def _masthead(sheet: _Sheet, part: str, width: int, m: Dimensions) -> tuple[list[Text], int]:
    room = width - 2 * m.margin
    size = min(120, max(22, round(width / 46)))
    texts = [text_at(m.margin, m.margin, room, sheet.spec.title, size, limit=4)]
    y = texts[0].box.bottom
    subtitle = " · ".join([*_page_values(sheet), *([part] if part else [])])
    if subtitle:
        smaller = max(13, round(size * 0.55))
        texts.append(text_at(m.margin, y, room, subtitle, smaller, limit=5))
        y = texts[-1].box.bottom
    return texts, y + max(m.gap, size // 2)


def _footer(sheet: _Sheet, y: int, width: int, m: Dimensions) -> tuple[list[Text], Box, int]:
    """The legend below ``y``, the rule above it, and the height that the page has with it."""
    room = width - 2 * m.margin
    size = min(40, max(12, round(width / 130)))
    y += max(m.margin // 2, size)
    rule = Box(m.margin, y, room, 1)
    y += size
    texts = []
    most = max(2, min(20, sheet.spec.max_side // (8 * line_height(size))))
    for entry in sheet.legend:
        texts.append(text_at(m.margin, y, room, entry, size, "muted", limit=most))
        y = texts[-1].box.bottom
    return texts, rule, y + m.margin * 2 // 3


# --- Source images ---

Sources = Mapping[str, Mapping[str, Sequence[Path]]]
"""The images of each style and content, several for a blend: axis, then id."""


def source_sizes(sources: Sources) -> dict[tuple[str, str], tuple[int, int]]:
    """Width and height of all source images that can be read, by axis and id."""
    sizes: dict[tuple[str, str], tuple[int, int]] = {}
    for axis, images in sources.items():
        for name, source in images.items():
            with suppress(ImageError):
                sizes[axis, name] = upright_size(source[0])
    return sizes
