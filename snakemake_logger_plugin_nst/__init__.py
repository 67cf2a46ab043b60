"""What a run shows on a terminal: a logger plugin of Snakemake, ``snakemake --logger nst``.

On a terminal it is one screen, drawn anew every second: the stage, a bar of cells with the rate and the
time left, what each running job does, and failures as they come.  Elsewhere it is a line for each stage,
for each twentieth of the cells and tenth of the jobs, and for each failure.  Snakemake's own text goes to
its log in any case.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from logging import WARNING, LogRecord
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from nstcore.errors import UserError
from nstcore.jobs.job import QUIET_JOBS, TO_BE_CONTINUED
from nstcore.plan import paths
from nstcore.plan.values import format_duration
from nstcore.results.status import JobState, Status, Watcher

RUN_FOLDER = "NST_RUN"
"""Environment variable in which the workflow leaves the folder of its run."""

NOTHING_TO_DO = "Nothing to be done"

CELL_RULES = ("stylize", "stylize_packed", "refine")
"""Rules whose jobs say themselves what they do."""

JOB_EXCEPTIONS = ("RuleException", "CalledProcessErrorException")
JOB_FAILED = ("Exiting because a job execution failed", "At least one job did not complete")
"""What Snakemake says of a failed job beside the failure itself."""

STAGES = {
    "preparing images": (
        "prepare_contents",
        "prepare_styles",
        "prepare_encoder",
        "grid",
        "pack_batch",
    ),
    "computing style targets": ("style_targets",),
    "optimizing": ("stylize", "stylize_packed", "unpack_batch"),
    "refining": ("refine",),
}
"""What is going on while rules of these names run; else results are put together."""

NARROW = 100
"""Columns of a terminal below which words are left out."""

JOB_STEP, CELL_STEP = 10, 5
"""Percent between two lines where there is no terminal."""

LOOK_SHARE = 0.05
"""Most of the time that goes into looking at the files of a run."""


class LogHandler(LogHandlerBase):
    """Shows a run; see this module."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = False
    needs_rulegraph = False

    def __post_init__(self) -> None:
        stream = sys.stdout if self.common_settings.stdout else sys.stderr
        self.console = Console(file=stream, highlight=False, markup=False)
        if self.common_settings.nocolor:
            self.console.no_color = True
        self.began, self.began_at = time.monotonic(), time.time()
        self.jobs: dict[int, tuple[str, str]] = {}
        self.running: set[int] = set()
        self.done = self.total = 0
        self.said = {"jobs": 0, "cells": 0}
        self.stage, self.furthest = "", 0
        self.nothing_to_do = False
        self.first: tuple[float, float] | None = None
        self.live: Live | None = None
        self.watcher: Watcher | None = None
        self.status: Status | None = None
        self.shown: set[str] = set()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._look_again, name="live-view", daemon=True)

    @property
    def run(self) -> Path | None:
        """The folder of the run, once the workflow has been read."""
        folder = os.environ.get(RUN_FOLDER)
        return Path(folder) if folder else None

    def emit(self, record: LogRecord) -> None:
        """Show what has happened."""
        try:
            self._handle(record, getattr(record, "event", None))
        except Exception:
            self.handleError(record)

    def _handle(self, record: LogRecord, event: LogEvent | None) -> None:
        if self.common_settings.dryrun:
            text = self.format(record)
            # The list of jobs comes twice.
            if (record.levelno >= WARNING or event in (LogEvent.RUN_INFO, None)) and (
                text not in self.shown
            ):
                self.shown.add(text)
                self._say(text)
            return
        values = record.__dict__
        if event == LogEvent.RUN_INFO:
            self._start(int(values["stats"].get("total", 0)))
        elif event == LogEvent.JOB_INFO:
            part = " ".join(map(str, values["wildcards"].values()))
            self.jobs[values["jobid"]] = (values["rule_name"], part)
            self._begin_stage()
        elif event == LogEvent.JOB_STARTED:
            self.running.update(values["jobs"])
            self._begin_stage()
        elif event == LogEvent.JOB_FINISHED:
            self.running.discard(values["job_id"])
        elif event == LogEvent.PROGRESS:
            self.done, self.total = values["done"], values["total"]
            self._say_part("jobs", self.done, self.total, JOB_STEP)
        elif event == LogEvent.JOB_ERROR:
            self.running.discard(values["jobid"])
            job, reason = self._job_name(values["jobid"]), _reason(values["log"])
            if reason.startswith(TO_BE_CONTINUED):
                self._say(f"stopped: {job}: {reason}", "yellow")
            else:
                self._say(f"failed: {job}: {reason}", "red")
        elif event is None and NOTHING_TO_DO in record.getMessage():
            self.nothing_to_do = True
        elif record.levelno >= WARNING and not self._is_known(values):
            self._say(self.format(record), "red" if event == LogEvent.ERROR else "yellow")

    def _is_known(self, values: dict[str, Any]) -> bool:
        """Whether a message only repeats that a job failed."""
        text = str(values["msg"])
        kind = values.get("exception", "")
        return kind in JOB_EXCEPTIONS or any(known in text for known in JOB_FAILED)

    def _say(self, text: str, style: str = "") -> None:
        # A terminal breaks lines within words; in a file a message is one line.
        self.console.print(Text(text, style), soft_wrap=not self.console.is_terminal)

    def _start(self, total: int) -> None:
        self.total = total
        # What jobs say is in their logs: here it would be said twice, or written over the screen.
        os.environ[QUIET_JOBS] = "1"
        if self.live is None and self.console.is_terminal:
            self.live = Live(
                console=self.console,
                auto_refresh=False,
                transient=True,
                get_renderable=self._screen,
            )
            self.live.start()
        if not self.thread.is_alive():
            self.thread.start()

    def _job_name(self, job: int) -> str:
        rule, part = self.jobs.get(job, ("", ""))
        return rule if part in ("", "all") else f"{rule} {part}"

    def _begin_stage(self) -> None:
        """Note the stage of the jobs that run; where there is no terminal, say it when it changes."""
        rules = [self.jobs[job][0] for job in self.running if job in self.jobs]
        if not rules:
            return
        stages = [n for n, names in enumerate(STAGES.values()) if set(names) & set(rules)]
        stage = "making tables, sheets and report"
        if stages:
            # Jobs of earlier stages may run until later ones; it goes on, not to and fro.
            self.furthest = max(self.furthest, *stages)
            stage = list(STAGES)[self.furthest]
        if stage != self.stage:
            self.stage = stage
            if self.live is None:
                self._say(stage)

    def _say_part(self, things: str, done: int, total: int, step: int, more: str = "") -> None:
        """Say how much is done where there is no terminal, in steps of some percent."""
        percent = 100 * done // max(1, total)
        if self.live is None and percent >= self.said[things] + step:
            self._say(f"{done} of {total} {things} done ({percent} %){more}")
            self.said[things] = percent

    # --- the screen ------------------------------------------------------------------------------

    def _look_again(self) -> None:
        """Look at the run and draw the screen until it has ended."""
        wait = 1.0
        while not self.ended.wait(wait):
            started = time.monotonic()
            self._look()
            if self.live is not None:
                self.live.refresh()
            # Of a large run a look takes longer.
            wait = max(1.0, (time.monotonic() - started) / LOOK_SHARE)

    def _look(self) -> None:
        try:
            if self.watcher is None and self.run is not None:
                self.watcher = Watcher(self.run, since=self.began_at)
            self.status = None if self.watcher is None else self.watcher.look()
        except (OSError, UserError):  # it has not begun, or its files are being replaced
            return
        if self.status is None:
            return
        new: dict[str, list[str]] = {}
        for image, reason in self.status.failures:
            if image not in self.shown:
                self.shown.add(image)
                new.setdefault(reason, []).append(image)
        for reason, (first, *others) in new.items():  # one damaged style fails many cells
            more = f" and {len(others)} more" if others else ""
            self._say(f"failed: {first}{more}: {reason}", "red")
        left = self._time_left(self.status)
        made = self.status.done + self.status.failed
        self._say_part("cells", made, self.status.cells, CELL_STEP, left and f", {left}")

    def _screen(self) -> RenderableType:
        """The lines at the bottom of the terminal."""
        status, clock = self.status, _clock(time.monotonic() - self.began)
        bar = Table.grid(padding=(0, 1))
        width = 20 if self.console.width < NARROW else 40
        made = 0 if status is None else status.done + status.failed
        if status is None or made == status.cells:
            done, total, words = float(self.done), self.total, f"{self.done} of {self.total} jobs"
        else:
            done, total = status.failed + self._progress_of(status), status.cells
            words = f"{made} of {total} cells"
        row: list[RenderableType] = [
            ProgressBar(
                max(1, total), done, width=width, complete_style="green", finished_style="green"
            )
        ]
        row += [Text(words, "bold"), clock]
        if status is not None and status.failed:
            row.append(Text(f"{status.failed} failed", "red"))
        if status is not None and made < status.cells and (left := self._time_left(status)):
            row += [Text(left, "bold"), Text(self._rate(status), "dim")]
        bar.add_row(*row)
        head = Text.assemble((str(self.run.name if self.run else ""), "bold"), "  ", self.stage)
        head.truncate(self.console.width, overflow="ellipsis")
        return Group(head, bar, *self._job_lines(status))

    def _progress_of(self, status: Status) -> float:
        """How many cells are made, without failed ones; those that are being optimized count in part."""
        part = (
            job.beat.iteration / job.beat.iterations
            for job in status.jobs
            if job.state == "running" and job.beat.iterations > 0
            for image in job.beat.images
            # Else it is counted already, and the job has not begun with others yet.
            if not paths.record_path(f"{self.run}/{image}").is_file()
        )
        return min(status.cells - status.failed, status.done + sum(part))

    def _seconds_per_cell(self, status: Status) -> float | None:
        """Since the first began; None until some time has passed."""
        now, made = time.monotonic(), self._progress_of(status)
        begins = not any(job.beat.iterations for job in status.jobs)
        if self.first is None or (begins and made <= self.first[1]):
            self.first = (now, made)
        since, before = self.first
        return None if made <= before or now - since < 3 else (now - since) / (made - before)

    def _time_left(self, status: Status) -> str:
        each = self._seconds_per_cell(status)
        left = status.cells - status.failed - self._progress_of(status)
        return "" if each is None or not left else f"{format_duration(left * each)} left"

    def _rate(self, status: Status) -> str:
        each = self._seconds_per_cell(status)
        if each is None:
            return ""
        unit, seconds = next(
            (one for one in (("s", 1), ("min", 60)) if one[1] >= each), ("h", 3600)
        )
        return f"{seconds / each:.1f} cells/{unit}"

    def _job_lines(self, status: Status | None) -> Iterator[Text]:
        jobs = status.jobs if status else []
        known = {job.beat.batch for job in jobs}
        running = [job for job in sorted(self.running) if job in self.jobs]
        lines = [
            (Text.assemble(("● ", "green"), self._job_name(job)), Text())
            for job in running
            if self.jobs[job][1] not in known or self.jobs[job][0] not in CELL_RULES
        ]
        lines += [_job_line(job, self.console.width < NARROW) for job in jobs]
        most = max(3, self.console.height - 5)
        if len(lines) > most:
            more = Text(f"  and {len(lines) - most + 1} more jobs", "dim")
            lines[most - 1 :] = [(more, Text())]
        numbers = max((line[1].cell_len for line in lines), default=0)
        names = min(
            self.console.width - numbers, max((name.cell_len for name, _ in lines), default=0)
        )
        for name, number in lines:
            name.truncate(
                names if number else self.console.width, overflow="ellipsis", pad=bool(number)
            )
            yield name + number

    def close(self) -> None:
        """Leave the terminal readable, and say where the results are."""
        if self.ended.is_set():
            return
        self.ended.set()
        if self.thread.is_alive():
            self.thread.join()
        if self.live is not None:
            self._look()
            self.live.stop()
        if not self.common_settings.dryrun and self.run is not None:
            self._say_end(self.run)
        super().close()

    def _say_end(self, run: Path) -> None:
        took = format_duration(time.monotonic() - self.began)
        report = run / "report" / "index.html"
        if self.nothing_to_do:
            self._say(f"{NOTHING_TO_DO}: all results are there. Open {report}", "green")
        elif self.total and self.done == self.total:
            self._say(f"Finished in {took}. Open {report}", "green")
        elif self.total:
            more = f"; {report} shows what there is" if report.is_file() else ""
            self._say(
                f"Stopped after {took}, {self.done} of {self.total} jobs done. The same command goes on "
                f"from here{more}.",
                "yellow",
            )


