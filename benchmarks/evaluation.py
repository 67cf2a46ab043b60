"""One evaluation of losses and gradient, with and without keeping freed memory.

    plain     the C library's own habits
    kept      ``nstcore.resources.device_memory``, as the engine does it

The habits of the C library cannot be put back as they were, so each has processes of its own, in turns.

    python benchmarks/evaluation.py
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from typing import Any

import torch
from _common import (
    add_options,
    machine_name,
    make_encoder,
    picture,
    save,
    show,
    table,
    take_turns,
    timed_process,
    use_threads,
)

from nstcore.core.batched import to_tensor
from nstcore.core.moments import style_moments
from nstcore.core.objective import build_objective
from nstcore.core.settings import Settings
from nstcore.resources.device_memory import keep_freed_memory

WAYS = ("plain", "kept")


def measure(name: str, size: int, batch: int, options: argparse.Namespace) -> dict[str, Any]:
    """Median seconds of an evaluation in every way."""
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(options.blocks):
        for kept in (False, True):
            point = {"encoder": name, "size": size, "batch": batch, "kept": kept}
            words = [sys.executable, __file__, "--point", json.dumps(point)]
            words += ["--rounds", str(options.rounds), "--threads", str(options.threads)]
            if options.weights:
                words += ["--weights", options.weights]
            found = json.loads(timed_process(words).output.splitlines()[-1])
            seconds["kept" if kept else "plain"].append(found["evaluate"])
    return {
        "encoder": name,
        "size": size,
        "batch": batch,
        "seconds": {way: statistics.median(values) for way, values in seconds.items()},
    }


def measure_here(
    name: str, size: int, batch: int, kept: bool, options: argparse.Namespace
) -> dict[str, float]:
    """Median seconds in this very process."""
    torch.set_num_threads(options.threads)
    if kept:
        keep_freed_memory()
    settings = Settings(encoder=name, size=size)
    encoder = make_encoder(name, options.weights, "relu5_1", "cpu")
    height = size * 3 // 4
    images = torch.cat([to_tensor(picture(height, size, seed)) for seed in range(batch)])
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        content = encoder(to_tensor(picture(height, size, 98)), list(settings.content_layers))
        style = style_moments(
            encoder, to_tensor(picture(height, size, 99)), list(settings.style_layers)
        )
    objective = build_objective(
        encoder,
        settings,
        content=content,
        style=style,
        images=batch,
    )
    return take_turns({"evaluate": lambda: objective.evaluate(images)}, options.rounds)


def to_markdown(result: dict[str, Any]) -> list[str]:
    """The results as a table for people."""
    rows = [
        [
            row["encoder"],
            row["size"],
            row["batch"],
            *(show(1e3 * row["seconds"][way]) for way in WAYS),
            f"{1 - row['seconds']['kept'] / row['seconds']['plain']:.0%}",
        ]
        for row in result["rows"]
    ]
    heads = ["encoder", "px", "pictures", "plain (ms)", "kept (ms)", "time saved"]
    return [
        "# One evaluation of losses and gradient on a CPU",
        "",
        f"Machine: {result['machine']}; torch {result['torch']}. Pictures of 4:3, float32. Medians of "
        f"{result['blocks']} turns of {result['rounds']} rounds.",
        "",
        *table(heads, rows),
        "",
        "*plain*: the C library gives freed memory back to the system and gets fresh pages for it, which "
        "the system fills with zeros. *kept*: freed memory stays with the process.",
    ]


def main() -> None:
    """Measure and write ``evaluation.json`` and ``.md``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--weights", help="VGG-19's weights (default: random ones)")
    parser.add_argument("--encoder", nargs="+", default=["vgg19", "compact"])
    parser.add_argument("--size", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--blocks", type=int, default=3)
    add_options(parser)
    parser.add_argument("--point", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point is not None:
        point = options.point
        name, size, batch = point["encoder"], point["size"], point["batch"]
        print(json.dumps(measure_here(name, size, batch, point["kept"], options)))
        return
    if options.device != "cpu":
        parser.error("--device: this is about the memory of a CPU")
    use_threads(options.threads)
    result = {
        "machine": machine_name("cpu"),
        "torch": torch.__version__,
        "rounds": options.rounds,
        "blocks": options.blocks,
        "rows": [
            measure(name, size, batch, options)
            for name in options.encoder
            for size in options.size
            for batch in options.batch
        ],
    }
    save("evaluation", result, to_markdown(result), options.out)


if __name__ == "__main__":
    main()
