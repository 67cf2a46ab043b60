"""Sheets of any run: random names up to sixty letters, random axes on all sides, cells in any state."""

from __future__ import annotations

import itertools
from typing import Any

import hypothesis.strategies as st
import pandas as pd
from hypothesis import given
from placed import check, check_limits, table

from nstcore.contact_sheet.axes import SheetSpec, shown
from nstcore.contact_sheet.layout import plan_pages
from nstcore.contact_sheet.page import legible
from nstcore.plan.values import display_text

LETTERS = "abcdefghijklmnopqrstuvwxyzABCMWXYZ0123456789._-,=+ äő日\u00a0"
NAMES = st.text(LETTERS, min_size=1, max_size=60).map(lambda name: f"x{name[1:]}")
LONG = st.text(LETTERS, min_size=60, max_size=60).map(lambda name: f"x{name[1:]}")
NUMBERS = st.one_of(st.integers(0, 10**6), st.floats(1e-6, 1e6))
SHAPES = st.tuples(st.integers(16, 4000), st.integers(16, 4000))
STATES = st.sampled_from(["ok", "ok", "ok", "diverged", "failed", "missing"])


def several(draw: st.DrawFn, entries: st.SearchStrategy[Any], most: int) -> list[Any]:
    unlike = st.lists(
        entries, min_size=1, max_size=most, unique_by=lambda value: display_text("any", value)
    )
    return draw(unlike)


@st.composite
def runs(draw: st.DrawFn) -> tuple[pd.DataFrame, SheetSpec, dict[Any, Any]]:
    """The table of a run, what its sheets shall show, and the sizes of its source pictures."""
    names = draw(st.sampled_from([NAMES, LONG]))
    axes: dict[str, list[Any]] = {
        "style": several(draw, names, 4),
        "content": several(draw, names, 3),
        "seed": list(range(draw(st.integers(1, 2)))),
    }
    own = [f"{axis}{number}" for number, axis in enumerate(draw(st.lists(names, max_size=2)))]
    for axis in own:
        axes[axis] = several(draw, draw(st.sampled_from([names, NUMBERS])), 3)
    shapes = [draw(SHAPES) for _ in axes["content"]]
    cells = []
    for values in itertools.product(*axes.values()):
        cell = dict(zip(axes, values, strict=True))
        width, height = shapes[axes["content"].index(cell["content"])]
        state = draw(STATES)
        reason = None if state == "ok" else draw(st.text(LETTERS, max_size=200))
        cells.append({**cell, "status": state, "reason": reason, "width": width, "height": height})
    kept = [cell for cell in cells if draw(st.integers(0, 9))] or cells
    order = draw(st.permutations(list(axes)))
    cuts = sorted(draw(st.integers(0, len(order))) for _ in range(3))
    places = [order[start:stop] for start, stop in itertools.pairwise([0, *cuts])]
    titles = {
        axis: {display_text(axis, value): draw(st.text(LETTERS, min_size=1, max_size=60))}
        for axis in own
        for value in axes[axis][:1]
    }
    spec = SheetSpec(
        draw(st.text(max_size=200)),
        *places,
        thumb=draw(st.sampled_from([32, 64, 100, 256, 900])),
        max_side=draw(st.sampled_from([12_000, 12_000, 3000, 1500])),
        fixed={draw(names): draw(st.text(max_size=300))},
        titles=titles,
    )
    sizes = {
        (axis, value): draw(SHAPES)
        for axis in ("style", "content")
        for value in axes[axis]
        if draw(st.booleans())
    }
    return table(kept, own), spec, sizes


@given(runs())
def test_nothing_overlaps_and_nothing_leaves_its_page(
    run: tuple[pd.DataFrame, SheetSpec, dict[Any, Any]],
) -> None:
    metrics, spec, sizes = run
    pages = plan_pages(metrics, spec, sizes=sizes)
    for page in pages:
        check_limits(page)
        for part in page.parts:
            check(part)


@given(runs())
def test_every_cell_stands_once_under_its_whole_name(
    run: tuple[pd.DataFrame, SheetSpec, dict[Any, Any]],
) -> None:
    metrics, spec, sizes = run
    pages = plan_pages(metrics, spec, sizes=sizes)
    parts = [part for page in pages for part in page.parts]
    states = [cell.status for part in parts for cell in part.cells if cell.status != "empty"]
    assert sorted(states) == sorted(metrics["status"])
    if spec.max_side < 12_000:
        return  # on so small a page the longest names end in an ellipsis
    for part in parts:
        for head in part.headers:
            name = "".join(head.labels[-1].lines)
            whole = legible(shown(spec.titles, head.axis, head.value))
            assert name.replace(" ", "") == whole.replace(" ", "")
