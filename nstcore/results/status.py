"""How far a run is, from the files in its folder; it may be running, here or on another machine."""

from __future__ import annotations

import contextlib
import csv
import datetime
import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nstcore.errors import StoreError, UserError
from nstcore.jobs.heartbeat import Heartbeat, read_heartbeats
from nstcore.jobs.workflow_files import SELECTION, selected_cells
from nstcore.plan import paths
from nstcore.plan.cost_model import cell_seconds
from nstcore.plan.plan import Cell, Plan
from nstcore.plan.record import CellRecord
from nstcore.plan.snapshot import SNAPSHOT, read_plan
from nstcore.store.cells import Store
from nstcore.store.claims import process_exists

WINDOW = 3600.0
"""Seconds over which the rate is measured."""

SILENT = 120.0
"""Seconds without a heartbeat after which a job counts as silent: file systems show changes late."""


@dataclass(frozen=True)
class JobState:
    """One job that is running, or was killed.

    Attributes:
        beat: its last heartbeat.
        state: ``running``, ``silent`` (no heartbeat for a while) or ``gone`` (its process on this machine
            is dead).
        done: cells of its batch that have a record.
        quiet: seconds since the last heartbeat.
    """

    beat: Heartbeat
    state: str
    done: int
    quiet: float


@dataclass(frozen=True)
class Status:
    """How far a run is.

    Attributes:
        run: its name.
        cells: of the grid, and refined ones once they are chosen.
        done, failed, running, waiting: cells in each state; they add up to ``cells``.
        stored: waiting cells that are in the store already.
        jobs: that run, or were killed.
        failures: path and reason of failed cells.
        per_hour: cells made in an hour, at the recent rate; None if none was made.
        seconds_left: until every cell is made, at the recent rate; None if none was made.
        finished: whether the run has its summary.
    """

    run: str
    cells: int
    done: int
    failed: int
    running: int
    waiting: int
    stored: int
    jobs: list[JobState]
    failures: list[tuple[str, str]]
    per_hour: float | None
    seconds_left: float | None
    finished: bool


@dataclass(frozen=True)
class _ReadRecord:
    """What a record says, and when its file was changed."""

    changed: int
    ok: bool
    reason: str
    created: float


def job_state(beat: Heartbeat, now: float) -> str:
    """``running``, ``silent`` or ``gone``; see `JobState`."""
    if beat.host == platform.node() and not process_exists(beat.pid):
        return "gone"
    return "silent" if now - beat.updated > SILENT else "running"


class Watcher:
    """Watches the run of a folder: each record is read once, however often it looks.

    Args:
        run: the folder.
        since: seconds since 1970.  Cells that failed before are waiting: they are tried again, unless the
            configuration allows failures.

    Raises:
        UserError: no run has started there.
    """

    def __init__(self, run: Path, since: float = 0.0) -> None:
        if not (run / SNAPSHOT).is_file():
            raise UserError(
                f"{run}: no run has started there (it has no {SNAPSHOT}); give a run's folder, "
                "such as results/demo"
            )
        self.run, self.since = run, since
        self._records: dict[str, _ReadRecord] = {}
        self._plan_of: tuple[int, Plan] | None = None

    def look(self, now: float | None = None) -> Status:
        """How far the run is at a time in seconds since 1970; None for the present."""
        now = time.time() if now is None else now
        plan = self._plan()
        cells = self._cells(plan)
        self._read(cells, 0.0 if plan.config.allow_failures else self.since)
        jobs = [self._job(beat, cells, now) for beat in read_heartbeats(self.run)]
        live = {job.beat.batch for job in jobs if job.state == "running"}
        missing = [cell for cell in cells if cell.image not in self._records]
        running = [cell for cell in missing if cell.batch in live]
        waiting = [cell for cell in missing if cell.batch not in live]
        failures = [(image, one.reason) for image, one in self._records.items() if not one.ok]
        stored = self._stored(plan, waiting)
        left = [*running, *(cell for cell in waiting if cell.image not in stored)]
        per_hour, seconds_left = self._rate(plan, cells, left, now)
        return Status(
            run=plan.config.run,
            cells=len(cells),
            done=len(cells) - len(missing) - len(failures),
            failed=len(failures),
            running=len(running),
            waiting=len(waiting),
            stored=len(stored),
            jobs=jobs,
            failures=failures,
            per_hour=per_hour,
            seconds_left=seconds_left if left else 0.0,
            finished=(self.run / "summary.json").is_file() and not missing,
        )

    def _plan(self) -> Plan:
        """The plan of the run's snapshot, read again when the run has been restarted."""
        path = self.run / SNAPSHOT
        changed = path.stat().st_mtime_ns
        if self._plan_of is None or self._plan_of[0] != changed:
            self._plan_of = changed, read_plan(path)
        return self._plan_of[1]

    def _cells(self, plan: Plan) -> list[Cell]:
        cells = list(plan.cells())
        if plan.config.refine is not None and (self.run / SELECTION).is_file():
            # A table of another plan will be replaced.
            with contextlib.suppress(StoreError):
                cells += [refined for _, refined in selected_cells(plan)]
        return cells

    def _read(self, cells: Iterable[Cell], since: float) -> None:
        """Read new records, and forget removed ones and failures before a time."""
        before, self._records = self._records, {}
        for cell in cells:
            path = paths.record_path(self.run / cell.image)
            try:
                changed = path.stat().st_mtime_ns
                known = before.get(cell.image)
                if known is None or known.changed != changed:
                    record = CellRecord.read(path)
                    created = datetime.datetime.fromisoformat(record.created or "").timestamp()
                    reason = record.reason or record.status
                    known = _ReadRecord(changed, record.status == "ok", reason, created)
            except (OSError, StoreError, ValueError):
                continue  # missing or damaged
            if known.ok or known.changed >= 1e9 * since:
                self._records[cell.image] = known

    def _job(self, beat: Heartbeat, cells: Iterable[Cell], now: float) -> JobState:
        own = (cell.image for cell in cells if cell.batch == beat.batch)
        done = sum(image in self._records for image in own)
        return JobState(beat, job_state(beat, now), done, now - beat.updated)

    def _stored(self, plan: Plan, waiting: Iterable[Cell]) -> set[str]:
        """Images that only have to be linked from the store, as far as keys are known."""
        try:
            with open(self.run / "grid.tsv", encoding="utf-8", newline="") as file:
                keys = {row["image"]: row["key"] for row in csv.DictReader(file, delimiter="\t")}
        except (OSError, KeyError):
            return set()
        store = Store(plan.config.store_dir)
        return {c.image for c in waiting if c.image in keys and store.has(keys[c.image])}

    def _rate(
        self, plan: Plan, cells: Iterable[Cell], left: Iterable[Cell], now: float
    ) -> tuple[float | None, float | None]:
        """Cells an hour, and the seconds until those left are made, at the recent rate.

        A cell counts by its cost, so that large images at the end are not taken for small ones.
        """
        started = (self.run / SNAPSHOT).stat().st_mtime
        since = max(started, now - WINDOW)
        evaluation = plan.evaluation["encoder"]
        recent = [
            cell
            for cell in cells
            if cell.image in self._records and self._records[cell.image].created >= since - 1
        ]
        passed = now - since
        if not recent or passed <= 0:
            return None, None

        def cost(some: Iterable[Cell]) -> float:
            return sum(cell_seconds(plan.config, cell.settings, evaluation) for cell in some)

        return 3600 * len(recent) / passed, passed * cost(left) / cost(recent)
