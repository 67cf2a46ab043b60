"""How speed and memory grow with pictures at a time, size of the picture, and number of cells.

    batch   pictures optimized together, at one size
    size    one picture, from 256 px on
    tight   a square picture of the largest size with the first encoder, in 8 GB
    cells   whole runs of grids of tiny pictures, with hardly any optimization: what a cell costs besides
    demo    the demo's own run: the share of it that is not optimization
    end     what a finished image of 256 px costs: measuring it, with encoder and style loaded

Every point of the first two is measured in a process of its own, so that its peak memory is its own; it
gets a budget of seconds and less memory than the machine has free.  The last two are real calls of
``nst run`` in a temporary folder.

    python benchmarks/scaling.py                                # the demo takes longest
    python benchmarks/scaling.py --parts cells --cells 1 100 1000
    python benchmarks/scaling.py --parts batch size --device cuda --batch 1 2 4 8 16 32 64
    python benchmarks/scaling.py --parts cells demo --before old/bin/python    # beside an earlier version
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch
import yaml
from _common import (
    NST,
    ROOT,
    Cost,
    add_options,
    machine_name,
    make_encoder,
    met,
    own_peak_mb,
    picture,
    save,
    show,
    table,
    take_turns,
    timed_process,
    use_threads,
)

from nstcore.core.encoders import VGG19
from nstcore.core.image_similarity import StyleImage
from nstcore.core.settings import Settings
from nstcore.core.stylize import StylizeTask, stylize
from nstcore.core.targets import image_moments
from nstcore.images import read_record, write_image
from nstcore.jobs.device_models import DeviceModels

OVERHEAD_GOALS = {"the demo": 0.15, 100: 0.08, 1000: 0.04}
"""Most of the demo's run, and of one of so many cells, that may go into anything but optimization."""

DEMO_GOAL = 0.6
"""Longest that the demo may take, in runs of the earlier version that ``--before`` names."""

END_GOAL = 0.1
"""Most seconds that measuring an image of 256 px may take on two cores."""

RESULT_PARTS = {"scaling": ("batch", "size", "tight"), "runs": ("cells", "end", "demo")}
"""Name of the files with results -> what they hold."""

PARTS = tuple(part for parts in RESULT_PARTS.values() for part in parts)

NST_CODE = NST[1:]

MEMORY_SHARE = 0.85
"""Of the free memory, what a point may take: more would bring down what else runs here."""

PATIENCE = 4
"""A point whose three shortest iterations would take this many budgets is left out."""


