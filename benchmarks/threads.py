"""What waiting threads cost: the same optimization by itself, and beside one busy process a core.

The variants take turns, so that a machine that is slower for a while is slower for all of them.  Each
turn is a process of its own, because OpenMP reads its environment once.  Seconds are the median of a
small batch's descent over two levels, without imports.

    python benchmarks/threads.py
    python benchmarks/threads.py --variants default nstcore GOMP_SPINCOUNT=1000 --rounds 5
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from contextlib import ExitStack
from typing import Any

from _common import ROOT, add_options, cores, machine_name, picture, save, show, table

ALONE_GOAL, BUSY_GOAL = 1.02, 2.2
VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
BUSY = "while True: pass"


def descend() -> float:
    """The work of a child: seconds of three images over two levels, as the demo has them."""
    from nstcore.core.encoders.compact import load_compact
    from nstcore.core.settings import Settings
    from nstcore.core.stylize import StylizeTask, stylize
    from nstcore.core.targets import image_moments

    settings = Settings(size=256, pyramid_start=128, iterations=(60, 30))
    encoder = load_compact()
    content, style = picture(170, 256), picture(170, 256, seed=1)
    layers = list(settings.style_layers)
    moments = [image_moments(encoder, style, size, layers, "cpu") for size in (128, 256)]
    tasks = [
        StylizeTask(content, moments, settings.model_copy(update={"style_weight": weight}))
        for weight in (1.0, 5.0, 25.0)
    ]
    return sum(level.seconds for level in stylize(encoder, tasks, device="cpu")[0].levels)


def measure(variant: str, busy: int) -> float:
    """Seconds of one descent in a process of its own, beside some busy ones."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])
    # nstcore sets its own unless one is set: what OpenMP does without any has to be asked for.
    own = {"nstcore": {}, "default": {"KMP_BLOCKTIME": ""}}.get(variant)
    if own is None:
        name, _, value = variant.partition("=")
        own = {name: value}
    with ExitStack() as stack:
        for _ in range(busy):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", BUSY]))
            stack.callback(process.kill)
        said = subprocess.run(
            [sys.executable, "-c", "import nstcore, threads; print(threads.descend())"],
            env={**environment, **own},
            capture_output=True,
            text=True,
            check=True,
        )
    return float(said.stdout)


def to_markdown(result: dict[str, Any]) -> list[str]:
    """The figures as a page."""
    rows = []
    base = result["seconds"]["default"]["alone"]
    for variant, of in result["seconds"].items():
        rows.append(
            [
                variant,
                show(of["alone"]),
                show(of["alone"] / base),
                show(of["busy"]),
                show(of["busy"] / of["alone"]),
            ]
        )
    own = result["seconds"]["nstcore"]
    alone, busy = own["alone"] / base, own["busy"] / own["alone"]
    return [
        "# Threads that wait",
        "",
        f"Machine: {result['machine']}. Median of {result['rounds']} rounds.",
        "",
        *table(["variant", "alone, s", "to default", "beside busy, s", "to alone"], rows),
        "",
        f"Goals for nstcore: alone at most {ALONE_GOAL} of the default ({show(alone)}), beside one busy",
        f"process a core at most {BUSY_GOAL} of the time alone ({show(busy)}).",
    ]


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--variants", nargs="+", default=["default", "nstcore"])
    parser.add_argument("--rounds", type=int, default=5)
    add_options(parser)
    options = parser.parse_args()
    times: dict[str, dict[str, list[float]]] = {
        variant: {"alone": [], "busy": []} for variant in options.variants
    }
    for _ in range(options.rounds):
        for variant, of in times.items():
            of["alone"].append(measure(variant, 0))
        for variant, of in times.items():
            of["busy"].append(measure(variant, cores()))
    seconds = {
        variant: {name: statistics.median(values) for name, values in of.items()}
        for variant, of in times.items()
    }
    result = {"machine": machine_name("cpu"), "rounds": options.rounds, "seconds": seconds}
    save("threads", result, to_markdown(result), options.out)


if __name__ == "__main__":
    main()
