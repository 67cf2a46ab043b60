"""Titles of values and names of pages.

This works on the plan alone, so that the names of the sheets are known before a single cell
exists, and imports nothing heavy, since the workflow asks for them whenever it is read.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from nstcore.errors import UserError
from nstcore.plan.values import display_text

_LONGEST_NAME = 100


Titles = Mapping[str, Mapping[str, str]]
"""Axis -> value as text -> what people see in its place."""


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
            close = difflib.get_close_matches(axis, known, n=1)
            meant = f"; did you mean {close[0]!r}?" if close else f": one of {', '.join(known)}"
            raise UserError(f"report: {axis!r} is no axis of this run{meant}")
        if axis in wanted[:number]:
            raise UserError(f"report: the axis {axis!r} is asked for twice")
