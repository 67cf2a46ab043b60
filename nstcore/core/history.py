"""The results of an optimization, and the states in between from which it can continue."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nstcore.core.minimize import TRACE_COLUMNS, MinimizeResult

Pixels = NDArray[np.float32]

DIVERGED = (
    "no finite loss was found: weights or learning rate are too large, or the start is not an image"
)


@dataclass(frozen=True)
class LevelReport:
    """One level: its size in pixels, the image's iterations, the seconds of the whole batch."""

    width: int
    height: int
    iterations: int
    seconds: float


@dataclass(frozen=True)
class Result:
    """One finished image.

    Attributes:
        image: (H, W, 3) float32 in [0, 1].
        levels: coarse to fine.
        trace: column -> values, one a recorded iteration.
        rollbacks: how often the image went back to an earlier state.
        failed: whether no state with a finite loss was found at some level.
    """

    image: Pixels
    levels: Sequence[LevelReport]
    trace: dict[str, list[float]]
    rollbacks: int
    failed: bool

    @property
    def status(self) -> str:
        """``ok`` or ``diverged``."""
        return "diverged" if self.failed else "ok"

    @property
    def reason(self) -> str | None:
        """One line, for ``diverged``."""
        return DIVERGED if self.failed else None


@dataclass(frozen=True)
class OptimizerState:
    """The state of a batch in the middle of a level.

    Attributes:
        level: of the pyramid.
        iteration: how many of its iterations are done.
        images: for each image, its tensors by name.
        history: for each image, its entry in the :class:`History` of the levels before.
        seconds: spent on this level so far.
    """

    level: int
    iteration: int
    images: Sequence[Mapping[str, Tensor]]
    history: Sequence[Mapping[str, Any]]
    seconds: float


class Checkpointer(Protocol):
    """Saves the state of a batch; see ``nstcore.jobs.checkpoint``."""

    def load(self) -> OptimizerState | None:
        """The newest saved state, if there is one."""

    def due(self) -> bool:
        """Whether to save the state now; asked after every iteration."""

    def save(self, saved: OptimizerState) -> None:
        """Save a state; may raise an exception to stop."""


class History:
    """Levels, traces, rollbacks and failures of the images of a batch.

    Args:
        count: number of images.
        saved: their ``entries`` in an earlier process.

    Attributes:
        entries: for each image what :class:`Result` has but the image, for JSON.
    """

    def __init__(self, count: int, saved: Sequence[Mapping[str, Any]] | None = None) -> None:
        self.entries: list[dict[str, Any]] = copy.deepcopy([*map(dict, saved or ())]) or [
            {"levels": [], "trace": {}, "rollbacks": 0, "failed": False} for _ in range(count)
        ]

    def end_level(
        self, level: int, done: int, size: tuple[int, int], result: MinimizeResult, seconds: float
    ) -> None:
        """Add a finished level of a width and height; ``done`` iterations were in the levels before."""
        tables = result.trace.tables(len(self.entries))
        numbers = (result.iterations.tolist(), result.rollbacks.tolist(), result.failed.tolist())
        for entry, table, iterations, rollbacks, failed in zip(
            self.entries, tables, *numbers, strict=True
        ):
            entry["levels"].append(asdict(LevelReport(*size, iterations, seconds)))
            entry["rollbacks"] += rollbacks
            entry["failed"] |= failed
            for column, values in zip(TRACE_COLUMNS, table.T.tolist(), strict=True):
                offset = done if column == "iteration" else 0
                entry["trace"].setdefault(column, []).extend(offset + value for value in values)
            entry["trace"].setdefault("level", []).extend([float(level)] * len(table))

    def results(self, finished: Pixels) -> list[Result]:
        """The results, with the finished images (N, H, W, 3)."""
        return [
            Result(image, **{**entry, "levels": [LevelReport(**one) for one in entry["levels"]]})
            for image, entry in zip(finished, self.entries, strict=True)
        ]
