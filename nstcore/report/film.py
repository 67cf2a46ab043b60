"""Films of how images came about, from the snapshots of a run: of a cell, or of a contact sheet."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from nstcore.config.expressions import FilterExpression
from nstcore.contact_sheet.axes import page_names
from nstcore.contact_sheet.render import write_sheets
from nstcore.errors import UserError, did_you_mean
from nstcore.images.reading import read_thumbnail
from nstcore.jobs.snapshots import snapshots_of
from nstcore.plan.plan import Plan
from nstcore.plan.snapshot import SNAPSHOT, read_plan
from nstcore.report.outputs import prepared_inputs, sheet_spec
from nstcore.results.tables import metrics_table, read_grid, read_records
from nstcore.store.files import atomic_path

SUFFIXES = (".webp", ".gif", ".mp4")

LAST_SECONDS = 2.0
"""How long the finished images stay."""


def make_film(
    run: Path,
    out: Path,
    *,
    cell: str | None = None,
    where: str | None = None,
    sheet: bool = False,
    page: str | None = None,
    rate: float = 8.0,
) -> int:
    """Write a film of the snapshots of a run.

    Args:
        run: its folder.
        out: a ``.webp``, ``.gif`` or ``.mp4`` file.
        cell: its path, such as ``night/cat/style_weight=5``; None for the only one there is.
        where: a condition on cells, as in ``sweep.where``.
        sheet: whether to film the contact sheet of the cells, of which ``page`` names one page.
        rate: snapshots a second.

    Returns:
        The number of frames.

    Raises:
        UserError: one line that says what is missing.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise UserError(f"{out}: a film is a {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file")
    if out.suffix.lower() == ".mp4" and find_spec("imageio_ffmpeg") is None:
        raise UserError(
            f"{out}: needs the package imageio-ffmpeg (pip install imageio-ffmpeg); .webp and .gif do not"
        )
    if not (run / SNAPSHOT).is_file():
        raise UserError(f"{run}: is not the folder of a run (it has no {SNAPSHOT})")
    cells = _FilmedCells.of(run, where)
    if not sheet:
        cells = cells.only(cell)
    if not any(cells.snapshots):
        raise UserError(
            f"{run}: has no snapshots of these cells; set `snapshots: {{every: 20}}` before they are made"
        )
    frames = _sheet_frames(cells, read_plan(run / SNAPSHOT), page) if sheet else _cell_frames(cells)
    return _write(list(frames), out, rate)


@dataclass(frozen=True)
class _FilmedCells:
    """The rows of a run's metrics, and the snapshots of each."""

    run: Path
    metrics: pd.DataFrame
    snapshots: Sequence[dict[int, str]]

    @classmethod
    def of(cls, run: Path, where: str | None) -> _FilmedCells:
        """All cells of a run, or those that meet a condition."""
        grid = read_grid(run / "grid.tsv")
        records = [record.without_trace() for record, _ in read_records(grid, run)]
        metrics = metrics_table(grid, records)
        settings = [record.settings for record in records]
        kept = list(range(len(metrics)))
        if where is not None:
            axes = metrics[["style", "content", "seed", *grid.axes]].to_dict("records")
            values = [{**own, **axis} for own, axis in zip(settings, axes, strict=True)]
            try:
                condition = FilterExpression(where, set().union(*values))
                kept = [n for n in kept if settings[n] and condition.holds(values[n].__getitem__)]
            except (ValueError, KeyError) as error:
                raise UserError(f"--where: {error}") from None
        found = [snapshots_of(run, grid.rows[n]["image"], grid.rows[n]["key"]) for n in kept]
        return cls(run, metrics.iloc[kept], found)

    def only(self, cell: str | None) -> _FilmedCells:
        """One cell."""
        names = [image.rpartition(".")[0] for image in self.metrics["image"]]
        if cell is None:
            chosen = [name for name, found in zip(names, self.snapshots, strict=True) if found]
            if len(chosen) > 1:
                raise UserError(
                    f"{self.run}: {len(chosen)} cells have snapshots; choose one with --cell "
                    f"{chosen[0].removeprefix('cells/')}, or film all with --sheet"
                )
            name = chosen[0] if chosen else names[0] if names else ""
        else:
            path = cell.removeprefix(f"{self.run.as_posix()}/").removeprefix("cells/")
            spelled = [f"cells/{path}", f"cells/{path.rpartition('.')[0]}"]
            name = next((one for one in spelled if one in names), "")
            if not name:
                known = [one.removeprefix("cells/") for one in names]
                raise UserError(f"--cell: there is no cell {path}; {did_you_mean(path, known)}")
        number = names.index(name) if name else 0
        return _FilmedCells(
            self.run, self.metrics.iloc[number : number + 1], self.snapshots[number : number + 1]
        )


def _cell_frames(cells: _FilmedCells) -> Iterator[Image.Image]:
    """The snapshots of a cell at the size of the last one, and its image."""
    [found], [row] = cells.snapshots, cells.metrics.to_dict("records")
    files = [cells.run / file for file in found.values()]
    with Image.open(files[-1]) as last:
        size = last.size
    if row["status"] == "ok":
        files.append(cells.run / row["image"])
    for file in files:
        yield read_thumbnail(file, size).resize(size, Image.Resampling.LANCZOS)


def _sheet_frames(cells: _FilmedCells, plan: Plan, page: str | None) -> Iterator[Image.Image]:
    """A contact sheet with every cell as it was at each snapshot, and with the images at last."""
    pages = page_names(plan.axis_values, plan.layout["pages"])
    images = list(cells.metrics["image"])
    with tempfile.TemporaryDirectory(prefix="nst-film-") as folder:
        for iteration in [*sorted(set().union(*cells.snapshots)), None]:
            shown = [
                image
                if iteration is None or not found
                else found[max(one for one in found if one <= iteration)]
                for image, found in zip(images, cells.snapshots, strict=True)
            ]
            written = write_sheets(
                cells.metrics.assign(image=shown),
                sheet_spec(plan),
                cells.run,
                Path(folder),
                sources=prepared_inputs(plan),
                values=plan.axis_values,
                only=page or pages[0],
            )
            with Image.open(written[0]) as image:
                yield image.convert("RGB")


def _write(frames: Sequence[Image.Image], out: Path, rate: float) -> int:
    """Write frames of one size, of which the last one stays longer."""
    first, *rest = frames
    durations = [round(1000 / rate)] * len(rest) + [round(1000 * LAST_SECONDS)]
    with atomic_path(out) as temporary:
        if out.suffix.lower() == ".mp4":
            _write_mp4([*frames, *[frames[-1]] * round(LAST_SECONDS * rate)], temporary, rate)
        else:
            first.save(
                temporary,
                save_all=True,
                append_images=rest,
                duration=durations,
                loop=0,
                quality=85,
            )
    return len(frames)


def _write_mp4(frames: Sequence[Image.Image], out: Path, rate: float) -> None:
    from imageio_ffmpeg import write_frames

    # Codecs want even sides.
    width, height = (side // 2 * 2 for side in frames[0].size)
    writer = write_frames(str(out), (width, height), fps=rate, macro_block_size=1)
    writer.send(None)
    for frame in frames:
        writer.send(np.ascontiguousarray(frame.crop((0, 0, width, height))))
    writer.close()
