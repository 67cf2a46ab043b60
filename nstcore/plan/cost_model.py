"""What a cell costs: seconds counted from its settings and the speed that the configuration names.

Operations are counted from the encoder's shape, so that the same configuration gives the same batches
on every machine, whatever computes there.  (What *this* machine takes is measured by
``nstcore.resources.throughput``.)  Time is that of all iterations: a picture that converges early
takes less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

from nstcore.config.run import Config
from nstcore.core.encoders import ENCODERS
from nstcore.core.geometry import Size, image_size, levels
from nstcore.core.settings import Settings

TFLOPS = {"gpu": 2.0, "cpu": 0.1}
"""Speed where the configuration names none.  Two cores with AVX-512 reach 0.17 with the compact encoder
and 0.4 with VGG-19 (``benchmarks/results/roofline.md``); a GPU of 2018 made for inference about 3."""

START_SECONDS = 15.0
"""Until a job computes: two or three starts of Snakemake, torch, the device, the weights."""

SHAPES = {"long": (3000, 3000), "area": (3000, 3000), "short": (3000, 2000)}
"""Native sizes that pictures are taken to have: none is opened for this.  By the long side that is the
most there can be, by the area it is exact, and by the short side it is what cameras give."""


def tflops_of(config: Config, encoder: str) -> float:
    """Speed of a job's device with an encoder, in 10^12 operations a second."""
    given = config.cluster.tflops
    found = given.get(encoder) if isinstance(given, dict) else given
    return found or TFLOPS["cpu" if config.device == "cpu" else "gpu"]


def cell_flops(settings: Settings, native: Size | None = None) -> float:
    """Operations of a cell's whole descent; ``native`` are width and height of its content."""
    size = image_size(native or SHAPES[settings.size_by], settings)
    style = settings.used_style_layers
    last = settings.encoder_spec.deepest(settings.layers)
    return sum_iterations(
        settings, size, lambda level: iteration_flops(settings.encoder, last, style, *level)
    )


def sum_iterations(settings: Settings, size: Size, cost: Callable[[Size], float]) -> float:
    """What all iterations of an image cost, in the unit of ``cost`` of one at the size of a level."""
    # One more for the targets of the level.
    return sum((iterations + 1) * cost(level) for level, iterations in levels(settings, size))


@lru_cache(maxsize=4096)
def iteration_flops(
    encoder: str, last: str, style: tuple[str, ...], width: int, height: int
) -> int:
    """Operations of one iteration of one picture, forward and backward.

    Args:
        last: the deepest layer that a loss uses.
        style: the layers of the style loss.
    """
    spec = ENCODERS[encoder]
    return 2 * (spec.convolution_flops(last, width, height) + spec.gram_flops(style, width, height))


def cell_seconds(config: Config, settings: Settings, evaluation_encoder: str) -> float:
    """What one more cell adds to a job: its optimization, and its evaluation."""
    spec, side = ENCODERS[evaluation_encoder], config.evaluation.size
    last = spec.deepest(spec.evaluation_layers)
    # Forward only.
    evaluation = iteration_flops(spec.name, last, spec.evaluation_layers, side, side) / 2
    return 1e-12 * (
        cell_flops(settings) / tflops_of(config, settings.encoder)
        + evaluation / tflops_of(config, spec.name)
    )


def job_seconds(cells: Iterable[float]) -> float:
    """What a job takes whose cells take these seconds."""
    return START_SECONDS + sum(cells)
