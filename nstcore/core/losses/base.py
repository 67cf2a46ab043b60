"""What all losses share; importing this package does not import torch.

Losses are taken of N independent images at once and have N values, so that the gradient of their sum is,
for each image, the gradient of its own loss.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from nstcore.core.batched import Selectable
from nstcore.core.lazy import Discovered, lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from nstcore.core import half_sums
    from nstcore.core.moments import LossSpace, Moments
else:
    torch = lazy_import("torch")
    half_sums = lazy_import("nstcore.core.half_sums")


@dataclass(frozen=True)
class Losses:
    """Every loss of every image, unweighted except for ``total``; each is (N,)."""

    total: Tensor
    content: Tensor
    style: Tensor
    tv: Tensor
    style_layers: dict[str, Tensor]

    def detach(self) -> Losses:
        """The same numbers without their history."""
        return self._each(lambda value: value.detach())

    def clone(self) -> Losses:
        """The same numbers in memory of their own."""
        return self._each(lambda value: value.clone())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Losses:
        return Losses(
            change(self.total),
            change(self.content),
            change(self.style),
            change(self.tv),
            {layer: change(value) for layer, value in self.style_layers.items()},
        )


class StyleLoss(Selectable, Discovered, ABC):
    """The style loss of one layer, of the whole image or of one region.

    To add one, write a module in this package with a class derived from this one: the setting
    ``statistic`` finds it by its ``name``.

    Args:
        style: moments of the style in the encoder's channels.
        space: the space in which the loss is taken.
        settings: a ``Settings``, of which ``normalization`` and ``own_settings`` are read.

    Attributes:
        normalizations: the values of the setting ``normalization`` that it supports.
        matrices: matrices of the size of a layer's Gram matrix that are in memory at the same time:
            statistics, targets, products and slopes.

    Raises:
        ValueError: for a normalization that the loss does not support.
    """

    normalizations: ClassVar[tuple[str, ...]]
    matrices: ClassVar[int] = 8

    def __init__(self, style: Moments, space: LossSpace, settings: Any) -> None:
        if settings.normalization not in self.normalizations:
            raise ValueError(
                f"the {self.label} has no `normalization: {settings.normalization}`; "
                f"it has {', '.join(self.normalizations)}"
            )
        self.space = space

    @abstractmethod
    def __call__(self, image: Moments) -> Tensor:
        """The loss (N,) of images with these moments, differentiable with respect to them."""


def relative_error(value: Tensor, target: Tensor) -> Tensor:
    r"""Squared error over the target's own energy, :math:`\|v - t\|^2 / \|t\|^2`, for each image.

    0 is a perfect match and 1 what an all-zero value would have.  It has no unit, so one weight
    means the same for every image, size, layer and encoder.
    (N, ...) and (N, ...), or (1, ...) for all images, -> (N,), none negative.
    """
    return over_energy(squares(value - target), squares(target))


def squares(values: Tensor) -> Tensor:
    """Sum of squares of each image: (N, ...) -> (N,), of values in bfloat16 in float32."""
    if values.dtype == torch.bfloat16:
        return half_sums.half_squares(values)
    return values.flatten(1).square().sum(1)


def over_energy(error: Tensor, energy: Tensor) -> Tensor:
    """A sum of squared errors (N,) over the target's energy (N,) or (1,)."""
    # A black image has no energy at some layers; the floor keeps its loss finite.
    return error / energy.clamp_min(torch.finfo(error.dtype).tiny ** 0.5)
