"""What a descent leaves behind: the results, and the states in between that it can go on from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nstcore.core.minimize import TRACE_COLUMNS, MinimizeResult

Pixels = NDArray[np.float32]

DIVERGED = (
    "no finite loss was found: weights or learning rate are too large, or the start is no picture"
)


@dataclass(frozen=True)
class LevelReport:
    """One level: its size in pixels, the picture's iterations, the seconds of the whole batch."""

    width: int
    height: int
    iterations: int
    seconds: float


@dataclass(frozen=True)
class Result:
    """One finished picture.

    Attributes:
        image: (H, W, 3) float32 in [0, 1].
        status: ``ok``, or ``diverged`` when no state with a finite loss was found at some level.
        reason: one line, for ``diverged``.
        levels: coarse to fine.
        trace: column -> values, one a recorded iteration.
        rollbacks: how often the picture went back to an earlier state.
    """

    image: Pixels
    status: str
    reason: str | None
    levels: tuple[LevelReport, ...]
    trace: dict[str, list[float]]
    rollbacks: int


@dataclass(frozen=True)
class OptimizerState:
    """The state of a batch in the middle of a level.

    Attributes:
        level: of the pyramid.
        iteration: how many of its iterations are done.
        rows: for each picture, its tensors by name.
        facts: for each picture, what is known of the levels before, for JSON.
        seconds: spent on this level so far.
    """

    level: int
    iteration: int
    rows: Sequence[Mapping[str, Tensor]]
    facts: Sequence[Mapping[str, Any]]
    seconds: float


class Checkpointer(Protocol):
    """Who saves the state of a batch; see ``nstcore.jobs.checkpoint``."""

    def load(self) -> OptimizerState | None:
        """The state to go on from, if there is one."""

    def due(self) -> bool:
        """Whether the state shall be saved now; asked after every iteration."""

    def save(self, saved: OptimizerState) -> None:
        """Save it; may raise an exception to end the descent."""


@dataclass
class _Entry:
    """What is known of one picture."""

    levels: list[LevelReport] = field(default_factory=list)
    trace: dict[str, list[float]] = field(default_factory=dict)
    rollbacks: int = 0
    failed: bool = False


class History:
    """Levels, traces and mishaps of the pictures of a batch, level after level."""

    def __init__(self, entries: list[_Entry]) -> None:
        self._entries = entries

    @classmethod
    def of(cls, count: int, facts: Sequence[Mapping[str, Any]] | None = None) -> History:
        """An empty journal of ``count`` pictures, or one that goes on from :meth:`facts`."""
        if facts is None:
            return cls([_Entry() for _ in range(count)])
        return cls(
            [
                _Entry(
                    [LevelReport(**level) for level in one["levels"]],
                    {name: list(values) for name, values in one["trace"].items()},
                    int(one["rollbacks"]),
                    bool(one["failed"]),
                )
                for one in facts
            ]
        )

    def facts(self) -> list[dict[str, Any]]:
        """Everything, for each picture, for JSON."""
        return [asdict(entry) for entry in self._entries]

    def end_level(
        self, level: int, done: int, size: tuple[int, int], outcome: MinimizeResult, seconds: float
    ) -> None:
        """Take in what a level ended with.

        Args:
            level: of the pyramid.
            done: iterations that the levels before may take at most.
            size: width and height.
            outcome: of the descent.
            seconds: of the level.
        """
        taken, failed = outcome.iterations.tolist(), outcome.failed.tolist()
        rollbacks = outcome.rollbacks.tolist()
        for i, table in enumerate(outcome.trace.tables(len(taken))):
            entry = self._entries[i]
            entry.levels.append(LevelReport(*size, taken[i], seconds))
            entry.rollbacks += rollbacks[i]
            entry.failed |= failed[i]
            for column, values in zip(TRACE_COLUMNS, table.T.tolist(), strict=True):
                offset = done if column == "iteration" else 0
                entry.trace.setdefault(column, []).extend(offset + value for value in values)
            entry.trace.setdefault("level", []).extend([float(level)] * len(table))

    def results(self, finished: Pixels) -> list[Result]:
        """The results, with the pictures (N, H, W, 3)."""
        return [
            Result(
                image,
                "diverged" if entry.failed else "ok",
                DIVERGED if entry.failed else None,
                tuple(entry.levels),
                entry.trace,
                entry.rollbacks,
            )
            for image, entry in zip(finished, self._entries, strict=True)
        ]
