"""What would go wrong late in a run, told before it is started: one line each."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from nstcore.config.run import Output
from nstcore.core.encoders.registry import ENCODERS
from nstcore.core.geometry import Size, area, image_size
from nstcore.core.optimizers import OPTIMIZERS
from nstcore.images import fit_size, write_image
from nstcore.images.image import MAX_PIXELS
from nstcore.images.resize import SizeBy
from nstcore.plan import paths
from nstcore.plan.plan import Cell, Plan
from nstcore.plan.values import format_size
from nstcore.resources.estimate import InputSizes, Machine, prepared_sizes
from nstcore.resources.memory_model import MicroBatch

RECORD_BYTES, ENTRY_BYTES = 4000, 350
"""Of a cell's record: without its trace, and each of the trace's entries, one in ten iterations."""

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
    batches: Iterable[MicroBatch[Cell]],
    sheets: float = 0.0,
) -> Disk:
    """Most bytes that a run's files take.

    Args:
        plan: the run.
        cells: those that are still to be made.
        sizes: of the run's pictures.
        batches: how the cells are divided.
        sheets: bytes of the contact sheets.
    """
    pictures = records = 0.0
    for cell in cells:
        if cell.content not in sizes.contents:
            continue
        settings = cell.settings
        size = image_size(sizes.contents[cell.content], settings)
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
    for settings, layers, _ in plan.targets.values():
        values = sum(settings.encoder_spec[layer].channels ** 2 for layer in layers)
        inputs += 4.0 * values * sum(len(pictures) for pictures in sizes.styles.values())
    inputs += sum(ENCODERS[name].file_bytes for name, _ in plan.encoders.values())
    report = float(len(cells) * THUMBNAIL_SIDE**2)
    # A state is written before the one before it goes.
    states = max((2 * len(batch.items) * _state_bytes(batch) for batch in batches), default=0.0)
    return Disk(pictures, records, inputs, report, states, sheets)


def _state_bytes(batch: MicroBatch[Cell]) -> float:
    """Size of the saved state of one image."""
    optimizer = OPTIMIZERS[batch.settings.optimizer]
    return 12.0 * area(batch.size) * optimizer.saved_copies(batch.settings, batch.history)


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
        write_image(path, noise, bits=output.bits, quality=output.quality, alpha=alpha)
        return path.stat().st_size / side**2


def existing(folder: Path | str) -> Path:
    """The nearest folder above, or this one, that exists already."""
    path = Path(os.path.abspath(folder))
    return next(parent for parent in (path, *path.parents) if os.path.isdir(parent))


def preflight_warnings(
    plan: Plan,
    sizes: InputSizes,
    batches: Sequence[MicroBatch[Cell]],
    machine: Machine | None,
    disk: Disk,
) -> list[str]:
    """Every warning.

    Args:
        plan: the run.
        sizes: of its pictures.
        batches: how the cells that are not finished are divided.
        machine: where; None if the configuration's device is not there.
        disk: what their files take.
    """
    found = [*too_many_pixels(plan, sizes), *too_narrow(plan, sizes), *long_names(plan)]
    if machine is not None:
        found += too_little_memory(batches, machine)
    return [*found, *too_little_disk(plan, disk)]


def too_many_pixels(plan: Plan, sizes: InputSizes) -> Iterator[str]:
    """Contents at a size that could be written but not read again."""
    for content, native in sizes.contents.items():
        for label, (size, by) in {**plan.sizes, **plan.refined_sizes}.items():
            width, height = fit_size(native, size, by)
            if width * height > MAX_PIXELS:
                most = _largest(native, by)
                yield (
                    f"contents.{content}: at size {label} it has {width} x {height} = "
                    f"{width * height / 1e6:.0f} megapixels, more than the {MAX_PIXELS / 1e6:.0f} that "
                    f"can be read back, and no such cell can be made; `size` may be {most} at most"
                )


def _measure(native: Size, by: SizeBy) -> float:
    """What the size of a picture is, by its long side, its short side or its area."""
    if by == "area":
        return math.sqrt(area(native))
    return float(max(native) if by == "long" else min(native))


def _largest(native: Size, by: SizeBy) -> int:
    """The greatest size at which a picture of this shape can still be read."""
    size = int(_measure(native, by) * (MAX_PIXELS / area(native)) ** 0.5) + 1
    while area(fit_size(native, size, by)) > MAX_PIXELS:
        size -= 1
    return size


def too_narrow(plan: Plan, sizes: InputSizes) -> Iterator[str]:
    """Panoramas whose short side vanishes in the encoder: not to be made, or not to be judged."""
    judged_at, spec = plan.evaluation["size"], ENCODERS[plan.evaluation["encoder"]]
    needed = spec.stride(*spec.evaluation_layers)
    for content, native in sizes.contents.items():
        width, height = fit_size(native, judged_at)
        if min(width, height) < needed:
            yield (
                f"contents.{content}: at evaluation.size {judged_at} it has {width} x {height} px, too "
                f"narrow to be judged, and its cells get no metrics; set `evaluation.size` to "
                f"{_least(native, needed, 'long')} or more"
            )
        told: set[str] = set()
        for settings in (cell.settings for cell in plan.cells(content=content)):
            width, height = image_size(native, settings)
            least = settings.encoder_spec.stride(*settings.layers)
            label = paths.size_label(settings)
            if min(width, height) < least and label not in told:
                told.add(label)
                yield (
                    f"contents.{content}: at size {label} it has {width} x {height} px, too "
                    f"narrow for the encoder, and no such cell can be made; set `size` to "
                    f"{_least(native, least, settings.size_by)} or more"
                )


def _least(native: Size, short: int, by: SizeBy) -> int:
    """The least size at which a picture's short side reaches a length."""
    size = max(1, int((short - 1) * _measure(native, by) / min(native)))
    while min(fit_size(native, size, by)) < short:
        size += 1
    return size


