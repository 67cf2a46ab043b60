"""Sheets and report of 5,000 cells: how long they take to build, how much memory, how they feel.

Measured is what the workflow's last jobs do, one kind after the other: metrics and loss curves from
the records, contact sheets as PNG and PDF, the report with its thumbnails.  Then the
report is opened in a headless Chromium, if Playwright is installed: the time until all that is in
sight is drawn, and the longest task while its views are scrolled.

    python benchmarks/report.py
    python benchmarks/report.py --styles 3 --contents 3 --settings 10 --iterations 20   # in a minute
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from _big_run import one_page, write_big_run
from _browsing import browse
from _common import (
    add_options,
    machine_name,
    met,
    save,
    show,
    table,
    timed_process,
    use_threads,
)

BUILD_SECONDS = 60
BUILD_MB = 1000
FIRST_VIEW_SECONDS = 3
LONGEST_TASK_SECONDS = 0.2

VIEWS = {
    "matrix": "view=matrix",
    "matrix of all cells": "view=matrix&rows=content+style&cols=style_weight+tv_weight",
    "table": "view=table",
    "explore": "view=explore",
}
"""What of the report is scrolled through, with its address."""

STAGES = """
import json, multiprocessing, sys, time
from pathlib import Path
from nstcore.plan.snapshot import read_plan
from nstcore.report.outputs import make_report, make_sheet
from nstcore.results.tables import make_tables
from nstcore.contact_sheet.axes import page_names

plan, threads = read_plan(Path(sys.argv[1])), int(sys.argv[2])
pages = page_names(plan.axis_values, plan.layout["pages"])
side_by_side = min(threads, len(pages))

def tables(_):
    make_tables(plan)

def sheet(page):
    make_sheet(plan, page, threads=1 if len(pages) > 1 else threads)

def report(_):
    make_report(plan, threads=threads)

stages = {"tables": (tables, [None]), "sheets": (sheet, pages), "report": (report, [None])}
seconds = {}
for name in sys.argv[3:]:
    function, entries = stages[name]
    began = time.perf_counter()
    # Every job is a process of its own, as in the workflow.
    with multiprocessing.get_context("fork").Pool(side_by_side, maxtasksperchild=1) as pool:
        pool.map(function, entries, chunksize=1)
    seconds[name] = time.perf_counter() - began
print(json.dumps({"pages": len(pages), "seconds": seconds}))
"""


def build(frozen: Path, threads: int, *stages: str) -> dict[str, Any]:
    """Carry out stages in a process of their own; seconds of each and of all, and peak memory.

    As in the workflow, several sheets are drawn side by side and a single one by several threads.
    Memory is that of all processes together.
    """
    cost = timed_process([sys.executable, "-c", STAGES, str(frozen), str(threads), *stages])
    told = json.loads(cost.output.splitlines()[-1])
    return {**told, "total_seconds": cost.seconds, "peak_mb": cost.together_mb}


def megabytes(folder: Path, pattern: str) -> float:
    """Size of the files that match."""
    return sum(path.stat().st_size for path in folder.glob(pattern)) / 1e6


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Make the run, build everything of it, and look at it."""
    plan = write_big_run(
        folder,
        styles=options.styles,
        contents=options.contents,
        settings=options.settings,
        size=options.size,
        iterations=options.iterations,
    )
    run = Path(plan.config.run_dir)
    print(f"{plan.cell_count} cells are there", flush=True)
    # First the single sheet: the sheets that the second leaves are those of the configuration.
    single = build(one_page(plan, folder / "one_page.yaml"), options.threads, "tables", "sheets")
    whole = build(run / "config.yaml", options.threads, "tables", "sheets", "report")
    page = run / "report" / "index.html"
    return {
        "machine": machine_name("cpu"),
        "cells": plan.cell_count,
        "size": options.size,
        "iterations": options.iterations,
        "build": whole,
        "one_sheet": single,
        "megabytes": {
            "pictures": megabytes(run, "cells/**/*.png"),
            "records": megabytes(run, "cells/**/*.json"),
            "sheets": megabytes(run, "sheets/*"),
            "page": page.stat().st_size / 1e6,
            "thumbnails": megabytes(run, "report/thumbs/*"),
        },
        "browser": None if options.no_browser else browse(page, VIEWS, steps=options.steps),
    }


