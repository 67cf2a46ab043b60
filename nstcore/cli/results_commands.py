"""``nst status``, ``nst report`` and ``nst gc``: the folders of runs."""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from nstcore.errors import UserError
from nstcore.plan.snapshot import SNAPSHOT, read_plan
from nstcore.plan.values import format_duration
from nstcore.results.status import JobState, Status, Watcher
from nstcore.store.cells import Store
from nstcore.store.gc import find_garbage, remove_garbage

MOST_JOBS = 30
"""Jobs that are listed; the others are only counted."""

MOST_FAILURES = 5


def add_parsers(commands: Any) -> None:
    """Add the commands to ``nst``."""
    status = commands.add_parser(
        "status",
        help="show how far a run is, from another shell and while it runs",
        description="Show how many cells of a run are done, failed, running and waiting, which jobs "
        "run and where, and how long the rest will take at the rate of the last hour.",
    )
    status.add_argument("run", type=Path, help="the folder of the run, such as results/demo")
    status.add_argument("--watch", action="store_true", help="repeat until the run is finished")
    status.add_argument(
        "--every",
        type=_positive,
        default=10.0,
        metavar="SECONDS",
        help="time between two updates of --watch (default: 10)",
    )
    status.add_argument("--json", action="store_true", help="print JSON, for programs")
    status.set_defaults(function=watch_run)

    report = commands.add_parser(
        "report",
        help="build the report of an unfinished run",
        description="Build the report of a run from the cells that are finished, with placeholders for "
        "the others. A run builds its report itself when it ends.",
    )
    report.add_argument(
        "run", type=Path, help="the run's folder, or its configuration, a YAML file"
    )
    report.add_argument(
        "--watch",
        action="store_true",
        help="keep a page, live/index.html in the run's folder, that shows cells as they are made",
    )
    report.add_argument("--parent", type=int, metavar="PID", help=argparse.SUPPRESS)
    report.set_defaults(function=build_report)

    film = commands.add_parser(
        "film",
        help="make a film of how images came about",
        description="Make a film of the snapshots of a run, which its configuration asks for with "
        "`snapshots: {every: 20}`.",
    )
    film.add_argument("run", type=Path, help="the folder of the run, such as results/demo")
    film.add_argument("--cell", help="one cell, such as night/cat/style_weight=5")
    film.add_argument("--where", help="only cells that meet a condition, as in `sweep.where`")
    film.add_argument("--sheet", action="store_true", help="the whole contact sheet")
    film.add_argument("--page", help="the page of the contact sheet (default: the first)")
    film.add_argument(
        "--rate",
        type=_positive,
        default=8.0,
        metavar="N",
        help="snapshots a second (default: 8)",
    )
    film.add_argument("-o", "--output", type=Path, required=True, help=".webp, .gif or .mp4 file")
    film.set_defaults(function=film_run)

    gc = commands.add_parser("gc", help="remove cells from the store that no run refers to")
    gc.add_argument(
        "--results",
        type=Path,
        nargs="+",
        default=[Path("results")],
        help="every results folder that uses the store (default: results)",
    )
    gc.add_argument("--store", type=Path, help="the store (default: .store in the first of them)")
    gc.add_argument("-n", "--dry-run", action="store_true", help="only show what would be removed")
    gc.set_defaults(function=collect_garbage)


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def build_report(arguments: argparse.Namespace) -> int:
    """Build the report of a run that may be unfinished."""
    from nstcore.report.outputs import REPORT, make_report

    given = arguments.run
    run = given if given.is_dir() else Path(read_plan(given).config.run_dir)
    snapshot = run / SNAPSHOT
    if arguments.watch:
        return watch_report(run, arguments.parent)
    if not snapshot.is_file() or not (run / "grid.tsv").is_file():
        raise UserError(f"{run}: this run has no grid yet; nst run with its configuration makes it")
    make_report(read_plan(snapshot))
    Console().print(f"{run / REPORT}", soft_wrap=True, highlight=False)
    return 0


def watch_report(run: Path, parent: int | None) -> int:
    """Keep a page of a run until it is finished, or until the process that makes it has ended."""
    from nstcore.report.live import PAGE, watch
    from nstcore.report.outputs import REPORT

    if parent is None and not (run / SNAPSHOT).is_file():
        raise UserError(
            f"{run}: no run has started there; nst run --watch starts one with its page"
        )
    if parent is not None:
        os.nice(10)  # the run comes first
    sys.stdout.write(f"{run / PAGE}\n")
    sys.stdout.flush()
    if watch(run, None if parent is None else lambda: os.getppid() == parent):
        sys.stdout.write(f"{run / REPORT}\n")
    return 0


