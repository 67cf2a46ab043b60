"""Comparisons of images that need no encoder: structure of the luma, distribution of colors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2lab
from skimage.metrics import structural_similarity

from nstcore.images import fit_size, resize
from nstcore.images.masks import Regions

Floats = NDArray[np.float32]

LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Rec. 709 weights, here of the gamma-encoded channels (luma)."""


@dataclass(frozen=True)
class StyleImage:
    """One image of a style.

    Attributes:
        image: (H, W, 3) in [0, 1].
        weight: its share of the style, or of one region's style.
        region: the region that takes its style; None for all.
        regions: its own, of which a content's regions take those of the same name.
    """

    image: Floats
    weight: float
    region: str | None = None
    regions: Regions | None = None

    @cached_property
    def sorted_lab(self) -> NDArray[np.float64]:
        """Its colors in CIE Lab, each coordinate in order: (3, M)."""
        return sorted_lab(self.image)

    def resized(self, size: int) -> StyleImage:
        """The same with another long side."""
        height, width = self.image.shape[:2]
        return replace(self, image=resize(self.image, fit_size((width, height), size)))

    def mask(self, region: str) -> Floats | None:
        """How much of each pixel is in a region, (H, W) in [0, 1]; None without regions."""
        if self.regions is None:
            return None
        height, width = self.image.shape[:2]
        mask: Floats = self.regions.scaled((width, height))[self.regions.names.index(region)]
        return mask


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


def sorted_lab(image: Floats) -> NDArray[np.float64]:
    """Colors of an image in CIE Lab, each coordinate in order: (H, W, 3) -> (3, H W)."""
    found: NDArray[np.float64] = np.sort(rgb2lab(image).reshape(-1, 3).T, axis=1)
    return found


def distance_of_sorted(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Mean Wasserstein-1 distance of the rows of (K, M) and (K, M'), each row in order.

    In one dimension it is the mean distance of the quantiles (Peyre & Cuturi, *Computational Optimal
    Transport*, 2019, remark 2.30).
    """
    first, second, lengths = _common_steps(a.shape[1], b.shape[1])
    return float(np.mean(np.abs(a[:, first] - b[:, second]) @ lengths))


@lru_cache(maxsize=8)
def _common_steps(n: int, m: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]:
    """Where the quantiles of n and of m values are both constant: their indices, and the length."""
    # In units of 1 / (n m).
    ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)
    return (ends - 1) // m, (ends - 1) // n, np.diff(ends, prepend=0) / (n * m)


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
    if mask is None and style_mask is None:
        return distance_of_sorted(sorted_lab(image), sorted_lab(style))
    from scipy.stats import wasserstein_distance  # slow to import, and seldom needed

    a, b = rgb2lab(image).reshape(-1, 3), rgb2lab(style).reshape(-1, 3)
    weights = [None if m is None else m.ravel() for m in (mask, style_mask)]
    distances = [wasserstein_distance(a[:, i], b[:, i], *weights) for i in range(3)]
    return float(np.mean(distances))


def style_color_distance(
    image: Floats, styles: Sequence[StyleImage], regions: Regions | None = None
) -> float:
    """:func:`color_distance` to a style of several images, weighted; with regions also by their areas.

    NaN where no region has a style.
    """
    if regions is None:
        lab = sorted_lab(image)
        return sum(style.weight * distance_of_sorted(lab, style.sorted_lab) for style in styles)
    height, width = image.shape[:2]
    total = area = 0.0
    for region, mask in zip(regions.names, regions.scaled((width, height)), strict=True):
        for style in styles:
            own = style.mask(region) if style.region in (None, region) else None
            counts = style.region in (None, region) and (own is None or own.any())
            if counts and mask.any():
                part = float(mask.sum()) * style.weight
                total += part * color_distance(image, style.image, mask, own)
                area += part
    return total / area if area > 0 else math.nan
