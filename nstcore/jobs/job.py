"""What every job of the workflow does around its work: a log, readable errors, and an early end.

A signal handler only sets a flag.  The optimization looks at it after every iteration, saves its state
and ends.  At any other time an interrupt ends the job at once, as usual.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from nstcore.errors import Preempted, UserError
from nstcore.jobs.run_process import end_with_run
from nstcore.plan.plan import Plan
from nstcore.plan.snapshot import read_frozen_plan, snapshot_of
from nstcore.resources.requests import SHUTDOWN_MARGIN

if TYPE_CHECKING:
    from nstcore.core.losses.base import Losses

log = logging.getLogger(__name__)

DEADLINE_VARIABLES = ("NST_DEADLINE", "SLURM_JOB_END_TIME")
"""Environment variables with the time when the job will be killed, in seconds since 1970."""

SAVES_LEFT = 2.0
"""Before a deadline at least so many times the seconds are left that the last save took."""

MAX_MARGIN_SHARE = 0.25
"""The largest share of a job's time that the margin may take, so that a short job makes progress too."""

EXIT_PREEMPTED = 75
"""Exit status of a job that ended early and has saved its state (EX_TEMPFAIL of sysexits.h)."""

TO_BE_CONTINUED = "to be continued"

QUIET_JOBS = "NST_QUIET_JOBS"
"""Environment variable that keeps jobs from saying what the live view of their run says."""

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@contextmanager
def job(snapshot: str, log_file: str) -> Iterator[Plan]:
    """Open the plan of a run's snapshot and keep the job's log.

    Everything goes to the log file, an exception with its traceback; warnings also go to the
    terminal.  A user's mistake ends the process with one line.  All attempts of a job share its log
    until one of them succeeds.
    """
    Path(log_file).parent.mkdir(parents=True, exist_ok=True)
    # The log of all attempts until one succeeds: Snakemake removes the job's own before each.
    attempts = Path(log_file).with_name(f".{Path(log_file).name}.attempts")
    to_file = _log_handler(Path(log_file), attempts)
    to_file.setFormatter(logging.Formatter(FORMAT))
    to_terminal = logging.StreamHandler(sys.stderr)
    to_terminal.setLevel(logging.CRITICAL if os.environ.get(QUIET_JOBS) else logging.WARNING)
    to_terminal.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[to_file, to_terminal], force=True)
    try:
        with _recording_interrupts():
            end_with_run()
            log.info("%s", describe_node())
            yield read_frozen_plan(Path(snapshot))
        attempts.unlink(missing_ok=True)
    except UserError as error:
        log.error("%s", error)
        sys.exit(1)
    except Preempted as reason:
        log.warning(
            "%s: %s; the next attempt continues from the last state", TO_BE_CONTINUED, reason
        )
        sys.exit(EXIT_PREEMPTED)
    except KeyboardInterrupt:
        log.warning("interrupted; what is finished stays in the store")
        sys.exit(130)
    except Exception:
        log.exception("the job failed")
        raise


def run_job(snakemake: Any, work: Callable[..., None], **arguments: Any) -> None:
    """Do what a script of the workflow is for; see :func:`job`.

    Args:
        snakemake: the job, as Snakemake hands it to scripts.  Its configuration only says where the
            run's snapshot is: that is what the job reads.
        work: gets the run's plan and ``arguments``.
    """
    with job(str(snapshot_of(snakemake.config)), snakemake.log[0]) as plan:
        work(plan, **arguments)
    # The process ends now: looking for garbage among all of torch's objects takes half a second.
    gc.freeze()


def describe_node(environment: Mapping[str, str] = os.environ) -> str:
    """Where this process runs, in words: the node, the Slurm job, the GPUs."""
    words = [f"on node {environment.get('SLURMD_NODENAME') or socket.gethostname()}"]
    if job_id := environment.get("SLURM_JOB_ID"):
        words.append(f"Slurm job {job_id}")
    if gpus := environment.get("CUDA_VISIBLE_DEVICES"):
        words.append(f"GPU {gpus}")
    return ", ".join(words)


def _log_handler(log_file: Path, attempts: Path) -> logging.FileHandler:
    """A log with two names, which continues that of the attempts before."""
    handler = logging.FileHandler(attempts, mode="a", encoding="utf-8")
    try:
        log_file.unlink(missing_ok=True)
        os.link(attempts, log_file)
    except OSError:  # a file system without hard links
        handler.close()
        attempts.unlink(missing_ok=True)
        handler = logging.FileHandler(log_file, mode="w", encoding="utf-8")
    return handler


