"""Checks that need no pytest: what the engine makes on a device is finite, and what a CPU makes too.

``tests/benchmarks/test_bench_gpu.py`` runs them where there is pytest and a GPU.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from _gpu_studio import Studio, make

from nstcore.core import graphs
from nstcore.core.stylize import StylizeTask, stylize
from nstcore.images.masks import Regions
from nstcore.resources.device_memory import is_out_of_memory

ITERATIONS = 12
"""Enough for a look at convergence, at every tenth."""

VARIANTS: dict[str, dict[str, Any]] = {
    "L-BFGS": {},
    "Adam": {"optimizer": "adam"},
    "w2": {"statistic": "w2"},
    "normalization: gradient": {"normalization": "gradient"},
    "normalization: gatys": {"normalization": "gatys"},
    "luminance": {"color": "luminance"},
    "average pooling": {"pooling": "avg"},
    "padding: reflect": {"padding": "reflect"},
    "from noise": {"init": "noise"},
    "isotropic total variation": {"tv_form": "isotropic", "tv_weight": 1.0},
    "a pyramid": {"pyramid_start": 32, "iterations": [6, 6]},
}
"""Name -> settings that take other ways through the engine."""


def makes_pictures(studio: Studio, size: int, other: dict[str, Any]) -> None:
    """Three pictures at a time are finite, and have moved from where they started."""
    settings = studio.settings("compact", size, **{"iterations": ITERATIONS, **other})
    requests = studio.requests(settings, 3)
    for request, image in zip(requests, make(studio.engine(), requests).images, strict=True):
        assert np.isfinite(image).all(), "a picture has numbers that are not finite"
        assert np.abs(image - request.read().content).max() > 0.01, "a picture has not moved"


def makes_regions(studio: Studio, size: int) -> None:
    """Two regions, each with its own part of the style."""
    masks = np.zeros((2, size * 3 // 4, size), np.uint8)
    masks[0, :, : size // 2] = masks[1, :, size // 2 :] = 255
    regions = Regions(("left", "right"), masks)
    settings = studio.settings("compact", size, ITERATIONS)
    for image in make(studio.engine(), studio.requests(settings, 2, regions)).images:
        assert np.isfinite(image).all(), "a picture has numbers that are not finite"


def agrees_with_cpu(studio: Studio, size: int) -> None:
    """The first step in float32 is the CPU's, within what the order of sums and TF32 change."""
    settings = studio.settings("compact", size, 1, history=1)
    request = studio.requests(settings, 1)[0]
    found = []
    for device in (studio.device, "cpu"):
        own = Studio(studio.folder, device)
        engine = own.engine(precision="float32")
        encoder = engine.encoder(settings, request.weights, settings.layers)
        task = StylizeTask(request.read().content, [engine.moments(request.targets[0])], settings)
        found.append(stylize(encoder, [task], device=engine.device)[0].image)
    difference = float(np.abs(found[0] - found[1]).max())
    assert difference < 0.02, f"a first step differs from the CPU's by {difference:.3g}"


def batch_agrees_with_single(studio: Studio, size: int) -> None:
    """A picture does not depend on those made beside it, within rounding over some steps."""
    settings = studio.settings("compact", size, 4)
    requests = studio.requests(settings, 3)
    together = make(studio.engine(precision="float32"), requests).images[1]
    alone = make(studio.engine(1, precision="float32"), requests[1:2]).images[0]
    difference = float(np.abs(together - alone).max())
    assert difference < 0.02, (
        f"a picture of a batch differs from the same alone by {difference:.3g}"
    )


def tiles_agree_with_whole(studio: Studio, size: int) -> None:
    """One evaluation in tiles gives the same first step as the whole picture."""
    settings = studio.settings("compact", 4 * size, 1)
    request = studio.requests(settings, 1)[0]
    engine = studio.engine(precision="float32")
    encoder = engine.encoder(settings, request.weights, settings.layers)
    task = StylizeTask(request.read().content, [engine.moments(request.targets[0])], settings)
    whole, tiled = (
        stylize(encoder, [task], device=engine.device, tile=tile)[0].image
        for tile in (None, 2 * size)
    )
    difference = float(np.abs(whole - tiled).max())
    assert difference < 0.02, f"tiles differ from the whole by {difference:.3g}"


def repeats_itself(studio: Studio, size: int) -> None:
    """A state can be made again: the same engine gives the same picture within rounding."""
    requests = studio.requests(studio.settings("compact", size, 4), 2)
    first, second = (make(studio.engine(), requests).images[0] for _ in range(2))
    difference = float(np.abs(first - second).max())
    assert difference < 0.02, f"a repeat differs by {difference:.3g}"


def graphs_change_nothing(studio: Studio, size: int) -> None:
    """Iterations are recorded as graphs, also after images have left, and do what they did before."""
    if torch.device(studio.device).type != "cuda":
        return
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger(graphs.__name__)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        settings = studio.settings("compact", size, 40, tolerance=0.05)
        requests = studio.requests(settings, 3)
        with_graphs, without = (
            make(studio.engine(precision="float32", graphs=use), requests).images
            for use in (True, False)
        )
    finally:
        logger.removeHandler(handler)
    assert not lines, lines[0]
    for one, other in zip(with_graphs, without, strict=True):
        difference = float(np.abs(one - other).mean())
        assert difference < 0.02, f"pictures of graphs differ by {difference:.3g} on average"


def says_out_of_memory(studio: Studio, _size: int) -> None:
    """What a device says when memory is short is understood."""
    said: Exception | None = None
    try:
        torch.empty(1 << 46, dtype=torch.uint8, device=studio.device)
    except (RuntimeError, MemoryError) as error:
        said = error
    assert said is not None, "64 TB were given out"
    assert is_out_of_memory(said), f"not understood as a lack of memory: {said}"


CHECKS: dict[str, Callable[[Studio, int], None]] = {
    **{name: partial(makes_pictures, other=other) for name, other in VARIANTS.items()},
    "regions": makes_regions,
    "the first step agrees with the CPU's": agrees_with_cpu,
    "a batch agrees with single pictures": batch_agrees_with_single,
    "tiles agree with the whole": tiles_agree_with_whole,
    "a repeat agrees": repeats_itself,
    "graphs change nothing": graphs_change_nothing,
    "a lack of memory is understood": says_out_of_memory,
}
"""Name -> a function of a studio and a size in pixels that raises what is wrong."""
