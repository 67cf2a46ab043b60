"""Which images are optimized at the same time: those that go together, as many as memory holds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from nstcore.core.geometry import Size
from nstcore.core.settings import Settings, batch_key
from nstcore.plan.values import format_size
from nstcore.resources.memory_model import MEMORY_SHARE, fit_batch, less_memory, peak_bytes

log = logging.getLogger(__name__)

Item = TypeVar("Item")


@dataclass(frozen=True)
class BatchInput:
    """What decides which images go together.

    Attributes:
        settings: of the image.
        size: width and height of the image in pixels.
        weights: the encoder's file.
        regions: names of the content's regions; empty without a guide.
    """

    settings: Settings
    size: Size
    weights: str | None
    regions: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for images that can be optimized in one batch."""
        return self.size, self.regions, batch_key(self.settings), self.weights


@dataclass(frozen=True)
class MicroBatch(Generic[Item]):
    """Images that are optimized at the same time, and how they fit into memory.

    Attributes:
        items: one for each image.
        first: what the first image is like; what matters here is the same for all.
        device: kind of the device: ``cpu``, ``cuda`` or ``mps``.
        history: curvature pairs of L-BFGS.
        tile: side of the tiles in pixels without their overlap; None for whole images.
        fits: whether one image takes no more of the free memory than it may, as estimated.
    """

    items: tuple[Item, ...]
    first: BatchInput
    device: str
    history: int
    tile: int | None
    fits: bool = True

    def __str__(self) -> str:
        count = len(self.items)
        images = "1 image" if count == 1 else f"{count} images"
        tiles = "" if self.tile is None else f" in tiles of {self.tile} px"
        return f"{images} at a time, history {self.history}{tiles}"

    @property
    def settings(self) -> Settings:
        """Of the first image."""
        return self.first.settings

    @property
    def size(self) -> Size:
        """Width and height of every image."""
        return self.first.size

    @property
    def bytes(self) -> float:
        """Most memory that the images take together, as estimated."""
        return peak_bytes(
            self.settings,
            *self.size,
            len(self.items),
            history=self.history,
            device=self.device,
            tile=self.tile,
            regions=len(self.first.regions),
        )

    def smaller(self, *, out_of_memory: bool) -> list[MicroBatch[Item]]:
        """What to try after the batch has failed: its halves, or a single image with less memory.

        Args:
            out_of_memory: whether less memory may help a single image.
        """
        half = len(self.items) // 2
        if half:
            return [replace(self, items=part) for part in (self.items[:half], self.items[half:])]
        less = less_memory(self.settings, *self.size, self.history, self.tile)
        if not out_of_memory or less is None:
            return []
        return [replace(self, history=less[0], tile=less[1])]


def split_batches(
    items: Iterable[Item],
    describe: Callable[[Item], BatchInput],
    device: str,
    free: float,
    *,
    most: int | None = None,
    tile: int | None = None,
) -> Iterator[MicroBatch[Item]]:
    """Group images that go together, and divide each group into as many as fit at the same time.

    Args:
        items: one for each image.
        describe: tells what an image is like.
        device: kind of the device.
        free: bytes that are free there.
        most: images at the same time; None for as many as fit.
        tile: side of the tiles; None to use tiles only where whole images do not fit.
    """
    groups: dict[tuple[object, ...], list[tuple[Item, BatchInput]]] = {}
    for item in items:
        described = describe(item)
        groups.setdefault(described.key, []).append((item, described))
    for members in groups.values():
        first = members[0][1]
        budget = fit_batch(
            first.settings,
            *first.size,
            device,
            free,
            count=min(len(members), most or len(members)),
            tile=tile,
            regions=len(first.regions),
        )
        for start in range(0, len(members), budget.batch):
            part = tuple(item for item, _ in members[start : start + budget.batch])
            yield MicroBatch(part, first, device, budget.history, budget.tile, budget.fits)


def log_shortage(batches: Iterable[MicroBatch[Item]], free: float, tile: int | None = None) -> None:
    """Say where too little memory decides how images are computed, and not the given ``tile``."""
    for batch in {batch.first.key: batch for batch in reversed(list(batches))}.values():
        width, height = batch.size
        if not batch.fits:
            log.warning(
                "%d x %d px need about %s and %s are free; trying %s",
                width,
                height,
                format_size(batch.bytes),
                format_size(free),
                batch,
            )
        elif batch.history != batch.settings.history or batch.tile != tile:
            log.info(
                "%d x %d px: %s to fit %s",
                width,
                height,
                batch,
                format_size(MEMORY_SHARE * free),
            )
