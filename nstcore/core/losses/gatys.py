"""The losses of Gatys et al. (arXiv 1508.06576): of content, and of style by Gram matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from nstcore.core.batched import Selectable
from nstcore.core.losses.base import StyleLoss, over_energy, squares

if TYPE_CHECKING:
    from torch import Tensor

    from nstcore.core.moments import LossSpace, Moments


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

    def squares(self, features: Tensor, window: tuple[slice, ...] | None = None) -> Tensor:
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


class GramLoss(StyleLoss):
    r"""Distance of averaged Gram matrices G of the images and A of the style.

    With ``normalization: gatys`` it is equation 4 of the article, :math:`\sum (G - A)^2 / (4 C^2 M^2)`.
    The article's Gram matrices are sums over M positions, ours are averages: the M² of the formula
    cancels.  Where the style has another number of positions than the image, this compares it as if it
    were repeated to the image's size, a case on which the article is silent.  Else the loss is
    :math:`\sum (G - A)^2 / \sum A^2`.
    """

    name: ClassVar[str] = "gram"
    label: ClassVar[str] = "Gram matrix"
    formula: ClassVar[str] = "‖G − A‖² / ‖A‖², of averaged Gram matrices"
    normalizations: ClassVar[tuple[str, ...]] = ("relative", "gradient", "gatys")

    def __init__(self, style: Moments, space: LossSpace, settings: Any) -> None:
        super().__init__(style, space, settings)
        self.target = space.gram(style)
        self.energy = squares(self.target)
        self.channels = space.channels(style)
        self.article = settings.normalization == "gatys"

    def __call__(self, image: Moments) -> Tensor:
        """See :meth:`StyleLoss.__call__`."""
        error = squares(self.space.gram(image) - self.target)
        return error / (4 * self.channels**2) if self.article else over_energy(error, self.energy)
