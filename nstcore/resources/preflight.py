"""What would go wrong late in a run, told before it is started: one line each."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from nstcore.core.encoders.layers import EVAL_CONTENT_LAYER, EVAL_HELD_OUT_LAYERS, EVAL_STYLE_LAYERS
from nstcore.core.pyramid import Size, area, picture_size, smallest_side
from nstcore.images import fit_size
from nstcore.images.image import MAX_PIXELS
from nstcore.images.resize import SizeBy
from nstcore.plan import paths
from nstcore.plan.plan import Plan
from nstcore.plan.refine import refined_sizes
from nstcore.plan.values import format_size
from nstcore.resources.disk import Disk, existing
from nstcore.resources.estimate import EstimatedBatch, InputSizes, Machine


def preflight_warnings(
    plan: Plan,
    sizes: InputSizes,
    works: Sequence[EstimatedBatch],
    machine: Machine | None,
    disk: Disk,
) -> list[str]:
    """Every warning.

    Args:
        plan: the run.
        sizes: of its pictures.
        works: how the cells that are still to be made are shared out.
        machine: where; None if the configuration's device is not there.
        disk: what their files take.
    """
    found = [*too_many_pixels(plan, sizes), *too_narrow(plan, sizes), *long_names(plan)]
    if machine is not None:
        found += too_little_memory(works, machine)
    return [*found, *too_little_disk(plan, disk)]


def too_many_pixels(plan: Plan, sizes: InputSizes) -> Iterator[str]:
    """Contents at a size that could be written but not read again."""
    for content, native in sizes.contents.items():
        for label, (size, by) in {**plan.sizes, **refined_sizes(plan)}.items():
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
    judged_at = plan.evaluation["size"]
    needed = smallest_side((*EVAL_STYLE_LAYERS, *EVAL_HELD_OUT_LAYERS, EVAL_CONTENT_LAYER))
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
            width, height = picture_size(native, settings)
            least = smallest_side(settings.layers)
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


def too_little_memory(works: Iterable[EstimatedBatch], machine: Machine) -> Iterator[str]:
    """Pictures that do not fit even in tiles, and those for which the history has to be cut."""
    told: set[tuple[Size, str]] = set()
    for work in works:
        settings, budget = work.settings, work.budget
        width, height = work.size
        kind = "fits" if work.fits else "short"
        if (work.size, kind) in told:
            continue
        where = f"{width} x {height} px with `encoder: {settings.encoder}`"
        if not work.fits:
            told.add((work.size, kind))
            tiles = "" if budget.tile is None else f" even in tiles of {budget.tile} px"
            yield (
                f"memory: {where} takes about {format_size(work.bytes)}{tiles}, and of the "
                f"{format_size(machine.free)} that are free a batch takes no more than "
                f"{format_size(machine.share)}; lower `size`, or free some memory"
            )
        elif budget.history < settings.history:
            told.add((work.size, kind))
            yield (
                f"memory: {where} fits only with history {budget.history} in place of "
                f"{settings.history}, which descends more slowly; lower `size`, or free some memory"
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
