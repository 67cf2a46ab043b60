"""The losses on the way, kept for each picture on its own: pictures of a batch end at different times."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from nstcore.losses.objective import Losses

COLUMNS = ("iteration", "total_loss", "content_loss", "style_loss", "tv_loss")
"""What an entry of a trace holds."""


@dataclass
class Trace:
    """Losses of one level, one entry a recorded iteration.

    Attributes:
        iterations: of this process's entries.
        losses: at these iterations, each (N',) for the pictures that were still going.
        rows: which pictures those were, (N',).
        earlier: by picture, the entries (T, 5) that an interrupted process made before.
    """

    iterations: list[int] = field(default_factory=list)
    losses: list[Losses] = field(default_factory=list)
    rows: list[Tensor] = field(default_factory=list)
    earlier: list[Tensor] = field(default_factory=list)

    def append(self, iteration: int, rows: Tensor, losses: Losses) -> None:
        """Add an entry; nothing is copied from the device before :meth:`tables`."""
        self.iterations.append(iteration)
        self.rows.append(rows)
        self.losses.append(losses)

    def tables(self, count: int) -> list[Tensor]:
        """Entries (T, 5) of each of ``count`` pictures, float64 on the CPU; see ``COLUMNS``."""
        found: list[list[list[float]]] = [[] for _ in range(count)]
        for iteration, rows, losses in zip(self.iterations, self.rows, self.losses, strict=True):
            columns = torch.stack([losses.total, losses.content, losses.style, losses.tv], 1)
            for row, values in zip(rows.tolist(), columns.double().cpu().tolist(), strict=True):
                found[row].append([float(iteration), *values])
        tables = [torch.tensor(t, dtype=torch.float64).view(-1, len(COLUMNS)) for t in found]
        if self.earlier:
            tables = [torch.cat(pair) for pair in zip(self.earlier, tables, strict=True)]
        return tables
