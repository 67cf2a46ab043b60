"""How much memory an optimization takes, and which images are optimized at the same time.

The estimate is counted from the architecture: what autograd keeps for the backward pass, the gradients
that wait beside it, and what the optimizer holds.  ``tests/resources/test_memory.py`` compares it
with what torch says it keeps and with the peak of real processes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Generic, TypeVar

from nstcore.core.geometry import Size
from nstcore.core.losses import STYLE_LOSSES
from nstcore.core.losses.total_variation import TVLoss
from nstcore.core.optimizers import OPTIMIZERS
from nstcore.core.settings import Settings, batch_key
from nstcore.plan.values import format_count, format_size

log = logging.getLogger(__name__)

Item = TypeVar("Item")

MEMORY_SHARE = 0.6
"""Share of the free memory that one batch may take by our estimate."""

TILES = (1024, 512, 256)
"""Sides of tiles in pixels, the first that fits is taken: larger ones waste less on their overlap."""

LEAST_HISTORY = 5
"""L-BFGS with fewer curvature pairs than this descends visibly worse."""

LARGEST_TENSOR = 2**31 - 1
"""Most values of one tensor: with more, kernels of GPUs count in 64 bits, or fail."""

SLACK = 1.2
"""Measured peaks lie up to this factor above the count: scratch, and freed blocks that fit nothing."""

FIXED = 24e6
"""Bytes for kernels, threads and their scratch, whatever the size of the pictures."""


def peak_bytes(
    settings: Settings,
    width: int,
    height: int,
    batch: int,
    *,
    history: int | None = None,
    device: str = "cpu",
    tile: int | None = None,
    regions: int = 0,
    half: bool = False,
) -> float:
    """Estimated most memory of an optimization, in bytes, beyond what the process holds before it.

    Args:
        settings: of all images.
        width, height: of an image in pixels, at its finest level.
        batch: images at the same time.
        history: curvature pairs; None for those of the settings.
        device: kind of the device: ``cpu``, ``cuda`` or ``mps``.
        tile: side of the tiles in pixels without their overlap; None for whole images.
        regions: number of regions in the contents' guides; 0 without.
        half: whether activations are in bfloat16.
    """
    copies = OPTIMIZERS[settings.optimizer].image_copies(settings, history)
    spec = settings.encoder_spec
    content = sum(spec[name].values(width, height) for name in settings.used_content_layers)
    style_layers = [spec[name] for name in settings.used_style_layers]
    seen = _seen(settings, width, height, tile)
    if tile is not None:
        copies += 1  # the gradient that the tiles add up to
    values = (
        3 * width * height * copies
        + content * (0.5 if half else 1)
        + pass_values(settings, *seen, device=device, regions=regions, half=half)
        + STYLE_LOSSES[settings.statistic].matrices
        * max(regions, 1)
        * sum(layer.channels**2 for layer in style_layers)
        # What every position weighs in every region, of the whole image.
        + regions * sum(layer.positions(width, height) for layer in style_layers)
    )
    return shared_bytes(settings) + 4.0 * SLACK * batch * values


def shared_bytes(settings: Settings) -> float:
    """Memory in bytes that an optimization takes once, however many images there are."""
    layers = settings.encoder_spec.up_to(settings.layers)
    # A convolution brings its filters into another order while it runs.
    return FIXED + 2 * 4.0 * max(layer.filters for layer in layers)


def pass_values(
    settings: Settings,
    width: int,
    height: int,
    device: str = "cpu",
    regions: int = 0,
    half: bool = False,
) -> float:
    """Most values (of 4 bytes) alive in one evaluation of one image and its gradient.

    The losses' own gradients come first, since autograd goes through what was computed last first,
    and wait until the network's gradient has come down to their layers.
    """
    layers = settings.encoder_spec.up_to(settings.layers)
    kept = kept_values(settings, width, height, device, regions, half)
    share = 0.5 if half else 1
    size = {layer.name: share * layer.values(width, height) for layer in layers}
    used = set(settings.layers)
    # The normalized image and total variation.
    alive = sum(kept.values()) + (3 * share + TVLoss.saved_values(settings)) * width * height
    waiting = sum(size[name] for name in used)
    most = alive + waiting
    if regions:
        # The gradient of one region beside that of all, while its layer's is computed.
        most += max(size[name] for name in settings.used_style_layers)
    if half and device != "cuda":
        # Where there is no product of mixed types, both its factors in float32.
        most += 4 * max((size[name] for name in settings.used_style_layers), default=0)
    for layer in reversed(layers):
        name = layer.name
        # The gradient that arrives, added to the one that waits; the rectified one; the one handed on.
        most = max(most, alive + waiting + (2 if name in used else 3) * size[name])
        alive -= kept[name]
        waiting -= size[name] if name in used else 0
    return most


def most_together(
    settings: Settings, width: int, height: int, history: int, tile: int | None = None
) -> int:
    """Images of which no tensor has more than ``LARGEST_TENSOR`` values; see `peak_bytes`."""
    seen = _seen(settings, width, height, tile)
    layers = settings.encoder_spec.up_to(settings.layers)
    state = OPTIMIZERS[settings.optimizer].largest_state(history)
    largest = max(3 * width * height * state, *(layer.values(*seen) for layer in layers))
    return int(LARGEST_TENSOR // largest)


def kept_values(
    settings: Settings,
    width: int,
    height: int,
    device: str = "cpu",
    regions: int = 0,
    half: bool = False,
) -> dict[str, float]:
    """Values (of 4 bytes) that autograd keeps of one image for the backward pass of each layer.

    A layer is its rectified activations (the input of what follows), the pooling behind it if the next
    layer has another stride, the padded copy that goes into its convolution, and its part in the losses.
    """
    spec = settings.encoder_spec
    layers = spec.up_to(settings.layers)
    padded = settings.padding != "zeros"
    found = {}
    for index, layer in enumerate(layers):
        own, positions = layer.values(width, height), layer.positions(width, height)
        values, indices = own + layer.inner * positions, 0
        if padded and index > 0:
            border = 2 * layer.radius * ((width + height) // layer.stride) + 4
            values += layer.inputs * (positions + border)
        following = layers[index + 1] if index + 1 < len(layers) else layer
        if following.stride != layer.stride:
            pooled = layer.channels * following.positions(width, height)
            values += 0 if padded else pooled  # the input of what follows
            if settings.pooling == "max":
                indices = 2 * pooled  # where each maximum was, in 8 bytes
            elif settings.pooling == "l2":
                values += own + pooled  # the squares and the roots
        if layer.name in settings.used_content_layers:
            values += own * (2 if spec.adapted else 1)
        if layer.name in settings.used_style_layers and device != "cpu" and not (regions or half):
            values += own  # gram_matrix scales a copy there
        found[layer.name] = values * (0.5 if half else 1) + indices
    return found


def _shorter_histories(settings: Settings) -> Iterator[int]:
    """Ever fewer curvature pairs: halves, so that a little more or less memory changes nothing."""
    history = settings.history
    yield history
    while settings.optimizer == "lbfgs" and history > LEAST_HISTORY:
        history = max(LEAST_HISTORY, history // 2)
        yield history


def _outer_side(tile: int, settings: Settings) -> int:
    """Side in pixels of what a tile is computed from."""
    return tile + 2 * settings.encoder_spec.margin(settings.layers)


def _seen(settings: Settings, width: int, height: int, tile: int | None) -> Size:
    """Width and height in pixels of what the encoder sees at a time."""
    if tile is None:
        return width, height
    outer = _outer_side(tile, settings)
    return min(width, outer), min(height, outer)


# --- Which images go together, and how they fit. ---


@dataclass(frozen=True)
class Budget:
    """How an optimization fits into memory.

    Attributes:
        batch: images at the same time.
        history: curvature pairs of L-BFGS.
        tile: side of the tiles in pixels without their overlap; None for whole images.
        fits: whether one image needs no more than ``MEMORY_SHARE`` of the free memory, as estimated.
    """

    batch: int
    history: int
    tile: int | None
    fits: bool = True


def fit_batch(
    settings: Settings,
    width: int,
    height: int,
    device: str,
    free: float,
    *,
    count: int | None = None,
    tile: int | None = None,
    regions: int = 0,
    half: bool = False,
) -> Budget:
    """As many images at a time as ``MEMORY_SHARE`` of the free memory holds; see `most_together` too.

    Where not even one fits, what changes the result comes last: tiles first, because they give the
    same gradient, and less history only where the buffers of the image's size do not fit themselves.
    The image is never made smaller.  Where nothing fits, the least of all is tried.

    Args:
        settings, width, height, device, regions, half: see `peak_bytes`.
        free: bytes that are free on the device.
        count: how many images there are; None for as many as fit.
        tile: side of the tiles; None to use tiles only where whole images do not fit.
    """
    available = MEMORY_SHARE * free
    one = settings, width, height, 1
    need = partial(peak_bytes, *one, device=device, regions=regions, half=half)
    most = partial(most_together, settings, width, height)
    whole = need(tile=tile)
    # A single image keeps its history: matrix products count in 64 bits, activations need tiles.
    if whole <= available and most(0, tile):
        fixed = shared_bytes(settings)
        fit = int((available - fixed) / (whole - fixed))
        fit = max(1, min(fit, most(settings.history, tile)))
        return Budget(fit if count is None else max(1, min(fit, count)), settings.history, tile)
    tiles = [tile]
    if tile is None:
        tiles += [side for side in TILES if _outer_side(side, settings) < max(width, height)]
    for history, side in product(_shorter_histories(settings), tiles):
        if need(history=history, tile=side) <= available and most(0, side):
            return Budget(1, history, side)
    return Budget(1, history, side, fits=False)  # the last, which takes least


def less_memory(
    settings: Settings, width: int, height: int, history: int, tile: int | None
) -> tuple[int, int | None] | None:
    """What to try after a single image has run out of memory with a history and tiles.

    Returns:
        history and side of the tiles that take less, what keeps the result first; None at the end.
    """
    seen = max(width, height) if tile is None else tile
    for side in TILES:
        if side < seen and _outer_side(side, settings) < max(width, height):
            return history, side
    for shorter in _shorter_histories(settings):
        if shorter < history:
            return shorter, tile
    return None


@dataclass(frozen=True)
class BatchInput:
    """What decides which images go together.

    Attributes:
        settings, size: of the image; width and height in pixels.
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
        device: kind of the device.
        half: whether activations are in bfloat16.
        history, tile, fits: see `Budget`.
    """

    items: tuple[Item, ...]
    first: BatchInput
    device: str
    history: int
    tile: int | None
    fits: bool = True
    half: bool = False

    def __str__(self) -> str:
        images = format_count(len(self.items), "image")
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
            half=self.half,
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
    half: bool = False,
) -> Iterator[MicroBatch[Item]]:
    """Group images that go together, and divide each group into as many as fit at the same time.

    Args:
        items: one for each image.
        describe: tells what an image is like.
        device, free, tile, half: see `fit_batch`.
        most: images at the same time; None for as many as fit.
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
            half=half,
        )
        for start in range(0, len(members), budget.batch):
            part = tuple(item for item, _ in members[start : start + budget.batch])
            yield MicroBatch(part, first, device, budget.history, budget.tile, budget.fits, half)


def log_shortage(batches: Iterable[MicroBatch[Item]], free: float, tile: int | None = None) -> None:
    """Say where too little memory decides how images are computed, and not the given ``tile``."""
    for batch in {batch.first.key: batch for batch in reversed(list(batches))}.values():
        width, height = batch.size
        if not batch.fits:
            need = format_size(batch.bytes)
            text = "%d x %d px need about %s and %s are free; trying %s"
            log.warning(text, width, height, need, format_size(free), batch)
        elif batch.history != batch.settings.history or batch.tile != tile:
            share = format_size(MEMORY_SHARE * free)
            log.info("%d x %d px: %s to fit %s", width, height, batch, share)
