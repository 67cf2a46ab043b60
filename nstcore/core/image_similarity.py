"""Distances between two images that need no encoder: structure of the luma, distribution of colors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance
from skimage.color import rgb2lab
from skimage.metrics import structural_similarity

Floats = NDArray[np.float32]

LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Rec. 709 weights, here of the gamma-encoded channels (luma)."""


def luma_ssim(image: Floats, other: Floats) -> float:
    """Structural similarity of two images' luma, with the Gaussian window of Wang et al. 2004.

    Args:
        image, other: (H, W, 3) in [0, 1], of one size.

    Returns:
        At most 1, which only equal images reach.
    """
    weights = np.asarray(LUMINANCE, dtype=np.float64)
    a, b = image @ weights, other @ weights
    # The window reaches 5 px to each side; near a border that it would cross the map is left out.
    # An image narrower than the window has no inside: there the pixels are mirrored instead.
    narrowest = min(a.shape)
    return float(
        structural_similarity(
            a,
            b,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            win_size=min(11, narrowest - 1 + narrowest % 2),
            use_sample_covariance=False,
        )
    )


def color_distance(
    image: Floats, style: Floats, mask: Floats | None = None, style_mask: Floats | None = None
) -> float:
    """Distance between the colors of two images of any size, in units of CIE Lab (ΔE*ab).

    The mean of the Wasserstein-1 distances of the L*, a* and b* distributions: how far, on average, a
    pixel's coordinate has to move.  0 for equal distributions of each coordinate.

    Args:
        image, style: (H, W, 3) in [0, 1].
        mask, style_mask: (H, W), how much each pixel counts; None for all alike.
    """
    a, b = rgb2lab(image).reshape(-1, 3), rgb2lab(style).reshape(-1, 3)
    weights = [None if m is None else m.ravel() for m in (mask, style_mask)]
    distances = [wasserstein_distance(a[:, i], b[:, i], *weights) for i in range(3)]
    return float(np.mean(distances))