def too_little_memory(batches: Iterable[MicroBatch[Cell]], machine: Machine) -> Iterator[str]:
    """Pictures that do not fit even in tiles, and those for which the history has to be cut."""
    warned: set[tuple[Size, bool]] = set()
    for batch in batches:
        settings, reduced = batch.settings, batch.history < batch.settings.history
        if (batch.size, batch.fits) in warned or (batch.fits and not reduced):
            continue
        warned.add((batch.size, batch.fits))
        width, height = batch.size
        image = f"{width} x {height} px with `encoder: {settings.encoder}`"
        if not batch.fits:
            tiles = "" if batch.tile is None else f" even in tiles of {batch.tile} px"
            yield (
                f"memory: {image} takes about {format_size(batch.bytes)}{tiles}, and of the "
                f"{format_size(machine.free)} that are free a batch takes no more than "
                f"{format_size(machine.share)}; lower `size`, or free some memory"
            )
        else:
            yield (
                f"memory: {image} fits only with history {batch.history} in place of "
                f"{settings.history}, which converges more slowly; lower `size`, or free some memory"
            )


def long_names(plan: Plan) -> Iterator[str]:
    """Names of files and paths beyond what the file system holds."""
    config = plan.config
    for key, root, files in (
        ("results", config.run_dir, (cell.image for cell in plan.cells())),
        ("store", config.store_dir, iter(["cells/00/" + "0" * 64 + ".00000000.json"])),
    ):
        folder = existing(root)
        longest_name = os.pathconf(folder, "PC_NAME_MAX")
        longest_path = os.pathconf(folder, "PC_PATH_MAX")
        base = os.path.abspath(root)
        longest = max(files, key=lambda file: len(os.fsencode(file)))
        parts = [*Path(base).parts, *Path(longest).parts]
        name = max(parts, key=lambda part: len(os.fsencode(part)))
        length = len(os.fsencode(name))
        if length > longest_name:
            yield (
                f"{key}: the name {name[:40]}... has {length} bytes, longer than the {longest_name} "
                f"that {folder} holds; shorten it"
            )
        # A file is written under a temporary name of up to 130 bytes first.
        length = len(os.fsencode(base)) + len(os.fsencode(longest)) + 132
        if length > longest_path:
            yield (
                f"{key}: paths like {longest[:60]} come to {length} bytes, longer than the "
                f"{longest_path} that {folder} holds; choose a folder with a shorter path"
            )


def too_little_disk(plan: Plan, disk: Disk) -> Iterator[str]:
    """File systems on which less is free than the run may take."""
    store, results = existing(plan.config.store_dir), existing(plan.config.run_dir)
    run_only = disk.inputs + disk.report + disk.sheets
    both = disk.pictures + disk.records
    if store.stat().st_dev == results.stat().st_dev:
        needs = [("results", results, disk.total)]
    else:
        # Across file systems there are no links: every picture is there twice.
        needs = [
            ("results", results, run_only + both),
            ("store", store, both + disk.inputs + disk.states),
        ]
    for key, folder, need in needs:
        free = shutil.disk_usage(folder).free
        if need > free:
            yield (
                f"{key}: the run may take up to {format_size(need)}, and {format_size(free)} are free in "
                f"{folder}; free some space, or set `{key}` to a folder on another disk"
            )
