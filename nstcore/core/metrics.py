"""How finished pictures are measured: unweighted, at one size, under one encoder.

The weighted loss that was descended cannot be compared across weights; these numbers can.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance
from skimage.color import rgb2lab
from skimage.metrics import structural_similarity
from torch import Tensor

from nstcore.core.encoders.layers import EVAL_CONTENT_LAYER, EVAL_HELD_OUT_LAYERS, EVAL_STYLE_LAYERS
from nstcore.core.encoders.vgg import VGG
from nstcore.core.guidance import Guide
from nstcore.core.losses.functional import relative_error, total_variation
from nstcore.core.objective import Moments, lift_features, lift_moments, style_moments
from nstcore.images import fit_size, resize
from nstcore.images.masks import Regions

Pixels = NDArray[np.float32]
Mask = NDArray[np.float32]

LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Rec. 709 weights, here of the gamma-encoded channels (luma)."""


@dataclass(frozen=True)
class StyleImage:
    """One picture of a style.

    Attributes:
        picture: (H, W, 3) in [0, 1].
        weight: its share of the style, or of one region's style.
        region: the region that takes its style; None for all.
        regions: its own, of which a content's regions take those of the same name.
    """

    picture: Pixels
    weight: float
    region: str | None = None
    regions: Regions | None = None

    def resized(self, size: int) -> StyleImage:
        """The same with another long side."""
        height, width = self.picture.shape[:2]
        return replace(self, picture=resize(self.picture, fit_size((width, height), size)))

    def mask(self, region: str) -> Mask | None:
        """Of a guided picture, how much of each pixel is in a region: (H, W) in [0, 1]."""
        if self.regions is None:
            return None
        height, width = self.picture.shape[:2]
        mask: Mask = self.regions.scaled((width, height))[self.regions.names.index(region)]
        return mask


@dataclass(frozen=True)
class MetricTargets:
    """What the pictures of one content and one style are compared with, at the evaluation size.

    Attributes:
        content: (H, W, 3) in [0, 1].
        content_features: (1, C, h, w) at ``EVAL_CONTENT_LAYER``.
        style: the pictures of the style.
        style_moments: layer -> moments at the style and the held-out layers; with a guide, by regions.
        guides: layer -> where the content's regions lie; None to compare the picture as a whole.
        regions: of the content, at its size.
    """

    content: Pixels
    content_features: Tensor
    style: tuple[StyleImage, ...]
    style_moments: Mapping[str, Moments]
    guides: Mapping[str, Guide] | None = None
    regions: Regions | None = None


def evaluate(encoder: VGG, picture: Pixels, reference: MetricTargets) -> dict[str, float]:
    """All metrics of one picture.

    Args:
        encoder: the judge, on the device of the reference's tensors.
        picture: (H, W, 3) in [0, 1], of the same size as the reference's content.
        reference: what it is compared with.

    Returns:
        ``content_loss`` and ``style_loss`` (means over their layers), ``style_loss_<layer>``,
        ``style_loss_held_out``: squared errors over the target's energy, 0 is perfect;
        ``tv``: mean squared difference of neighbouring pixels; ``ssim``: structural similarity of the
        luma to the content's, at most 1; ``color_distance``: see :func:`color_distance`;
        ``clipped``: share of channel values at exactly 0 or 1.  With a guide, what is compared with the
        style is so by regions, and the mean weighted by their areas is taken.
    """
    device = reference.content_features.device
    image = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1).unsqueeze(0).to(device)
    found: dict[str, float] = {}
    with torch.no_grad():
        # An encoder with adapters compares in VGG-19's space, so that its numbers mean the same.
        features = encoder(image, [EVAL_CONTENT_LAYER])[EVAL_CONTENT_LAYER]
        found["content_loss"] = float(
            relative_error(
                lift_features(encoder, EVAL_CONTENT_LAYER, features),
                lift_features(encoder, EVAL_CONTENT_LAYER, reference.content_features),
            )
        )
        layers = [*EVAL_STYLE_LAYERS, *EVAL_HELD_OUT_LAYERS]
        moments = style_moments(encoder, image, layers, reference.guides)
        errors = {}
        for layer, value in moments.items():
            style = reference.style_moments[layer]
            target = Moments(style.gram.to(device), style.mean.to(device))
            guide = None if reference.guides is None else reference.guides[layer]
            errors[layer] = _style_error(encoder, layer, value, target, guide)
        found["style_loss"] = sum(errors[layer] for layer in EVAL_STYLE_LAYERS) / len(
            EVAL_STYLE_LAYERS
        )
        for layer in EVAL_STYLE_LAYERS:
            found[f"style_loss_{layer}"] = errors[layer]
        held_out = [errors[layer] for layer in EVAL_HELD_OUT_LAYERS]
        found["style_loss_held_out"] = sum(held_out) / len(held_out)
        found["tv"] = float(total_variation(image))
    found["ssim"] = luma_ssim(picture, reference.content)
    found["color_distance"] = _color_distance(picture, reference)
    found["clipped"] = float(np.mean((picture <= 0) | (picture >= 1)))
    return found


