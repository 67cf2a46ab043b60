"""The style loss of Gatys et al.: squared differences of Gram matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from nstcore.core.losses.base import StyleLoss, over_energy, squares

if TYPE_CHECKING:
    from torch import Tensor

    from nstcore.core.moments import LossSpace, Moments


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
