"""Adam on a batch of images, with a running average of the iterates.

Kingma & Ba, *Adam: A Method for Stochastic Optimization*, ICLR 2015, algorithm 1; the average of the
iterates with its bias correction is that article's section 7.2.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from nstcore.core.batched import BatchedState, ImageState, per_image, resample
from nstcore.core.lazy import lazy_import
from nstcore.core.minimize import Minimizer, Problem

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")


class BatchedAdam(BatchedState):
    """Adam for N images (N, 3, H, W), whose moments survive a change of size.

    Args:
        image: the start; only its shape, device and dtype are used.
        learning_rate: one number or (N,), in units of pixel values.
        betas: decay of the first and the second moment.
        epsilon: added to the root of the second moment.
        averaging: decay of the running average of the iterates, 0 for none.
    """

    tensors = ("first", "second", "average", "steps", "averaged", "learning_rate")
    prefix = "adam."

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
        self.first = torch.zeros_like(image)
        self.second = torch.zeros_like(image)
        self.average = torch.zeros_like(image)
        # One for each image: after a restart an image corrects its own bias only.
        self.steps = image.new_zeros(image.shape[0])
        self.averaged = image.new_zeros(image.shape[0])

    def direction(self, gradient: Tensor) -> Tensor:
        """Take in the gradient (N, 3, H, W) and return the step to add to the images."""
        self.steps += 1
        beta1, beta2 = self.betas
        self.first.lerp_(gradient, 1 - beta1)
        self.second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        first = self.first / per_image(1 - beta1**self.steps)
        second = self.second / per_image(1 - beta2**self.steps)
        return first.div_(second.sqrt_().add_(self.epsilon)).mul_(-per_image(self.learning_rate))

    def record(self, image: Tensor) -> None:
        """Add an iterate to the running average."""
        self.averaged += 1
        self.average.lerp_(image, 1 - self.averaging)

    def mean(self) -> Tensor:
        """The bias-corrected average of the recorded iterates, (N, 3, H, W)."""
        if bool((self.averaged == 0).any()):
            raise RuntimeError("no iterate has been recorded")
        return self.average / per_image(1 - self.averaging**self.averaged)

    def restart(self, which: Tensor) -> None:
        """Forget the past of the images where ``which`` (N,) is true."""
        for value in (self.first, self.second, self.average, self.steps, self.averaged):
            value[which] = 0

    def resized(self, resize: Callable[[Tensor], Tensor]) -> BatchedAdam:
        """The same optimizer for images of another size; the average starts anew.

        Args:
            resize: maps (N, 3, H, W) to the new size.
        """
        other = copy.copy(self)
        other.steps = self.steps.clone()
        other.first = resize(self.first)
        # Resampling overshoots; a negative second moment has no root.
        other.second = resize(self.second).clamp_min(0)
        other.average = torch.zeros_like(other.first)
        other.averaged = torch.zeros_like(self.averaged)
        return other


class AdamMinimizer(Minimizer):
    """Adam, clamped to [0, 1]; the result is the average of the iterates.

    The moments of the level before are resampled.
    """

    name: ClassVar[str] = "adam"
    label: ClassVar[str] = "Adam"
    formula: ClassVar[str] = "Kingma & Ba 2015, algorithm 1, with the averaging of section 7.2"
    default_learning_rate: ClassVar[float] = 0.02
    own_settings: ClassVar[tuple[str, ...]] = ("averaging",)
    optimizer: BatchedAdam

    @classmethod
    def image_copies(cls, settings: Any, history: int | None = None) -> int:
        """See :meth:`Minimizer.image_copies`."""
        return 9

    @classmethod
    def saved_copies(cls, settings: Any, history: int | None = None) -> int:
        """Iterate, both moments, average, and two to spare."""
        return 6

    def __init__(
        self,
        problem: Problem,
        settings: Any,
        learning_rate: Tensor,
        previous: BatchedAdam | None = None,
    ) -> None:
        super().__init__(problem, settings, learning_rate)
        if previous is None:
            self.optimizer = BatchedAdam(
                self.x, learning_rate=learning_rate, averaging=settings.averaging
            )
        else:
            height, width = self.x.shape[-2:]
            self.optimizer = previous.resized(
                lambda state: resample(state, height, width, smooth=False)
            )

    def _step(self, total: Tensor, gradient: Tensor, finite: Tensor, better: Tensor) -> None:
        self.rollbacks[self.active] += ~finite
        # One bad gradient would spoil the moments for good.
        gradient = torch.where(per_image(finite), gradient, torch.zeros_like(gradient))
        self.x.add_(self.optimizer.direction(gradient)).clamp_(0, 1)
        self.optimizer.record(self.x)

    def _results(self) -> Tensor:
        return self.optimizer.mean()

    def _carried_state(self, place: int) -> ImageState:
        return self.optimizer.image_state(place)

    def _carry_over(self) -> BatchedAdam:
        """The optimizer of all images, those that converged early included."""
        states = dict(self.converged)
        for place, row in enumerate(self.active.tolist()):
            states[row] = self.optimizer.image_state(place)
        other = copy.copy(self.optimizer)
        for name in other.tensors:
            values = [states[row][other.prefix + name] for row in range(len(states))]
            setattr(other, name, torch.stack(values))
        return other
