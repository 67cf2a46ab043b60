"""Sums over positions, in float32, of activations in bfloat16."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor


def flat_positions(features: Tensor) -> Tensor:
    """(N, C, H, W) as (N, M, C): of activations in channels_last a view, so nothing is copied."""
    n, c, h, w = features.shape
    return features.permute(0, 2, 3, 1).reshape(n, h * w, c)


def half_gram_and_mean(features: Tensor) -> tuple[Tensor, Tensor]:
    """Averaged Gram matrices (N, C, C) and means (N, C) of (N, C, H, W)."""
    sums: tuple[Tensor, Tensor] = _HalfSums.apply(features)
    return sums


class _HalfSums(torch.autograd.Function):
    """Averaged Gram matrix and mean in float32 of activations in bfloat16, which nothing copies.

    torch's own product of mixed types has no derivative.  Slopes are rounded to the activations' type:
    with those of a network in bfloat16 nothing more would be gained.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(features)
        flat = flat_positions(features)
        positions = flat.shape[1]
        gram = _wide_product(flat.mT, flat) / positions
        return gram, flat.sum(1, dtype=torch.float32) / positions

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gram_slope: Tensor, mean_slope: Tensor) -> Tensor:
        (features,) = ctx.saved_tensors
        flat = flat_positions(features)
        both = ((gram_slope + gram_slope.mT) / flat.shape[1]).to(flat)
        bias = (mean_slope / flat.shape[1]).to(flat).unsqueeze(1)
        slope = torch.baddbmm(bias, flat, both)  # (N, M, C)
        return slope.view(len(slope), *features.shape[-2:], -1).permute(0, 3, 1, 2)


def _wide_product(first: Tensor, second: Tensor) -> Tensor:
    """Products (N, A, B) in float32 of (N, A, M) and (N, M, B) in bfloat16, summed in float32."""
    if _has_wide_product(first.device.type):
        return torch.bmm(first, second, out_dtype=torch.float32)
    # One image after the other, so that no more than one is in memory in float32.
    pairs = zip(first, second, strict=True)
    return torch.stack([one.float() @ other.float() for one, other in pairs])


@cache
def _has_wide_product(device: str) -> bool:
    """Whether the installed torch multiplies bfloat16 to float32 on a kind of device."""
    one = torch.ones(1, 8, 8, dtype=torch.bfloat16, device=device)
    try:
        torch.bmm(one, one, out_dtype=torch.float32)
    except torch.cuda.OutOfMemoryError:
        raise
    except (TypeError, RuntimeError):
        return False
    return True


def scaled(values: Tensor, factors: Tensor) -> Tensor:
    """Values in bfloat16 times factors in float32, rounded to bfloat16 only after the product.

    A factor that many values share would else scale all of them by its own rounding.
    """
    return torch.mul(values, factors, out=torch.empty_like(values))


def half_squares(values: Tensor) -> Tensor:
    """Sum of squares of each image: (N, ...) -> (N,)."""
    sums: Tensor = _HalfSquares.apply(values)
    return sums


class _HalfSquares(torch.autograd.Function):
    """The sums of :func:`half_squares`, without squares that are as large as the values."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.save_for_backward(values)
        dims = tuple(range(1, values.dim()))
        norm: Tensor = torch.linalg.vector_norm(values, dim=dims, dtype=torch.float32)
        return norm.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        (values,) = ctx.saved_tensors
        return scaled(values, 2 * slope.view(-1, *[1] * (values.dim() - 1)))


def guided_half_sums(flat: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The sums of (N, M, C) in bfloat16 with weights (N or 1, R, M) in float32."""
    # A region's weights may all be the same number, whose rounding would not average out.  So means
    # take them as the sum of two numbers in bfloat16.
    upper = weights.to(flat)
    both = torch.cat([upper, (weights - upper).to(flat)], 1).expand(len(flat), -1, -1)
    upper_means, lower_means = _wide_product(both, flat).chunk(2, 1)
    grams = []
    for root in weights.sqrt().unsqueeze(-1).unbind(1):
        part = scaled(flat, root)
        grams.append(_wide_product(part.mT, part))
    return torch.stack(grams, 1), upper_means + lower_means
