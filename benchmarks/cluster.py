"""What a Slurm cluster adds to the work: measured on one of two nodes, and simulated for larger ones.

run       tiny cells, 1,000 and a fifth of these, through a real Slurm of two nodes on this machine (as
          root, with Debian's packages slurmctld, slurmd, slurm-client): what a job costs besides
          optimization
growth    planning grids of several shapes: seconds and memory of Snakemake, and seconds of what every
          job reads of the plan
simulate  from both: the share of the GPUs' time that is optimization, for large clusters and grids,
          and what keeps it from being all

    python benchmarks/cluster.py
    python benchmarks/cluster.py --measured benchmarks/results/cluster.json --cell-seconds 2
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from _common import (
    NST,
    RESULTS,
    ROOT,
    machine_name,
    picture,
    save,
    show,
    table,
    timed_process,
)
from _outlook import (
    FILES,
    MEMORY_GB,
    POLL,
    Costs,
    Grid,
    breaks_first,
    end_costs,
    growth_costs,
    simulate,
)

from nstcore.cli.run_command import command
from nstcore.images import write_image

if TYPE_CHECKING:
    from slurm_cluster import Cluster

GPUS = (8, 64, 512)
CELLS = (10**5, 10**6)
NODES = 2

SUBMISSIONS = 100
"""Jobs of which the time to submit one is the mean."""

TARGETS = (5, 10, 20, 30)
"""Minutes of a simulated batch, of which the best is taken for each divided grid."""

SHAPES = ((1, 1000), (1, 2000), (1, 4000), (50, 20), (200, 5), (200, 50), (800, 5))
"""Contents and cells of each: few large folders, and many small ones."""


def write_grid(folder: Path, contents: int, weights: int) -> dict[str, Any]:
    """A grid of tiny pictures with one batch for each content; returns its configuration."""
    for kind, count in (("contents", contents), ("styles", 1)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            name = f"{kind[:-1]}{index:05d}.png"
            write_image(folder / kind / name, picture(24, 32, index + 10_000 * (kind == "styles")))
    config = {
        "run": "cells",
        "contents": "contents",
        "styles": "styles",
        "settings": {"size": 32, "pyramid_start": 32, "iterations": 40, "tolerance": 0},
        "sweep": {"axes": {"style_weight": [round(1 + i / 100, 2) for i in range(weights)]}},
        "batch_by": ["content"],
        "max_cells_per_batch": max(256, weights),
        "evaluation": {"size": 64},
        "report": {"thumbnail": 32},
        "device": "cpu",
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")
    return config


def measure_run(contents: int, weights: int) -> dict[str, Any]:
    """A real run through a real Slurm, and when each of its jobs was submitted, began and ended."""
    sys.path[:0] = [str(ROOT / "tests" / name) for name in ("slurm", "workflow")]
    from slurm_bench import SlurmBench
    from slurm_cluster import Cluster, missing

    reason = missing()
    if reason is not None:
        sys.exit(f"{reason}; or leave out run and simulate of --parts")
    with tempfile.TemporaryDirectory(prefix="nst-slurm-") as name:
        folder = Path(name) / "run"
        folder.mkdir()
        bench = SlurmBench(folder, Path(), write_grid(folder, contents, weights))
        bench.cluster = Cluster(Path(name) / "cluster")
        try:
            bench.cluster.start()
            # More than half of a node's memory: one stylizing job a node, and so one a core.
            words = bench.slurm_words("--set-resources", "stylize:gpu=1", "stylize:mem_mb=4500")
            environment = bench.environment(bench.cluster.environment())
            began = time.time()
            cost = timed_process(words, folder=folder, environment=environment, timeout=1200)
            jobs = finished_jobs(bench.cluster)
            submit = submission_seconds(bench.cluster)
        finally:
            bench.cluster.stop()
        records = list(bench.records().values())
        files = sum(len(names) for _, _, names in os.walk(folder))
    return run_figures(jobs, records, began, cost.seconds) | {
        "submit_seconds": submit,
        "snakemake_mb": cost.largest_mb,
        "files": files,
    }


def submission_seconds(cluster: Cluster) -> float:
    """Mean seconds of sbatch, one call after another, as Snakemake's executor calls it."""
    words = ("sbatch", "--parsable", "--hold", "--wrap", "true")
    began = time.perf_counter()
    numbers = [cluster.call(*words).strip() for _ in range(SUBMISSIONS)]
    seconds = (time.perf_counter() - began) / SUBMISSIONS
    cluster.call("scancel", *numbers)
    return seconds


