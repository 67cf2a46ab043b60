"""What a run shows on a terminal: a logger plugin of Snakemake, ``snakemake --logger nst``.

On a terminal it is one screen, drawn anew every second: a bar of cells with the rate and the time left,
what each running job does, and failures as they come.  Elsewhere it is a line for each percent of the
jobs, and for each failure.  Snakemake's own text goes to its log in any case.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from logging import WARNING, LogRecord
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from nstcore.cli.results_commands import status_lines
from nstcore.errors import UserError
from nstcore.jobs.job import QUIET_JOBS
from nstcore.plan.values import format_duration
from nstcore.results.status import Status, Watcher

RUN_FOLDER = "NST_RUN"
"""Environment variable in which the workflow leaves the folder of its run."""

NOTHING_TO_DO = "Nothing to be done"

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
        self.running: dict[int, str] = {}
        self.done = self.total = self.percent = self.errors = 0
        self.nothing_to_do = False
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
            self.running.update({job: self.jobs.get(job, "") for job in values["jobs"]})
        elif event == LogEvent.JOB_FINISHED:
            self.running.pop(values["job_id"], None)
        elif event == LogEvent.PROGRESS:
            self._progress(values["done"], values["total"])
        elif event == LogEvent.JOB_ERROR:
            self.running.pop(values["jobid"], None)
            self.errors += 1
            self._say(f"failed: {self.jobs.get(values['jobid'])}: {_reason(values['log'])}", "red")
        elif event is None and NOTHING_TO_DO in record.getMessage():
            self.nothing_to_do = True
        elif record.levelno >= WARNING and event in (LogEvent.ERROR, None):
            self.errors += event == LogEvent.ERROR
            self._say(self.format(record), "red" if event == LogEvent.ERROR else "yellow")

    def _say(self, text: str, style: str = "") -> None:
        self.console.print(Text(text, style), soft_wrap=True)

    def _start(self, total: int) -> None:
        self.total = total
        if self.live is None and self.console.is_terminal:
            # What jobs say would be written over the screen; it is in their logs.
            os.environ[QUIET_JOBS] = "1"
            self.live = Live(console=self.console, auto_refresh=False, get_renderable=self._screen)
            self.live.start()
        if not self.thread.is_alive():
            self.thread.start()

    def _progress(self, done: int, total: int) -> None:
        self.done, self.total = done, total
        percent = 100 * done // max(1, total)
        if self.live is None and percent > self.percent:
            left = f", {'; '.join(list(self.running.values())[:3])}" if self.running else ""
            self._say(f"{done} of {total} jobs done ({percent} %){left}")
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
        status = self.status
        made, all_of_it, unit = self.done, self.total, "jobs"
        if status is not None and status.done + status.failed < status.cells:
            made, all_of_it, unit = status.done + status.failed, status.cells, "cells"
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(max(1, all_of_it), made, width=max(10, self.console.width - 50)),
            Text(f"{made} of {all_of_it} {unit}", "bold"),
            Text(format_duration(time.monotonic() - self.began), "dim"),
        )
        return Group(bar, *self._lines(status))

    def _lines(self, status: Status | None) -> Iterator[Text]:
        most = max(3, self.console.height - 4)
        known = {job.beat.batch for job in status.jobs} if status else set()
        others = [name for name in self.running.values() if name.partition(" ")[2] not in known]
        words = [] if status is None else list(status_lines(status, failures=False))[1:]
        for line in [*(f"  {name}" for name in others), *words][:most]:
            text = Text(line, "dim" if not line.startswith(" ") else "")
            text.truncate(self.console.width, overflow="ellipsis")
            yield text

    def close(self) -> None:
        """Leave the terminal readable, and say where the results are."""
        if self.ended.is_set():
            return
        self.ended.set()
        if self.thread.is_alive():
            self.thread.join()
        if self.live is not None:
            self._look()
            self.live.update(Text(), refresh=True)
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


def _reason(logs: list[str]) -> str:
    """The last error in the logs of a job."""
    for log in logs:
        try:
            lines = Path(log).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        errors = [line for line in lines if " ERROR " in line]
        if errors:
            return f"{errors[-1].partition(' ERROR ')[2].partition(': ')[2]} ({log})"
    return f"see {', '.join(logs)}" if logs else "it has no log"
