"""When a job has to end before its work does: signals and deadlines.

A signal handler only sets a flag.  The optimization looks at it after every iteration, saves its state
and ends.  At any other time an interrupt ends the job at once, as usual.
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

from nstcore.resources.requests import SHUTDOWN_MARGIN

log = logging.getLogger(__name__)

DEADLINE_VARIABLES = ("NST_DEADLINE", "SLURM_JOB_END_TIME")
"""Environment variables with the time when the job will be killed, in seconds since 1970."""

MAX_MARGIN_SHARE = 0.25
"""The largest share of a job's time that the margin may take, so that a short job makes progress too."""

EXIT_PREEMPTED = 75
"""Exit status of a job that ended early and has saved its state (EX_TEMPFAIL of sysexits.h)."""


class Preempted(Exception):
    """An optimization has saved its state and ended early; the next attempt continues from there."""


class ShutdownSignal:
    """Whether the work has to end now, and why.

    Args:
        deadline: seconds since 1970, or None.
        margin: seconds before the deadline.
        clock: the time, in seconds since 1970.
    """

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
        """With the deadline of the environment or of Slurm, if there is one.

        Args:
            environment: of the process.
            ask: the end of a Slurm job by its id; None for :func:`slurm_end`.
            clock: the time, in seconds since 1970.
        """
        deadline = _deadline(environment, ask or slurm_end)
        if deadline is None:
            return cls(clock=clock)
        margin = min(SHUTDOWN_MARGIN, MAX_MARGIN_SHARE * max(0.0, deadline - clock()))
        return cls(deadline, margin=margin, clock=clock)

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

    Args:
        job: its id.
    """
    command = ["squeue", "--noheader", "--jobs", job, "--format", "%e"]
    try:
        end = subprocess.run(
            command,
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