def film_run(arguments: argparse.Namespace) -> int:
    """Make a film of snapshots."""
    from nstcore.report.film import make_film

    given = {name: getattr(arguments, name) for name in ("cell", "where", "sheet", "page", "rate")}
    count = make_film(arguments.run, arguments.output, **given)
    Console().print(f"{arguments.output}: {count} frames", soft_wrap=True, highlight=False)
    return 0


def collect_garbage(arguments: argparse.Namespace) -> int:
    """Remove from the store what no run refers to."""
    for folder in arguments.results:
        if not folder.is_dir():
            raise UserError(f"--results: {folder} is not a folder")
    root = arguments.store or arguments.results[0] / ".store"
    if not root.is_dir():
        raise UserError(f"{root}: is not a store; name it with --store")
    garbage = find_garbage(Store(root), referenced_keys(arguments.results))
    if not arguments.dry_run:
        remove_garbage(garbage)
    verb = "would remove" if arguments.dry_run else "removed"
    Console().print(
        f"{verb} {len(garbage.keys)} cells ({len(garbage.files)} files, {garbage.bytes / 1e6:.1f} MB), "
        f"kept {garbage.kept}"
    )
    return 0


def referenced_keys(results: Iterable[Path]) -> set[str]:
    """Find the keys of all cells that the runs below some results folders have, or have planned."""
    found: set[str] = set()
    for folder in results:
        # Path.glob would look into the store too, whose records name every key.
        for run in (path for path in folder.iterdir() if not path.name.startswith(".")):
            for grid in run.glob("grid.tsv"):
                with open(grid, encoding="utf-8", newline="") as file:
                    found.update(row["key"] for row in csv.DictReader(file, delimiter="\t"))
            for path in (*run.glob("cells/**/*.json"), *run.glob("refined/**/*.json")):
                try:
                    found.add(json.loads(path.read_text(encoding="utf-8"))["key"])
                except (FileNotFoundError, ValueError, KeyError, TypeError):
                    continue
    return found


def watch_run(arguments: argparse.Namespace) -> int:
    """Print how far a run is: once, or with ``--watch`` until it is finished."""
    watcher = Watcher(arguments.run)
    console = Console(soft_wrap=True, highlight=False)
    in_place = arguments.watch and console.is_terminal and not arguments.json
    with Live(console=console, auto_refresh=False) if in_place else nullcontext() as live:
        while True:
            status = watcher.look()
            text = Text("\n".join(status_lines(status)))
            if live is not None:
                live.update(text, refresh=True)
            elif arguments.json:
                sys.stdout.write(json.dumps(asdict(status)) + "\n")
            else:
                console.print(text)
            sys.stdout.flush()
            if status.finished or not arguments.watch:
                return 0
            time.sleep(arguments.every)


def status_lines(status: Status) -> Iterator[str]:
    """The status in words."""
    stored = f" ({status.stored} of them in the store already)" if status.stored else ""
    yield (
        f"run {status.run}, {status.cells} cells: {status.done} done, {status.failed} failed, "
        f"{status.running} running, {status.waiting} waiting{stored}"
    )
    if status.finished:
        yield "finished"
    elif status.done + status.failed == status.cells:
        yield "all cells are done; tables, sheets and report follow"
    elif status.per_hour is None or status.seconds_left is None:
        yield "no cell was computed in the last hour, so the time left is not known"
    else:
        yield (
            f"{status.per_hour:.3g} cells an hour lately; at that rate the cells will be done in about "
            f"{format_duration(status.seconds_left)}"
        )
    for job in status.jobs[:MOST_JOBS]:
        yield f"  {_job_line(job)}"
    if len(status.jobs) > MOST_JOBS:
        yield f"  and {len(status.jobs) - MOST_JOBS} more jobs"
    for image, reason in status.failures[:MOST_FAILURES]:
        yield f"  failed: {image}: {reason}"
    if len(status.failures) > MOST_FAILURES:
        yield f"  and {len(status.failures) - MOST_FAILURES} more failed cells"


def _job_line(job: JobState) -> str:
    beat = job.beat
    number = f", job {beat.job}" if beat.job else f", process {beat.pid}"
    device = f", {beat.device}" if beat.device else ""
    parts = [f"{beat.batch} on {beat.host}{number}{device}"]
    if job.state == "gone":
        parts.append("its process ended unexpectedly")
    elif job.state == "silent":
        parts.append(f"silent for {format_duration(job.quiet)}")
    elif beat.waits:
        parts.append(f"waits for {beat.waits}, which makes the same cells")
    elif beat.iterations:
        parts.append(f"iteration {beat.iteration} of {beat.iterations}")
        if beat.content is not None and beat.style is not None:
            parts.append(f"content {beat.content:.4g}, style {beat.style:.4g}")
    parts.append(f"{job.done} of {beat.cells} cells done")
    parts.append(f"for {format_duration(max(0.0, beat.updated - beat.started))}")
    return "; ".join(parts)
