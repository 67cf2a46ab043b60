"""How much disk a run will take, at most."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from nstcore.config.run import Output
from nstcore.core.encoders.layers import VGG19_WIDTHS, channels
from nstcore.core.pyramid import area, picture_size
from nstcore.images import save_picture
from nstcore.plan import preparation
from nstcore.plan.plan import Cell, Plan
from nstcore.resources.estimate import EstimatedBatch, InputSizes, prepared_sizes

RECORD_BYTES, ENTRY_BYTES = 4000, 350
"""Of a cell's record: without its trace, and each of the trace's entries, one in ten iterations."""

ENCODER_BYTES = {"vgg19": 80_100_000, "compact": 4_000_000}
"""Of an encoder's weights in a run's folder: convolutions in single precision."""

THUMBNAIL_SIDE = 320
"""Of the report's pictures, in pixels; no pixel of theirs takes more than a byte."""


@dataclass(frozen=True)
class Disk:
    """Most bytes that a run's files take, by what they are.

    Attributes:
        pictures: of the cells.
        records: of the cells, in the run's folder and in the store.
        inputs: prepared pictures, weights and style targets.
        report: with its thumbnails.
        states: of what is under way, until it is finished.
        sheets: contact sheets.
    """

    pictures: float
    records: float
    inputs: float
    report: float
    states: float
    sheets: float = 0.0

    @property
    def total(self) -> float:
        """All of them."""
        return self.pictures + self.records + self.inputs + self.report + self.states + self.sheets


def estimate_disk(
    plan: Plan,
    cells: Sequence[Cell],
    sizes: InputSizes,
    works: Iterable[EstimatedBatch],
    sheets: float = 0.0,
) -> Disk:
    """Most bytes that a run's files take.

    Args:
        plan: the run.
        cells: those that are still to be made.
        sizes: of the run's pictures.
        works: how the cells are shared out.
        sheets: bytes of the contact sheets.
    """
    pictures = records = 0.0
    for cell in cells:
        if cell.content not in sizes.contents:
            continue
        settings = cell.settings
        size = picture_size(sizes.contents[cell.content], settings)
        pictures += area(size) * picture_bytes(plan.config.output)
        entries = sum(iterations // 10 + 1 for iterations in settings.level_iterations())
        records += 2 * (RECORD_BYTES + entries * ENTRY_BYTES)
    # A picture of 16 bits stays one when it is prepared.
    inputs = 6.0 * sum(
        area(size)
        for native in sizes.contents.values()
        for size in prepared_sizes(plan, native).values()
    )
    inputs += 6.0 * sum(area(native) for style in sizes.styles.values() for native in style)
    for _, layers, _ in preparation.target_requests(plan).values():
        values = sum(channels(layer, VGG19_WIDTHS) ** 2 for layer in layers)
        inputs += 4.0 * values * sum(len(pictures) for pictures in sizes.styles.values())
    inputs += sum(ENCODER_BYTES[name] for name, _ in preparation.encoders(plan).values())
    report = float(len(cells) * THUMBNAIL_SIDE**2)
    # A state is written before the one before it goes.
    states = max((2 * len(w.cells) * _state_bytes(w) for w in works), default=0.0)
    return Disk(pictures, records, inputs, report, states, sheets)


def _state_bytes(work: EstimatedBatch) -> float:
    """Of one picture: history, iterate, best and their gradients; Adam has fewer."""
    copies = 2 * work.budget.history + 4 if work.settings.optimizer == "lbfgs" else 6
    return 12.0 * area(work.size) * copies


@lru_cache
def picture_bytes(output: Output) -> float:
    """Most bytes that a pixel of a finished picture takes: those of white noise.

    Painted pictures take about two thirds of it as PNG.
    """
    side = 128
    noise = np.random.default_rng(0).random((side, side, 3), dtype=np.float32)
    with tempfile.TemporaryDirectory(prefix="nst-plan-") as folder:
        path = Path(folder) / f"noise.{output.format}"
        alpha = noise[..., 0] if output.preserve_alpha else None
        save_picture(path, noise, bits=output.bits, quality=output.quality, alpha=alpha)
        return path.stat().st_size / side**2


def existing(folder: Path | str) -> Path:
    """The nearest folder above, or this one, that exists already."""
    path = Path(os.path.abspath(folder))
    return next(parent for parent in (path, *path.parents) if os.path.isdir(parent))
