"""Prepared pictures: decoded once, brought to size, kept as lossless PNG."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nstcore.images.image import Picture, Pixels, levels_of, pixel_digest, quantize, to_float
from nstcore.images.reading import decode
from nstcore.images.resize import SizeBy, fit_size, resize, resize_plane
from nstcore.images.saving import encode_grey_png, encode_png
from nstcore.store.files import write_bytes

logger = logging.getLogger(__name__)


def prepare(
    source: Path,
    destination: Path,
    size: int,
    *,
    by: SizeBy = "long",
    background: str = "#ffffff",
    upscale: bool = True,
    alpha: Path | None = None,
) -> dict[str, Any]:
    """Decode a picture, bring it to size and write it as PNG with the source's bit depth.

    Args:
        source: any picture that ``decode`` reads.
        destination: the PNG to write, whatever its suffix.
        size: the wanted size in pixels; see ``fit_size``.
        by: ``"long"``, ``"short"`` or ``"area"``.
        background: what transparent pixels are laid over.
        upscale: whether the picture may become larger than its source.  Without it a small source
            keeps its own size.
        alpha: where to write how opaque it is, at the same size, as a grey PNG; None not to.

    Returns:
        ``path`` of the source; ``digest``, ``width``, ``height`` and ``bits`` of the prepared
        pixels, as ``decode`` finds them again; ``source_width`` and ``source_height``, upright; with
        ``alpha`` also its digest as ``alpha``, or None where all is opaque.

    Raises:
        ImageError: when the source cannot be read.

    """
    picture = decode(source, background=background)
    native = picture.width, picture.height
    target = fit_size(native, size, by)
    if not upscale and (target[0] > native[0] or target[1] > native[1]):
        logger.info("%s: %d x %d is smaller than asked; keeping it", source, *native)
        target = native
    pixels = picture.pixels
    if target != native:
        pixels = quantize(resize(to_float(pixels), target), picture.bits)
    prepared = Picture(pixels, "PNG", Path(destination))
    write_bytes(destination, encode_png(pixels))
    facts = {
        "path": str(source),
        "digest": prepared.digest,
        "width": prepared.width,
        "height": prepared.height,
        "bits": prepared.bits,
        "source_width": picture.width,
        "source_height": picture.height,
    }
    if alpha is not None:
        opacity = _opacity(picture, target)
        write_bytes(alpha, encode_grey_png(opacity))
        facts["alpha"] = None if picture.alpha is None else pixel_digest(opacity)
    return facts


def _opacity(picture: Picture, size_wh: tuple[int, int]) -> Pixels:
    """How opaque a picture is at some size, ``(H, W)``, with its bit depth."""
    if picture.alpha is None:
        top = np.iinfo(picture.pixels.dtype).max
        return np.full(size_wh[::-1], top, dtype=picture.pixels.dtype)
    if size_wh == (picture.width, picture.height):
        return picture.alpha
    return levels_of(resize_plane(to_float(picture.alpha), size_wh), picture.bits)


def load_float(path: Path | str) -> NDArray[np.float32]:
    """A prepared or a finished picture as ``(H, W, 3)`` float32 in [0, 1], without any transparency.

    Raises:
        ImageError: when it cannot be read.

    """
    return to_float(decode(path, flat=False).pixels)
