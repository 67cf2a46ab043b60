"""What an iteration gives a GPU to do, counted on one that is only pretended, and how long that takes.

    scenarios   small runs with values: kernels by part, waits, faults, whether an iteration is a graph
    roofline    512 px without values: arithmetic and traffic over what GPUs can do

Milliseconds are arithmetic, not measurements: convolutions and products at 40 % of the peak for their
type, everything else at 80 % of the memory's bandwidth, 6 microseconds of the host for each launch.

    python benchmarks/rehearsal.py
    python benchmarks/rehearsal.py --parts roofline --images 1 64
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from _common import RESULTS, ROOT, save, show, table

sys.path.insert(0, str(ROOT / "tests"))

from gpu_rehearsal.pretended import Iteration, PretendedDevice
from gpu_rehearsal.scenarios import SCENARIOS, Scenario, random_vgg

from nstcore.core.settings import Settings
from nstcore.resources.memory_model import peak_bytes

PEAK_SHARE, BANDWIDTH_SHARE, LAUNCH_SECONDS = 0.4, 0.8, 6e-6

GOAL_MS = 100
"""Most milliseconds of 64 images of 512 px with VGG-19 on an H200."""


@dataclass(frozen=True)
class Gpu:
    """What a maker says of a GPU: FLOP/s of dense products in bfloat16 and float32, bytes/s, graphs."""

    half: float
    single: float
    bandwidth: float
    graphs: bool = True


GPUS = {
    "H200": Gpu(989e12, 67e12, 4.8e12),
    "A100 80 GB": Gpu(312e12, 19.5e12, 2.0e12),
    "RTX 4090": Gpu(165e12, 82.6e12, 1.0e12),
    "M3 Max": Gpu(28e12, 14e12, 0.4e12, graphs=False),
}


def milliseconds(iteration: Iteration, gpu: Gpu) -> dict[str, float]:
    """What an iteration takes on a GPU, by kind of work, and of the host."""
    found: Counter[str] = Counter()
    for launch in iteration.launches:
        if launch.flops:
            half = launch.dtype == torch.bfloat16
            kind = "convolutions" if "convolution" in launch.name else "products"
            peak = PEAK_SHARE * (gpu.half if half else gpu.single)
            found[f"{kind} {'bf16' if half else 'float32'}"] += 1e3 * launch.flops / peak
        found["elementwise"] += 1e3 * launch.bytes / (BANDWIDTH_SHARE * gpu.bandwidth)
    return {
        **found,
        "sum": sum(found.values()),
        "host": host_launches(iteration, gpu.graphs) * 1e3 * LAUNCH_SECONDS,
    }


def host_launches(iteration: Iteration, graphs: bool = True) -> int:
    """What the host has to launch: a graph at once, where there are any, or every kernel."""
    return 1 if graphs and iteration.replayed else len(iteration.launches)


def ordinary(device: PretendedDevice) -> Iteration:
    """The last iteration that is not recorded: L-BFGS's history is as full as it gets."""
    return [one for n, one in enumerate(device.iterations, 1) if n % 10 != 0][-1]


def count_scenario(name: str, kind: str, vgg: Path) -> dict[str, Any]:
    """Run a small scenario."""
    with tempfile.TemporaryDirectory() as folder:
        device = SCENARIOS[name].run(kind, Path(folder), vgg)
    waiting = [n for n, one in enumerate(device.iterations, 1) if one.waits and n % 10]
    return {
        "scenario": name,
        "device": kind,
        "launches": dict(ordinary(device).by_part()),
        "host_launches": host_launches(ordinary(device)),
        "waiting_iterations": len(waiting),
        "faults": {f"{what} at {line}": count for (what, line), count in device.faults.items()},
        "moved": sorted(device.moved),
    }