def measure_point(point: Mapping[str, Any]) -> dict[str, Any]:
    """Measure one point in this very process; what a child does.

    Seconds of an iteration come from two descents of different length, so that what stands before
    the loop falls out.
    """
    device, size = point["device"], point["size"]
    if device == "cpu" and sys.platform == "linux":
        limit = int(MEMORY_SHARE * psutil.virtual_memory().available)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    shape = (size * 3 // 4, size)
    base = own_peak_mb(device)

    def descend(iterations: int) -> float:
        settings = Settings(
            encoder=point["encoder"], size=size, pyramid_start=size, iterations=iterations
        )
        weights = [settings.style_weight * (1 + i) for i in range(point["batch"])]
        tasks = [
            StylizeTask(content, [moments], settings.model_copy(update={"style_weight": weight}))
            for weight in weights
        ]
        return stylize(encoder, tasks, device=device)[0].levels[-1].seconds

    settings = Settings(encoder=point["encoder"], size=size)
    try:
        encoder = make_encoder(point["encoder"], None, VGG19.deepest(settings.layers), device)
        content = picture(*shape)
        style = picture(*shape, seed=1)
        moments = image_moments(encoder, style, size, list(settings.style_layers), device)
        one = descend(1)
        if one < point["budget"] / 10:
            one = descend(1)  # the first has also warmed up
        iterations = max(2, min(40, 1 + int(point["budget"] / one)))
        seconds = (descend(iterations) - one) / (iterations - 1)
    except (RuntimeError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "memory" in reason or isinstance(error, MemoryError):
            reason = "out of memory"
        return {"failed": reason}
    # The system gives memory out when it is first written: a short descent fills no history.
    unfilled = 2 * max(0, settings.history - iterations) * point["batch"] * 3 * shape[0] * shape[1]
    return {
        "iterations": iterations,
        "seconds_per_iteration": seconds,
        "throughput": point["batch"] / seconds,
        "peak_mb": own_peak_mb(device),
        "peak_with_history_mb": own_peak_mb(device) + 4 * unfilled / 1e6,
        "base_mb": base,
    }


def run_point(point: Mapping[str, Any]) -> dict[str, Any]:
    """Measure one point in a child."""
    command = [sys.executable, __file__, "--point", json.dumps(point)]
    try:
        cost = timed_process(command, timeout=60 + 2 * PATIENCE * point["budget"])
        found = json.loads(cost.output.splitlines()[-1])
    except TimeoutError:
        found = {"failed": "over the budget"}
    except RuntimeError as error:
        found = {"failed": str(error).splitlines()[-1]}
    return {**point, **found}


def measure_growth(
    points: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Measure growing points of one kind; those that are bound to take too long are left out."""
    rows: list[dict[str, Any]] = []
    for point in points:
        before = rows[-1] if rows else None
        row: dict[str, Any]
        if before is not None and "failed" in before:
            row = {**point, "failed": before["failed"]}
        else:
            expected = 0.0
            if before is not None:
                work = point["batch"] * point["size"] ** 2
                growth = work / (before["batch"] * before["size"] ** 2)
                expected = 3 * growth * before["seconds_per_iteration"]
            too_long = expected > PATIENCE * point["budget"]
            row = {**point, "failed": "over the budget"} if too_long else run_point(point)
        print(f"{row['encoder']} {row['size']} px x {row['batch']}:", row.get("failed", "measured"))
        sys.stdout.flush()
        rows.append(row)
    return rows


def grid_shape(cells: int) -> tuple[int, int]:
    """For a number of cells, n contents and n styles and the number of weights; nearly a cube.

    Example:
        >>> grid_shape(100), grid_shape(1000), grid_shape(1)
        ((5, 4), (10, 10), (1, 1))
    """
    shapes = [(n, cells // n**2) for n in range(1, cells + 1) if cells % n**2 == 0]
    return min(shapes, key=lambda shape: abs(shape[0] - shape[1]))


def measure_cells(cells: int, python: str, options: argparse.Namespace) -> dict[str, Any]:
    """A real run of tiny pictures."""
    pairs, weights = grid_shape(cells)
    with tempfile.TemporaryDirectory(prefix="nst-bench-") as name:
        folder = Path(name)
        for kind in ("contents", "styles"):
            (folder / kind).mkdir()
            for index in range(pairs):
                seed = index + (100 if kind == "styles" else 0)
                write_image(folder / kind / f"{kind[:-1]}{index}.png", picture(48, 64, seed))
        config = {
            "run": "cells",
            "contents": "contents",
            "styles": "styles",
            "settings": {"size": 32, "pyramid_start": 32, "iterations": 1},
            "sweep": {"axes": {"style_weight": [round(1.5**i, 4) for i in range(weights)]}},
            "device": options.device,
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")
        found = measure_run(folder, "cells", python, options.threads)
    return {"cells": cells, **found}


def measure_demo(python: str, options: argparse.Namespace) -> dict[str, Any]:
    """The demo, in a folder of its own."""
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text("utf-8"))
    config["device"] = options.device
    config["settings"]["size"] = options.demo_size or config["settings"]["size"]
    with tempfile.TemporaryDirectory(prefix="nst-bench-") as name:
        folder = Path(name)
        timed_process([*NST, "demo", "config/demo"], folder=folder)
        (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")
        found = measure_run(folder, config["run"], python, options.threads)
    return {"cells": found["records"], **found}


def measure_tight(options: argparse.Namespace) -> dict[str, Any]:
    """One large picture where little memory is granted, and hardly any time is spent on coarse levels."""
    size, iterations = max(options.size), Settings().history + 2
    with tempfile.TemporaryDirectory(prefix="nst-bench-") as name:
        folder = Path(name)
        write_image(folder / "content.png", picture(size, size))
        write_image(folder / "style.png", picture(size, size, 1))
        settings = {
            "size": size,
            "encoder": options.encoder[0],
            "iterations": f"[1, {iterations}]",
            "pyramid_start": size // 2,
            "tolerance": 0,
        }
        words = [word for item in settings.items() for word in ("--set", "{}={}".format(*item))]
        cost = timed_process(
            [*NST, "stylize", "content.png", "style.png", "-o", "out.png", *words],
            folder=folder,
            # The engine keeps to it, nobody enforces it: the peak below is what was really taken.
            environment={
                "SLURM_MEM_PER_NODE": str(int(1e9 * options.memory_gb / 2**20)),
                "OMP_NUM_THREADS": str(options.threads),
            },
        )
        record = read_record(folder / "out.png")
    level = record["optimization"]["levels"][-1]
    return {
        "memory_gb": options.memory_gb,
        "size": size,
        "encoder": options.encoder[0],
        "iterations": level["iterations"],
        "seconds": cost.seconds,
        "seconds_per_iteration": level["seconds"] / level["iterations"],
        "largest_mb": cost.largest_mb,
        "tile": record["optimization"]["tile"],
        "history": record["optimization"]["history"],
    }


def measure_end(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of measuring an image, the median of some."""
    content, style, image = (picture(192, 256, seed) for seed in range(3))
    settings = Settings(size=256)
    weights = settings.encoder_spec.find()
    with tempfile.TemporaryDirectory(prefix="nst-bench-") as name:
        target = Path(name) / "target.safetensors"
        models = DeviceModels(torch.device(options.device))
        layers = settings.encoder_spec.evaluation_moments
        models.style_target(target, style, 256, settings, layers, weights, {})
        evaluate = models.evaluation(settings, weights, content, [StyleImage(style, 1.0)], target)
        seconds = take_turns({"measuring": lambda: evaluate(image)}, 9, options.device)
    return {"size": 256, "seconds": seconds["measuring"]}


def measure_run(folder: Path, run: str, python: str, threads: int) -> dict[str, Any]:
    """``nst run config.yaml`` in a folder, then again when nothing is left to do."""
    command = [python, *NST_CODE, "run", "config.yaml", "--cores", str(threads)]
    # Another Python has a version of its own.
    environment = {} if python == sys.executable else {"PYTHONPATH": ""}
    cost = timed_process(command, folder=folder, environment=environment)
    again = timed_process(command, folder=folder, environment=environment)
    results = folder / "results" / run
    records = [
        json.loads(path.read_text("utf-8")) for path in sorted((results / "cells").rglob("*.json"))
    ]
    jobs = {line.split("\t")[-2] for line in (results / "grid.tsv").read_text().splitlines()[1:]}
    figures = run_figures(cost, records, threads)
    return {"jobs": len(jobs), **figures, "seconds_again": again.seconds}


def run_figures(cost: Cost, records: Sequence[Mapping[str, Any]], threads: int) -> dict[str, Any]:
    """What a run's wall-clock and its records say together.

    A job that optimizes with some of the threads occupies that part of the machine.
    """
    optimization = [record["optimization"] for record in records]
    seconds = sum(
        facts["seconds"] * (facts["threads"] / threads if facts["device"] == "cpu" else 1)
        for facts in optimization
    )
    iterations = sum(facts["iterations"] for facts in optimization)
    return {
        "records": len(records),
        "seconds": cost.seconds,
        "optimization_seconds": seconds,
        "other_seconds_per_cell": (cost.seconds - seconds) / len(records),
        "other_share": 1 - seconds / cost.seconds,
        "throughput": iterations / cost.seconds,
        "largest_mb": cost.largest_mb,
        "together_mb": cost.together_mb,
    }


def to_markdown(result: Mapping[str, Any]) -> list[str]:
    """The results as tables for people."""
    lines = [
        "# Whole runs" if result.keys() & set(RESULT_PARTS["runs"]) else "# Scaling",
        "",
        f"Machine: {result['machine']}; torch {result['torch']}. Made-up pictures of 4:3; VGG-19 with "
        "random weights. Throughput: iterations × pictures a second.",
    ]
    titles = {"batch": "Pictures at a time", "size": "Size of the picture"}
    for part in (part for part in titles if part in result):
        lines += [
            "",
            f"## {titles[part]}",
            "",
            "Peak memory: of the process"
            + (
                " on the GPU." if result["device"] != "cpu" else ", and with L-BFGS's history full."
            ),
            "",
        ]
        heads = ["encoder", "px", "pictures", "s / iteration", "throughput", "peak MB"]
        lines += table([*heads, "with full history", "note"], [_point(row) for row in result[part]])
    if "tight" in result:
        row = result["tight"]
        lines += [
            "",
            f"## A large picture in {row['memory_gb']:g} GB",
            "",
            f"`nst stylize` of {row['size']} × {row['size']} px with {row['encoder']}, where a Slurm "
            f"job has {row['memory_gb']:g} GB: {row['iterations']} iterations at the full size, so "
            f"that the history is full. {show(row['seconds'])} s in all.",
            "",
            *table(
                ["tile, px", "history", "s / iteration", "peak MB"],
                [
                    [
                        row["tile"],
                        row["history"],
                        show(row["seconds_per_iteration"]),
                        show(row["largest_mb"]),
                    ]
                ],
            ),
        ]
    if "cells" in result:
        lines += [
            "",
            "## Number of cells",
            "",
            "Whole runs of pictures of 32 px with one iteration each: start of Snakemake and of every "
            "job, input, output, metrics, contact sheets, report. The sum of memory counts what "
            "processes share for each of them. Where jobs have a part of the machine's threads each, so "
            "much of their seconds of optimization counts.",
            "",
            *_runs(result["cells"]),
        ]
    if "end" in result:
        seconds = result["end"]["seconds"]
        lines += [
            "",
            "## The end of a cell",
            "",
            f"Measuring a finished image of {result['end']['size']} px takes {show(seconds)} s (wanted: "
            f"at most {END_GOAL}; {met(seconds, END_GOAL)}), between two batches of a job.",
        ]
    if "demo" in result:
        lines += ["", "## The demo", "", *_runs(result["demo"])]
        lines += [
            "",
            "What is not optimization, as a share of a run of the demo's settings. For more cells: "
            "the other seconds of a cell as above, beside the demo's optimization of a cell.",
            "",
            *table(["version", "run", "wanted", "measured", "met"], overheads(result)),
        ]
        after, *before = (row["seconds"] for row in result["demo"])
        if before:
            ratio = after / before[0]
            lines += [
                "",
                f"The demo takes {ratio:.2f} of the time of the earlier version (wanted: at most "
                f"{DEMO_GOAL}; {met(ratio, DEMO_GOAL)}).",
            ]
    return lines


def overheads(result: Mapping[str, Any]) -> list[list[str | None]]:
    """Rows: the share of the demo's run, and of larger ones of its settings, that is not optimization."""
    found = []
    for demo in result["demo"]:
        one = demo["optimization_seconds"] / demo["cells"]
        shares = [("the demo", "the demo", demo["other_share"])]
        for row in result.get("cells", []):
            if row["version"] == demo["version"]:
                other = row["other_seconds_per_cell"]
                name = f"{row['cells']} cells in {row['jobs']} jobs"
                shares.append((row["cells"], name, other / (other + one)))
        for cells, name, share in shares:
            goal = OVERHEAD_GOALS.get(cells)
            wanted = [None, f"{share:.1%}", None]
            if goal is not None:
                wanted = [f"< {goal:.0%}", f"{share:.1%}", met(share, goal)]
            found.append([demo["version"], name, *wanted])
    return found


def _point(row: Mapping[str, Any]) -> list[Any]:
    start = [row["encoder"], row["size"], row["batch"]]
    if "failed" in row:
        return [*start, None, None, None, None, row["failed"]]
    numbers = ("seconds_per_iteration", "throughput", "peak_mb", "peak_with_history_mb")
    return [*start, *(show(row[key]) for key in numbers), ""]


def _runs(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    heads = [
        "version",
        "cells",
        "jobs",
        "s",
        "of that optimization",
        "other s / cell",
        "throughput",
    ]
    return table(
        [*heads, "s when all is there", "largest process MB", "all together MB"],
        [
            [
                *(row[key] for key in ("version", "cells", "jobs")),
                *(show(row[key]) for key in ("seconds", "optimization_seconds")),
                *(show(row[key]) for key in ("other_seconds_per_cell", "throughput")),
                *(show(row[key]) for key in ("seconds_again", "largest_mb", "together_mb")),
            ]
            for row in rows
        ],
    )


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure how speed and memory grow.")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--encoder", nargs="+", default=["compact", "vgg19"])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--batch-size", type=int, default=256, help="px of the pictures of a batch")
    parser.add_argument("--size", type=int, nargs="+", default=[256, 512, 1024, 2048, 4096])
    parser.add_argument(
        "--budget", type=float, default=30, help="seconds a point of batch and size"
    )
    parser.add_argument("--memory-gb", type=float, default=8, help="of the part tight")
    parser.add_argument("--cells", type=int, nargs="+", default=[100, 1000])
    parser.add_argument(
        "--before", metavar="PYTHON", help="Python where an earlier version is installed, for runs"
    )
    parser.add_argument("--demo-size", type=int, help="px of the demo's pictures (its own: 256)")
    parser.add_argument("--point", type=json.loads, help=argparse.SUPPRESS)
    add_options(parser)
    return parser


def main() -> None:
    """Measure and write ``scaling`` and ``runs`` as JSON and Markdown, on a GPU ``scaling_cuda``."""
    options = make_parser().parse_args()
    if options.point is not None:
        torch.set_num_threads(options.point["threads"])
        print(json.dumps(measure_point(options.point)))
        return
    use_threads(options.threads)
    result: dict[str, Any] = {
        "machine": machine_name(options.device),
        "torch": torch.__version__,
        "device": options.device,
    }
    shared = {"device": options.device, "threads": options.threads, "budget": options.budget}
    grown = {
        "batch": [{"size": options.batch_size, "batch": n} for n in sorted(options.batch)],
        "size": [{"size": size, "batch": 1} for size in sorted(options.size)],
    }
    versions = {"this": sys.executable}
    if options.before:
        versions["before"] = options.before
    for part in options.parts:
        if part in grown:
            result[part] = []
            for encoder in options.encoder:
                points = [{"encoder": encoder, **point, **shared} for point in grown[part]]
                result[part] += measure_growth(points)
        elif part == "tight":
            result[part] = measure_tight(options)
        elif part == "end":
            result[part] = measure_end(options)
        elif part == "cells":
            result[part] = [
                {"version": version, **measure_cells(cells, python, options)}
                for cells in options.cells
                for version, python in versions.items()
            ]
        else:
            result[part] = [
                {"version": version, **measure_demo(python, options)}
                for version, python in versions.items()
            ]
    for name, parts in RESULT_PARTS.items():
        own = {key: value for key, value in result.items() if key not in PARTS or key in parts}
        if own.keys() & set(parts):
            name += "" if options.device == "cpu" else f"_{options.device}"
            save(name, own, to_markdown(own), options.out)


if __name__ == "__main__":
    main()