_interrupts: list[int] = []
"""Interrupts of this process; one that arrives during an import may get lost there."""


@contextmanager
def _recording_interrupts() -> Iterator[None]:
    def record(number: int, _frame: FrameType | None) -> None:
        _interrupts.append(number)
        raise KeyboardInterrupt

    _interrupts.clear()
    before = signal.signal(signal.SIGINT, record)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def label_text(labels: Sequence[str]) -> str:
    """Images that are made together, in a few words."""
    return labels[0] if len(labels) == 1 else f"{labels[0]} and {len(labels) - 1} more"


def progress_log(interval: float = 10.0) -> Callable[[Sequence[str], int, int, Losses], None]:
    """A progress callback that writes a line to the log every so many seconds."""
    started = last = time.monotonic()
    current: Sequence[str] = ()

    def report(labels: Sequence[str], done: int, total: int, losses: Losses) -> None:
        nonlocal started, last, current
        if _interrupts:
            raise KeyboardInterrupt
        now = time.monotonic()
        if labels != current:
            current, started, last = labels, now, now
            return
        if now - last < interval and done < total:
            return
        last = now
        left = (now - started) * (total - done) / max(done, 1)
        log.info(
            "%s: iteration %d of %d, about %.0f s left, content %.4g, style %.4g",
            label_text(labels),
            done,
            total,
            left,
            float(losses.content.mean()),
            float(losses.style.mean()),
        )

    return report


class ShutdownSignal:
    """Whether the work has to end now, and why: a signal, or a deadline in seconds since 1970."""

    def __init__(
        self,
        deadline: float | None = None,
        *,
        margin: float = SHUTDOWN_MARGIN,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.deadline, self.margin, self._clock = deadline, margin, clock
        self.received: int | None = None

    @classmethod
    def of(
        cls,
        environment: Mapping[str, str] = os.environ,
        *,
        ask: Callable[[str], float | None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> ShutdownSignal:
        """With the deadline of the environment or of Slurm, if there is one; see :func:`slurm_end`."""
        deadline = _deadline(environment, ask or slurm_end)
        if deadline is None:
            return cls(clock=clock)
        margin = min(SHUTDOWN_MARGIN, MAX_MARGIN_SHARE * max(0.0, deadline - clock()))
        return cls(deadline, margin=margin, clock=clock)

    def leave_time_for(self, seconds: float) -> None:
        """End so early that a state can still be saved, which took so many seconds the last time."""
        self.margin = max(self.margin, SAVES_LEFT * seconds)

    def reason(self) -> str | None:
        """Why the work has to end, in a few words; None if it does not."""
        if self.received is not None:
            return f"{signal.Signals(self.received).name} was received"
        if self.deadline is not None and self._clock() > self.deadline - self.margin:
            return f"less than {self.margin:.0f} s are left before the job's time limit"
        return None

    @contextmanager
    def listening(
        self, signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT)
    ) -> Iterator[None]:
        """Let signals set the flag, in the main thread of a process.

        A second SIGTERM is ignored, also later while the process ends: schedulers and the processes
        between them and a job each send their own.  A second Ctrl-C interrupts at once.
        """

        def set_flag(number: int, _frame: FrameType | None) -> None:
            if self.received is not None:
                if number == signal.SIGINT:
                    raise KeyboardInterrupt
                return
            self.received = number

        try:
            before = {number: signal.signal(number, set_flag) for number in signals}
        except ValueError:  # not the main thread, which handles signals itself
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                if (number, self.received) != (signal.SIGTERM, signal.SIGTERM):
                    signal.signal(number, handler)


def slurm_end(job: str) -> float | None:
    """When Slurm will end a job, in seconds since 1970; None if never, or if Slurm does not answer.

    Slurm sets a variable for batch scripts, but not for every step inside.
    """
    try:
        end = subprocess.run(
            ["squeue", "--noheader", "--jobs", job, "--format", "%e"],
            env={**os.environ, "SLURM_TIME_FORMAT": "%s"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout
        return float(end)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        log.info("Slurm does not say when job %s ends: %s", job, error)
        return None


def _deadline(environment: Mapping[str, str], ask: Callable[[str], float | None]) -> float | None:
    for name in DEADLINE_VARIABLES:
        try:
            return float(environment.get(name, ""))
        except ValueError:
            continue
    job = environment.get("SLURM_JOB_ID")
    return ask(job) if job else None