def _clock(seconds: float) -> Text:
    minutes, rest = divmod(int(seconds), 60)
    hours = f"{minutes // 60}:{minutes % 60:02d}" if minutes >= 60 else f"{minutes}"
    return Text(f"{hours}:{rest:02d}", "dim")


def _job_line(job: JobState, narrow: bool) -> tuple[Text, Text]:
    """One batch: what is optimized, and how far it is with its losses."""
    beat = job.beat
    if job.state == "gone":
        return Text(f"✗ {beat.batch}: its process on {beat.host} ended", "red"), Text()
    batch = "stylize" if beat.batch == "all" else beat.batch
    name = Text.assemble(("● ", "green") if job.state == "running" else ("○ ", "yellow"))
    if job.state == "silent":
        name.append(f"silent for {format_duration(job.quiet)}  ", "yellow")
    if beat.waits or not beat.iterations:
        what = f"waits for {beat.waits}" if beat.waits else f"starts, {beat.cells} cells"
        return name.append(f"{batch}  ").append(what, "dim"), Text()
    image = Path(beat.images[0] if beat.images else f"cells/{batch}")
    name.append("/".join(image.with_suffix("").parts[1:]), "cyan")
    if beat.together > 1:
        name.append(f" +{beat.together - 1}", "cyan")
    number = Text(f"  level {beat.level}/{beat.levels}" if beat.levels > 1 else "")
    digits = len(str(beat.iterations))
    number.append(
        f"{'  ' if narrow else '  iteration '}{beat.iteration:>{digits}}/{beat.iterations}"
    )
    if beat.content is not None and beat.style is not None:
        number.append(f"  content {beat.content:<5.3g}  style {beat.style:<6.3g}", "dim")
    return name, number


def _reason(logs: list[str]) -> str:
    """The last error or warning in the logs of a job."""
    for log in logs:
        try:
            lines = Path(log).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for line in reversed(lines):
            found = re.search(r" (ERROR|WARNING) \S+: (.*)", line)
            if found:
                return f"{found[2]} ({log})"
    return f"see {', '.join(logs)}" if logs else "it has no log"
