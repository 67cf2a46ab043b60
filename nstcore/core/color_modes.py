"""What ``color`` makes of a cell's pictures before the descent, and of its result after it."""

from __future__ import annotations

from collections.abc import Iterable

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


def seen_picture(settings: Settings, picture: Pixels) -> Pixels:
    """A content, or the picture of ``init: file``, as the descent sees it: ``(H, W, 3)``."""
    return in_grey(picture, settings.luminance_space) if settings.color == "luminance" else picture


def in_grey(picture: Pixels, space: LuminanceSpace) -> Pixels:
    """A picture's luminance as a grey picture, ``(H, W, 3)``."""
    return grey(luminance(picture, space))


def seen_style(settings: Settings, style: Pixels, content: Pixels) -> Pixels:
    """A picture of a style as it is seen for a content: with its colours, or its spread of luminance.

    Args:
        settings: of the cell.
        style: the picture, at its own size.
        content: at the size of the cell, which hardly matters to its colours, or some of its pixels.
    """
    if settings.color == "match_content":
        # What the network shall imitate is a picture, hence within [0, 1].
        return np.clip(match_colors(style, content, settings.color_match), 0, 1)
    if settings.color == "luminance":
        space = settings.luminance_space
        return grey(match_luminance(luminance(style, space), luminance(content, space)))
    return style


def finished_picture(settings: Settings, made: Pixels, content: Pixels) -> Pixels:
    """The picture that a descent's result stands for: with the content's chroma, where that was left out.

    Args:
        settings: of the cell.
        made: the result, grey for ``color: luminance``.
        content: of the same size.
    """
    if settings.color == "luminance":
        return with_luminance(content, made[..., 0], settings.luminance_space)
    return made


def seen_style_digest(
    settings: Settings, style: str, content: str, alpha: str | None = None
) -> str:
    """What identifies :func:`seen_style` of two pictures with these digests.

    Args:
        settings: of the cell.
        style, content: digests of the pictures.
        alpha: digest of what of the content shows; None for all.
    """
    how = settings.color_match if settings.color == "match_content" else settings.luminance_space
    parts = {"style": style, "content": content, "alpha": alpha}
    return digest({**parts, "color": settings.color, "how": how})


def sample_colors(styles: Iterable[tuple[Pixels, float]]) -> Pixels:
    """An image ``(1, M, 3)`` with the colors of several, in any order.

    Args:
        styles: each image and its share of the colors; the shares add up to 1.
    """
    samples = []
    for image, share in styles:
        pixels = image.reshape(-1, 3)
        count = max(1, round(share * COLOR_SAMPLES))
        samples.append(pixels[np.linspace(0, len(pixels) - 1, count).round().astype(int)])
    return np.concatenate(samples)[np.newaxis]
