"""How much of the machine's arithmetic the descent uses.

Counted are the multiply-adds that the method needs, two operations each: every 3 x 3 convolution
forward and its gradient with respect to its input, the Gram matrices forward and backward, and the
1 x 1 convolution that compares activations through an adapter.  Everything else (rectifiers, poolings,
the optimizer) counts as no work at all.  That over the seconds of an iteration is compared with the
convolution peak: the best that a single 3 x 3 convolution of the network's own shapes reaches,
forward or backward, in the same process, data type and number of threads, measured in turns with it.
On a GPU it is also compared with the peak of bfloat16 matrix products.

    python benchmarks/roofline.py                     # weights of VGG-19 are random; that takes as long
    python benchmarks/roofline.py --device cuda --size 256 512 1024 --batch 1 8
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _common import (
    add_options,
    machine_name,
    make_encoder,
    met,
    picture,
    save,
    show,
    synchronize,
    table,
    take_turns,
    use_threads,
)
from torch import Tensor
from torch.nn import functional as F

from nstcore.core.batched import to_tensor
from nstcore.core.encoders import VGG19, VGG19_WIDTHS, stage
from nstcore.core.encoders.vgg import VGG
from nstcore.core.losses.base import Losses
from nstcore.core.objective import build_objective
from nstcore.core.optimizers.lbfgs import BatchedLBFGS
from nstcore.core.settings import Settings
from nstcore.core.stylize import StylizeTask, stylize
from nstcore.core.targets import image_moments

CPU_GOAL = 0.80
"""Least share of the convolution peak for VGG-19 on a CPU."""

GPU_GOAL = 0.40
"""Least share of the bfloat16 matrix peak on a data-centre GPU, at 512 px and more."""

GPU_GOAL_SIZE = 512


def adapter_flops(encoder: VGG, layers: list[str], height: int, width: int) -> int:
    """Operations of one picture's content differences through adapters, forward."""
    total = 0
    for layer in layers:
        if layer in encoder.adapters:
            reduced = 2 ** (stage(layer) - 1)
            outgoing, incoming = encoder.adapters[layer][0].shape
            rows = min(outgoing, incoming)  # an adapter is shortened to as many
            total += 2 * rows * incoming * (height // reduced) * (width // reduced)
    return total


def iteration_flops(encoder: VGG, settings: Settings, height: int, width: int) -> dict[str, int]:
    """Operations of one iteration for one picture, forward and backward, by kind."""
    content = [layer for layer, weight in settings.content_layers.items() if weight > 0]
    style = [layer for layer, weight in settings.style_layers.items() if weight > 0]
    last = VGG19.deepest(settings.layers)
    return {
        "convolutions": 2 * encoder.spec.convolution_flops(last, width, height),
        "gram": 2 * encoder.spec.gram_flops(style, width, height),
        "adapters": 2 * adapter_flops(encoder, content, height, width),
    }


def peak_candidates(
    size: int, batch: int, device: str, dtype: torch.dtype
) -> tuple[dict[str, Callable[[], Any]], dict[str, int]]:
    """Single convolutions of VGG-19's shapes, forward and backward, with their operations."""
    functions: dict[str, Callable[[], Any]] = {}
    flops: dict[str, int] = {}
    for number, width in enumerate(VGG19_WIDTHS[:4]):
        height, across = size * 3 // 4 >> number, size >> number
        x = torch.rand(batch, width, height, across, device=device, dtype=dtype)
        weight = torch.rand(width, width, 3, 3, device=device, dtype=dtype)
        for layout, form in (("", torch.channels_last), (" NCHW", torch.contiguous_format)):
            place = x.contiguous(memory_format=form)
            kernel = weight.contiguous(memory_format=form)
            name = f"{batch} × {width} × {height} × {across}{layout}"
            backward = partial(
                torch.ops.aten.convolution_backward,
                *(place, place, kernel, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1),
                [True, False, False],
            )
            functions |= {
                f"{name} forward": partial(F.conv2d, place, kernel, padding=1),
                f"{name} backward": backward,
            }
        for key in functions:
            flops.setdefault(key, 2 * 9 * width * width * batch * height * across)
    return functions, flops


def matrix_peak(rounds: int, device: str, size: int = 8192) -> float:
    """FLOP/s of bfloat16 matrix products."""
    a, b = (torch.rand(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = take_turns({"product": lambda: a @ b}, rounds, device, repeat=5)
    return 2 * size**3 / seconds["product"]


class Minimizer:
    """One encoder, size and number of pictures, and the pieces of its iteration.

    Args:
        name: the encoder's.
        size: long side of the pictures (4:3).
        batch: how many pictures.
        options: the command line.
    """

    def __init__(self, name: str, size: int, batch: int, options: argparse.Namespace) -> None:
        self.height, self.width, self.batch = size * 3 // 4, size, batch
        self.device, self.iterations = options.device, options.iterations
        self.settings = Settings(
            encoder=name, size=size, pyramid_start=size, iterations=options.iterations
        )
        self.encoder = make_encoder(
            name, options.weights, VGG19.deepest(self.settings.layers), self.device
        )
        style = picture(self.height, self.width, seed=1)
        layers = list(self.settings.style_layers)
        self.moments = image_moments(self.encoder, style, size, layers, self.device)
        # Each has its own content, as in a grid batched by style: nothing can be shared.
        self.contents = [picture(self.height, self.width, seed=10 + i) for i in range(batch)]
        flops = iteration_flops(self.encoder, self.settings, self.height, self.width)
        self.flops = {kind: batch * count for kind, count in flops.items()}

    def run(self) -> float:
        """Seconds of an iteration in the library's own loop, without what comes before the loop."""
        tasks = [StylizeTask(content, [self.moments], self.settings) for content in self.contents]
        seen: list[tuple[int, float]] = []

        def watch(done: int, _total: int, _losses: Losses) -> None:
            synchronize(self.device)
            seen.append((done, time.perf_counter()))

        stylize(self.encoder, tasks, device=self.device, progress=watch)
        (first, began), (last, ended) = seen[0], seen[-1]
        return (ended - began) / (last - first)

    def pieces(self) -> dict[str, Callable[[], Any]]:
        """The pieces of an iteration, to be timed one by one."""
        settings, device = self.settings, self.device
        x = torch.cat([to_tensor(content, device) for content in self.contents])
        with torch.no_grad():
            content = self.encoder(x, list(settings.content_layers))
        layers = list(settings.layers)
        start = torch.rand_like(x)
        objective = build_objective(
            self.encoder,
            settings,
            content=content,
            style=self.moments_on_device(),
            images=self.batch,
        )
        leaf = start.clone().requires_grad_(True)
        slopes = [torch.rand_like(value) for value in self.encoder(start, layers).values()]
        solver = BatchedLBFGS(self.batch, x[0].numel(), history=settings.history, device=device)
        random = torch.rand(self.batch, x[0].numel(), device=device)
        for number in range(settings.history + 1):  # a full history is what most iterations have
            solver.direction(random.roll(number, 1) - 0.3)

        def forward() -> list[Tensor]:
            return list(self.encoder(leaf, layers).values())

        return {
            "forward": forward,
            "encoder": lambda: torch.autograd.grad(forward(), leaf, slopes),
            "evaluate": lambda: objective.evaluate(start),
            "optimizer": lambda: solver.direction(random),
        }

    def moments_on_device(self) -> dict[str, Any]:
        """The style's moments where the encoder is."""
        return {
            layer: type(value)(value.gram.to(self.device), value.mean.to(self.device))
            for layer, value in self.moments.items()
        }


def measure(name: str, size: int, batch: int, options: argparse.Namespace) -> dict[str, Any]:
    """One row of the table."""
    descent = Minimizer(name, size, batch, options)
    candidates, flops = peak_candidates(
        size, batch, options.device, getattr(torch, options.peak_dtype)
    )
    loops: list[float] = []
    # The loop takes its turn like every other function, but says itself how long an iteration took.
    functions = {**candidates, **descent.pieces(), "loop": lambda: loops.append(descent.run())}
    seconds = take_turns(functions, options.rounds, options.device)
    loop = statistics.median(loops[1:])
    reached = {key: flops[key] / seconds[key] for key in candidates}
    best = max(reached, key=lambda key: reached[key])
    total = sum(descent.flops.values())
    row: dict[str, Any] = {
        "encoder": name,
        "size": size,
        "batch": batch,
        "flop": descent.flops,
        "seconds_per_iteration": loop,
        "flops_per_second": total / loop,
        "convolution_peak": reached[best],
        "convolution_peak_shape": best,
        "convolutions": reached,
        "share_of_convolution_peak": total / loop / reached[best],
        "seconds": {
            "encoder_forward": seconds["forward"],
            "encoder_backward": seconds["encoder"] - seconds["forward"],
            "losses": seconds["evaluate"] - seconds["encoder"],
            "optimizer": seconds["optimizer"],
            "rest": loop - seconds["evaluate"] - seconds["optimizer"],
        },
    }
    print(f"{name} {size} px x {batch}: {row['share_of_convolution_peak']:.0%}", flush=True)
    return row


def to_markdown(result: dict[str, Any]) -> list[str]:
    """The results as tables for people."""
    peak = result["bf16_matrix_peak"]
    heads = ["encoder", "px", "pictures", "s / iteration", "GFLOP", "of that Gram", "GFLOP/s"]
    heads += ["convolution peak", "share of it"] + ([] if peak is None else ["of bf16 peak"])
    rows, parts = [], []
    for row in result["rows"]:
        total = sum(row["flop"].values())
        point = [row["encoder"], row["size"], row["batch"], show(row["seconds_per_iteration"])]
        cells = [
            *point,
            show(total / 1e9),
            f"{row['flop']['gram'] / total:.1%}",
            show(row["flops_per_second"] / 1e9),
            show(row["convolution_peak"] / 1e9),
            f"{row['share_of_convolution_peak']:.0%}",
        ]
        if peak is not None:
            cells.append(f"{row['flops_per_second'] / peak:.1%}")
        rows.append(cells)
        seconds = row["seconds"].values()
        parts.append([*point, *(f"{x / row['seconds_per_iteration']:.0%}" for x in seconds)])
    vgg = [row for row in result["rows"] if row["encoder"] == "vgg19"]
    if peak is None:
        shares = [row["share_of_convolution_peak"] for row in vgg]
        goal, what = CPU_GOAL, "of the convolution peak, VGG-19 on a CPU"
    else:
        shares = [r["flops_per_second"] / peak for r in vgg if r["size"] >= GPU_GOAL_SIZE]
        goal, what = GPU_GOAL, f"of the bf16 matrix peak, VGG-19 at {GPU_GOAL_SIZE} px and more"
    lowest = min(shares, default=None)
    return [
        "# How much of the machine's arithmetic the descent uses",
        "",
        f"Machine: {result['machine']}; torch {result['torch']}. Pictures of 4:3. "
        f"Medians of {result['rounds']} rounds in which loop, pieces and single convolutions take turns.",
        *([] if peak is None else [f"bf16 matrix peak: {peak / 1e12:.0f} TFLOP/s."]),
        "",
        "GFLOP are those of one iteration for all pictures: 3 × 3 convolutions forward and backward to "
        "their input, Gram matrices forward and backward, adapters. The convolution peak (GFLOP/s) is "
        f"the best of single 3 × 3 convolutions in {result['peak_dtype']}, of VGG-19's shapes at that "
        "size and number of pictures.",
        "",
        *table(heads, rows),
        "",
        "Where an iteration's time goes. The pieces are measured alone; *rest* is what the loop takes "
        "beyond them (keeping the best state, the guard), and may be negative by what they vary.",
        "",
        *table(
            [*heads[:4], "encoder forward", "encoder backward", "losses", "optimizer", "rest"],
            parts,
        ),
        "",
        *table(
            ["goal", "wanted", "lowest", "met"],
            [
                [
                    what,
                    f"≥ {goal:.0%}",
                    None if lowest is None else f"{lowest:.0%}",
                    met(lowest, goal, least=True),
                ]
            ],
        ),
    ]


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Compare the descent with the machine's peak.")
    parser.add_argument("--weights", type=Path, help="VGG-19's weights (default: random ones)")
    parser.add_argument("--encoder", nargs="+", default=["vgg19", "compact"])
    parser.add_argument("--size", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--iterations",
        type=int,
        default=20,
        help="of the loop in every round; the first 10 are not timed",
    )
    parser.add_argument(
        "--peak-dtype",
        choices=("float32", "bfloat16"),
        help="of the convolution peak (default: float32 on a CPU, bfloat16 on a GPU)",
    )
    add_options(parser)
    return parser


def main() -> None:
    """Measure and write ``roofline.json`` and ``.md``, on a GPU ``roofline_cuda``."""
    parser = make_parser()
    options = parser.parse_args()
    if options.iterations < 20:
        parser.error("--iterations: at least 20 are needed to leave the first 10 out")
    use_threads(options.threads)
    on_gpu = options.device != "cpu"
    options.peak_dtype = options.peak_dtype or ("bfloat16" if on_gpu else "float32")
    rows = [
        measure(name, size, batch, options)
        for name in options.encoder
        for size in options.size
        for batch in options.batch
    ]
    result = {
        "machine": machine_name(options.device),
        "torch": torch.__version__,
        "peak_dtype": options.peak_dtype,
        "rounds": options.rounds,
        "bf16_matrix_peak": matrix_peak(options.rounds, options.device) if on_gpu else None,
        "rows": rows,
    }
    save("roofline_cuda" if on_gpu else "roofline", result, to_markdown(result), options.out)


if __name__ == "__main__":
    main()