def to_markdown(result: dict[str, Any]) -> list[str]:
    """The results as tables for people."""
    rows = [
        [
            what,
            entry["pages"],
            *(show(entry["seconds"].get(name)) for name in ("tables", "sheets", "report")),
            show(entry["total_seconds"]),
            show(entry["peak_mb"]),
        ]
        for what, entry in (
            ("a sheet a style, as by default", result["build"]),
            ("all cells on one sheet", result["one_sheet"]),
        )
    ]
    sizes = result["megabytes"]
    lines = [
        f"# Sheets and report of {result['cells']:,} cells",
        "",
        f"Machine: {result['machine']}. Pictures of {result['size']} px, loss curves of up to "
        f"{result['iterations']} iterations a cell.",
        "",
        "Seconds of each stage, and of the process with its start; peak memory of them together.",
        "",
        *table(["", "sheets", "tables", "sheets (s)", "report", "process", "peak (MB)"], rows),
        "",
        "Megabytes: " + ", ".join(f"{name} {show(size)}" for name, size in sizes.items()) + ".",
        "",
    ]
    browser = result["browser"]
    views = {} if browser is None else browser["views"]
    if browser is not None:
        lines += [
            f"{browser['browser']}, headless, 1440 × 900: everything in sight is drawn after "
            f"{show(browser['first_view'])} s; longest task until then {show(browser['loading'])} s. "
            f"Complaints of the page: {len(browser['complaints'])}.",
            "",
            "Longest task (0: none over 50 ms) and longest frame, in seconds.",
            "",
            *table(
                ["view", "steps scrolled", "choosing it", "scrolling", "frame"],
                [
                    [
                        view,
                        found["steps"],
                        *(show(found[n]) for n in ("choosing", "scrolling", "frame")),
                    ]
                    for view, found in views.items()
                ],
            ),
            "",
        ]
    first = None if browser is None else browser["first_view"]
    longest = max((found["scrolling"] for found in views.values()), default=None)
    goals = [
        ("tables, sheets and report, s", result["build"]["total_seconds"], BUILD_SECONDS),
        ("their peak memory, MB", result["build"]["peak_mb"], BUILD_MB),
        ("peak memory of a single sheet, MB", result["one_sheet"]["peak_mb"], BUILD_MB),
        ("first view, s", first, FIRST_VIEW_SECONDS),
        ("longest task while scrolling, s", longest, LONGEST_TASK_SECONDS),
    ]
    rows = [[what, f"≤ {goal}", show(value), met(value, goal)] for what, value, goal in goals]
    return [*lines, *table(["goal", "wanted", "measured", "met"], rows)]


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure sheets and report of a large run.")
    parser.add_argument("--styles", type=int, default=10)
    parser.add_argument("--contents", type=int, default=10)
    parser.add_argument("--settings", type=int, default=50, help="a multiple of 5")
    parser.add_argument("--size", type=int, default=256, help="long side of the pictures in px")
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--steps", type=int, default=120, help="steps scrolled in each view")
    parser.add_argument("--no-browser", action="store_true")
    parser.add_argument(
        "--folder", type=Path, help="for the run, which is kept (default: temporary)"
    )
    add_options(parser)
    return parser


def main() -> None:
    """Measure and write ``report.json`` and ``report.md``."""
    parser = make_parser()
    options = parser.parse_args()
    if options.settings % 5:
        parser.error("--settings: give a multiple of 5")
    use_threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        result = measure(options, options.folder or Path(temporary))
    save("report", result, to_markdown(result), options.out)


if __name__ == "__main__":
    main()