def count_large(encoder: str, statistic: str, images: int, vgg: Path) -> dict[str, Any]:
    """Run a level of 512 px without values, and do the arithmetic."""
    settings = {
        **{"encoder": encoder, "statistic": statistic, "size": 512, "pyramid_start": 512},
        "iterations": 13,
    }
    scenario = replace(Scenario(settings, values=False), count=images, size=(512, 512))
    with tempfile.TemporaryDirectory() as folder:
        device = scenario.run("cuda", Path(folder), vgg)
    iteration = ordinary(device)
    model = peak_bytes(Settings(**settings), 512, 512, images, device="cuda", half=True)
    return {
        **{"encoder": encoder, "statistic": statistic, "images": images},
        "launches": len(iteration.launches),
        "tflop": sum(launch.flops for launch in iteration.launches) / 1e12,
        "gigabytes": sum(launch.bytes for launch in iteration.launches) / 1e9,
        "alive_gb": device.most / 1e9,
        "model_gb": model / 1e9,
        "milliseconds": {name: milliseconds(iteration, gpu) for name, gpu in GPUS.items()},
    }


def to_markdown(result: Mapping[str, Any]) -> list[str]:
    """The counts as tables."""
    lines = [
        "# A GPU, rehearsed without one",
        "",
        f"torch {result['torch']}. Nothing here was timed.",
    ]
    if "scenarios" in result:
        parts = ("encoder", "losses", "optimizer", "minimizer", "other")
        rows = [
            [
                *(row["scenario"], row["device"], sum(row["launches"].values())),
                *(row["launches"].get(part, 0) for part in parts),
                row["host_launches"],
                row["waiting_iterations"],
                sum(row["faults"].values()),
                ", ".join(row["moved"]),
            ]
            for row in result["scenarios"]
        ]
        heads = [
            "scenario",
            "device",
            "kernels",
            *parts,
            "launches by the host",
            "iterations that wait",
            "faults",
            "moves",
        ]
        lines += [
            "",
            "## An iteration",
            "",
            "Losses are read at every tenth iteration, which may wait for it; the others are counted. "
            "From the third one of a level on CUDA gets an iteration as a graph, with one launch. What "
            "moves lies elsewhere in memory after an iteration, which no graph allows.",
            "",
            *table(heads, rows),
        ]
    if "roofline" in result:
        rows = []
        for row in result["roofline"]:
            for name, ms in row["milliseconds"].items():
                kinds = (
                    "convolutions bf16",
                    "elementwise",
                    "products bf16",
                    "products float32",
                    "sum",
                )
                rows.append(
                    [
                        f"{row['encoder']}, {row['statistic']}, {row['images']}",
                        name,
                        *(show(ms.get(kind, 0.0)) for kind in (*kinds, "host")),
                    ]
                )
        heads = ["run", "GPU", "convolutions bf16", "elementwise", "products bf16"]
        lines += [
            "",
            "## Milliseconds of an iteration, by arithmetic",
            "",
            f"512 × 512 px: encoder, statistic, images. {PEAK_SHARE:.0%} of the peak, "
            f"{BANDWIDTH_SHARE:.0%} of the bandwidth, {1e6 * LAUNCH_SECONDS:g} µs of the host a launch. "
            f"Goal for VGG-19, gram, 64 images on an H200: {GOAL_MS}.",
            "",
            *table([*heads, "products float32", "sum", "host"], rows),
            "",
            *table(
                ["run", "kernels", "TFLOP", "GB moved", "GB alive", "GB by the memory model"],
                [
                    [
                        f"{row['encoder']}, {row['statistic']}, {row['images']}",
                        row["launches"],
                        *(show(row[key]) for key in ("tflop", "gigabytes", "alive_gb", "model_gb")),
                    ]
                    for row in result["roofline"]
                ],
            ),
        ]
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Count what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parts = ["scenarios", "roofline"]
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--images", nargs="+", type=int, default=[1, 64])
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    options = parser.parse_args(arguments)
    result: dict[str, Any] = {"torch": torch.__version__}
    with tempfile.TemporaryDirectory() as folder:
        vgg = random_vgg(Path(folder))
        if "scenarios" in options.parts:
            result["scenarios"] = [
                count_scenario(name, kind, vgg) for name in SCENARIOS for kind in ("cuda", "mps")
            ]
        if "roofline" in options.parts:
            result["roofline"] = [
                count_large(encoder, statistic, images, vgg)
                for encoder in ("vgg19", "compact")
                for statistic in ("gram", "w2")
                for images in options.images
            ]
    save("gpu_rehearsal", result, to_markdown(result), options.out)


if __name__ == "__main__":
    main()
