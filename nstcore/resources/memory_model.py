"""How much memory a descent takes, how much there is, and what to do where that is too little.

The estimate is counted from the architecture: what autograd keeps for the backward pass, the gradients
that wait beside it, and what the optimizer holds.  ``tests/resources/test_memory.py`` compares it
with what torch says it keeps and with the peak of real processes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from nstcore.core.encoders.registry import Layer
from nstcore.core.losses import STYLE_LOSSES
from nstcore.core.losses.total_variation import TVLoss
from nstcore.core.optimizers import OPTIMIZERS
from nstcore.core.settings import Settings

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
    spec = settings.encoder_spec
    content = sum(spec[name].values(width, height) for name in settings.used_content_layers)
    style_layers = [spec[name] for name in settings.used_style_layers]
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
    settings: Settings, width: int, height: int, device: str = "cpu", regions: int = 0
) -> int:
    """Most values (of 4 bytes) alive in one evaluation of one image and its gradient.

    The losses' own gradients come first, since autograd goes through what was computed last first,
    and wait until the network's gradient has come down to their layers.
    """
    layers = settings.encoder_spec.up_to(settings.layers)
    kept = kept_values(settings, width, height, device, regions)
    size = {layer.name: layer.values(width, height) for layer in layers}
    used = set(settings.layers)
    # The normalized image and total variation.
    alive = sum(kept.values()) + (3 + TVLoss.saved_values(settings)) * width * height
    waiting = sum(size[name] for name in used)
    most = alive + waiting
    if regions:
        # The gradient of one region beside that of all, while its layer's is computed.
        most += max(size[name] for name in settings.used_style_layers)
    for layer in reversed(layers):
        name = layer.name
        # The gradient that arrives, added to the one that waits; the rectified one; the one handed on.
        most = max(most, alive + waiting + (2 if name in used else 3) * size[name])
        alive -= kept[name]
        waiting -= size[name] if name in used else 0
    return most


def kept_values(
    settings: Settings, width: int, height: int, device: str = "cpu", regions: int = 0
) -> dict[str, int]:
    """Values (of 4 bytes) that autograd keeps of one image for the backward pass of each layer.

    A layer is its rectified activations (the input of what follows), the pooling behind it if the next
    layer has another stride, the padded copy that goes into its convolution, and its part in the losses.
    """
    spec = settings.encoder_spec
    layers: tuple[Layer, ...] = spec.up_to(settings.layers)
    padded = settings.padding != "zeros"
    found = {}
    for index, layer in enumerate(layers):
        own, positions = layer.values(width, height), layer.positions(width, height)
        values = own + layer.inner * positions
        if padded and index > 0:
            border = 2 * layer.radius * ((width + height) // layer.stride) + 4
            values += layer.inputs * (positions + border)
        following = layers[index + 1] if index + 1 < len(layers) else layer
        if following.stride != layer.stride:
            pooled = layer.channels * following.positions(width, height)
            values += 0 if padded else pooled  # the input of what follows
            if settings.pooling == "max":
                values += 2 * pooled  # where each maximum was, in 8 bytes
            elif settings.pooling == "l2":
                values += own + pooled  # the squares and the roots
        if layer.name in settings.used_content_layers:
            values += own * (2 if spec.adapted else 1)
        if layer.name in settings.used_style_layers and device != "cpu" and not regions:
            values += own  # gram_matrix scales a copy there
        found[layer.name] = values
    return found


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
    return tile + 2 * settings.encoder_spec.margin(settings.layers)


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
