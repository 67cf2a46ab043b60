"""Snapshots: iterates of chosen cells at reduced size, kept while the cells are made.

Those of a cell are in a folder of their own, as ``<iteration>-<part of the cell's key>.webp``: those of
other keys show how an image was made that is no longer there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nstcore.config.expressions import FilterExpression
from nstcore.config.run import Snapshots
from nstcore.core.color_modes import restore_color
from nstcore.core.settings import Settings
from nstcore.images import fit_size, resize
from nstcore.images.image import quantize
from nstcore.jobs.background import BackgroundWriter
from nstcore.plan import paths
from nstcore.plan.plan import Cell
from nstcore.store.files import atomic_path

if TYPE_CHECKING:
    from torch import Tensor

    from nstcore.core.stylize import Observe

log = logging.getLogger(__name__)

PENDING = 32
"""Most snapshots of a batch that wait to be written; the optimization waits for what is more."""


def snapshots_of(run: Path, image: str, key: str) -> dict[int, str]:
    """The snapshots of a cell of this key: iteration -> file, from the run's folder, in order."""
    folder = (run / paths.snapshot_file(image, key, 0)).parent
    names = (path.name for path in folder.glob(f"[0-9]*-{key[:8]}.webp"))
    iterations = sorted(int(name.partition("-")[0]) for name in names if key)
    return {one: paths.snapshot_file(image, key, one) for one in iterations}


def is_chosen(snapshots: Snapshots, cell: Cell) -> bool:
    """Whether a cell is to have snapshots; not where the condition cannot be computed for it."""
    values = {**cell.settings.model_dump(), **cell.axes}
    try:
        return snapshots.where is None or FilterExpression(snapshots.where, values).holds(
            values.__getitem__
        )
    except ValueError as error:
        log.warning("%s: snapshots.where: %s", cell.image, error)
        return False


@dataclass
class SnapshotKeeper:
    """Writes the snapshots of an image.

    Attributes:
        config: how often, and how large.
        settings: of the image.
        content: gives the content, (H, W, 3), whose colors the image may get back.
        run: the folder of the run.
        cells: the images of the cells that it stands for.
        key: of these cells.
    """

    config: Snapshots
    settings: Settings
    content: Callable[[], NDArray[np.float32]]
    run: Path
    cells: Sequence[str]
    key: str
    _begun: bool = field(default=False, init=False)

    def write(self, iteration: int, levels: NDArray[np.uint8]) -> None:
        """Write a snapshot (H, W, 3); the first one replaces those of this iteration and later."""
        if self.settings.color == "luminance":
            height, width = levels.shape[:2]
            content = resize(self.content(), (width, height))
            grey = levels.astype(np.float32) / np.float32(255)
            levels = quantize(restore_color(self.settings, grey, content), 8).astype(np.uint8)
        for cell in self.cells:
            path = self.run / paths.snapshot_file(cell, self.key, iteration)
            for old in () if self._begun else path.parent.glob("*.webp"):
                if not old.stem.endswith(f"-{self.key[:8]}") or old.name >= path.name:
                    old.unlink(missing_ok=True)
            with atomic_path(path, sync=False) as temporary:
                Image.fromarray(levels).save(temporary, "WEBP", quality=80, method=0)
        self._begun = True


@contextmanager
def observing(keepers: Sequence[SnapshotKeeper | None]) -> Iterator[Observe | None]:
    """What keeps the snapshots of a batch: reduced on the device, all else in a thread of its own.

    On leaving, all are written.  A snapshot that cannot be written is left out, with a warning.
    """
    config = next((keeper.config for keeper in keepers if keeper is not None), None)
    if config is None:
        yield None
        return
    with BackgroundWriter() as writer:

        def observe(iteration: int, images: Tensor, rows: Tensor) -> None:
            if iteration % config.every == 0 and len(rows):
                task = partial(_write, keepers, iteration, *_reduced(images, rows, config.size))
                writer.submit(task, lambda _: None, pending=PENDING)

        yield observe


def _reduced(images: Tensor, rows: Tensor, size: int) -> tuple[Tensor, Tensor, Any]:
    """Small copies (N', H, W, 3) in 8 bits on the CPU, their indices, and the event that ends copying."""
    import torch
    from torch.nn import functional

    height, width = images.shape[-2:]
    wide, high = fit_size((width, height), min(size, max(width, height)))
    if (wide, high) != (width, height):
        images = functional.interpolate(images, (high, wide), mode="bilinear", antialias=True)
    levels = (
        images.nan_to_num().clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).contiguous()
    )
    small, places = (one.to("cpu", non_blocking=images.is_cuda) for one in (levels, rows))
    event = torch.cuda.Event() if images.is_cuda else None  # type: ignore[no-untyped-call]
    if event is not None:
        event.record()
    return small, places, event


def _write(
    keepers: Sequence[SnapshotKeeper | None],
    iteration: int,
    levels: Tensor,
    rows: Tensor,
    event: Any,
) -> None:
    if event is not None:
        event.synchronize()
    for row, pixels in zip(rows.tolist(), levels.numpy(), strict=True):
        keeper = keepers[row]
        try:
            if keeper is not None:
                keeper.write(iteration, pixels)
        except OSError as error:
            log.warning("a snapshot is left out: %s", error)
