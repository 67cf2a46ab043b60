"""One level of the pyramid: descend an objective for N pictures in lockstep, each guarded.

A descent is an object that advances by one iteration at a time, so that whoever drives it can save its
state in between and go on from there in another process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nstcore.losses.objective import Losses
from nstcore.optimize.adam import BatchedAdam
from nstcore.optimize.lbfgs import BatchedLBFGS
from nstcore.optimize.trace import Trace

EXPLODED = 100.0
"""A loss this many times the best one so far counts as exploded.

The second step of L-BFGS, the first with a guess of the curvature, often overshoots by some tens and
comes back by itself, faster than from a rollback; what explodes goes on to thousands."""

ROLLBACKS = 3
"""How often a picture may go back to its best state before L-BFGS is given up for Adam."""

FIRST_STEP = 1e-3
"""Mean change of a pixel value in the first step of L-BFGS, times the learning rate."""

FALLBACK_RATE = 0.01
"""Step of the Adam that takes over from L-BFGS, in pixel values."""

Evaluate = Callable[[Tensor], tuple[Losses, Tensor]]
"""Maps (N, 3, H, W) to the losses of each picture and the gradient of each one's own total."""

Narrow = Callable[[Tensor], Evaluate]
"""Maps the pictures (N',) that are still going to what evaluates these alone."""

Watch = Callable[[int, Losses], None]
"""Called with the iterations done and the losses at points of the trace."""

Row = dict[str, Tensor]
"""The state of one picture by name."""


@dataclass
class Outcome:
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


class Descent(ABC):
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

    def run(self) -> Outcome:
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

    def finish(self) -> Outcome:
        """What the level ends with."""
        results = self._results()
        for place, row in enumerate(self.rows.tolist()):
            self.final[row] = results[place]
        images = torch.stack([self.final[row] for row in range(len(self.taken))])
        failed = ~torch.isfinite(self.best_loss)
        return Outcome(images, self._carried(), self.trace, self.taken, self.rollbacks, failed)

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


