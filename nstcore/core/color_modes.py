"""The setting ``color``: what it does to images before the optimization, and to the result."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nstcore.core.settings import Settings
from nstcore.images.color_transfer import (
    LuminanceSpace,
    grey,
    luminance,
    match_colors,
    match_luminance,
    with_luminance,
)
from nstcore.store.files import digest

Pixels = NDArray[np.float32]

COLOR_SAMPLES = 1 << 16
"""Pixels that stand for the colors of a blend, or for those that a style gets for one content."""


def color_content(settings: Settings, image: Pixels) -> Pixels:
    """The content, or the image of ``init: file``, to be optimized: (H, W, 3)."""
    return to_grey(image, settings.luminance_space) if settings.color == "luminance" else image


def to_grey(image: Pixels, space: LuminanceSpace) -> Pixels:
    """An image's luminance as a grey image, (H, W, 3)."""
    return grey(luminance(image, space))


def color_style(settings: Settings, style: Pixels, content: Pixels) -> Pixels:
    """A style image with the content's colours or distribution of luminance, where ``color`` asks for it.

    Args:
        settings: of the cell.
        style: (H, W, 3), at its own size.
        content: (H, W, 3), at the size of the cell, or some of its pixels.
    """
    if settings.color == "match_content":
        return np.clip(match_colors(style, content, settings.color_match), 0, 1)
    if settings.color == "luminance":
        space = settings.luminance_space
        return grey(match_luminance(luminance(style, space), luminance(content, space)))
    return style


def restore_color(settings: Settings, result: Pixels, content: Pixels) -> Pixels:
    """The final image (H, W, 3): the result, with the content's chroma for ``color: luminance``."""
    if settings.color == "luminance":
        return with_luminance(content, result[..., 0], settings.luminance_space)
    return result


def colored_style_digest(
    settings: Settings, style: str, content: str, alpha: str | None = None
) -> str:
    """Digest of :func:`color_style` of images with these digests; ``alpha`` is the content's, if any."""
    how = settings.color_match if settings.color == "match_content" else settings.luminance_space
    parts = {"style": style, "content": content, "alpha": alpha}
    return digest({**parts, "color": settings.color, "how": how})


def style_colors(settings: Settings, styles: Sequence[tuple[Pixels, float]]) -> Pixels:
    """An image with a style's colors: of a blend ``(1, M, 3)``, in any order.

    Args:
        settings: of the cell.
        styles: each image as :func:`color_style` gives it, and its share; the shares add up to 1.
    """
    if len(styles) == 1 and settings.color == "style":
        return styles[0][0]
    samples = []
    for image, share in styles:
        pixels = image.reshape(-1, 3)
        count = max(1, round(share * COLOR_SAMPLES))
        samples.append(pixels[np.linspace(0, len(pixels) - 1, count).round().astype(int)])
    return np.concatenate(samples)[np.newaxis]
