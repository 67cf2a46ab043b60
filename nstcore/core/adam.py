"""Adam on a batch of pictures, with a running average of the iterates.

Kingma & Ba, *Adam: A Method for Stochastic Optimization*, ICLR 2015, algorithm 1; the average of the
iterates with its bias correction is that article's section 7.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Unpack

import torch
from torch import Tensor

from nstcore.core.minimize import Evaluate, Minimizer, Options, Row, wide
from nstcore.core.objective import Losses


class BatchedAdam:
    """Adam for N pictures (N, 3, H, W), whose moments survive a change of size.

    Args:
        image: where the descent starts; only its shape, device and dtype are used.
        learning_rate: one number or (N,), in units of pixel values.
        betas: decay of the first and the second moment.
        epsilon: added to the root of the second moment.
        averaging: decay of the running average of the iterates, 0 for none.
    """

    def __init__(
        self,
        image: Tensor,
        *,
        learning_rate: float | Tensor = 0.02,
        betas: tuple[float, float] = (0.9, 0.99),
        epsilon: float = 1e-8,
        averaging: float = 0.99,
    ) -> None:
        rate = torch.as_tensor(learning_rate, device=image.device, dtype=image.dtype)
        self.learning_rate = rate.expand(image.shape[0]).clone()
        self.betas = betas
        self.epsilon = epsilon
        self.averaging = averaging
        self._first = torch.zeros_like(image)
        self._second = torch.zeros_like(image)
        self._average = torch.zeros_like(image)
        # Of every picture on its own: one that starts afresh corrects its own bias only.
        self._steps = image.new_zeros(image.shape[0])
        self._averaged = image.new_zeros(image.shape[0])

    @torch.no_grad()
    def direction(self, gradient: Tensor) -> Tensor:
        """Take in the gradient (N, 3, H, W) and return the step to add to the picture."""
        self._steps += 1
        beta1, beta2 = self.betas
        self._first.lerp_(gradient, 1 - beta1)
        self._second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        first = self._first / _wide(1 - beta1**self._steps)
        second = self._second / _wide(1 - beta2**self._steps)
        return first.div_(second.sqrt_().add_(self.epsilon)).mul_(-_wide(self.learning_rate))

    @torch.no_grad()
    def record(self, image: Tensor) -> None:
        """Add the iterate that was just reached to the running average."""
        self._averaged += 1
        self._average.lerp_(image, 1 - self.averaging)

    def average(self) -> Tensor:
        """The bias-corrected average of the recorded iterates, (N, 3, H, W)."""
        if bool((self._averaged == 0).any()):
            raise RuntimeError("no iterate has been recorded")
        return self._average / _wide(1 - self.averaging**self._averaged)

    def restart(self, which: Tensor) -> None:
        """Forget the past of the pictures where ``which`` (N,) is true."""
        for value in (self._first, self._second, self._average, self._steps, self._averaged):
            value[which] = 0

    def state(self) -> dict[str, Tensor]:
        """Everything that the next steps depend on, (N, ...); the tensors are the optimizer's own."""
        return {
            "first": self._first,
            "second": self._second,
            "average": self._average,
            "steps": self._steps,
            "averaged": self._averaged,
            "learning_rate": self.learning_rate,
        }

    def like(self, state: Mapping[str, Tensor]) -> BatchedAdam:
        """An optimizer with these betas and another :meth:`state`."""
        other = BatchedAdam(
            state["first"], betas=self.betas, epsilon=self.epsilon, averaging=self.averaging
        )
        for name, value in other.state().items():
            value.copy_(state[name])
        return other

    def keep_rows(self, rows: Tensor) -> None:
        """Go on with some of the pictures only, an index (N',)."""
        self._first, self._second = self._first[rows], self._second[rows]
        self._average = self._average[rows]
        self._steps, self._averaged = self._steps[rows], self._averaged[rows]
        self.learning_rate = self.learning_rate[rows]

    def resized(self, resize: Callable[[Tensor], Tensor]) -> BatchedAdam:
        """The same optimizer for pictures of another size; the average starts anew.

        Args:
            resize: maps (N, 3, H, W) to the new size.
        """
        first = resize(self._first)
        state = self.state() | {
            "first": first,
            # Resampling overshoots; a negative second moment has no root.
            "second": resize(self._second).clamp_min_(0),
            "average": torch.zeros_like(first),
            "averaged": torch.zeros_like(self._averaged),
        }
        return self.like(state)


def _wide(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


# --- The descent by Adam: clamped, ending in the average of the iterates. ---


class AdamMinimizer(Minimizer):
    """Descend with Adam, clamped to [0, 1], and return the average of the iterates.

    Args:
        evaluate, images, iterations, options: see :class:`Minimizer`.
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
        """See :meth:`Minimizer.state`; of pictures that left, the moments go on at the next level."""
        states = super().state()
        for row, left in self._left.items():
            states[row] |= {f"adam.{name}": value for name, value in left.items()}
        return states

    def load(self, iteration: int, states: Sequence[Mapping[str, Tensor]]) -> None:
        """See :meth:`Minimizer.load`."""
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
