"""What a job is doing, in a small file of the run's folder, for ``nst status``.

A thread writes the file every few seconds, so that a long import or a slow iteration does not look
like a dead job; the optimization only leaves its position where the thread finds it.  A job that ends
removes its file.  A job that is killed leaves it, and its age tells.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nstcore.jobs.job import label_text, progress_log
from nstcore.jobs.run_process import scheduler_job
from nstcore.plan.plan import Cell, Plan
from nstcore.store.files import write_json

if TYPE_CHECKING:
    from nstcore.core.losses.base import Losses

log = logging.getLogger(__name__)

FOLDER = ".state"
"""Where the files are, in the run's folder."""

INTERVAL = 2.0
"""Seconds between two writes."""


@dataclass
class Heartbeat:
    """The state of one job.

    Attributes:
        batch: what it makes; see :attr:`nstcore.plan.plan.Cell.batch`.
        cells: how many cells that are.
        host, pid: where it runs.
        job: its id in the scheduler; None without one.
        started, updated: seconds since 1970.
        device: where images are optimized; None until the first.
        label: the images that are being optimized, in a few words.
        iteration, iterations: of these, done and in all.
        together: how many these are.
        level, levels: of the pyramid, from 1; 0 until it is known.
        content, style: their mean losses, without weights.
        waits: the job that this one waits for, in words; None while it makes something itself.
        images: paths in the run's folder of those that are being optimized.
    """

    batch: str
    cells: int
    host: str
    pid: int
    job: str | None
    started: float
    updated: float
    device: str | None = None
    label: str | None = None
    iteration: int = 0
    iterations: int = 0
    together: int = 0
    content: float | None = None
    style: float | None = None
    waits: str | None = None
    images: Sequence[str] = ()
    level: int = 0
    levels: int = 0


def heartbeat_file(run: Path, batch: str) -> Path:
    """Where the job of a batch writes what it is doing."""
    return run / FOLDER / f"{hashlib.sha256(batch.encode()).hexdigest()[:16]}.json"


def level_of(iterations: Sequence[int], done: int, total: int) -> tuple[int, int]:
    """The level of a pyramid in which an iteration is, from 1, and how many levels there are.

    Args:
        iterations: of every level, coarse to fine.
        done: iterations done in all levels.
        total: iterations of the levels that are optimized; coarse ones may be left out.
    """
    left_out = next((n for n in range(len(iterations)) if sum(iterations[n:]) <= total), 0)
    ends = list(accumulate(iterations[left_out:]))
    return 1 + sum(end < done for end in ends[:-1]), len(ends)


class HeartbeatWriter:
    """Notes what a job is doing: a progress callback, and one for waiting."""

    def __init__(self, heartbeat: Heartbeat, cells: Iterable[Cell]) -> None:
        self._heartbeat = heartbeat
        self._settings = {cell.image: cell.settings for cell in cells}
        self._losses: Losses | None = None
        self._to_log = progress_log()

    def snapshot(self) -> dict[str, Any]:
        """The state now, for the file.  Reading losses waits for the device, so this thread does it."""
        if self._losses is not None:
            self._heartbeat.content = float(self._losses.content.mean())
            self._heartbeat.style = float(self._losses.style.mean())
        self._heartbeat.updated = time.time()
        return asdict(self._heartbeat)

    def __call__(self, labels: Sequence[str], done: int, total: int, losses: Losses) -> None:
        """Note how far an image is, or several; see :data:`nstcore.jobs.engine.Progress`."""
        noted = self._heartbeat
        noted.label, noted.images, noted.waits = label_text(labels), labels, None
        noted.iteration, noted.iterations = done, total
        noted.device = str(losses.content.device)
        noted.together = losses.content.numel()
        if settings := self._settings.get(labels[0]):
            noted.level, noted.levels = level_of(settings.level_iterations(), done, total)
        self._losses = losses
        self._to_log(labels, done, total, losses)

    def waits(self, holder: str) -> None:
        """Note that another job makes what this one needs."""
        self._heartbeat.waits = holder


@contextmanager
def write_heartbeats(
    plan: Plan,
    cells: Sequence[Cell],
    *,
    interval: float = INTERVAL,
    environment: Mapping[str, str] = os.environ,
) -> Iterator[HeartbeatWriter]:
    """Write what a job is doing while it makes its cells; yields its callbacks.

    Progress goes to the log, too.
    """
    batch, now = cells[0].batch, time.time()
    job = scheduler_job(environment)
    noted = Heartbeat(batch, len(cells), platform.node(), os.getpid(), job, now, now)
    path = heartbeat_file(Path(plan.config.run_dir), batch)
    ended, writer = threading.Event(), HeartbeatWriter(noted, cells)
    thread = threading.Thread(
        target=_write_until, args=(ended, path, writer, interval), name="heartbeat", daemon=True
    )
    thread.start()
    try:
        yield writer
    finally:
        ended.set()
        thread.join()
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.info("%s cannot be removed: %s", path, error)


def _write_until(
    ended: threading.Event, path: Path, writer: HeartbeatWriter, interval: float
) -> None:
    while True:
        try:
            write_json(path, writer.snapshot())
        except OSError as error:
            # That nobody can see what a job does is no reason to fail.
            log.info("%s cannot be written: %s", path, error)
        if ended.wait(interval):
            return


def read_heartbeats(run: Path) -> list[Heartbeat]:
    """What the jobs of a run are doing, or were doing when they were killed, ordered by batch."""
    found: list[Heartbeat] = []
    known = {field.name for field in fields(Heartbeat)}
    for path in (run / FOLDER).glob("[!.]*.json"):  # others are unfinished
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            found.append(Heartbeat(**{name: one for name, one in values.items() if name in known}))
        except (OSError, ValueError, TypeError, AttributeError):
            continue  # removed meanwhile, or of another version
    return sorted(found, key=lambda one: one.batch)
