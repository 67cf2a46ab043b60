"""How finished pictures are measured: unweighted, at one size, under one encoder.

The weighted loss that was descended cannot be compared across weights; these numbers can.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance
from skimage.color import rgb2lab
from skimage.metrics import structural_similarity
from torch import Tensor

from nstcore.encoders.layers import JUDGE_CONTENT, JUDGE_HELD_OUT, JUDGE_STYLE
from nstcore.encoders.vgg import VGG
from nstcore.losses.functional import relative_error, total_variation
from nstcore.losses.objective import Moments, lift_features, lift_moments, style_moments

Pixels = NDArray[np.float32]

LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Rec. 709 weights, here of the gamma-encoded channels (luma)."""


@dataclass(frozen=True)
class Reference:
    """What the pictures of one content and one style are compared with, at the evaluation size.

    Attributes:
        content: (H, W, 3) in [0, 1].
        content_features: (1, C, h, w) at ``JUDGE_CONTENT``.
        style: (H', W', 3) of each picture of the style, with its weight.
        style_moments: layer -> moments at the style and the held-out layers.
    """

    content: Pixels
    content_features: Tensor
    style: tuple[tuple[Pixels, float], ...]
    style_moments: Mapping[str, Moments]


def measure(encoder: VGG, picture: Pixels, reference: Reference) -> dict[str, float]:
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
        ``clipped``: share of channel values at exactly 0 or 1.
    """
    device = reference.content_features.device
    image = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1).unsqueeze(0).to(device)
    found: dict[str, float] = {}
    with torch.no_grad():
        # An encoder with adapters compares in VGG-19's space, so that its numbers mean the same.
        features = encoder(image, [JUDGE_CONTENT])[JUDGE_CONTENT]
        found["content_loss"] = float(
            relative_error(
                lift_features(encoder, JUDGE_CONTENT, features),
                lift_features(encoder, JUDGE_CONTENT, reference.content_features),
            )
        )
        moments = style_moments(encoder, image, [*JUDGE_STYLE, *JUDGE_HELD_OUT])
        errors = {}
        for layer, value in moments.items():
            style = reference.style_moments[layer]
            target = Moments(style.gram.to(device), style.mean.to(device))
            errors[layer] = float(
                relative_error(
                    lift_moments(encoder, layer, value), lift_moments(encoder, layer, target)
                )
            )
        found["style_loss"] = sum(errors[layer] for layer in JUDGE_STYLE) / len(JUDGE_STYLE)
        for layer in JUDGE_STYLE:
            found[f"style_loss_{layer}"] = errors[layer]
        held_out = [errors[layer] for layer in JUDGE_HELD_OUT]
        found["style_loss_held_out"] = sum(held_out) / len(held_out)
        found["tv"] = float(total_variation(image))
    found["ssim"] = luma_ssim(picture, reference.content)
    found["color_distance"] = sum(
        weight * color_distance(picture, style) for style, weight in reference.style
    )
    found["clipped"] = float(np.mean((picture <= 0) | (picture >= 1)))
    return found


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


def color_distance(picture: Pixels, style: Pixels) -> float:
    """Distance between the colours of two pictures of any size, in units of CIE Lab (ΔE*ab).

    The mean of the Wasserstein-1 distances of the L*, a* and b* distributions: how far, on average, a
    pixel's coordinate has to move.  0 for equal distributions of each coordinate.
    """
    a, b = rgb2lab(picture).reshape(-1, 3), rgb2lab(style).reshape(-1, 3)
    distances = [wasserstein_distance(a[:, i], b[:, i]) for i in range(3)]
    return float(np.mean(distances))
