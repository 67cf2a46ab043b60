"""Adam on a batch of pictures, with a running average of the iterates.

Kingma & Ba, *Adam: A Method for Stochastic Optimization*, ICLR 2015, algorithm 1; the average of the
iterates with its bias correction is that article's section 7.2.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


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
        self.learning_rate = rate.expand(image.shape[0]).clone().view(-1, 1, 1, 1)
        self.betas = betas
        self.epsilon = epsilon
        self.averaging = averaging
        self.steps = 0
        self._first = torch.zeros_like(image)
        self._second = torch.zeros_like(image)
        self._average = torch.zeros_like(image)
        self._averaged = 0

    @torch.no_grad()
    def direction(self, gradient: Tensor) -> Tensor:
        """Take in the gradient (N, 3, H, W) and return the step to add to the picture."""
        self.steps += 1
        beta1, beta2 = self.betas
        self._first.lerp_(gradient, 1 - beta1)
        self._second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        first = self._first / (1 - beta1**self.steps)
        second = self._second / (1 - beta2**self.steps)
        return first.div_(second.sqrt_().add_(self.epsilon)).mul_(-self.learning_rate)

    @torch.no_grad()
    def record(self, image: Tensor) -> None:
        """Add the iterate that was just reached to the running average."""
        self._averaged += 1
        self._average.lerp_(image, 1 - self.averaging)

    def average(self) -> Tensor:
        """The bias-corrected average of the recorded iterates, (N, 3, H, W)."""
        if self._averaged == 0:
            raise RuntimeError("no iterate has been recorded")
        return self._average / (1 - self.averaging**self._averaged)

    def resized(self, image: Tensor, resize: Callable[[Tensor], Tensor]) -> BatchedAdam:
        """The same optimizer for pictures of another size; the average starts anew.

        Args:
            image: the pictures at the new size.
            resize: maps (N, 3, H, W) to the new size.
        """
        other = BatchedAdam(
            image,
            learning_rate=self.learning_rate.flatten(),
            betas=self.betas,
            epsilon=self.epsilon,
            averaging=self.averaging,
        )
        other.steps = self.steps
        other._first = resize(self._first)
        # Resampling overshoots; a negative second moment has no root.
        other._second = resize(self._second).clamp_min_(0)
        return other