def _style_error(
    encoder: VGG, layer: str, value: Moments, target: Moments, guide: Guide | None
) -> float:
    """Relative error of a layer's Gram matrices, with a guide the mean of its regions' by their shares.

    NaN where every region is left out of the layer.
    """
    if guide is None:
        lifted = [lift_moments(encoder, layer, moments) for moments in (value, target)]
        return float(relative_error(*lifted))
    shares = guide.shares[0].tolist()
    total = sum(
        share * _style_error(encoder, layer, value.region(r), target.region(r), None)
        for r, share in enumerate(shares)
        if share > 0
    )
    return total / sum(shares) if sum(shares) > 0 else math.nan


def _color_distance(picture: Pixels, reference: MetricTargets) -> float:
    """:func:`color_distance` to a style of several pictures, in several regions."""
    if reference.regions is None:
        return sum(
            style.weight * color_distance(picture, style.picture) for style in reference.style
        )
    height, width = picture.shape[:2]
    total = area = 0.0
    for region, mask in zip(
        reference.regions.names, reference.regions.scaled((width, height)), strict=True
    ):
        for style in reference.style:
            own = style.mask(region) if style.region in (None, region) else None
            counts = style.region in (None, region) and (own is None or own.any())
            if counts and mask.any():
                part = float(mask.sum()) * style.weight
                total += part * color_distance(picture, style.picture, mask, own)
                area += part
    return total / area if area > 0 else math.nan


def luma_ssim(picture: Pixels, other: Pixels) -> float:
    """Structural similarity of two pictures' luma, with the Gaussian window of Wang et al. 2004.

    Args:
        picture, other: (H, W, 3) in [0, 1], of one size.

    Returns:
        At most 1, which only equal pictures reach.
    """
    weights = np.asarray(LUMINANCE, dtype=np.float64)
    a, b = picture @ weights, other @ weights
    # The window reaches 5 px to each side; near a border that it would cross the map is left out.
    # A picture narrower than the window has no inside: there the pixels are mirrored instead.
    narrowest = min(a.shape)
    inside = min(11, narrowest - 1 + narrowest % 2)
    return float(
        structural_similarity(
            a,
            b,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            win_size=inside,
            use_sample_covariance=False,
        )
    )


def color_distance(
    picture: Pixels, style: Pixels, mask: Mask | None = None, style_mask: Mask | None = None
) -> float:
    """Distance between the colours of two pictures of any size, in units of CIE Lab (ΔE*ab).

    The mean of the Wasserstein-1 distances of the L*, a* and b* distributions: how far, on average, a
    pixel's coordinate has to move.  0 for equal distributions of each coordinate.

    Args:
        picture, style: (H, W, 3) in [0, 1].
        mask, style_mask: (H, W), how much each pixel counts; None for all alike.
    """
    a, b = rgb2lab(picture).reshape(-1, 3), rgb2lab(style).reshape(-1, 3)
    weights = [None if m is None else m.ravel() for m in (mask, style_mask)]
    distances = [wasserstein_distance(a[:, i], b[:, i], *weights) for i in range(3)]
    return float(np.mean(distances))
