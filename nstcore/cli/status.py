"""``nst status``: how far a run is."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from nstcore.plan.values import format_duration
from nstcore.results.status import JobState, Status, Watcher

MOST_JOBS = 30
"""Jobs that are listed; the rest is counted."""

MOST_FAILURES = 5


def show_status(run: Path, *, watch: float | None = None, as_json: bool = False) -> int:
    """Print how far a run is.

    Args:
        run: its folder.
        watch: seconds between two looks, until the run has ended; None for a single look.
        as_json: JSON, one object a look, in place of text.
    """
    watcher = Watcher(run)
    console = Console(soft_wrap=True, highlight=False)
    status = watcher.look()
    if as_json or watch is None or not console.is_terminal:
        _show(console, status, as_json)
        while watch is not None and not status.finished:
            time.sleep(watch)
            status = watcher.look()
            _show(console, status, as_json)
        return 0
    with Live(_text(status), console=console, auto_refresh=False) as live:
        while not status.finished:
            time.sleep(watch)
            status = watcher.look()
            live.update(_text(status), refresh=True)
    return 0


def _show(console: Console, status: Status, as_json: bool) -> None:
    if as_json:
        json.dump(asdict(status), sys.stdout)
        sys.stdout.write("\n")
    else:
        console.print(_text(status))
    sys.stdout.flush()


def _text(status: Status) -> Text:
    return Text("\n".join(status_lines(status)))


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
        yield "all cells are made; tables, sheets and report follow"
    elif status.per_hour is None or status.seconds_left is None:
        yield "no cell was computed lately, so that nothing can be said of the time"
    else:
        yield (
            f"{status.per_hour:.3g} cells an hour lately; at that rate the cells are made in about "
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
        parts.append("its process has ended without a word")
    elif job.state == "silent":
        parts.append(f"silent for {format_duration(job.quiet)}")
    elif beat.waits:
        parts.append(f"waits for {beat.waits}, which makes the same cells")
    elif beat.iterations:
        parts.append(f"iteration {beat.iteration} of {beat.iterations}")
    parts.append(f"{job.done} of {beat.cells} cells done")
    parts.append(f"for {format_duration(max(0.0, beat.updated - beat.started))}")
    return "; ".join(parts)
