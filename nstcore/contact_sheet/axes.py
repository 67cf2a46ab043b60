"""Which cell goes where: names of pages, titles of values, and the cells' pages, rows and columns.

The workflow asks for the names of pages whenever it is read, so this imports nothing heavy.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nstcore.errors import UserError, did_you_mean
from nstcore.plan.values import display_text

if TYPE_CHECKING:
    import pandas as pd

_LONGEST_NAME = 100

Titles = Mapping[str, Mapping[str, str]]
"""Axis -> value as text -> what people see instead."""


def shown(titles: Titles, axis: str, value: str) -> str:
    """What people see of a value."""
    return titles.get(axis, {}).get(value, value)


def page_names(values: Mapping[str, Sequence[Any]], pages: Sequence[str]) -> list[str]:
    """The names of all pages, from the plan alone.

    Args:
        values: the values of each axis (style, content, seed and the sweep axes), in order.
        pages: the axes that make pages.

    Returns:
        One name for each combination such as ``"size=256,style=night"``, safe as a file name, or
        ``["all"]`` without page axes.

    Raises:
        UserError: a page axis is none of the axes.
    """
    check_axes(pages, list(values))
    texts = [dict.fromkeys(display_text(axis, value) for value in values[axis]) for axis in pages]
    return [page_name(dict(zip(pages, key, strict=True))) for key in itertools.product(*texts)]


def page_name(values: Mapping[str, str]) -> str:
    """The name of the page with these values of the page axes."""
    wanted = ",".join(f"{axis}={value}" for axis, value in values.items()) or "all"
    safe = re.sub(r"[^A-Za-z0-9._=,+-]", "_", wanted)
    if safe == wanted and len(safe) <= _LONGEST_NAME:
        return safe
    return f"{safe[: _LONGEST_NAME - 9]}-{hashlib.sha256(wanted.encode()).hexdigest()[:8]}"


def check_axes(wanted: Sequence[str], known: Sequence[str]) -> None:
    """Refuse an axis that does not exist or that is asked for twice.

    Raises:
        UserError: with the name that was probably meant.
    """
    for number, axis in enumerate(wanted):
        if axis not in known:
            meant = did_you_mean(axis, known)
            raise UserError(f"report: `{axis}` is no axis of this run; {meant}")
        if axis in wanted[:number]:
            raise UserError(f"report: the axis `{axis}` is asked for twice")


# --- Pages, rows and columns ---

Key = tuple[str, ...]


@dataclass(frozen=True)
class SheetSpec:
    """What a contact sheet shows.

    Attributes:
        title: printed at the head of each page; any text.
        rows: axes that run down, outermost first.
        cols: axes that run across, outermost first.
        pages: axes with one page for each combination of their values.
        thumb: longest side of a cell's image in pixels, unless the page would grow too large.
        max_side: longest side that a page may have, in pixels.
        fixed: settings that are the same for all cells, for the legend.
        titles: what is shown in place of values.
    """

    title: str
    rows: Sequence[str] = ("content",)
    cols: Sequence[str] = ("style",)
    pages: Sequence[str] = ()
    thumb: int = 256
    max_side: int = 12_000
    fixed: Mapping[str, Any] = field(default_factory=dict)
    titles: Titles = field(default_factory=dict)


@dataclass(frozen=True)
class Arrangement:
    """The cells of one page.

    Attributes:
        name: the page's name, safe for a file.
        values: the page axes and this page's values of them.
        cols: axes that run across, with those that the specification left out.
        row_keys, col_keys: one tuple of values a row and a column, in order.
        places: row and column key to the position of the cell in the metrics.
    """

    name: str
    values: Mapping[str, str]
    cols: tuple[str, ...]
    row_keys: tuple[Key, ...]
    col_keys: tuple[Key, ...]
    places: Mapping[tuple[Key, Key], int]


def axis_texts(metrics: pd.DataFrame) -> dict[str, list[str]]:
    """Axis -> its value as text for every cell."""
    from nstcore.results.tables import sweep_axes  # imports pandas

    return {
        axis: [display_text(axis, value) for value in metrics[axis].tolist()]
        for axis in ("style", "content", *sweep_axes(metrics), "seed")
    }


def axis_values(
    texts: Mapping[str, Sequence[str]], first: Mapping[str, Sequence[Any]] | None = None
) -> dict[str, list[str]]:
    """Axis -> its different values as text: those of ``first``, then what else the grid brings."""
    wanted = {axis: [display_text(axis, v) for v in found] for axis, found in (first or {}).items()}
    return {axis: list(dict.fromkeys([*wanted.get(axis, []), *own])) for axis, own in texts.items()}


def arrange(
    metrics: pd.DataFrame, spec: SheetSpec, values: Mapping[str, Sequence[Any]] | None = None
) -> list[Arrangement]:
    """Deal the cells out to pages, rows and columns.

    Axes that the specification leaves out and that distinguish cells of one place are appended to
    the columns.  Rows and columns that hold no cell of a page are left out of that page.

    Args:
        metrics: the table of cells.
        spec: the axes wanted.
        values: the values of the axes in the order to show (default: in the grid's order).

    Raises:
        UserError: an axis of ``spec`` does not exist or appears twice.
    """
    texts = axis_texts(metrics)
    used = [*spec.rows, *spec.cols, *spec.pages]
    check_axes(used, list(texts))
    cols = (*spec.cols, *_leftover(texts, used, len(metrics)))
    order = axis_values(texts, values)
    rank = {axis: {v: n for n, v in enumerate(entries)} for axis, entries in order.items()}

    def in_order(axes: Sequence[str], found: set[Key]) -> tuple[Key, ...]:
        return tuple(
            sorted(found, key=lambda key: [rank[a][v] for a, v in zip(axes, key, strict=True)])
        )

    in_row, in_col, in_page = (
        _keys(texts, axes, len(metrics)) for axes in (spec.rows, cols, spec.pages)
    )
    members: dict[Key, list[int]] = {}
    for position, key in enumerate(in_page):
        members.setdefault(key, []).append(position)
    result = []
    for page in itertools.product(*(order[axis] for axis in spec.pages)):
        here = members.get(page, [])
        page_values = dict(zip(spec.pages, page, strict=True))
        rows = in_order(spec.rows, {in_row[n] for n in here})
        columns = in_order(cols, {in_col[n] for n in here})
        places = {(in_row[n], in_col[n]): n for n in here}
        name = page_name(page_values)
        result.append(Arrangement(name, page_values, cols, rows, columns, places))
    return result


def _keys(texts: Mapping[str, Sequence[str]], axes: Sequence[str], count: int) -> list[Key]:
    """The values of some axes together, for each of ``count`` cells."""
    return list(zip(*(texts[axis] for axis in axes), strict=True)) or [()] * count


def _leftover(texts: Mapping[str, Sequence[str]], used: Sequence[str], count: int) -> list[str]:
    added: list[str] = []
    for axis in texts:
        held: dict[Key, str] = {}
        places = _keys(texts, [*used, *added], count)
        # An axis in use is part of the place, which then has one value of it.
        if any(held.setdefault(p, v) != v for p, v in zip(places, texts[axis], strict=True)):
            added.append(axis)
    return added


def groups(keys: Sequence[Key], level: int) -> list[tuple[int, int]]:
    """Runs ``(start, stop)`` of neighbouring keys that agree up to and including ``level``."""
    starts = [
        n for n, key in enumerate(keys) if not n or key[: level + 1] != keys[n - 1][: level + 1]
    ]
    return list(itertools.pairwise([*starts, len(keys)]))
