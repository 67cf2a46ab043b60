"""Which jobs are done together, how they are made to fit, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Work:
    """Jobs that are done together, and how they are made to fit into memory.

    Attributes:
        indices: of the jobs.
        history: curvature pairs of L-BFGS.
        tile: side of the tiles in pixels; None for whole pictures.
    """

    indices: tuple[int, ...]
    history: int
    tile: int | None

    def __str__(self) -> str:
        count = len(self.indices)
        pictures = "1 picture" if count == 1 else f"{count} pictures"
        tiles = "" if self.tile is None else f" in tiles of {self.tile} px"
        return f"{pictures} at a time, history {self.history}{tiles}"

    def halves(self) -> list[Work]:
        """The two halves of the jobs; nothing for a single one."""
        half = len(self.indices) // 2
        parts = (self.indices[:half], self.indices[half:])
        return [replace(self, indices=part) for part in parts] if half else []


@dataclass(frozen=True)
class Failure:
    """Why jobs could not be done together."""

    reason: str
    out_of_memory: bool
