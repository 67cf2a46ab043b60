"""One level of the pyramid: descend an objective for N pictures in lockstep, each guarded.

A descent is an object that advances by one iteration at a time, so that whoever drives it can save its
state in between and go on from there in another process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import torch
from torch import Tensor

from nstcore.core.objective import Losses

if TYPE_CHECKING:
    from nstcore.core.adam import BatchedAdam
from dataclasses import field

Evaluate = Callable[[Tensor], tuple[Losses, Tensor]]
"""Maps (N, 3, H, W) to the losses of each picture and the gradient of each one's own total."""

Narrow = Callable[[Tensor], Evaluate]
"""Maps the pictures (N',) that are still going to what evaluates these alone."""

Watch = Callable[[int, Losses], None]
"""Called with the iterations done and the losses at points of the trace."""

Row = dict[str, Tensor]
"""The state of one picture by name."""


class Options(TypedDict, total=False):
    """What every descent may be told beside its objective; see :class:`Minimizer`."""

    tolerance: float
    narrow: Narrow | None
    record_every: int
    watch: Watch | None


@dataclass
class MinimizeResult:
    """What a level ends with.

    Attributes:
        images: (N, 3, H, W), each picture's best state (L-BFGS) or average (Adam), not clamped.
        adam: the optimizer, to be carried over to the next level, when Adam was used throughout.
        trace: the losses on the way.
        iterations: (N,), evaluations that each picture took.
        rollbacks: (N,), how often each picture went back.
        failed: (N,), pictures that had no finite loss at all.
    """

    images: Tensor
    adam: BatchedAdam | None
    trace: Trace
    iterations: Tensor
    rollbacks: Tensor
    failed: Tensor


class Minimizer(ABC):
    """What both optimizers share: who is still going, the trace, and convergence.

    A picture has converged when its best loss fell by less than ``tolerance`` of itself between two
    entries of the trace; it then leaves the batch, which gets faster for the others.  Nothing that is
    decided about a picture depends on the others.

    Args:
        evaluate: the objective.
        images: the start, (N, 3, H, W).
        iterations: evaluations at most.
        tolerance: 0 to let no picture leave.
        narrow: makes an evaluator of fewer pictures; None to let no picture leave.
        record_every: iterations between entries of the trace.
        watch: called at every entry of the trace.
    """

    def __init__(
        self,
        evaluate: Evaluate,
        images: Tensor,
        iterations: int,
        *,
        tolerance: float = 0.0,
        narrow: Narrow | None = None,
        record_every: int = 10,
        watch: Watch | None = None,
    ) -> None:
        count = len(images)
        self.evaluate, self.narrow = evaluate, narrow
        self.iterations, self.tolerance = iterations, tolerance
        self.record_every, self.watch = record_every, watch
        self.iteration = 0
        self.x = images.detach().clone()
        self.trace = Trace()
        # The pictures that are still going, and what is known of all of them.
        self.rows = torch.arange(count, device=images.device)
        self.best_loss = images.new_full((count,), torch.inf)
        self.recorded_loss = images.new_full((count,), torch.inf)
        self.rollbacks = torch.zeros(count, dtype=torch.long, device=images.device)
        self.taken = torch.zeros_like(self.rollbacks)
        self.final: dict[int, Tensor] = {}

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do."""
        return self.iteration >= self.iterations or len(self.rows) == 0

    def run(self) -> MinimizeResult:
        """Advance to the end."""
        while not self.done:
            self.advance()
        return self.finish()

    def advance(self) -> None:
        """One evaluation of every picture that is still going, and the step that follows from it."""
        self.iteration += 1
        self.taken[self.rows] += 1
        losses = self._step()
        if self.iteration % self.record_every and self.iteration != self.iterations:
            return
        self.trace.append(self.iteration, self.rows, losses)
        if self.watch is not None:
            self.watch(self.iteration, losses)
        if self.narrow is not None and self.tolerance > 0:
            self._let_go()

    def _let_go(self) -> None:
        """Take the pictures that have converged out of the batch."""
        best, before = self.best_loss[self.rows], self.recorded_loss[self.rows]
        self.recorded_loss[self.rows] = best
        # At the first entry there is nothing to compare with: inf - best is no small number.
        converged = before - best <= self.tolerance * best
        if not bool(converged.any()):
            return
        results = self._results()
        for place in converged.nonzero().flatten().tolist():
            self.final[int(self.rows[place])] = results[place].clone()
        self._keep_rows((~converged).nonzero().flatten())

    def _keep_rows(self, places: Tensor) -> None:
        self.rows, self.x = self.rows[places], self.x[places]
        if self.narrow is not None and len(places):
            self.evaluate = self.narrow(self.rows)

    def finish(self) -> MinimizeResult:
        """What the level ends with."""
        results = self._results()
        for place, row in enumerate(self.rows.tolist()):
            self.final[row] = results[place]
        images = torch.stack([self.final[row] for row in range(len(self.taken))])
        failed = ~torch.isfinite(self.best_loss)
        return MinimizeResult(
            images, self._carried(), self.trace, self.taken, self.rollbacks, failed
        )

    def state(self) -> list[Row]:
        """Everything that the next iterations depend on, by picture, to be saved."""
        tables = self.trace.tables(len(self.taken))
        going = {row: place for place, row in enumerate(self.rows.tolist())}
        found: list[Row] = []
        for row, table in enumerate(tables):
            state: Row = {
                "trace": table,
                "best_loss": self.best_loss[row],
                "recorded_loss": self.recorded_loss[row],
                "rollbacks": self.rollbacks[row],
                "taken": self.taken[row],
            }
            if row in going:
                state["x"] = self.x[going[row]]
                state |= self._row_state(going[row])
            else:
                state["final"] = self.final[row]
            found.append(state)
        return found

    def load(self, iteration: int, states: Sequence[Mapping[str, Tensor]]) -> None:
        """Go on from what :meth:`state` gave after some iterations of the same pictures."""
        self.iteration = iteration
        self.trace.earlier = [state["trace"] for state in states]
        for row, state in enumerate(states):
            self.best_loss[row] = state["best_loss"]
            self.recorded_loss[row] = state["recorded_loss"]
            self.rollbacks[row] = state["rollbacks"]
            self.taken[row] = state["taken"]
            if "final" in state:
                self.final[row] = state["final"].to(self.x)
        going = [row for row, state in enumerate(states) if "final" not in state]
        if len(going) < len(states):
            self._keep_rows(torch.tensor(going, dtype=torch.long, device=self.x.device))
        for place, row in enumerate(going):
            self.x[place] = states[row]["x"].to(self.x)
        if going:
            self._load_rows([states[row] for row in going])

    @abstractmethod
    def _step(self) -> Losses:
        """Evaluate and move ``x``; keep ``best_loss`` and ``rollbacks``."""

    @abstractmethod
    def _results(self) -> Tensor:
        """What each picture that is still going would end with now, (N', 3, H, W)."""

    @abstractmethod
    def _row_state(self, place: int) -> Row: ...

    @abstractmethod
    def _load_rows(self, states: Sequence[Mapping[str, Tensor]]) -> None: ...

    def _carried(self) -> BatchedAdam | None:
        return None


def wide(flags: Tensor) -> Tensor:
    """Flags (N,) in the shape that masks pictures: (N, 1, 1, 1)."""
    return flags.view(-1, 1, 1, 1)


# --- The losses on the way, one trace for each picture ---

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
