"""How much memory a descent takes, how much there is, and what to do where that is too little.

The estimate is counted from the architecture: what autograd keeps for the backward pass, the gradients
that wait beside it, and what the optimizer holds.  ``tests/resources/test_memory.py`` compares it
with what torch says it keeps and with the peak of real processes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from nstcore.core.encoders.layers import LAYERS, WIDTHS, channels, deepest, stage
from nstcore.core.optimizers import OPTIMIZERS
from nstcore.core.settings import Settings
from nstcore.core.tile_grid import receptive_margin

MEMORY_SHARE = 0.6
"""Share of the free memory that one batch may take by our estimate."""

TILES = (1024, 512, 256)
"""Sides of tiles in pixels, the first that fits is taken: larger ones waste less on their overlap."""

LEAST_HISTORY = 5
"""L-BFGS with fewer curvature pairs than this descends visibly worse."""

SLACK = 1.2
"""Measured peaks lie up to this factor above the count: scratch, and freed blocks that fit nothing."""

FIXED = 24e6
"""Bytes for kernels, threads and their scratch, whatever the size of the pictures."""

MATRICES = 8
"""Matrices of the size of a Gram matrix for every style layer: itself, difference, products, slopes."""


@dataclass(frozen=True)
class Budget:
    """How an optimization fits into memory.

    Attributes:
        batch: images at the same time.
        history: curvature pairs of L-BFGS.
        tile: side of the tiles in pixels without their overlap; None for whole images.
        fits: whether one image needs no more than ``MEMORY_SHARE`` of the free memory.
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
) -> Budget:
    """As many images at a time as ``MEMORY_SHARE`` of the free memory holds.

    Where not even one fits, what changes the result comes last: tiles first, because they give the
    same gradient, and less history only where the buffers of the image's size do not fit themselves.
    The image is never made smaller.  Where nothing fits, the least of all is tried.

    Args:
        settings: of all images of the batch.
        width, height: of an image in pixels, at its finest level.
        device: kind of the device: ``cpu``, ``cuda`` or ``mps``.
        free: bytes that are free there.
        count: how many images there are; None for as many as fit.
        tile: side of the tiles; None to use tiles only where whole images do not fit.
        regions: number of regions in the contents' guides; 0 without.
    """
    available = MEMORY_SHARE * free

    def need(history: int, tile: int | None) -> float:
        return peak_bytes(
            settings,
            width,
            height,
            1,
            history=history,
            device=device,
            tile=tile,
            regions=regions,
        )

    whole = need(settings.history, tile)
    if whole <= available:
        fixed = shared_bytes(settings)
        fit = int((available - fixed) / (whole - fixed))
        return Budget(fit if count is None else max(1, min(fit, count)), settings.history, tile)
    tiles: list[int | None] = [tile]
    if tile is None:
        tiles += [side for side in TILES if _outer_side(side, settings) < max(width, height)]
    histories = list(_shorter_histories(settings))
    for history in histories:
        for side in tiles:
            if need(history, side) <= available:
                return Budget(1, history, side)
    return Budget(1, histories[-1], tiles[-1], fits=False)


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
) -> float:
    """Estimated most memory of a descent, in bytes, beyond what the process holds before it.

    Args:
        settings: of all pictures.
        width, height: in pixels.
        batch: pictures at the same time.
        history: curvature pairs; None for those of the settings.
        device: ``cpu``, ``cuda`` or ``mps``.
        tile: side of the tiles in pixels without their overlap; None for whole pictures.
        regions: of the contents' guides; 0 without.
    """
    copies = OPTIMIZERS[settings.optimizer].image_copies(settings, history)
    content = sum(
        _area(layer, width, height) * _width_of(layer, settings)
        for layer, weight in settings.content_layers.items()
        if weight > 0
    )
    seen_width, seen_height = width, height
    if tile is not None:
        seen_width, seen_height = (
            min(side, _outer_side(tile, settings)) for side in (width, height)
        )
        copies += 1  # the gradient that the tiles add up to
    values = (
        3 * width * height * copies
        + content
        + pass_values(settings, seen_width, seen_height, device, regions)
        + MATRICES
        * max(regions, 1)
        * sum(_width_of(layer, settings) ** 2 for layer in _style_layers(settings))
        # What every position weighs in every region, of the whole picture.
        + regions * sum(_area(layer, width, height) for layer in _style_layers(settings))
    )
    return shared_bytes(settings) + 4.0 * SLACK * batch * values


def shared_bytes(settings: Settings) -> float:
    """Memory in bytes that a descent takes once, however many pictures there are."""
    incoming, most = 3, 0
    for layer in _layers(settings):
        outgoing = _width_of(layer, settings)
        most = max(most, 9 * incoming * outgoing)
        incoming = outgoing
    # A convolution brings its filters into another order, for the time of its work.
    return FIXED + 2 * 4.0 * most


