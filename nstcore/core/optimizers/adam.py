"""Adam on a batch of images, with a running average of the iterates.

Kingma & Ba, *Adam: A Method for Stochastic Optimization*, ICLR 2015, algorithm 1; the average of the
iterates with its bias correction is that article's section 7.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

from nstcore.core.lazy import lazy_import
from nstcore.core.losses.base import Losses
from nstcore.core.minimize import Evaluate, ImageState, Minimizer, MinimizerOptions, per_image

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from nstcore.core import initialization
else:
    torch = lazy_import("torch")
    initialization = lazy_import("nstcore.core.initialization")


class BatchedAdam:
    """Adam for N images (N, 3, H, W), whose moments survive a change of size.

    Args:
        image: the start; only its shape, device and dtype are used.
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
        # One for each image: after a restart an image corrects its own bias only.
        self._steps = image.new_zeros(image.shape[0])
        self._averaged = image.new_zeros(image.shape[0])

    def direction(self, gradient: Tensor) -> Tensor:
        """Take in the gradient (N, 3, H, W) and return the step to add to the images."""
        self._steps += 1
        beta1, beta2 = self.betas
        self._first.lerp_(gradient, 1 - beta1)
        self._second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        first = self._first / per_image(1 - beta1**self._steps)
        second = self._second / per_image(1 - beta2**self._steps)
        return first.div_(second.sqrt_().add_(self.epsilon)).mul_(-per_image(self.learning_rate))

    def record(self, image: Tensor) -> None:
        """Add an iterate to the running average."""
        self._averaged += 1
        self._average.lerp_(image, 1 - self.averaging)

    def average(self) -> Tensor:
        """The bias-corrected average of the recorded iterates, (N, 3, H, W)."""
        if bool((self._averaged == 0).any()):
            raise RuntimeError("no iterate has been recorded")
        return self._average / per_image(1 - self.averaging**self._averaged)

    def restart(self, which: Tensor) -> None:
        """Forget the past of the images where ``which`` (N,) is true."""
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
        """Keep some of the images only, an index (N',)."""
        self._first, self._second = self._first[rows], self._second[rows]
        self._average = self._average[rows]
        self._steps, self._averaged = self._steps[rows], self._averaged[rows]
        self.learning_rate = self.learning_rate[rows]

    def resized(self, resize: Callable[[Tensor], Tensor]) -> BatchedAdam:
        """The same optimizer for images of another size; the average starts anew.

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


class AdamMinimizer(Minimizer):
    """Adam, clamped to [0, 1]; the result is the average of the iterates.

    Args:
        evaluate, images, iterations, options: see :class:`Minimizer`.
        optimizer: with the moments of a coarser level, or new.
    """

    name: ClassVar[str] = "adam"
    label: ClassVar[str] = "Adam"
    formula: ClassVar[str] = "Kingma & Ba 2015, algorithm 1, with the averaging of section 7.2"
    default_learning_rate: ClassVar[float] = 0.02
    own_settings: ClassVar[tuple[str, ...]] = ("averaging",)

    @classmethod
    def image_copies(cls, settings: Any, history: int | None = None) -> int:
        """See :meth:`Minimizer.image_copies`."""
        return 9

    @classmethod
    def saved_copies(cls, settings: Any, history: int | None = None) -> int:
        """Iterate, both moments, average, and two to spare."""
        return 6

    @classmethod
    def build(
        cls,
        evaluate: Evaluate,
        images: Tensor,
        iterations: int,
        settings: Any,
        learning_rate: Tensor,
        previous: BatchedAdam | None = None,
        **options: Unpack[MinimizerOptions],
    ) -> AdamMinimizer:
        """See :meth:`Minimizer.build`; the moments of the level before are resampled."""
        if previous is None:
            adam = BatchedAdam(images, learning_rate=learning_rate, averaging=settings.averaging)
        else:
            height, width = images.shape[-2:]
            adam = previous.resized(
                lambda state: initialization.resample(state, height, width, smooth=False)
            )
        return cls(evaluate, images, iterations, optimizer=adam, **options)

    def __init__(
        self,
        evaluate: Evaluate,
        images: Tensor,
        iterations: int,
        *,
        optimizer: BatchedAdam,
        **options: Unpack[MinimizerOptions],
    ) -> None:
        super().__init__(evaluate, images, iterations, **options)
        self.optimizer = optimizer
        self._converged_states: dict[int, ImageState] = {}

    def _step(self) -> Losses:
        losses, gradient = self.evaluate(self.x)
        total = losses.total
        finite = torch.isfinite(total) & torch.isfinite(gradient.flatten(1).sum(1))
        best_loss = self.best_loss[self.active]
        self.best_loss[self.active] = torch.where(finite & (total < best_loss), total, best_loss)
        self.rollbacks[self.active] += ~finite
        # One bad gradient would spoil the moments for good.
        gradient = torch.where(per_image(finite), gradient, torch.zeros_like(gradient))
        self.x = (self.x + self.optimizer.direction(gradient)).clamp_(0, 1)
        self.optimizer.record(self.x)
        return losses

    def _results(self) -> Tensor:
        return self.optimizer.average()

    def _keep(self, places: Tensor) -> None:
        kept = set(places.tolist())
        for place, row in enumerate(self.active.tolist()):
            if place not in kept:
                state = self.optimizer.state()
                self._converged_states[row] = {
                    name: value[place].clone() for name, value in state.items()
                }
        super()._keep(places)
        self.optimizer.keep_rows(places)

    def _carry_over(self) -> BatchedAdam:
        """The optimizer of all images, those that converged early included."""
        rows = self.active.tolist()
        current = self.optimizer.state()
        all_rows = [
            self._converged_states[row]
            if row in self._converged_states
            else {name: value[rows.index(row)] for name, value in current.items()}
            for row in range(len(self.evaluations))
        ]
        return self.optimizer.like(
            {name: torch.stack([state[name] for state in all_rows]) for name in current}
        )

    def _image_state(self, place: int) -> ImageState:
        return {f"adam.{name}": value[place] for name, value in self.optimizer.state().items()}

    def state(self) -> list[ImageState]:
        """See :meth:`Minimizer.state`; the next level needs the moments of converged images too."""
        states = super().state()
        for row, own in self._converged_states.items():
            states[row] |= {f"adam.{name}": value for name, value in own.items()}
        return states

    def load(self, iteration: int, states: Sequence[Mapping[str, Tensor]]) -> None:
        """See :meth:`Minimizer.load`."""
        super().load(iteration, states)
        for row, state in enumerate(states):
            if "final" in state:
                self._converged_states[row] = {
                    name: state[f"adam.{name}"].to(value)
                    for name, value in self.optimizer.state().items()
                }

    def _load_images(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        for name, value in self.optimizer.state().items():
            for place, state in enumerate(states):
                value[place] = state[f"adam.{name}"].to(value)
