"""Muon: momentum whose steps are orthogonal matrices.

Jordan et al., *Muon: An optimizer for hidden layers in neural networks*, 2024.  Each step moves all
directions of a weight matrix alike, the many weak ones too, where Adam mostly follows the few strong
ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


def orthogonalize(matrix: Tensor, steps: int = 5) -> Tensor:
    """Bring all singular values of a matrix (m, n) near 1 (within about 0.7 and 1.2).

    A Newton-Schulz iteration with Jordan's coefficients for the quintic
    ``a X + b (X X^T) X + c (X X^T)^2 X``: steep at 0, so that five steps are enough.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.mT if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    found: Tensor = x.mT if tall else x
    return found


class Muon(torch.optim.Optimizer):
    """Muon for convolutions: a kernel (C_out, C_in, 3, 3) counts as a matrix of C_out rows.

    Args:
        params: parameters of two dimensions or more.
        lr: spectral norm of a step, for matrices that are wide or square.
        momentum: decay of the average of gradients; steps look ahead as Nesterov's do.
        fast_half: orthogonalize in bfloat16, which is precise enough (Jordan et al.).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 3e-3,
        momentum: float = 0.95,
        *,
        fast_half: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})
        self.fast_half = fast_half

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step along the gradients that are there."""
        if closure is not None:
            raise ValueError("the gradients are computed outside; call step() alone")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "average" not in state:
                    state["average"] = torch.zeros_like(parameter)
                average = state["average"].lerp_(parameter.grad, 1 - group["momentum"])
                ahead = parameter.grad.lerp(average, group["momentum"]).flatten(1)
                precision = torch.bfloat16 if self.fast_half else torch.float32
                step = orthogonalize(ahead.to(precision)).to(parameter.dtype)
                length = group["lr"] * max(1.0, step.shape[0] / step.shape[1]) ** 0.5
                parameter.add_(step.view_as(parameter), alpha=-length)
        return None
