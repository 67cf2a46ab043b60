"""TIFF files: up to 8 bits through Pillow, deeper ones through tifffile."""

from __future__ import annotations

import logging
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np
import tifffile
from numpy.typing import NDArray

from nstcore.errors import ImageError
from nstcore.images.color import unmultiply
from nstcore.images.image import DAMAGED, Raster, megapixels_problem
from nstcore.images.pillow_reader import read_with_pillow

logger = logging.getLogger(__name__)

_DNG_VERSION = 50706
_ORIENTATION = 274
_CHANNELS = {
    tifffile.PHOTOMETRIC.MINISWHITE: 1,
    tifffile.PHOTOMETRIC.MINISBLACK: 1,
    tifffile.PHOTOMETRIC.RGB: 3,
    tifffile.PHOTOMETRIC.SEPARATED: 4,
}
_FLOAT, _SIGNED = 3, 2  # SampleFormat


def read_tiff(data: bytes, path: Path) -> Raster:
    """Decode the first page of a TIFF.

    Raises:
        ImageError: when the file is damaged, cut short, too large, or of an unusual kind.

    """
    try:
        with tifffile.TiffFile(BytesIO(data)) as tiff:
            page = tiff.pages[0]
            if not isinstance(page, tifffile.TiffPage):
                raise TypeError("the first page has no tags")
            if _DNG_VERSION in page.tags:
                raise ImageError(f"{path}: is a camera raw file (DNG); export it as TIFF or JPEG")
            if page.bitspersample <= 8:
                return read_with_pillow(data, "TIFF", path)
            if len(tiff.pages) > 1:
                logger.warning("%s: holds %d pages; only the first is used", path, len(tiff.pages))
            return _read_deep_page(page, len(data), path)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # a damaged file can make a decoder raise anything
        raise ImageError(f"{path}: the TIFF {DAMAGED}") from error


def _read_deep_page(page: tifffile.TiffPage, file_size: int, path: Path) -> Raster:
    """A page of 9 to 64 bits a channel, as uint16."""
    problem = megapixels_problem(page.imagewidth, page.imagelength)
    if problem:
        raise ImageError(f"{path}: {problem}")
    channels = _CHANNELS.get(cast(Any, page.photometric))
    if channels is None or page.axes not in ("YX", "YXS", "SYX"):
        raise ImageError(
            f"{path}: is a TIFF of an unusual kind ({page.photometric!s}, "
            f"{page.bitspersample} bits, axes {page.axes}); export it as 8- or 16-bit RGB"
        )
    segments = zip(page.dataoffsets, page.databytecounts, strict=True)
    if any(offset + count > file_size for offset, count in segments):
        raise ImageError(f"{path}: the TIFF {DAMAGED}")

    stored = page.asarray()
    bands = np.atleast_3d(np.moveaxis(stored, 0, -1) if page.axes == "SYX" else stored)
    color, extra = bands[:, :, :channels], bands[:, :, channels:]
    if color.shape[2] != channels:
        raise ValueError(f"{color.shape[2]} channels, expected {channels}")
    deep = _to_uint16(color, page, path)
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        deep = np.subtract(np.uint16(65535), deep, dtype=np.uint16)

    alpha = None
    kinds = page.extrasamples
    # Kind 0 is "unspecified": a saved selection rather than transparency.
    if kinds and extra.shape[2] and channels != 4 and kinds[0] in (1, 2):
        alpha = _to_uint16(extra[:, :, :1], page, path)[:, :, 0]
        if kinds[0] == tifffile.EXTRASAMPLE.ASSOCALPHA:
            deep = cast("NDArray[np.uint16]", unmultiply(deep, alpha))
    orientation = page.tags.valueof(_ORIENTATION, default=1)
    profile = page.iccprofile
    return Raster(deep, alpha, bytes(profile) if profile else None, int(orientation))


def _to_uint16(values: NDArray[Any], page: tifffile.TiffPage, path: Path) -> NDArray[np.uint16]:
    """Bring samples of any kind to the full range of uint16, never clipping.

    * Unsigned integers of n bits: 2^n - 1 becomes 65535.  32-bit ones that stay within 65535 are
      16-bit data in a wide file.
    * Floats are taken to run from 0 to 1 and signed integers from 0 to 65535; where values leave
      that range it is widened to hold them, with a warning.
    """
    bits, kind = page.bitspersample, page.sampleformat
    if kind in (_FLOAT, _SIGNED):
        return _stretch(values, 1.0 if kind == _FLOAT else 65535.0, path)
    if bits == 16 or (bits > 16 and int(values.max()) <= 65535):
        return cast("NDArray[np.uint16]", values.astype(np.uint16))
    top = 2**bits - 1
    return _round(values * (65535.0 / top))


def _round(values: NDArray[Any]) -> NDArray[np.uint16]:
    return cast("NDArray[np.uint16]", np.floor(values + 0.5).astype(np.uint16))


def _stretch(values: NDArray[Any], white: float, path: Path) -> NDArray[np.uint16]:
    """Map [0, ``white``], widened to hold all values, to [0, 65535]."""
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError(f"{path}: holds NaN or infinity; export it as 8- or 16-bit RGB")
    black = 0.0
    if low < black or high > white:
        black, white = min(low, black), max(high, white)
        logger.warning(
            "%s: values run from %g to %g; taking %g as black and %g as white",
            *(path, low, high, black, white),
        )
    return _round((values.astype(np.float64) - black) * (65535.0 / (white - black)))