class LBFGSDescent(Descent):
    """Descend with L-BFGS, no clamp and no line search, and return each picture's best iterate.

    A picture whose loss is not finite or more than ``EXPLODED`` times its best goes back to its best
    state, forgets its history and halves its step.  After ``ROLLBACKS`` times it goes on with Adam,
    from the next entry of the trace.

    Args:
        evaluate, images, iterations, options: see :class:`Descent`.
        learning_rate: (N,).
        history: curvature pairs.
    """

    def __init__(
        self,
        evaluate: Evaluate,
        images: Tensor,
        iterations: int,
        *,
        learning_rate: Tensor,
        history: int,
        tolerance: float = 0.0,
        narrow: Narrow | None = None,
        record_every: int = 10,
        watch: Watch | None = None,
    ) -> None:
        super().__init__(
            evaluate,
            images,
            iterations,
            tolerance=tolerance,
            narrow=narrow,
            record_every=record_every,
            watch=watch,
        )
        self.solver = BatchedLBFGS(
            len(images),
            images[0].numel(),
            history=min(history, iterations),
            learning_rate=learning_rate,
            device=images.device,
            dtype=images.dtype,
            # The gradient of a relative loss shrinks with the number of pixels: no absolute threshold
            # can be right for all sizes.
            first_step=FIRST_STEP,
            minimum_curvature=0.0,
            relative_curvature=1e-8,
            tolerance_grad=0.0,
            tolerance_change=0.0,
        )
        self.best = self.x.clone()
        self.best_gradient = torch.zeros_like(self.x)
        self.switched = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        self.fallback: BatchedAdam | None = None

    def _step(self) -> Losses:
        losses, gradient = self.evaluate(self.x)
        total = losses.total
        best_loss = self.best_loss[self.rows]
        finite = torch.isfinite(total) & torch.isfinite(gradient.flatten(1).sum(1))
        better = finite & (total < best_loss)
        _keep(self.best, self.x, better)
        _keep(self.best_gradient, gradient, better)
        best_loss = torch.where(better, total, best_loss)
        self.best_loss[self.rows] = best_loss
        lost = ~finite | (total > EXPLODED * best_loss)
        # torch.where and not an if: asking the device would stall it at every iteration.
        x = torch.where(_wide(lost), self.best, self.x)
        gradient = torch.where(_wide(lost), self.best_gradient, gradient)
        self.rollbacks[self.rows] += lost
        self.solver.reset(lost)
        rate = self.solver.learning_rate
        self.solver.learning_rate = torch.where(lost, rate / 2, rate)
        step = self.solver.direction(gradient.flatten(1)).view(x.shape)
        if self.iteration % self.record_every == 0:
            self._give_up_lbfgs(x)
        if self.fallback is not None:
            step = torch.where(_wide(self.switched), self.fallback.direction(gradient), step)
        self.x = x + step
        return losses

    def _give_up_lbfgs(self, x: Tensor) -> None:
        """Let pictures that were rolled back too often go on with an Adam that starts afresh."""
        unlucky = (self.rollbacks[self.rows] >= ROLLBACKS) & ~self.switched
        if not bool(unlucky.any()):
            return
        if self.fallback is None:
            self.fallback = BatchedAdam(x, learning_rate=FALLBACK_RATE, averaging=0)
        self.fallback.restart(unlucky)
        self.switched |= unlucky

    def _results(self) -> Tensor:
        return self.best

    def _keep_rows(self, places: Tensor) -> None:
        super()._keep_rows(places)
        self.best, self.best_gradient = self.best[places], self.best_gradient[places]
        self.switched = self.switched[places]
        self.solver.keep_rows(places)
        if self.fallback is not None:
            self.fallback.keep_rows(places)

    def _row_state(self, place: int) -> Row:
        state = {"best": self.best[place], "best_gradient": self.best_gradient[place]}
        state |= {f"solver.{name}": value[place] for name, value in self.solver.state().items()}
        if self.fallback is not None and bool(self.switched[place]):
            state |= {f"adam.{name}": v[place] for name, v in self.fallback.state().items()}
        return state

    def _load_rows(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        for place, state in enumerate(states):
            self.best[place] = state["best"].to(self.best)
            self.best_gradient[place] = state["best_gradient"].to(self.best)
            for name, value in self.solver.state().items():
                value[place] = state[f"solver.{name}"].to(value)
            if "adam.steps" not in state:
                continue
            if self.fallback is None:
                self.fallback = BatchedAdam(self.x, learning_rate=FALLBACK_RATE, averaging=0)
            for name, value in self.fallback.state().items():
                value[place] = state[f"adam.{name}"].to(value)
            self.switched[place] = True


class AdamDescent(Descent):
    """Descend with Adam, clamped to [0, 1], and return the average of the iterates.

    Args:
        evaluate, images, iterations, options: see :class:`Descent`.
        optimizer: with the moments of a coarser level, or fresh.
    """

    def __init__(
        self,
        evaluate: Evaluate,
        images: Tensor,
        iterations: int,
        *,
        optimizer: BatchedAdam,
        tolerance: float = 0.0,
        narrow: Narrow | None = None,
        record_every: int = 10,
        watch: Watch | None = None,
    ) -> None:
        super().__init__(
            evaluate,
            images,
            iterations,
            tolerance=tolerance,
            narrow=narrow,
            record_every=record_every,
            watch=watch,
        )
        self.optimizer = optimizer
        self._left: dict[int, Row] = {}

    def _step(self) -> Losses:
        losses, gradient = self.evaluate(self.x)
        total = losses.total
        finite = torch.isfinite(total) & torch.isfinite(gradient.flatten(1).sum(1))
        best_loss = self.best_loss[self.rows]
        self.best_loss[self.rows] = torch.where(finite & (total < best_loss), total, best_loss)
        self.rollbacks[self.rows] += ~finite
        # One bad gradient would poison the moments for good.
        gradient = torch.where(_wide(finite), gradient, torch.zeros_like(gradient))
        self.x = (self.x + self.optimizer.direction(gradient)).clamp_(0, 1)
        self.optimizer.record(self.x)
        return losses

    def _results(self) -> Tensor:
        return self.optimizer.average()

    def _keep_rows(self, places: Tensor) -> None:
        kept = set(places.tolist())
        for place, row in enumerate(self.rows.tolist()):
            if place not in kept:
                state = self.optimizer.state()
                self._left[row] = {name: value[place].clone() for name, value in state.items()}
        super()._keep_rows(places)
        self.optimizer.keep_rows(places)

    def _carried(self) -> BatchedAdam:
        """The optimizer of all pictures, for the next level; those that left early come back."""
        rows = self.rows.tolist()
        current = self.optimizer.state()
        all_rows = [
            self._left[row]
            if row in self._left
            else {name: value[rows.index(row)] for name, value in current.items()}
            for row in range(len(self.taken))
        ]
        return self.optimizer.like(
            {name: torch.stack([state[name] for state in all_rows]) for name in current}
        )

    def _row_state(self, place: int) -> Row:
        return {f"adam.{name}": value[place] for name, value in self.optimizer.state().items()}

    def state(self) -> list[Row]:
        """See :meth:`Descent.state`; of pictures that left, the moments go on at the next level."""
        states = super().state()
        for row, left in self._left.items():
            states[row] |= {f"adam.{name}": value for name, value in left.items()}
        return states

    def load(self, iteration: int, states: Sequence[Mapping[str, Tensor]]) -> None:
        """See :meth:`Descent.load`."""
        super().load(iteration, states)
        for row, state in enumerate(states):
            if "final" in state:
                self._left[row] = {
                    name: state[f"adam.{name}"].to(value)
                    for name, value in self.optimizer.state().items()
                }

    def _load_rows(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        for name, value in self.optimizer.state().items():
            for place, state in enumerate(states):
                value[place] = state[f"adam.{name}"].to(value)


def _wide(flags: Tensor) -> Tensor:
    return flags.view(-1, 1, 1, 1)


def _keep(store: Tensor, new: Tensor, which: Tensor) -> None:
    """Overwrite the rows of ``store`` where ``which`` is true."""
    torch.where(_wide(which), new, store, out=store)
