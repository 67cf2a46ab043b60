"""How long planning takes and how much memory, by the shape of the grid: dry runs of the real workflow.

A dry run does all that a run does before its first job.  Every content and every style is the same small
file under another name.  CPU seconds and peak memory are those of the process; jobs are what it plans.

    python benchmarks/planning.py
    python benchmarks/planning.py --shapes 1x1x10000 100x100x10     # styles x contents x settings
"""

from __future__ import annotations

import argparse
import re
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from _common import NST, add_options, machine_name, picture, save, show, table, timed_process

from nstcore.images import write_image

SHAPES = ["10x10x10", "1x1x10000", "10x1000x1", "100x100x1", "100x100x10"]

BATCHES: dict[str, dict[str, Any]] = {
    "by cost": {},
    "a job for each style and content": {"batch_by": ["style", "content"]},
}


def measure(folder: Path, shape: str, batches: dict[str, Any]) -> dict[str, Any]:
    """One dry run, in a process of its own."""
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
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    cost = timed_process(
        [*NST, "run", "config.yaml", "--dry-run", "--quiet", "rules"], folder=folder
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    jobs = re.search(r"^total +(\d+)", cost.output, re.MULTILINE)
    return {
        "shape": shape,
        "cells": styles * contents * settings,
        "jobs": int(jobs[1]) if jobs else None,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_mb": cost.largest_mb,
    }


def to_markdown(result: dict[str, Any]) -> list[str]:
    """The figures as a page."""
    lines = ["# Planning", "", f"Machine: {result['machine']}.", ""]
    lines += ["Dry runs of `nst run`; the shape is styles x contents x settings.", ""]
    for name, rows in result["batches"].items():
        cells = [
            [
                row["shape"],
                row["cells"],
                row["jobs"],
                show(row["cpu_seconds"]),
                show(row["peak_mb"]),
            ]
            for row in rows
        ]
        lines += [f"## Batches {name}", ""]
        lines += table(["shape", "cells", "jobs", "CPU s", "peak MB"], cells)
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
