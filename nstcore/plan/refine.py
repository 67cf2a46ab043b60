"""Cells that are made again, larger, from their own results: which can be chosen, and what changes.

Like the plan a pure function of the configuration.  Which cells the losses of a finished grid choose
is found in :mod:`nstcore.results.select_refined`.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from nstcore.config.loader import resolve_settings
from nstcore.config.run import PARETO, CellRow, Config
from nstcore.core.settings import PRESETS
from nstcore.errors import ConfigError, did_you_mean, raise_problems
from nstcore.plan.cells import Cell, Pair

FOLDER = "refined"
"""In a run's folder, and the name of the sheet."""

COLUMNS = ("style", "content", "setting", "seed")


def refined(config: Config, cell: Cell) -> Cell:
    """The refined cell of a cell of the grid.

    It starts from the cell's image, without new noise, and has no level as small as that image.

    Raises:
        ConfigError: if the settings contradict those of the cell.
    """
    assert config.refine is not None
    explicit = config.refine.settings.explicit
    base = cell.settings.model_dump()
    encoder = explicit.get("encoder", base["encoder"])
    if encoder != base["encoder"]:
        # A file of weights belongs to one encoder.
        files = config.settings.weights
        base["weights"] = files.get(encoder) if isinstance(files, dict) else None
    values: dict[str, Any] = {
        **base,
        **PRESETS.get(explicit.get("preset", ""), {}),
        "pyramid_start": cell.settings.size + 1,
        "init": "file",
        "init_file": f"{config.run_dir}/{cell.image}",
        "init_noise": 0.0,
        **{name: value for name, value in explicit.items() if name != "preset"},
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
    return replace(cell, settings=settings, batch=f"{FOLDER}/{cell.batch}", image=image)


def candidates(config: Config, cells: Sequence[Cell]) -> list[Cell]:
    """Cells of the grid that can be chosen: those of the table, or all.

    Raises:
        ConfigError: for a table that cannot be read or a row that matches no cell.
    """
    if config.refine is None:
        return []
    if config.refine.choose == PARETO:
        return list(cells)
    rows = [cell_row(cell) for cell in cells]

    @cache
    def images_by(names: tuple[str, ...]) -> dict[tuple[Any, ...], list[str]]:
        """Values of these columns -> the images of the cells that have them."""
        found: dict[tuple[Any, ...], list[str]] = {}
        for row, cell in zip(rows, cells, strict=True):
            found.setdefault(tuple(row[name] for name in names), []).append(cell.image)
        return found

    chosen: set[str] = set()
    problems: list[str] = []
    for where, row in _read_rows(config.refine.choose):
        wanted = row.model_dump(exclude_none=True)
        matching = images_by(tuple(wanted)).get(tuple(wanted.values()), ())
        if not matching:
            problems.append(f"{where}: {_no_match(rows, wanted)}")
        chosen.update(matching)
    raise_problems(problems)
    return [cell for cell in cells if cell.image in chosen]


def most_selected(config: Config, cells: Iterable[Cell]) -> Iterator[Cell]:
    """As many candidates as can be selected; which ones the front will choose is not known yet."""
    if config.refine is None:
        return
    counts: Counter[Pair] = Counter()
    for cell in cells:
        counts[cell.style, cell.content] += 1
        few = counts[cell.style, cell.content] <= config.refine.count
        if few or config.refine.choose != PARETO:
            yield cell


def cell_row(cell: Cell) -> dict[str, Any]:
    """A cell as a row of a table."""
    values = (cell.style, cell.content, cell.point.name, cell.point.seed)
    return dict(zip(COLUMNS, values, strict=True))


def _read_rows(choose: str | Sequence[CellRow]) -> Iterator[tuple[str, CellRow]]:
    """Every row, and its place for messages."""
    if not isinstance(choose, str):
        yield from ((f"refine.choose[{n}]", row) for n, row in enumerate(choose))
        return
    try:
        lines = Path(choose).read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise ConfigError(
            [
                f"refine.choose: there is no file {choose} (paths start from {Path.cwd()}); give "
                "`pareto`, or a table"
            ]
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"refine.choose: {choose} cannot be read ({error})"]) from None
    header = lines[0] if lines else ""
    reader = csv.DictReader(lines, delimiter="\t" if "\t" in header or "," not in header else ",")
    known = [name for name in COLUMNS if name in (reader.fieldnames or ())]
    if not known:
        raise ConfigError(
            [f"{choose}, line 1: has none of the columns {', '.join(COLUMNS)}; give at least one"]
        )
    for values in reader:
        where = f"{choose}, line {reader.line_num}"
        fields = {name: text for name in known if (text := (values[name] or "").strip())}
        if not fields:
            continue
        seed = fields.pop("seed", None)
        if seed is not None and not seed.isdecimal():
            raise ConfigError([f"{where}: the seed {seed!r} is not an integer"])
        yield where, CellRow(**fields, seed=None if seed is None else int(seed))


def _no_match(rows: Sequence[Mapping[str, Any]], wanted: Mapping[str, Any]) -> str:
    for name, value in wanted.items():
        known = sorted({str(other[name]) for other in rows})
        if str(value) not in known:
            return f"the grid has no {name} {value!r}; {did_you_mean(value, known[:6])}"
    return "the grid has no such cell; take rows from grid.tsv"
