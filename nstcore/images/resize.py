"""Sizes and resampling."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SizeBy = Literal["long", "short", "area"]


def fit_size(size_wh: tuple[int, int], size: int, by: SizeBy = "long") -> tuple[int, int]:
    """Width and height that keep the aspect ratio of ``size_wh`` at the asked size, in pixels.

    ``long`` and ``short`` name the side that becomes ``size``; ``area`` gives as many pixels as a
    square of ``size``.  Halves round up (Python's ``round`` sends 2.5 to 2 and 3.5 to 4, so that
    equal steps in size would give unequal steps in height); no side is less than one pixel.

    Raises:
        ValueError: for sizes below 1 or an unknown ``by``.
    """
    width, height = size_wh
    if min(width, height, size) < 1:
        raise ValueError(f"cannot fit {width} x {height} to size {size}: all must be at least 1")
    if by == "area":
        # w·h = size² and w/h = width/height  =>  w = size·√(width/height)
        exact = size * math.sqrt(width / height), size * math.sqrt(height / width)
        return max(1, math.floor(exact[0] + 0.5)), max(1, math.floor(exact[1] + 0.5))
    if by not in ("long", "short"):
        raise ValueError(f"by is {by!r}, expected 'long', 'short' or 'area'")
    side = max(width, height) if by == "long" else min(width, height)
    # length · size / side to the nearest integer, halves up, in exact integer arithmetic.
    width, height = (max(1, (2 * length * size + side) // (2 * side)) for length in size_wh)
    return width, height


def resize(rgb: NDArray[np.float32], size_wh: tuple[int, int]) -> NDArray[np.float32]:
    """Resample to a new size with an antialiased Lanczos filter (three lobes).

    It works on the sRGB values as they are, as the encoder sees them, not on linear light.  When
    reducing, the filter widens with the step, so that nothing aliases.  Lanczos overshoots at
    edges, hence the result is clipped.

    Args:
        rgb: ``(H, W, 3)`` float32 in [0, 1].
        size_wh: the new width and height, at least 1.

    Returns:
        ``(H', W', 3)``, or ``rgb`` itself when the size is its own.

    Raises:
        ValueError: for another shape or a size below 1.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ValueError(f"image has shape {rgb.shape}, expected (H, W, 3)")
    width, height = size_wh
    if min(width, height) < 1:
        raise ValueError(f"size is {width} x {height}, both must be at least 1")
    if (height, width) == rgb.shape[:2]:
        return rgb
    return np.dstack([resize_plane(rgb[:, :, channel], size_wh) for channel in range(3)])


def resize_plane(plane: NDArray[np.float32], size_wh: tuple[int, int]) -> NDArray[np.float32]:
    """:func:`resize` of one channel ``(H, W)``, such as alpha."""
    contiguous = np.ascontiguousarray(plane, dtype=np.float32)
    image = Image.fromarray(contiguous)  # mode "F": no rounding to 8 bits on the way
    resampled = np.asarray(image.resize(size_wh, Image.Resampling.LANCZOS))
    return np.asarray(np.clip(resampled, 0, 1), dtype=np.float32)
