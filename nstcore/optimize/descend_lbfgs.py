"""The descent by L-BFGS: unclamped, guarded, ending in each picture's best iterate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Unpack

import torch
from torch import Tensor

from nstcore.losses.objective import Losses
from nstcore.optimize.adam import BatchedAdam
from nstcore.optimize.descend import Descent, Evaluate, Options, Row, wide
from nstcore.optimize.lbfgs import BatchedLBFGS

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
        **options: Unpack[Options],
    ) -> None:
        super().__init__(evaluate, images, iterations, **options)
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
        x = torch.where(wide(lost), self.best, self.x)
        gradient = torch.where(wide(lost), self.best_gradient, gradient)
        self.rollbacks[self.rows] += lost
        self.solver.reset(lost)
        rate = self.solver.learning_rate
        self.solver.learning_rate = torch.where(lost, rate / 2, rate)
        step = self.solver.direction(gradient.flatten(1)).view(x.shape)
        if self.iteration % self.record_every == 0:
            self._give_up_lbfgs(x)
        if self.fallback is not None:
            step = torch.where(wide(self.switched), self.fallback.direction(gradient), step)
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


def _keep(store: Tensor, new: Tensor, which: Tensor) -> None:
    """Overwrite the rows of ``store`` where ``which`` is true."""
    torch.where(wide(which), new, store, out=store)
