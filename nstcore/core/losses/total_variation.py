"""Total variation: how much neighbouring pixels differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nstcore.core.lazy import lazy_import

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import functional as F
else:
    F = lazy_import("torch.nn.functional")

TV_EPSILON = 1e-2
"""Difference of pixel values below which isotropic total variation is round: its slope has no jump."""


class TVLoss:
    """Total variation in the form that ``tv_form`` of some settings names."""

    def __init__(self, settings: Any) -> None:
        self.form: str = settings.tv_form

    @staticmethod
    def saved_values(settings: Any) -> int:
        """Values for each pixel that autograd keeps: both differences, or squares and roots as well."""
        return 12 if settings.tv_form == "isotropic" else 6

    def __call__(self, image: Tensor) -> Tensor:
        """The loss (N,) of images (N, 3, H, W)."""
        return total_variation(image, self.form)


def total_variation(image: Tensor, form: str = "squared") -> Tensor:
    r"""How much neighbouring pixels differ, as a mean, so that one weight means the same at every size.

    With the differences to the right :math:`d_x` and downwards :math:`d_y` of every channel:

    * ``squared``: the means of :math:`d_x^2` and of :math:`d_y^2`, added: Mahendran & Vedaldi (CVPR 2015,
      eq. 6) with exponent beta = 2.  It smoothes all edges alike.
    * ``absolute``: the means of :math:`|d_x|` and of :math:`|d_y|`, added: the anisotropic form, which
      leaves large steps and removes small ones, and likes upright and level edges best.
    * ``isotropic``: the mean of :math:`\sqrt{d_x^2 + d_y^2 + \epsilon^2} - \epsilon`: Rudin, Osher &
      Fatemi 1992, the same for edges of all directions; beta = 1 in Mahendran & Vedaldi.  Outside of
      the image there is no difference.

    Args:
        image: (N, 3, H, W), H and W at least 2.
        form: ``squared``, ``absolute`` or ``isotropic``.

    Returns:
        (N,), for values in [0, 1] between 0 and 2.
    """
    across = image[..., :, 1:] - image[..., :, :-1]
    down = image[..., 1:, :] - image[..., :-1, :]
    if form == "isotropic":
        squares = F.pad(across.square(), (0, 1)) + F.pad(down.square(), (0, 0, 0, 1))
        return ((squares + TV_EPSILON**2).sqrt() - TV_EPSILON).mean(dim=(1, 2, 3))
    if form == "absolute":
        return across.abs().mean(dim=(1, 2, 3)) + down.abs().mean(dim=(1, 2, 3))
    return across.square().mean(dim=(1, 2, 3)) + down.square().mean(dim=(1, 2, 3))
