"""What `nst plan` expects of a batch beside what the batch then takes.

python benchmarks/estimate.py
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from _common import add_options, machine_name, picture, save, show, table, use_threads

from nstcore.config.loader import parse_config
from nstcore.images import write_image
from nstcore.jobs import prepare
from nstcore.jobs.stylize import stylize_batch
from nstcore.jobs.targets import make_targets
from nstcore.plan.plan import Plan
from nstcore.resources.estimate import JOB_SECONDS, InputSizes, Machine, estimate_batch
from nstcore.resources.throughput import measure_throughput


def measure(statistic: str, size: int, threads: int) -> dict[str, Any]:
    """Expected and measured seconds of a batch of two images."""
    with tempfile.TemporaryDirectory(prefix="nst-estimate-") as name:
        folder = Path(name)
        for seed, file in enumerate(("content.png", "style.png")):
            write_image(folder / file, picture(size * 3 // 4, size, seed))
        plan = Plan(
            parse_config(
                {
                    "contents": {"content": str(folder / "content.png")},
                    "styles": {"style": str(folder / "style.png")},
                    "results": str(folder / "results"),
                    "device": "cpu",
                    "settings": {"size": size, "statistic": statistic, "tolerance": 0},
                    "sweep": {"axes": {"style_weight": [1, 10]}},
                }
            )
        )
        for encoder in plan.encoders:
            prepare.prepare_encoder(plan, encoder)
        prepare.prepare_content(plan, "content")
        prepare.prepare_style(plan, "style", 0)
        make_targets(plan, "style", threads=threads)
        cells = list(plan.cells())

        def expect() -> float:
            throughput = measure_throughput(
                [cell.settings for cell in cells],
                plan.evaluation_settings,
                torch.device("cpu"),
                threads=threads,
            )
            # This process has started already.
            cost = estimate_batch(
                plan, cells, InputSizes.of(plan), Machine("cpu", 1e12), replace(throughput, start=0)
            )
            assert cost.seconds is not None
            return cost.seconds - JOB_SECONDS

        # Before and after, since what else the machine does may change meanwhile.
        before = expect()
        began = time.perf_counter()
        stylize_batch(plan, cells, threads=threads)
        taken = time.perf_counter() - began
        return {
            "statistic": statistic,
            "size": size,
            "expected": (before * expect()) ** 0.5,
            "taken": taken,
        }


def to_markdown(result: dict[str, Any]) -> list[str]:
    """The results as a table for people."""
    rows = [
        [row["statistic"], row["size"], show(row["expected"]), show(row["taken"]), show(ratio)]
        for row in result["rows"]
        for ratio in [row["taken"] / row["expected"]]
    ]
    return [
        "# Expected and measured time of a batch",
        "",
        f"Machine: {result['machine']}; torch {result['torch']}. Two images of 4:3 with the compact "
        "encoder and the default iterations, none of which converges early.",
        "",
        *table(["statistic", "px", "expected (s)", "taken (s)", "ratio"], rows),
    ]


def main() -> None:
    """Measure and write ``estimate.json`` and ``.md``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, nargs="+", default=[160, 256])
    add_options(parser)
    options = parser.parse_args()
    if options.device != "cpu":
        parser.error("--device: this measures a CPU")
    use_threads(options.threads)
    result = {
        "machine": machine_name("cpu"),
        "torch": torch.__version__,
        "rows": [
            measure(statistic, size, options.threads)
            for statistic in ("gram", "w2")
            for size in options.size
        ],
    }
    save("estimate", result, to_markdown(result), options.out)


if __name__ == "__main__":
    main()