def finished_jobs(cluster: Cluster) -> list[dict[str, Any]]:
    """Rule and times of every job, as Slurm remembers them."""
    text = subprocess.run(
        [str(cluster.bin / "squeue"), "-h", "--states=all", "-o", "%V %S %e %k"],
        env={**os.environ, "SLURM_TIME_FORMAT": "%s"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    jobs = []
    for line in text.splitlines():
        submitted, began, ended, comment = line.split(maxsplit=3)
        rule = comment.removeprefix("rule_").split("_wildcards_")[0]
        times = {"submitted": float(submitted), "began": float(began), "ended": float(ended)}
        jobs.append({"rule": rule, **times})
    return jobs


def run_figures(
    jobs: Sequence[Mapping[str, Any]],
    records: Sequence[Mapping[str, Any]],
    began: float,
    seconds: float,
) -> dict[str, Any]:
    """What a run's jobs and records say of it.

    Args:
        jobs: ``rule``, and when it was ``submitted``, ``began`` and ``ended``, in seconds since 1970.
        records: of its cells.
        began: when Snakemake was started, likewise.
        seconds: from there to its end.
    """
    stylize = [job for job in jobs if job["rule"].startswith("stylize")]
    light = [job["ended"] - job["began"] for job in jobs if job not in stylize]
    work = sum(record["optimization"]["seconds"] for record in records)
    busy = sum(job["ended"] - job["began"] for job in stylize)
    return {
        "cells": len(records),
        "batches": len(stylize),
        "slurm_jobs": len(jobs),
        "seconds": seconds,
        "planning_seconds": min(job["submitted"] for job in jobs) - began,
        "optimization_seconds": work,
        "stylize_job_seconds": busy,
        "light_job_seconds": statistics.median(light),
        "end_seconds": began + seconds - max(job["ended"] for job in stylize),
        "share_of_jobs": work / busy,
        "share_of_wall_clock": work / (NODES * seconds),
    }


def measure_growth(shapes: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """Seconds and memory of planning a run, and of only reading the plan, as every job does."""
    rows = []
    for contents, weights in shapes:
        with tempfile.TemporaryDirectory(prefix="nst-plan-") as name:
            folder = Path(name)
            write_grid(folder, contents, weights)
            dry = timed_process([*NST, "run", "config.yaml", "-n", "--quiet"], folder=folder)
            words = command(Path("config.yaml"), ["--list-rules"], ROOT)
            read = timed_process(words, folder=folder)
        row = {"cells": contents * weights, "batches": contents, "folder": weights}
        row |= {"seconds": dry.seconds, "mb": dry.largest_mb, "read_seconds": read.seconds}
        rows.append(row)
    return rows


def measured_costs(runs: Sequence[Mapping[str, Any]], growth: Sequence[Mapping[str, Any]]) -> Costs:
    """What a run costs besides optimization; that of a job from the first run, the largest."""
    run = runs[0]
    return Costs(
        job=job_seconds(run),
        submit=run["submit_seconds"],
        **end_costs([run["cells"] for run in runs], [run["end_seconds"] for run in runs]),
        files_cell=run["files"] / run["cells"],
        **growth_costs(growth),
    )


def outlooks(costs: Costs, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Every cluster and grid: with a job for each cell, with batches, and divided into runs."""
    rows = []
    for cells in CELLS:
        for gpus in GPUS:
            single = Grid(
                cells,
                gpus,
                options.cell_seconds,
                batch_cells=1,
                folder=options.folder,
                queue=max(200, 2 * gpus),
            )
            batches = replace(single, batch_cells=cells_of(options.target_minutes, options))
            divided = [
                replace(
                    single,
                    batch_cells=cells_of(minutes, options),
                    runs=-(-cells // options.run_cells),
                    at_once=options.at_once,
                )
                for minutes in TARGETS
            ]
            parts = min(divided, key=lambda grid: simulate(costs, grid).seconds)
            row: dict[str, Any] = {"cells": cells, "gpus": gpus}
            for name, grid in (("single", single), ("batches", batches), ("parts", parts)):
                found = asdict(simulate(costs, grid))
                row[name] = {**asdict(grid), **found, "first": breaks_first(costs, grid)}
            rows.append(row)
    return rows


def cells_of(minutes: float, options: argparse.Namespace) -> int:
    """How many cells a job of that length has."""
    return max(1, round(60 * minutes / options.cell_seconds))


def to_markdown(result: Mapping[str, Any]) -> list[str]:
    """The results as tables for people."""
    lines = ["# A cluster", "", f"Machine: {result['machine']}; torch {result['torch']}."]
    if "runs" in result:
        lines += run_lines(result["runs"])
    if "growth" in result:
        lines += growth_lines(result["growth"])
    if "outlooks" in result:
        lines += outlook_lines(result)
    return lines


def run_lines(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The real runs, side by side."""
    rows = [
        ("Slurm jobs", lambda run: run["slurm_jobs"]),
        ("of these stylizing", lambda run: run["batches"]),
        ("wall clock, s", lambda run: show(run["seconds"])),
        ("until the first job is submitted, s", lambda run: show(run["planning_seconds"])),
        ("optimization, s, all cells", lambda run: show(run["optimization_seconds"])),
        ("its share of both nodes' wall clock", lambda run: f"{run['share_of_wall_clock']:.1%}"),
        ("its share of the stylizing jobs' time", lambda run: f"{run['share_of_jobs']:.1%}"),
        ("a stylizing job besides it, s", lambda run: show(job_seconds(run))),
        ("any other job, s, median", lambda run: show(run["light_job_seconds"])),
        ("a submission, s", lambda run: show(run["submit_seconds"])),
        ("from the last stylizing job to the end, s", lambda run: show(run["end_seconds"])),
        ("peak memory of a Snakemake, MB", lambda run: show(run["snakemake_mb"])),
        ("files of the run, its store and Snakemake", lambda run: run["files"]),
    ]
    return [
        "",
        "## Runs through Slurm",
        "",
        "Cells of 32 px and 40 iterations on two nodes, both on this machine, one stylizing job on "
        "each at a time; other jobs are many at a time on the same processors.  Snakemake looks "
        "after its jobs twice a second here; its executor for Slurm would do so every 20 to 180 s.  "
        "Cells this small are made to show what a job costs: nearly all of the time is not "
        "optimization.",
        "",
        *table(
            ["", *(f"{run['cells']} cells" for run in runs)],
            [[name, *(value(run) for run in runs)] for name, value in rows],
        ),
    ]


def job_seconds(run: Mapping[str, Any]) -> float:
    """Seconds of a stylizing job besides its cells' optimization, on average."""
    return (run["stylize_job_seconds"] - run["optimization_seconds"]) / run["batches"]


def growth_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Grids that were only planned."""
    heads = ["cells", "batches", "cells of one content and style", "s to plan", "peak MB"]
    keys = ("seconds", "mb", "read_seconds")
    return [
        "",
        "## Planning",
        "",
        *table(
            [*heads, "s to read the plan, twice in every job"],
            [
                [row["cells"], row["batches"], row["folder"], *(show(row[key]) for key in keys)]
                for row in rows
            ],
        ),
    ]


def outlook_lines(result: Mapping[str, Any]) -> list[str]:
    """The simulated clusters, each as it would be with and without what the design does about it."""
    costs = Costs(**result["costs"])
    lines = [
        "",
        "## Larger clusters, by simulation",
        "",
        f"A cell takes {result['cell_seconds']:g} s of a GPU; one content and style have "
        f"{result['folder']} cells.  Measured above: a job costs {costs.job:.1f} s besides its cells, "
        f"a submission {1e3 * costs.submit:.1f} ms, tables, sheets and report {costs.end_start:.1f} s + "
        f"{1e3 * costs.end_cell:.1f} ms a cell; {costs.files_cell:.1f} files a cell.  Planning is "
        f"taken to grow as {costs.plan_start:.1f} s + {1e3 * costs.plan_cell:.2f} ms a cell + "
        f"{1e3 * costs.plan_batch:.1f} ms a batch + {1e6 * costs.plan_pair:.2f} µs for each two "
        f"cells of one folder + {1e6 * costs.plan_batch_pair:.2f} µs for each two batches, fitted to "
        "the grids above and carried on far beyond them.  Jobs are looked after every "
        f"{result['poll']:g} s; with more than 100 GPUs `jobs` is twice their number.  Told "
        f"as exceeded are {MEMORY_GB} GB of memory for planning and {1e-6 * FILES:g} million "
        "files, which are assumptions about a site.",
    ]
    heads = ["cells", "GPUs", "min a job", "jobs", "hours", "efficiency"]
    heads += ["h to plan", "GB to plan"]
    for name, title in (
        ("single", "A job for each cell"),
        ("batches", f"Batches of {result['target_minutes']:g} min (`cluster.target_minutes`)"),
        (
            "parts",
            f"Runs of at most {result['run_cells']} cells that share one `store`, {result['at_once']} "
            "at a time and started apart, and the best length of a batch",
        ),
    ):
        lines += ["", f"### {title}", ""]
        lines += table(
            [*heads, "what breaks first"],
            [outlook_row(costs, row[name]) for row in result["outlooks"]],
        )
    return lines


def outlook_row(costs: Costs, row: Mapping[str, Any]) -> list[Any]:
    """One simulated run, or several that share a store."""
    cells = -(-row["cells"] // row["runs"])
    batches = -(-cells // row["batch_cells"])
    plan = costs.plan_seconds(cells, batches, row["folder"]) / 3600
    return [
        row["cells"],
        row["gpus"],
        show(row["batch_cells"] * row["cell_seconds"] / 60),
        row["batches"],
        show(row["seconds"] / 3600),
        f"{row['efficiency']:.0%}",
        show(plan),
        show(row["at_once"] * costs.plan_gb(cells, batches)),
        row["first"],
    ]


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure and simulate runs on a Slurm cluster.")
    parts = ["run", "growth", "simulate"]
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--measured", type=Path, help="an earlier cluster.json: only simulate")
    parser.add_argument("--contents", type=int, default=10, help="batches of the real run")
    parser.add_argument("--weights", type=int, default=100, help="cells of a batch of it")
    parser.add_argument("--cell-seconds", type=float, default=10, help="of a simulated cell")
    parser.add_argument("--target-minutes", type=float, default=30, help="of a simulated batch")
    parser.add_argument(
        "--folder", type=int, default=100, help="simulated cells of one content and style"
    )
    parser.add_argument(
        "--run-cells", type=int, default=20_000, help="most cells of one of the runs"
    )
    parser.add_argument("--at-once", type=int, default=4, help="of the runs under way at a time")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    return parser


def main() -> None:
    """Measure, simulate, and write ``cluster.json`` and ``cluster.md``."""
    options = make_parser().parse_args()
    result: dict[str, Any] = {"machine": machine_name("cpu"), "torch": torch.__version__}
    if options.measured is not None:
        options.parts = ["simulate"]
        known = json.loads(options.measured.read_text("utf-8"))
        result = {name: known[name] for name in ("machine", "torch", "runs", "growth")}
    elif "simulate" in options.parts and not {"run", "growth"} <= set(options.parts):
        sys.exit("simulate needs the other two parts, or --measured, from which it starts")
    if "run" in options.parts:
        sizes = (options.weights, max(1, options.weights // 5))
        result["runs"] = [measure_run(options.contents, weights) for weights in sizes]
        sys.stderr.write(f"{json.dumps(result['runs'])}\n")
    if "growth" in options.parts:
        result["growth"] = measure_growth(SHAPES)
        sys.stderr.write(f"{json.dumps(result['growth'])}\n")
    if "simulate" in options.parts:
        costs = measured_costs(result["runs"], result["growth"])
        for name in ("cell_seconds", "target_minutes", "folder", "run_cells", "at_once"):
            result[name] = getattr(options, name)
        result |= {"poll": POLL, "costs": asdict(costs), "outlooks": outlooks(costs, options)}
    save("cluster", result, to_markdown(result), options.out)


if __name__ == "__main__":
    main()
