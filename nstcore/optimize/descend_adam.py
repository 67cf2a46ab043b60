"""The descent by Adam: clamped, ending in the average of the iterates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Unpack

import torch
from torch import Tensor

from nstcore.losses.objective import Losses
from nstcore.optimize.adam import BatchedAdam
from nstcore.optimize.descend import Descent, Evaluate, Options, Row, wide


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
        **options: Unpack[Options],
    ) -> None:
        super().__init__(evaluate, images, iterations, **options)
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
        gradient = torch.where(wide(finite), gradient, torch.zeros_like(gradient))
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
