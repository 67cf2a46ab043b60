"""The report of a run that is under way: a page that renews itself.

The page is ``live/index.html`` in the run's folder.  ``report/index.html`` belongs to the workflow, which
would take a page with half of the cells for the finished one.  Thumbnails go where the report finds
them.  Beside the page is ``state.js``, which the open page reads every few seconds: what running jobs
do, whether there is a newer page, and in the end where the report is.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from nstcore.errors import UserError
from nstcore.jobs.heartbeat import read_heartbeats
from nstcore.jobs.snapshots import snapshots_of
from nstcore.plan.paths import LIVE_PAGE, record_path
from nstcore.plan.record import CellRecord
from nstcore.plan.snapshot import SNAPSHOT, read_frozen_plan
from nstcore.report.build import CHUNKS, render_report, write_chunk
from nstcore.report.html_page import escaped_json, render_html
from nstcore.report.outputs import REPORT, report_of
from nstcore.report.thumbnails import Thumbnails
from nstcore.results.status import job_state
from nstcore.results.tables import MISSING, Grid, read_grid, read_records
from nstcore.store.files import atomic_path, write_text

log = logging.getLogger(__name__)

PAGE = Path(LIVE_PAGE)
STATE = "state.js"
THUMBS = REPORT.parent / "thumbs"

INTERVAL = 3.0
"""Seconds between two looks at a run, and between two looks of an open page."""

SHARE = 0.1
"""Most of the time that goes into looks and pages, which take longer the larger a run is."""


def watch(run: Path, goes_on: Callable[[], bool] | None = None) -> bool:
    """Write the page of a run until the run is finished, or nobody makes it any more.

    Args:
        run: the run's folder.
        goes_on: whether somebody makes it; None if only its files can tell.

    Returns:
        Whether the run is finished.
    """
    live = LiveReport(run)
    while True:
        began, going = time.monotonic(), None if goes_on is None else goes_on()
        try:
            if live.update(going):
                return True
        except (OSError, UserError) as error:  # a file is just being replaced, perhaps
            log.warning("%s: %s", run / PAGE, error)
        if going is False:
            return False
        time.sleep(max(INTERVAL, (time.monotonic() - began) / SHARE))


class LiveReport:
    """Writes the page of a run, and again when cells were finished: each record is read once.

    Args:
        run: the run's folder.
    """

    def __init__(self, run: Path) -> None:
        self.run, self.page = run, run / PAGE
        self._opened: list[int] = []  # when the snapshot and the grid were changed
        self._leads_to = ""

    def update(self, goes_on: bool | None = None) -> bool:
        """Write what has changed since the last time.

        Args:
            goes_on: whether somebody makes the run; None if only its files can tell.

        Returns:
            Whether the run is finished and has its report, to which the page then leads.

        Raises:
            OSError: a file cannot be read or written.
            UserError: the grid or the configuration of the run is damaged.
        """
        if not self._open():
            self._lead_to(PAGE.name, "This run prepares its inputs.")
            return False
        changed = list(self._read_records())
        finished = not goes_on and self._is_finished()
        if not finished and (changed or not self._number):
            self._write_page(changed)
        self._write_state(goes_on is False, finished)
        if finished:
            self._lead_to(os.path.relpath(REPORT, PAGE.parent), "This run is finished.")
            for name in CHUNKS:
                shutil.rmtree(self.page.parent / name, ignore_errors=True)
        return finished

    def _open(self) -> bool:
        """Read plan and grid, again when the run was restarted; whether they are there."""
        files = [self.run / SNAPSHOT, self.run / "grid.tsv"]
        try:
            opened = [path.stat().st_mtime_ns for path in files]
        except FileNotFoundError:
            return False
        if opened != self._opened:
            plan, grid = read_frozen_plan(files[0]), read_grid(files[1])
            self._places = {row["image"]: place for place, row in enumerate(grid.rows)}
            if self._places.keys() != {cell.image for cell in plan.cells()}:
                return False  # the grid is still that of an earlier configuration
            # What the workflow makes at the end is not there yet.
            self._report = replace(report_of(plan, self.page), expected_files=(), links={})
            self._thumbnails = Thumbnails(self.run / THUMBS, self._report.thumb, threads=1)
            self._grid, self._number, self._opened = grid, 0, opened
            self._records = [CellRecord.absent(row["key"], "") for row in grid.rows]
            self._dates = [0] * len(grid.rows)
            self._write_state(False, False)  # in place of what an earlier watcher left
        return True

    def _read_records(self) -> Iterator[int]:
        """Read the records that are new, and give the numbers of their cells."""
        for cell, row in enumerate(self._grid.rows):
            try:
                date = record_path(self.run / row["image"]).stat().st_mtime_ns
            except FileNotFoundError:
                date = 0
            if date != self._dates[cell]:
                self._records[cell] = self._record(cell).without_trace()
                self._dates[cell] = date
                yield cell

    def _record(self, cell: int) -> CellRecord:
        ((record, _),) = read_records(Grid([self._grid.rows[cell]], []), self.run)
        return record

    def _is_finished(self) -> bool:
        """Whether all cells are made, and the report was made after them."""
        try:
            report = (self.run / REPORT).stat().st_mtime_ns
        except FileNotFoundError:
            return False
        return min(self._dates) > 0 and report >= max(self._dates)

    def _write_page(self, changed: Sequence[int]) -> None:
        """Write the page, and of what stands beside it the files with cells that have changed."""
        if not self._number:
            changed = range(len(self._records))
        for name, size in CHUNKS.items():
            for number in sorted({cell // size for cell in changed}):
                cells = range(number * size, min((number + 1) * size, len(self._records)))
                whole = {cell: self._record(cell) for cell in cells}
                entries = self._report.chunk(name, self._grid, whole)
                write_chunk(self.page.parent / name, number, entries)
        pending = [n for n, record in enumerate(self._records) if record.status == MISSING]
        payload = self._report.payload(self._grid, self._records, self._thumbnails, pending)
        self._number = time.time_ns() // 1_000_000
        payload["live"] = {"page": self._number, "seconds": INTERVAL}
        write_text(self.page, render_report(payload))
        self._leads_to = ""

    def _write_state(self, stopped: bool, finished: bool) -> None:
        now = time.time()
        missing = {n for n, record in enumerate(self._records) if record.status == MISSING}
        state = {
            "page": self._number,
            "time": now,
            "done": len(self._records) - len(missing),
            "stopped": stopped,
            "report": os.path.relpath(REPORT, PAGE.parent) if finished else None,
            "running": [
                [
                    self._places[image],
                    *(beat.iteration, beat.iterations, beat.content, beat.style),
                    self._last_snapshot(image),
                ]
                for beat in read_heartbeats(self.run)
                if job_state(beat, now) == "running"
                for image in beat.images
                if self._places.get(image) in missing
            ],
        }
        with atomic_path(self.page.parent / STATE, sync=False) as temporary:
            temporary.write_text(f"nstLive({escaped_json(state)});\n", encoding="utf-8")

    def _last_snapshot(self, image: str) -> str | None:
        """Where the newest snapshot of an image is, from the page's folder."""
        found = snapshots_of(self.run, image, self._grid.rows[self._places[image]]["key"])
        return (
            os.path.relpath(self.run / [*found.values()][-1], self.page.parent) if found else None
        )

    def _lead_to(self, link: str, words: str) -> None:
        """Write a page that leads to another one, or to itself as it will be later."""
        if link != self._leads_to:
            page = render_html(
                "lead.html.j2",
                styles=["report.css"],
                scripts=[],
                data=None,
                link=link,
                words=words,
                seconds=INTERVAL if link == PAGE.name else 0,
            )
            write_text(self.page, page)
            self._leads_to = link
