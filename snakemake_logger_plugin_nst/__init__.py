"""What a run shows on a terminal: a logger plugin of Snakemake, ``snakemake --logger nst``.

On a terminal it is one screen, drawn anew every second: a bar of cells with the rate and the time left,
what each running job does, and failures as they come.  Elsewhere it is a line for each percent of the
jobs, and for each failure.  Snakemake's own text goes to its log in any case.
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
from nstcore.plan.values import format_duration
from nstcore.results.status import JobState, Status, Watcher

RUN_FOLDER = "NST_RUN"
"""Environment variable in which the workflow leaves the folder of its run."""

NOTHING_TO_DO = "Nothing to be done"

JOB_EXCEPTIONS = ("RuleException", "CalledProcessErrorException")
JOB_FAILED = ("Exiting because a job execution failed", "At least one job did not complete")
"""What Snakemake says of a failed job beside the failure itself."""

BAR = 30
"""Width of the bar, in characters."""

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
        self.began = time.monotonic()
        self.jobs: dict[int, str] = {}
        self.running: set[int] = set()
        self.done = self.total = self.percent = 0
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
            if record.levelno >= WARNING or event in (LogEvent.RUN_INFO, None):
                self._say(self.format(record))
            return
        values = record.__dict__
        if event == LogEvent.RUN_INFO:
            self._start(int(values["stats"].get("total", 0)))
        elif event == LogEvent.JOB_INFO:
            words = [values["rule_name"], *map(str, values["wildcards"].values())]
            self.jobs[values["jobid"]] = " ".join(words)
        elif event == LogEvent.JOB_STARTED:
            self.running.update(values["jobs"])
        elif event == LogEvent.JOB_FINISHED:
            self.running.discard(values["job_id"])
        elif event == LogEvent.PROGRESS:
            self._progress(values["done"], values["total"])
        elif event == LogEvent.JOB_ERROR:
            self.running.discard(values["jobid"])
            job, reason = self.jobs.get(values["jobid"]), _reason(values["log"])
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
        self.console.print(Text(text, style), soft_wrap=True)

    def _start(self, total: int) -> None:
        self.total = total
        if self.live is None and self.console.is_terminal:
            # What jobs say would be written over the screen; it is in their logs.
            os.environ[QUIET_JOBS] = "1"
            self.live = Live(
                console=self.console,
                auto_refresh=False,
                transient=True,
                get_renderable=self._screen,
            )
            self.live.start()
        if not self.thread.is_alive():
            self.thread.start()

    def _progress(self, done: int, total: int) -> None:
        self.done, self.total = done, total
        percent = 100 * done // max(1, total)
        if self.live is None and percent > self.percent:
            self._say(f"{done} of {total} jobs done ({percent} %)")
        self.percent = percent

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
                self.watcher = Watcher(self.run)
            self.status = None if self.watcher is None else self.watcher.look()
        except (OSError, UserError):  # it has not begun, or its files are being replaced
            return
        for image, reason in self.status.failures if self.status else ():
            if image not in self.shown:
                self.shown.add(image)
                self._say(f"failed: {image}: {reason}", "red")

    def _screen(self) -> RenderableType:
        """The lines at the bottom of the terminal."""
        status, now = self.status, time.monotonic()
        screen = Table.grid(padding=(0, 1))
        if status is None or status.done + status.failed == status.cells:
            bar = ProgressBar(max(1, self.total), self.done, width=BAR)
            screen.add_row(bar, f"{self.done} of {self.total} jobs", _clock(now - self.began))
        else:
            made = status.done + status.failed
            bar = ProgressBar(status.cells, self._progress_of(status), width=BAR)
            cells = Text(f"{made} of {status.cells} cells", "bold")
            screen.add_row(
                bar, cells, _clock(now - self.began), Text(self._time_left(status), "bold")
            )
        return Group(screen, *self._job_lines(status))

    def _progress_of(self, status: Status) -> float:
        """How many cells are made; those that are being optimized count in part."""
        part = (
            job.beat.together * job.beat.iteration / job.beat.iterations
            for job in status.jobs
            if job.state == "running" and job.beat.iterations > 0
        )
        return min(status.cells, status.done + status.failed + sum(part))

    def _time_left(self, status: Status) -> str:
        """At the rate since cells were first seen to be made."""
        now, made = time.monotonic(), self._progress_of(status)
        if self.first is None:
            self.first = (now, made)
        since, before = self.first
        if made <= before or now - since < 3:
            return ""
        left = (status.cells - made) * (now - since) / (made - before)
        return f"{format_duration(left)} left"

    def _job_lines(self, status: Status | None) -> Iterator[Text]:
        jobs = status.jobs if status else []
        known = {job.beat.batch for job in jobs}
        lines = [
            Text.assemble(("● ", "green"), name)
            for name in (self.jobs.get(job, "") for job in sorted(self.running))
            if name and name.partition(" ")[2] not in known
        ]
        lines += map(_job_line, jobs)
        most = max(3, self.console.height - 4)
        if len(lines) > most:
            lines[most - 1 :] = [Text(f"  and {len(lines) - most + 1} more jobs", "dim")]
        for line in lines:
            line.truncate(self.console.width, overflow="ellipsis")
            yield line

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
    return Text(f"{int(seconds) // 60}:{int(seconds) % 60:02d}", "dim")


def _job_line(job: JobState) -> Text:
    """One batch: what is optimized, how far it is, and its losses."""
    beat = job.beat
    if job.state == "gone":
        return Text(f"✗ {beat.batch}: its process on {beat.host} ended", "red")
    line = Text.assemble(
        (("● ", "green") if job.state == "running" else ("○ ", "yellow")), beat.batch
    )
    if beat.waits:
        line.append(f"  waits for {beat.waits}")
    elif beat.iterations:
        more = f" +{beat.together - 1}" if beat.together > 1 else ""
        image = Path(str(beat.label).partition(" and ")[0]).with_suffix("")
        line.append(f"  {'/'.join(image.parts[1:])}{more}", "cyan")
        line.append(f"  iteration {beat.iteration} of {beat.iterations}")
        if beat.content is not None and beat.style is not None:
            line.append(f"  content {beat.content:.3g}  style {beat.style:.3g}", "dim")
    else:
        line.append("  starts", "dim")
    if job.state == "silent":
        line.append(f"  silent for {format_duration(job.quiet)}", "yellow")
    return line


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
