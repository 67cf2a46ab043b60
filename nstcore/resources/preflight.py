"""What would go wrong late in a run, found before it starts: one line each."""

from __future__ import annotations

import os
import shutil
import tempfile
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np

from nstcore.config.run import Output
from nstcore.core.encoders import ENCODERS
from nstcore.core.geometry import Size, area, image_size
from nstcore.core.optimizers import OPTIMIZERS
from nstcore.core.settings import Settings
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
"""Of the report's images, in pixels; none of their pixels takes more than a byte."""


@dataclass(frozen=True)
class Disk:
    """Most bytes that a run's files take, by what they are.

    Attributes:
        pictures: images of the cells.
        records: of the cells, in the run's folder and in the store.
        inputs: prepared images, weights and style targets.
        report: with its thumbnails.
        states: checkpoints of the cells that are being computed.
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
        return float(sum(astuple(self)))


def estimate_disk(
    plan: Plan,
    cells: Sequence[Cell],
    sizes: InputSizes,
    batches: Iterable[MicroBatch[Cell]],
    sheets: float = 0.0,
) -> Disk:
    """Most bytes that a run's files take.

    Args:
        plan, sizes: the run and its images.
        cells, batches: those that are still to be made, and how they are divided.
        sheets: bytes of the contact sheets.
    """
    pictures = records = 0.0
    for cell in cells:
        if cell.content not in sizes.contents:
            continue
        size = image_size(sizes.contents[cell.content], cell.settings)
        pictures += area(size) * picture_bytes(plan.config.output)
        entries = sum(iterations // 10 + 1 for iterations in cell.settings.level_iterations())
        records += 2 * (RECORD_BYTES + entries * ENTRY_BYTES)
    styles = [native for images in sizes.styles.values() for native in images]
    contents = [prepared_sizes(plan, native).values() for native in sizes.contents.values()]
    # An image of 16 bits stays one when it is prepared.
    inputs = 6.0 * sum(map(area, [*styles, *chain.from_iterable(contents)]))
    for settings, layers, _ in plan.targets.values():
        values = sum(settings.encoder_spec[layer].channels ** 2 for layer in layers)
        inputs += 4.0 * values * len(styles)
    inputs += sum(ENCODERS[name].file_bytes for name, _ in plan.encoders.values())
    report = float(len(cells) * THUMBNAIL_SIDE**2)
    states = 0.0
    for batch in batches:
        optimizer = OPTIMIZERS[batch.settings.optimizer]
        copies = len(batch.items) * optimizer.saved_copies(batch.settings, batch.history)
        # A state is written before the one before it goes.
        states = max(states, 2 * 12.0 * area(batch.size) * copies)
    return Disk(pictures, records, inputs, report, states, sheets)


@lru_cache
def picture_bytes(output: Output) -> float:
    """Most bytes that a pixel of a finished image takes: those of white noise.

    Paintings take about two thirds of it as PNG.
    """
    side = 128
    noise = np.random.default_rng(0).random((side, side, 3), dtype=np.float32)
    with tempfile.TemporaryDirectory(prefix="nst-plan-") as folder:
        path = Path(folder) / f"noise.{output.format}"
        alpha = noise[..., 0] if output.preserve_alpha else None
        write_image(path, noise, bits=output.bits, quality=output.quality, alpha=alpha)
        return path.stat().st_size / side**2


def existing(folder: Path | str) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    path = Path(os.path.abspath(folder))
    return next(parent for parent in (path, *path.parents) if os.path.isdir(parent))


def preflight_warnings(
    plan: Plan,
    sizes: InputSizes,
    batches: Sequence[MicroBatch[Cell]],
    machine: Machine | None,
    disk: Disk,
) -> list[str]:
    """Every warning; none about memory without a ``machine``, where the device is not there."""
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
                most = _first_size(native, by, lambda at: area(at) > MAX_PIXELS) - 1
                yield (
                    f"contents.{content}: at size {label} it has {width} x {height} = "
                    f"{width * height / 1e6:.0f} megapixels, more than the {MAX_PIXELS / 1e6:.0f} that "
                    f"can be read back, and no such cell can be made; `size` may be {most} at most"
                )


def _first_size(native: Size, by: SizeBy, reached: Callable[[Size], bool]) -> int:
    """The least size at which an image of this shape reaches something, as all larger ones do."""
    sizes = range(1, MAX_PIXELS)
    return sizes[bisect_left(sizes, True, key=lambda size: reached(fit_size(native, size, by)))]


def too_narrow(plan: Plan, sizes: InputSizes) -> Iterator[str]:
    """Panoramas whose short side vanishes in the encoder: not to be made, or not to be evaluated."""
    judged_at, spec = plan.evaluation["size"], ENCODERS[plan.evaluation["encoder"]]
    needed = spec.stride(*spec.evaluation_layers)

    def least_size(native: Size, short: int, by: SizeBy) -> int:
        return _first_size(native, by, lambda at: min(at) >= short)

    settings_of: dict[str, list[Settings]] = {}
    for cell in plan.cells():
        settings_of.setdefault(cell.content, []).append(cell.settings)
    for content, native in sizes.contents.items():
        width, height = fit_size(native, judged_at)
        if min(width, height) < needed:
            yield (
                f"contents.{content}: at evaluation.size {judged_at} it has {width} x {height} px, too "
                f"narrow to be judged, and its cells get no metrics; set `evaluation.size` to "
                f"{least_size(native, needed, 'long')} or more"
            )
        seen: set[str] = set()
        for settings in settings_of.get(content, ()):
            width, height = image_size(native, settings)
            least = settings.encoder_spec.stride(*settings.layers)
            label = paths.size_label(settings)
            if min(width, height) < least and label not in seen:
                seen.add(label)
                yield (
                    f"contents.{content}: at size {label} it has {width} x {height} px, too "
                    f"narrow for the encoder, and no such cell can be made; set `size` to "
                    f"{least_size(native, least, settings.size_by)} or more"
                )


def too_little_memory(batches: Iterable[MicroBatch[Cell]], machine: Machine) -> Iterator[str]:
    """Images that do not fit even in tiles, and those for which the history has to be cut."""
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

    def size(name: str) -> int:
        return len(os.fsencode(name))

    for key, root, files in (
        ("results", plan.config.run_dir, [cell.image for cell in plan.cells()]),
        ("store", plan.config.store_dir, ["cells/00/" + "0" * 64 + ".00000000.json"]),
    ):
        folder, base = existing(root), os.path.abspath(root)
        longest_name = os.pathconf(folder, "PC_NAME_MAX")
        longest_path = os.pathconf(folder, "PC_PATH_MAX")
        longest = max(files, key=size)
        name = max([*Path(base).parts, *Path(longest).parts], key=size)
        length = size(name)
        if length > longest_name:
            yield (
                f"{key}: the name {name[:40]}... has {length} bytes, longer than the {longest_name} "
                f"that {folder} holds; shorten it"
            )
        # A file is written under a temporary name of up to 130 bytes first.
        length = size(base) + size(longest) + 132
        if length > longest_path:
            yield (
                f"{key}: paths like {longest[:60]} come to {length} bytes, longer than the "
                f"{longest_path} that {folder} holds; choose a folder with a shorter path"
            )


def too_little_disk(plan: Plan, disk: Disk) -> Iterator[str]:
    """File systems on which less is free than the run may take."""
    store, results = existing(plan.config.store_dir), existing(plan.config.run_dir)
    needs = [("results", results, disk.total)]
    if store.stat().st_dev != results.stat().st_dev:
        # Across file systems there are no links: every image is there twice.
        needs = [
            ("results", results, disk.total - disk.states),
            ("store", store, disk.pictures + disk.records + disk.inputs + disk.states),
        ]
    for key, folder, need in needs:
        free = shutil.disk_usage(folder).free
        if need > free:
            yield (
                f"{key}: the run may take up to {format_size(need)}, and {format_size(free)} are free in "
                f"{folder}; free some space, or set `{key}` to a folder on another disk"
            )
