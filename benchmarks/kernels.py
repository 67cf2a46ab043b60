"""Gram matrices: torch's matrix product against ``nstcore.core.moments.gram_matrix``.

For the style layers of VGG-19 and of the compact encoder, in one process and in turns, forward and
backward.  The matrix product is the one that ``gram_matrix`` uses where it has no kernel of its own:
on channels_last activations, without a copy.

    python benchmarks/kernels.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from _common import (
    add_options,
    machine_name,
    save,
    show,
    table,
    take_turns,
    use_threads,
)
from torch import Tensor

from nstcore.core.encoders import EVAL_STYLE_LAYERS, VGG19_WIDTHS, channels, stage
from nstcore.core.encoders.compact import COMPACT_WIDTHS
from nstcore.core.moments import gram_matrix

WIDTHS = {"vgg19": VGG19_WIDTHS, "compact": COMPACT_WIDTHS}


def matrix_product(features: Tensor) -> Tensor:
    """The averaged Gram matrices (N, C, C) of activations (N, C, H, W) by one matrix product."""
    n, c, h, w = features.shape
    flat = features.permute(0, 2, 3, 1).reshape(n, h * w, c)
    return (flat / (h * w)).mT @ flat


def passes(gram: Callable[[Tensor], Tensor], features: Tensor) -> dict[str, Callable[[], Any]]:
    """One way to a Gram matrix forward, and forward with backward."""
    leaf = features.detach().clone(memory_format=torch.preserve_format).requires_grad_(True)
    slope = torch.rand_like(gram(features))

    def both() -> None:
        torch.autograd.grad(gram(leaf), leaf, slope)

    return {"forward": partial(gram, features), "both": both}


def measure_layer(
    encoder: str, layer: str, options: argparse.Namespace
) -> dict[str, int | float | str]:
    """Seconds of both ways for one layer's shape."""
    width, height = options.size, options.size * 3 // 4
    reduced = 2 ** (stage(layer) - 1)
    shape = (
        options.batch,
        channels(layer, WIDTHS[encoder]),
        height // reduced,
        width // reduced,
    )
    features = torch.rand(shape, device=options.device).contiguous(
        memory_format=torch.channels_last
    )
    ways = {"torch": matrix_product, "nstcore": gram_matrix}
    exact = matrix_product(features.double())
    found: dict[str, int | float | str] = {
        "encoder": encoder,
        "layer": layer,
        "channels": shape[1],
        "positions": shape[2] * shape[3],
    }
    functions: dict[str, Callable[[], Any]] = {}
    for name, way in ways.items():
        found[f"{name}_error"] = float((way(features) - exact).abs().max() / exact.abs().max())
        functions |= {f"{name}_{key}": run for key, run in passes(way, features).items()}
    once = take_turns(functions, 1, options.device)
    repeat = max(1, round(0.01 / max(once.values())))
    seconds = take_turns(functions, options.rounds, options.device, repeat)
    for name in ways:
        found[f"{name}_forward"] = seconds[f"{name}_forward"]
        # The backward pass alone cannot be repeated without the forward pass before it.
        found[f"{name}_backward"] = seconds[f"{name}_both"] - seconds[f"{name}_forward"]
    return found


def to_markdown(result: dict[str, Any]) -> list[str]:
    """The results as a table for people."""
    rows = []
    for layer in result["layers"]:
        rows.append(
            [layer["encoder"], layer["layer"], f"{layer['channels']} × {layer['positions']}"]
        )
        for part in ("forward", "backward"):
            theirs, ours = layer[f"torch_{part}"], layer[f"nstcore_{part}"]
            rows[-1] += [show(1e3 * theirs), show(1e3 * ours), show(theirs / ours, 2)]
        rows[-1] += [f"{layer[f'{name}_error']:.0e}" for name in ("torch", "nstcore")]
    sums = {
        (encoder, way): sum(
            layer[f"{way}_forward"] + layer[f"{way}_backward"]
            for layer in result["layers"]
            if layer["encoder"] == encoder
        )
        for encoder in WIDTHS
        for way in ("torch", "nstcore")
    }
    return [
        "# Gram matrices",
        "",
        f"Machine: {result['machine']}; torch {result['torch']}. Activations of {result['batch']} "
        f"picture(s) of {result['size']} × {result['size'] * 3 // 4} px, float32, channels_last. "
        f"Milliseconds, medians of {result['rounds']} rounds in which the two take turns; errors are "
        "the largest against float64, over the largest entry.",
        "",
        *table(
            [
                "encoder",
                "layer",
                "C × M",
                *("torch forward", "nstcore forward", "times faster"),
                *("torch backward", "nstcore backward", "times faster"),
                *("torch error", "nstcore error"),
            ],
            rows,
        ),
        "",
        *[
            f"- {encoder}, all layers, forward and backward: torch {show(1e3 * sums[encoder, 'torch'])} "
            f"ms, nstcore {show(1e3 * sums[encoder, 'nstcore'])} ms"
            for encoder in WIDTHS
        ],
    ]


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Time Gram matrices.")
    parser.add_argument("--size", type=int, default=256, help="long side of the pictures (4:3)")
    parser.add_argument("--batch", type=int, default=1, help="pictures at the same time")
    parser.add_argument("--rounds", type=int, default=15)
    add_options(parser)
    return parser


def main() -> None:
    """Measure and write ``kernels.json`` and ``.md``."""
    options = make_parser().parse_args()
    use_threads(options.threads)
    result = {
        "machine": machine_name(options.device),
        "torch": torch.__version__,
        "size": options.size,
        "batch": options.batch,
        "rounds": options.rounds,
        "layers": [
            measure_layer(encoder, layer, options)
            for encoder in WIDTHS
            for layer in EVAL_STYLE_LAYERS
        ],
    }
    save("kernels", result, to_markdown(result), options.out)


if __name__ == "__main__":
    main()
