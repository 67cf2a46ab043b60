"""Cells that are made again, larger, from their own results: which may be chosen, and how they differ.

Like the plan a pure function of the configuration; which cells a finished grid's losses choose is
found in :mod:`nstcore.results.select_refined`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nstcore.config.loader import resolve_settings
from nstcore.config.run import PARETO, CellRow
from nstcore.core.presets import PRESETS
from nstcore.core.settings import Settings
from nstcore.errors import ConfigError
from nstcore.plan.paths import LabelledSizes, sizes_of

if TYPE_CHECKING:
    from nstcore.plan.plan import Cell, Plan

FOLDER = "refined"
"""In a run's folder, and the name of the sheet."""

COLUMNS = ("style", "content", "setting", "seed")


def refined(plan: Plan, cell: Cell) -> Cell:
    """What a cell becomes when it is chosen.

    Its picture is the start, without new noise, and no level of the pyramid is as small as that.

    Raises:
        ConfigError: if the settings do not go together with the cell's.
    """
    assert plan.config.refine is not None
    given = plan.config.refine.settings.explicit
    base = cell.settings.model_dump()
    encoder = given.get("encoder", base["encoder"])
    if encoder != base["encoder"]:
        # A file of weights is of one encoder.
        files = plan.config.settings.weights
        base["weights"] = files.get(encoder) if isinstance(files, dict) else None
    values: dict[str, Any] = {
        **base,
        **PRESETS.get(given.get("preset", ""), {}),
        "pyramid_start": cell.settings.size + 1,
        "init": "file",
        "init_file": f"{plan.config.run_dir}/{cell.image}",
        "init_noise": 0.0,
        **{name: value for name, value in given.items() if name != "preset"},
    }
    settings = resolve_settings(values, where="refine.settings")
    if settings.size < cell.settings.size:
        raise ConfigError(
            [
                f"refine.settings.size: {settings.size} is smaller than the {cell.settings.size} of "
                f"{cell.image}; give that or more"
            ]
        )
    image = f"{FOLDER}/{cell.image.removeprefix('cells/')}"
    name = f"{FOLDER}/{cell.style}/{cell.content}/{cell.point.stem}"
    return replace(cell, settings=settings, group=FOLDER, batch=name, image=image)


def candidates(plan: Plan) -> list[Cell]:
    """Cells that may be chosen: those of the table, or all of the grid.

    Raises:
        ConfigError: for a table that cannot be read or a row that names no cell.
    """
    refine = plan.config.refine
    if refine is None:
        return []
    cells = list(plan.cells())
    if refine.choose == PARETO:
        return cells
    chosen: set[str] = set()
    problems: list[str] = []
    for where, row in _rows(refine.choose):
        named = [cell.image for cell in cells if _is_named(cell, row)]
        if not named:
            problems.append(f"{where}: {_reason(cells, row)}")
        chosen.update(named)
    if problems:
        raise ConfigError(problems)
    return [cell for cell in cells if cell.image in chosen]


def most_refined(plan: Plan) -> list[Cell]:
    """As many refined cells as there can be: which ones the front will choose is not known yet."""
    refine = plan.config.refine
    if refine is None:
        return []
    taken: dict[tuple[str, str], int] = {}
    found: list[Cell] = []
    for cell in plan.refinable:
        pair = (cell.style, cell.content)
        taken[pair] = taken.get(pair, 0) + 1
        if refine.choose != PARETO or taken[pair] <= refine.count:
            found.append(refined(plan, cell))
    return found


def refined_settings(plan: Plan) -> list[Settings]:
    """All different settings that refined cells may have, but for the picture they start from."""
    found: dict[str, Settings] = {}
    for cell in plan.refinable:
        settings = refined(plan, cell).settings
        found.setdefault(settings.model_dump_json(exclude={"init_file"}), settings)
    return list(found.values())


def refined_sizes(plan: Plan) -> LabelledSizes:
    """Sizes at which contents have to be prepared for refined cells alone, ascending."""
    found = sizes_of(refined_settings(plan))
    return {label: size for label, size in found.items() if label not in plan.sizes}


def rows_of(plan: Plan) -> list[dict[str, Any]] | None:
    """The rows of a table, to be frozen; None where no table chooses."""
    refine = plan.config.refine
    if refine is None or refine.choose == PARETO:
        return None
    return [
        {
            "style": cell.style,
            "content": cell.content,
            "setting": cell.point.name,
            "seed": cell.point.seed,
        }
        for cell in plan.refinable
    ]


def problems_of(plan: Plan) -> list[str]:
    """One line for each mistake in ``refine``."""
    try:
        if plan.config.refine is not None:
            refined_settings(plan)
    except ConfigError as error:
        return error.problems
    return []


def _rows(choose: str | Sequence[CellRow]) -> Iterator[tuple[str, CellRow]]:
    """Where each row stands, and the row."""
    if not isinstance(choose, str):
        yield from ((f"refine.choose[{n}]", row) for n, row in enumerate(choose))
        return
    try:
        text = Path(choose).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            [
                f"refine.choose: there is no file {choose} (paths start from {Path.cwd()}); give "
                "`pareto`, or a table"
            ]
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"refine.choose: {choose} cannot be read ({error})"]) from None
    lines = text.splitlines()
    head = lines[0] if lines else ""
    reader = csv.DictReader(lines, delimiter="\t" if "\t" in head or "," not in head else ",")
    known = [name for name in COLUMNS if name in (reader.fieldnames or ())]
    if not known:
        raise ConfigError(
            [f"{choose}, line 1: names none of the columns {', '.join(COLUMNS)}; give at least one"]
        )
    for values in reader:
        where = f"{choose}, line {reader.line_num}"
        given = {name: (values[name] or "").strip() for name in known}
        if not any(given.values()):
            continue
        seed = given.get("seed", "")
        if seed and not seed.isdecimal():
            raise ConfigError([f"{where}: the seed {seed!r} is no whole number"])
        named = {name: value for name, value in given.items() if value and name != "seed"}
        yield where, CellRow(**named, seed=int(seed) if seed else None)


def _is_named(cell: Cell, row: CellRow) -> bool:
    return (
        row.style in (None, cell.style)
        and row.content in (None, cell.content)
        and row.setting in (None, cell.point.name)
        and row.seed in (None, cell.point.seed)
    )


def _reason(cells: Sequence[Cell], row: CellRow) -> str:
    """Why a row names no cell."""
    have: dict[str, set[Any]] = {
        "style": {cell.style for cell in cells},
        "content": {cell.content for cell in cells},
        "setting": {cell.point.name for cell in cells},
        "seed": {cell.point.seed for cell in cells},
    }
    for name, known in have.items():
        value = getattr(row, name)
        if value is not None and value not in known:
            listed = ", ".join(sorted(map(str, known))[:6])
            return f"there is no {name} {value!r} in the grid; there are: {listed}"
    return "the grid has no such cell; take rows from grid.tsv"