def pass_values(
    settings: Settings, width: int, height: int, device: str = "cpu", regions: int = 0
) -> int:
    """Most values (of 4 bytes) alive in one evaluation of one picture and its gradient.

    The losses' own gradients come first, since autograd goes through what was computed last first,
    and wait until the network's gradient has come down to their layers.
    """
    layers = _layers(settings)
    kept = {layer: kept_values(layer, settings, width, height, device, regions) for layer in layers}
    size = {layer: _width_of(layer, settings) * _area(layer, width, height) for layer in layers}
    used = set(settings.layers)
    # The normalized picture, and total variation: both differences, or squares and roots as well.
    alive = sum(kept.values()) + (15 if settings.tv_form == "isotropic" else 9) * width * height
    waiting = sum(size[layer] for layer in used)
    most = alive + waiting
    if regions:
        # The gradient of one region beside that of all, while its layer's is computed.
        most += max(size[layer] for layer in _style_layers(settings))
    for layer in reversed(layers):
        # The gradient that arrives, added to the one that waits; the rectified one; the one handed on.
        most = max(most, alive + waiting + (2 if layer in used else 3) * size[layer])
        alive -= kept[layer]
        waiting -= size[layer] if layer in used else 0
    return most


def kept_values(
    layer: str,
    settings: Settings,
    width: int,
    height: int,
    device: str = "cpu",
    regions: int = 0,
) -> int:
    """Values (of 4 bytes) that autograd keeps of one picture for the backward pass of one layer.

    A layer is its rectified activations (the input of what follows), the pooling behind it if another
    stage comes, the padded copy that goes into its convolution, and its part in the losses.
    """
    layers = _layers(settings)
    count, area = _width_of(layer, settings), _area(layer, width, height)
    values = count * area
    following = layers[layers.index(layer) + 1 :]
    padded = settings.padding != "zeros"
    if padded and layer != layers[0]:
        before = layers[layers.index(layer) - 1]
        around = 2 * (width + height >> stage(layer) - 1) + 4
        values += _width_of(before, settings) * (area + around)
    if following and stage(following[0]) != stage(layer):
        pooled = count * _area(following[0], width, height)
        values += 0 if padded else pooled  # the input of what follows
        if settings.pooling == "max":
            values += 2 * pooled  # where each maximum was, in 8 bytes
        elif settings.pooling == "l2":
            values += count * area + pooled  # the squares and the roots
    if settings.content_layers.get(layer, 0) > 0:
        values += count * area * (2 if settings.encoder == "compact" else 1)
    if settings.style_layers.get(layer, 0) > 0 and device != "cpu" and not regions:
        values += count * area  # gram_matrix scales a copy there
    return values


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was short, on any device, so that less of it may help."""
    import torch

    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and _SHORT.search(str(error)) is not None


_SHORT = re.compile(
    "out of memory"  # CUDA, MPS
    "|can't allocate memory|DefaultCPUAllocator"  # torch on a CPU
    "|std::bad_alloc"
    # oneDNN's kernels and scratch; without a descriptor the operation itself is at fault.
    "|could not (create|execute) a primitive(?! descriptor)|could not create a memory object"
    "|ALLOC_FAILED",  # cuBLAS and cuDNN
    re.IGNORECASE,
)


def _shorter_histories(settings: Settings) -> Iterator[int]:
    """Ever fewer curvature pairs: halves, so that a little more or less memory changes nothing."""
    history = settings.history
    yield history
    while settings.optimizer == "lbfgs" and history > LEAST_HISTORY:
        history = max(LEAST_HISTORY, history // 2)
        yield history


def _outer_side(tile: int, settings: Settings) -> int:
    """Side in pixels of what a tile is computed from."""
    return tile + 2 * receptive_margin(settings.layers)


def _layers(settings: Settings) -> tuple[str, ...]:
    return LAYERS[: LAYERS.index(deepest(settings.layers)) + 1]


def _style_layers(settings: Settings) -> list[str]:
    return [layer for layer, weight in settings.style_layers.items() if weight > 0]


def _width_of(layer: str, settings: Settings) -> int:
    """Channels of a layer."""
    return channels(layer, WIDTHS[settings.encoder])


def _area(layer: str, width: int, height: int) -> int:
    """Positions of a layer: poolings drop an odd last row or column."""
    halvings = stage(layer) - 1
    return (width >> halvings) * (height >> halvings)


def less_memory(
    settings: Settings, width: int, height: int, history: int, tile: int | None
) -> tuple[int, int | None] | None:
    """What to try after a single picture has run out of memory, whatever was estimated.

    Args:
        settings: of the picture.
        width, height: of the picture in pixels.
        history, tile: what was tried.

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
