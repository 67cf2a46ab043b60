"""How long planning takes and how much memory, by the shape of the grid.

A dry run of the real workflow does all that a run does before its first job.  The plan alone is what
nstcore has to do for it: the plan with all cells, digests of all batches, the snapshot.  A job then reads
its part, before it imports torch; its figure includes the start of Python.  Every content and every
style is the same small file under another name.  CPU seconds and peak memory are those of the process;
jobs are what the dry run plans.

    python benchmarks/planning.py
    python benchmarks/planning.py --shapes 1x1x10000 100x100x10     # styles x contents x settings
"""

from __future__ import annotations

import argparse
import re
import resource
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from _common import NST, Cost, add_options, machine_name, picture, save, show, table, timed_process

from nstcore.images import write_image

SHAPES = ["10x10x10", "1x1x10000", "10x1000x1", "100x100x1", "100x100x10"]

BATCHES: dict[str, dict[str, Any]] = {
    "by cost": {},
    "a job for each style and content": {"batch_by": ["style", "content"]},
}


PLAN = """if True:
    from nstcore.plan.snapshot import read_plan, write_snapshot
    plan = read_plan("config.yaml", starting=True)
    for cells in plan.batches.values():
        plan.digest_of(cells)
    write_snapshot(plan)
"""

JOB = """if True:
    import sys
    from nstcore.jobs import job, workflow_jobs
    from nstcore.plan.snapshot import read_frozen_plan, snapshot_of
    plan = read_frozen_plan(snapshot_of({"run": "one"}))
    assert plan.batches[list(plan.batches)[-1]]
    assert "torch" not in sys.modules
"""


def measure(folder: Path, shape: str, batches: dict[str, Any]) -> dict[str, Any]:
    """One dry run, the plan alone and a job, each in a process of its own."""
    styles, contents, settings = map(int, shape.split("x"))
    config = {
        "run": "one",
        "contents": {f"c{number}": "content.png" for number in range(contents)},
        "styles": {f"s{number}": "style.png" for number in range(styles)},
        "sweep": {"axes": {"style_weight": [1 + number / 1000 for number in range(settings)]}},
        "device": "cpu",
        **batches,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    dry, cost = cpu_seconds(
        [*NST, "run", "config.yaml", "--dry-run", "--quiet", "rules"], folder=folder
    )
    jobs = re.search(r"^total +(\d+)", cost.output, re.MULTILINE)
    plan, plan_cost = cpu_seconds([sys.executable, "-c", PLAN], folder=folder)
    job, _ = cpu_seconds([sys.executable, "-c", JOB], folder=folder)
    return {
        "shape": shape,
        "cells": styles * contents * settings,
        "jobs": int(jobs[1]) if jobs else None,
        "cpu_seconds": dry,
        "peak_mb": cost.largest_mb,
        "plan_cpu_seconds": plan,
        "plan_peak_mb": plan_cost.largest_mb,
        "job_cpu_seconds": job,
    }


def cpu_seconds(command: Sequence[str], folder: Path) -> tuple[float, Cost]:
    """CPU seconds of a program, and what else it cost."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    cost = timed_process(command, folder=folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, cost


def to_markdown(result: dict[str, Any]) -> list[str]:
    """The figures as a page."""
    lines = ["# Planning", "", f"Machine: {result['machine']}.", ""]
    lines += [
        "Dry runs of `nst run`, the plan without Snakemake, and what a job takes until it has its part "
        "of the plan; the shape is styles x contents x settings.",
        "",
    ]
    head = ["shape", "cells", "jobs", "CPU s", "peak MB", "plan CPU s", "plan MB", "job CPU s"]
    for name, rows in result["batches"].items():
        cells = [
            [
                row["shape"],
                row["cells"],
                row["jobs"],
                show(row["cpu_seconds"]),
                show(row["peak_mb"]),
                show(row["plan_cpu_seconds"]),
                show(row["plan_peak_mb"]),
                show(row["job_cpu_seconds"]),
            ]
            for row in rows
        ]
        lines += [f"## Batches {name}", ""]
        lines += table(head, cells)
        lines.append("")
    return lines


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shapes", nargs="+", default=SHAPES, help="styles x contents x settings")
    add_options(parser)
    options = parser.parse_args()
    result: dict[str, Any] = {"machine": machine_name("cpu"), "batches": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, seed in (("content.png", 1), ("style.png", 2)):
            write_image(folder / file, picture(64, 48, seed))
        for batches, keys in BATCHES.items():
            rows = result["batches"][batches] = []
            for shape in options.shapes:
                rows.append(measure(folder, shape, keys))
                print(batches, rows[-1], file=sys.stderr)
    save("planning", result, to_markdown(result), options.out)


if __name__ == "__main__":
    main()
