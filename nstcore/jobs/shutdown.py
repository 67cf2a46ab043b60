"""When a job has to end before its work does: signals and deadlines.

A signal handler only sets a flag: the descent asks for it after every iteration, saves its state and
ends.  Outside of a descent an interrupt ends the job at once, as ever.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

log = logging.getLogger(__name__)

DEADLINE_VARIABLES = ("NST_DEADLINE", "SLURM_JOB_END_TIME")
"""Environment variables with the time at which the job will be killed, in seconds since 1970."""

MARGIN = 90.0
"""Seconds before the deadline at which a descent saves its state and ends."""

LARGEST_SHARE = 0.25
"""Most of the time that a job has which the margin may take: a short job shall get somewhere, too."""

EXIT_PREEMPTED = 75
"""Exit status of a job that ended early and has saved its state (EX_TEMPFAIL of sysexits.h)."""


class Preempted(Exception):
    """A descent has saved its state and ended early; the next attempt goes on from there."""


class ShutdownSignal:
    """Whether, and why, the work shall end now.

    Args:
        deadline: seconds since 1970, or None.
        margin: seconds before the deadline.
        clock: the time, in seconds since 1970.
    """

    def __init__(
        self,
        deadline: float | None = None,
        *,
        margin: float = MARGIN,
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
        """With the deadline that the environment or Slurm tells, if they do.

        Args:
            environment: of the process.
            ask: the end of a Slurm job by its id; None for :func:`slurm_end`.
            clock: the time, in seconds since 1970.
        """
        deadline = _deadline(environment, ask or slurm_end)
        if deadline is None:
            return cls(clock=clock)
        margin = min(MARGIN, LARGEST_SHARE * max(0.0, deadline - clock()))
        return cls(deadline, margin=margin, clock=clock)

    def reason(self) -> str | None:
        """Why the work shall end, in a few words, or None."""
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

        A second SIGTERM changes nothing, not even later, while the process ends: schedulers and the
        processes between them and a job each send their own.  Who presses Ctrl-C twice does not want
        to wait.
        """

        def remember(number: int, _frame: FrameType | None) -> None:
            if self.received is not None:
                if number == signal.SIGINT:
                    raise KeyboardInterrupt
                return
            self.received = number

        try:
            before = {number: signal.signal(number, remember) for number in signals}
        except ValueError:  # not the main thread: somebody else listens
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                if (number, self.received) != (signal.SIGTERM, signal.SIGTERM):
                    signal.signal(number, handler)


def slurm_end(job: str) -> float | None:
    """When Slurm will end a job, in seconds since 1970; None if it has no end, or cannot be asked.

    Slurm tells it to a batch script, but not to every step inside.

    Args:
        job: its id.
    """
    command = ["squeue", "--noheader", "--jobs", job, "--format", "%e"]
    try:
        said = subprocess.run(
            command,
            env={**os.environ, "SLURM_TIME_FORMAT": "%s"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout
        return float(said)
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
