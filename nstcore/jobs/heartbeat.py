"""What a job is doing, in a small file of the run's folder, for ``nst status``.

A thread writes it every few seconds, so that a long import or a slow iteration is no silence; the
descent only leaves its position where the thread finds it.  A job that ends removes its file, and one
that is killed leaves it behind, which is told from its age.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nstcore.jobs.job import progress_log
from nstcore.plan.plan import Cell, Plan
from nstcore.store.files import write_json

if TYPE_CHECKING:
    from nstcore.core.losses.base import Losses

log = logging.getLogger(__name__)

FOLDER = ".state"
"""In the run's folder."""

EVERY = 5.0
"""Seconds between two states."""

JOB_VARIABLES = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")
"""Environment variables with what a scheduler calls the job."""


@dataclass
class Heartbeat:
    """The state of one job.

    Attributes:
        batch: what it makes; see :attr:`nstcore.plan.plan.Cell.batch`.
        cells: how many that are.
        host, pid: where it runs.
        job: what the scheduler calls it; None without one.
        started, updated: seconds since 1970.
        device: where pictures are optimized, once they are.
        label: the pictures that are under way.
        iteration, iterations: of these, done and in all.
        waits: who makes what the job waits for, in words; None while it makes something itself.
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
    waits: str | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Heartbeat:
        """From what was written; of another version, what is known.

        Raises:
            TypeError: if something lacks.
        """
        known = {field.name for field in fields(cls)}
        return cls(**{name: one for name, one in value.items() if name in known})


def scheduler_job(environment: Mapping[str, str] = os.environ) -> str | None:
    """What the scheduler calls the job of this process; None without one.

    Args:
        environment: of the process.
    """
    return next((environment[name] for name in JOB_VARIABLES if environment.get(name)), None)


def beat_file(run: Path, batch: str) -> Path:
    """Where the job of a batch writes its state."""
    return run / FOLDER / f"{hashlib.sha256(batch.encode()).hexdigest()[:16]}.json"


class HeartbeatWriter:
    """What a job is told of itself: a progress callback, and for whom it waits.

    Args:
        beat: where it is noted.
    """

    def __init__(self, beat: Heartbeat) -> None:
        self._beat = beat
        self._to_log = progress_log()

    def __call__(self, label: str, done: int, total: int, losses: Losses) -> None:
        """A picture, or several, are so far; see :data:`nstcore.jobs.engine.Progress`."""
        beat = self._beat
        beat.label, beat.iteration, beat.iterations, beat.waits = label, done, total, None
        beat.device = str(losses.content.device)
        self._to_log(label, done, total, losses)

    def waits(self, holder: str) -> None:
        """Another job makes what this one needs."""
        self._beat.waits = holder


@contextmanager
def under_way(
    plan: Plan,
    cells: Sequence[Cell],
    *,
    every: float = EVERY,
    environment: Mapping[str, str] = os.environ,
) -> Iterator[HeartbeatWriter]:
    """Write the state of a job while it runs.

    Args:
        plan: the run.
        cells: of the job's batch; at least one.
        every: seconds between two states.
        environment: that names the scheduler's job.

    Yields:
        What is to be told of the job; a descent goes to the log, too.
    """
    batch = cells[0].batch
    now = time.time()
    job = scheduler_job(environment)
    beat = Heartbeat(batch, len(cells), platform.node(), os.getpid(), job, now, now)
    path = beat_file(Path(plan.config.run_dir), batch)
    ended = threading.Event()
    thread = threading.Thread(
        target=_write_until, args=(ended, path, beat, every), name="heartbeat", daemon=True
    )
    thread.start()
    try:
        yield HeartbeatWriter(beat)
    finally:
        ended.set()
        thread.join()
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.info("%s stays: %s", path, error)


def _write_until(ended: threading.Event, path: Path, beat: Heartbeat, every: float) -> None:
    """The thread: a state at once, and one from time to time."""
    while True:
        beat.updated = time.time()
        try:
            write_json(path, asdict(beat))
        except OSError as error:
            # A job does not fail because nobody can see what it does.
            log.info("%s cannot be written: %s", path, error)
        if ended.wait(every):
            return


def read_beats(run: Path) -> list[Heartbeat]:
    """The states that jobs of a run have left, by their batches."""
    found: list[Heartbeat] = []
    for path in (run / FOLDER).glob("*.json"):
        if path.name.startswith("."):
            continue  # half written
        try:
            found.append(Heartbeat.from_json(json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError, AttributeError):
            continue  # gone meanwhile, or of another version
    return sorted(found, key=lambda beat: beat.batch)
