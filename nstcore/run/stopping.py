"""When a job has to end before its work does: signals and deadlines.

A signal handler only sets a flag: the descent asks for it after every iteration, saves its state and
ends.  Outside of a descent an interrupt ends the job at once, as ever.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

DEADLINE_VARIABLES = ("NST_DEADLINE", "SLURM_JOB_END_TIME")
"""Environment variables with the time at which the job will be killed, in seconds since 1970."""

MARGIN = 90.0
"""Seconds before the deadline at which a descent saves its state and ends."""

EXIT_TO_BE_CONTINUED = 75
"""Exit status of a job that ended early and has saved its state (EX_TEMPFAIL of sysexits.h)."""


class ToBeContinued(Exception):
    """A descent has saved its state and ended early; the next attempt goes on from there."""


class Stop:
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
    def of(cls, environment: Mapping[str, str] = os.environ) -> Stop:
        """With the deadline that the environment tells, if it does."""
        for name in DEADLINE_VARIABLES:
            try:
                deadline = float(environment.get(name, ""))
            except ValueError:
                continue
            return cls(deadline)
        return cls()

    def reason(self) -> str | None:
        """Why the work shall end, in a few words, or None."""
        if self.received is not None:
            return f"{signal.Signals(self.received).name} was received"
        if self.deadline is not None and self._clock() > self.deadline - self.margin:
            return f"less than {self.margin:.0f} s are left before the job's time limit"
        return None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Let SIGTERM and SIGINT set the flag, in the main thread of a process."""

        def remember(number: int, _frame: FrameType | None) -> None:
            if self.received is not None:
                # Whoever asks twice does not want to wait.
                raise KeyboardInterrupt
            self.received = number

        try:
            before = {number: signal.signal(number, remember) for number in _SIGNALS}
        except ValueError:  # not the main thread: somebody else listens
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


_SIGNALS = (signal.SIGTERM, signal.SIGINT)
