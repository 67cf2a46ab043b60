"""What must hold of every planned page, whatever stands on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from nstcore.contact_sheet.layout import MAX_AREA
from nstcore.contact_sheet.page import Box, Page, Part, Text, line_height, text_width


def texts_of(part: Part) -> list[Text]:
    in_headers = [label for head in part.headers for label in head.labels]
    in_cells = [note for cell in part.cells for note in cell.notes]
    return [*part.texts, *in_headers, *in_cells]


def overlapping(boxes: Sequence[Box], others: Sequence[Box] | None = None) -> list[Any]:
    """Pairs of boxes that share a pixel, of one list or of two."""
    within = others is None
    others = boxes if others is None else others
    if not boxes or not others:
        return []
    one, two = (
        np.array([(b.x, b.y, b.x + b.width, b.bottom) for b in entries]).T
        for entries in (boxes, others)
    )
    shared = (one[0][:, None] < two[2]) & (two[0] < one[2][:, None])
    shared &= (one[1][:, None] < two[3]) & (two[1] < one[3][:, None])
    if within:
        shared = np.triu(shared, 1)
    return [(boxes[i], others[j]) for i, j in np.argwhere(shared)]


def inside(box: Box, other: Box) -> bool:
    """Whether no pixel of a box lies outside the other."""
    return (
        other.x <= box.x
        and other.y <= box.y
        and box.x + box.width <= other.x + other.width
        and box.bottom <= other.bottom
    )


def check(part: Part) -> None:
    """Everything lies on the page; no text is wider than its room; no two things share a pixel."""
    page = Box(0, 0, part.width, part.height)
    for text in texts_of(part):
        assert text.lines
        assert inside(text.box, page), text
        assert text.box.height >= len(text.lines) * line_height(text.size)
        assert max(text_width(line, text.size) for line in text.lines) <= text.box.width
    images = [head.image for head in part.headers if head.image]
    cells = [cell.box for cell in part.cells]
    for head in part.headers:
        assert inside(head.span, page)
        for box in (head.image, *(label.box for label in head.labels)):
            assert box is None or inside(box, head.span), head
    for cell in part.cells:
        assert inside(cell.box, page)
        assert all(inside(note.box, cell.box) for note in cell.notes)
        assert not overlapping([note.box for note in cell.notes])
    outside = [t.box for t in part.texts] + [b.box for h in part.headers for b in h.labels]
    placed = [*outside, *images, *cells]
    assert not overlapping(placed)
    assert all(inside(rule, page) for rule in part.rules)
    assert not overlapping(part.rules, placed)


def check_limits(page: Page) -> None:
    """Every part can be opened by what people open images with."""
    for part in page.parts:
        assert max(part.width, part.height) <= page.max_side
        assert part.width * part.height <= MAX_AREA


def table(cells: Sequence[dict[str, Any]], axes: Sequence[str] = ()) -> pd.DataFrame:
    """The metrics as far as sheets look at them; what a cell does not say is as usual."""
    usual = {"run": "demo", "setting": "default", "seed": 0, "key": "0", "status": "ok"}
    more = {"reason": None, "width": 400, "height": 300, "image": "cells/x.png"}
    columns = ["run", "style", "content", "setting", "seed", *axes, "key", "status", *more]
    rows = [{**usual, **more, **cell} for cell in cells]
    return pd.DataFrame(rows, columns=columns, dtype=object)
