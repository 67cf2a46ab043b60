"""The content loss: squared differences of activations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nstcore.core.batched import Selectable
from nstcore.core.losses.base import over_energy, squares

if TYPE_CHECKING:
    from torch import Tensor

    from nstcore.core.moments import LossSpace


class ContentLoss(Selectable):
    r"""The content loss of one layer.

    With ``normalization: gatys`` it is equation 1 of the article, :math:`\frac12 \sum (F - P)^2`; else
    :math:`\sum (F - P)^2 / \sum P^2`.

    Args:
        content: P, the content's activations, (1 or N, C, H, W), at the size of the images.
        space: the space in which the loss is taken.
        settings: a ``Settings``, of which ``normalization`` is read.
    """

    def __init__(self, content: Tensor, space: LossSpace, settings: Any) -> None:
        self.space = space
        self.target = content
        self.energy = squares(space.features(content))
        self.article = settings.normalization == "gatys"

    def squares(self, features: Tensor, window: tuple[slice, slice] | None = None) -> Tensor:
        """Sum of squared differences (N,); those of parts of an image add up to that of the whole.

        Args:
            features: F, (N, C, h, w), of the whole image or of a window of it.
            window: rows and columns of the target that ``features`` stand for; None for all.
        """
        target = self.target if window is None else self.target[..., window[0], window[1]]
        return squares(self.space.difference(features - target))

    def __call__(self, total: Tensor) -> Tensor:
        """The loss (N,) of images with these :meth:`squares`."""
        return 0.5 * total if self.article else over_energy(total, self.energy)
