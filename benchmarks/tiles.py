"""What tiles cost in time and save in memory: one evaluation, whole and in tiles.

Every case runs in a process of its own, because a process's peak memory never falls.

    python benchmarks/tiles.py --size 1024 2048 --tile 512 --threads 1
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from multiprocessing.connection import Connection

import psutil
import torch

from nstcore.core.encoders import VGG19
from nstcore.core.encoders.compact import load_compact
from nstcore.core.encoders.vgg import VGG
from nstcore.core.moments import style_moments
from nstcore.core.objective import build_objective
from nstcore.core.settings import Settings
from nstcore.core.tiling import TiledObjective, tiled_features

# ru_maxrss counts KiB on Linux and bytes on macOS.
UNIT = 1 if sys.platform == "darwin" else 1024


def peak() -> float:
    """The greatest memory this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT / 2**20


def measure(
    answer: Connection, encoder_name: str, size: int, tile: int | None, repeats: int, threads: int
) -> None:
    """Send the memory before and at the peak in MiB, and the seconds of the fastest evaluation."""
    torch.set_num_threads(threads)
    settings = Settings()
    depth = VGG19.deepest(settings.layers)
    encoder: VGG = load_compact(depth=depth) if encoder_name == "compact" else VGG(depth=depth)
    encoder.to(memory_format=torch.channels_last)
    random = torch.Generator().manual_seed(0)
    image, content = torch.rand(2, 1, 3, size, size, generator=random)
    style = torch.rand(1, 3, 256, 256, generator=random)
    objective = build_objective(
        encoder,
        settings,
        # Small tiles, so that the peak is the evaluation's and not the targets'.
        content=tiled_features(encoder, content, list(settings.content_layers), 128),
        style=style_moments(encoder, style, list(settings.style_layers)),
    )
    evaluate = TiledObjective(objective, tile).evaluate
    before = psutil.Process().memory_info().rss / 2**20
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        evaluate(image)
        seconds.append(time.perf_counter() - started)
    # Whatever else runs on the machine only ever adds to the time.
    answer.send((before, peak(), min(seconds)))


def main() -> None:
    """Print a table of all cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", choices=["compact", "vgg19"], default="compact")
    parser.add_argument("--size", type=int, nargs="+", default=[1024, 2048])
    parser.add_argument("--tile", type=int, nargs="+", default=[512])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    print(f"{'size':>6} {'tile':>6} {'before':>8} {'peak':>8} {'seconds':>8}")
    start = multiprocessing.get_context("spawn")
    for size in options.size:
        for tile in (None, *options.tile):
            here, there = start.Pipe(duplex=False)
            case = (there, options.encoder, size, tile, options.repeats, options.threads)
            process = start.Process(target=measure, args=case)
            process.start()
            there.close()
            before, most, seconds = here.recv()
            process.join()
            print(f"{size:>6} {tile or 'whole':>6} {before:8.0f} {most:8.0f} {seconds:8.2f}")


if __name__ == "__main__":
    main()
