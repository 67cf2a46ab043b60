"""PNG files of any depth."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np

from nstcore.errors import ImageError
from nstcore.images import png_chunks
from nstcore.images.pillow_reader import (
    find_orientation,
    find_profile,
    open_image,
    read_with_pillow,
)
from nstcore.images.raster import DAMAGED, Raster


def read_png(data: bytes, path: Path) -> Raster:
    """Decode a PNG; Pillow drops the low byte of 16-bit colour, so libpng reads those itself.

    Raises:
        ImageError: when the file is damaged, cut short or too large.

    """
    try:
        for _ in png_chunks.read_chunks(data):
            pass
    except png_chunks.BrokenPng as error:
        raise ImageError(f"{path}: the PNG {DAMAGED} ({error})") from None
    bit_depth = data[24]  # signature 8, chunk head 8, width 4, height 4
    if bit_depth != 16:
        return read_with_pillow(data, "PNG", path)
    with open_image(data, "PNG", path) as image:
        try:
            bands = np.atleast_3d(imagecodecs.png_decode(data))  # tRNS becomes an alpha band
        except MemoryError:
            raise
        except Exception as error:
            raise ImageError(f"{path}: the PNG {DAMAGED}") from error
        has_alpha = bands.shape[2] in (2, 4)
        color = bands[:, :, :-1] if has_alpha else bands
        alpha = bands[:, :, -1] if has_alpha else None
        return Raster(color, alpha, find_profile(image, path), find_orientation(image, path))
