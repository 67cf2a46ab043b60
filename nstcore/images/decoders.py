"""Decoders: PNG of any depth, JPEG, WebP and TIFF, to the pixels as the file stores them.

Pillow reads what has up to 8 bits a channel, imagecodecs deeper PNG, tifffile deeper TIFF.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from nstcore.errors import ImageError
from nstcore.images.color import unmultiply
from nstcore.images.image import DAMAGED, RawImage, megapixels_problem
from nstcore.images.png import BrokenPng, read_chunks

logger = logging.getLogger(__name__)

_warnings_lock = threading.Lock()

_FORMATS = {"PNG": "PNG", "JPEG": "JPEG", "WEBP": "WebP", "TIFF": "TIFF"}


def read_with_pillow(data: bytes, kind: str, path: Path) -> RawImage:
    """Decode the first frame of a file.

    Args:
        data: the whole file.
        kind: Pillow's name of its format; no other is tried.
        path: for the messages.

    Raises:
        ImageError: when the file is damaged, cut short or too large.
    """
    with _open_image(data, kind, path) as image:
        with _damage_reported(kind, path):
            image.load()
            color, alpha = _split(image)
        return RawImage(color, alpha, _find_profile(image, path), _find_orientation(image, path))


@contextmanager
def _damage_reported(kind: str, path: Path) -> Iterator[None]:
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # a damaged file can make a decoder raise anything
        raise ImageError(f"{path}: the {_FORMATS[kind]} {DAMAGED}") from error


@contextmanager
def muted_warnings() -> Iterator[None]:
    """Keep Pillow's remarks on odd metadata off the screen; a bomb's warning becomes an error.

    One thread at a time, since ``warnings.catch_warnings`` changes the whole process.
    """
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _open_image(data: bytes, kind: str, path: Path) -> Image.Image:
    """Open a file and check its header; nothing is decoded yet."""
    with _damage_reported(kind, path):
        try:
            with muted_warnings():
                image = Image.open(BytesIO(data), formats=[kind])
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise ImageError(
                f"{path}: has too many pixels to be safe to decode; make it smaller first ({error})"
            ) from None
        except UnidentifiedImageError as error:
            raise ImageError(
                f"{path}: its {_FORMATS[kind]} header is damaged or of an unusual kind; "
                "export it again as an ordinary PNG or JPEG"
            ) from error
    _check_size(image.width, image.height, path)
    frames = getattr(image, "n_frames", 1)
    # MPO: a JPEG that carries its own preview or gain map behind the image proper.
    if frames > 1 and image.format != "MPO":
        logger.warning("%s: holds %d frames; only the first is used", path, frames)
    return image


def _check_size(width: int, height: int, path: Path) -> None:
    problem = megapixels_problem(width, height)
    if problem:
        raise ImageError(f"{path}: {problem}")


def _split(image: Image.Image) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Colour ``(H, W, 1 | 3 | 4)`` and alpha ``(H, W)`` of a decoded image of any 8-bit mode."""
    mode = image.mode
    is_grey = mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        bands = np.asarray(image.convert("LA" if is_grey else "RGBA"))
        return bands[:, :, :-1], bands[:, :, -1]
    if mode == "LAB":
        transform = ImageCms.buildTransform(
            ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
        )
        converted = cast(Image.Image, ImageCms.applyTransform(image, transform))
        return np.asarray(converted), None
    if mode == "CMYK":
        return np.asarray(image), None
    if is_grey:
        return np.asarray(image.convert("L"))[:, :, None], None
    if mode in ("P", "RGB", "RGBX", "YCbCr"):
        return np.asarray(image.convert("RGB")), None
    raise ValueError(f"pixels of mode {mode}")


def _find_orientation(image: Image.Image, path: Path) -> int:
    """The EXIF orientation that is still to be undone; 1 where there is none, or it is damaged."""
    try:
        with muted_warnings():
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        return int(orientation) if 1 <= int(orientation) <= 8 else 1
    except Exception:  # EXIF is written by anything and everything
        logger.warning("%s: its EXIF data are damaged; taking it as upright", path)
        return 1


def _find_profile(image: Image.Image, path: Path) -> bytes | None:
    """The ICC profile of an image, embedded or implied by its other marks; None for sRGB.

    In the order of the PNG specification: iCCP, sRGB, gAMA and cHRM.  Cameras mark Adobe RGB in
    EXIF alone (DCF 2.0: interoperability index R03).
    """
    profile = image.info.get("icc_profile")
    if profile:
        return bytes(profile)
    if "icc_profile" in image.info:
        logger.warning("%s: its colour profile is damaged; reading it as sRGB", path)
        return None
    if image.format == "PNG" and "srgb" not in image.info and "gamma" in image.info:
        return _gamma_profile(image, path)
    if _is_adobe_rgb(image):
        return imagecodecs.cms_profile("adobergb")
    return None


_SRGB_CHROMATICITIES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)


def _gamma_profile(image: Image.Image, path: Path) -> bytes | None:
    """A profile for PNG's gAMA (sample = light^gamma) and cHRM chunks; None where it is sRGB."""
    gamma = float(image.info["gamma"])
    points = tuple(float(value) for value in image.info.get("chromaticity", _SRGB_CHROMATICITIES))
    same_points = np.allclose(points, _SRGB_CHROMATICITIES, atol=0.002)
    if same_points and abs(gamma - 1 / 2.2) < 0.01:
        return None
    if not (0.05 < gamma < 20 and all(0 < value < 1 for value in points)):
        logger.warning("%s: its gamma or chromaticities make no sense; reading it as sRGB", path)
        return None
    white, primaries = points[:2], np.reshape(points[2:], (3, 2))
    return imagecodecs.cms_profile(
        "rgb",
        whitepoint=[*white, 1.0],
        primaries=[value for x, y in primaries for value in (float(x), float(y), 1.0)],
        gamma=1 / gamma,
    )


def _is_adobe_rgb(image: Image.Image) -> bool:
    try:
        with muted_warnings():
            exif = image.getexif()
            space = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ColorSpace)
            index = exif.get_ifd(ExifTags.IFD.Interop).get(ExifTags.Interop.InteropIndex)
        return bool(space == 2 or str(index).strip("\0 ") == "R03")
    except Exception:
        return False


# --- PNG ---


def read_png(data: bytes, path: Path) -> RawImage:
    """As `read_with_pillow`; it drops the low byte of 16-bit colour, so libpng reads those itself."""
    try:
        for _ in read_chunks(data):
            pass
    except BrokenPng as error:
        raise ImageError(f"{path}: the PNG {DAMAGED} ({error})") from None
    bit_depth = data[24]  # signature 8, chunk head 8, width 4, height 4
    if bit_depth != 16:
        return read_with_pillow(data, "PNG", path)
    with _open_image(data, "PNG", path) as image:
        with _damage_reported("PNG", path):
            bands = np.atleast_3d(imagecodecs.png_decode(data))  # tRNS becomes an alpha band
        has_alpha = bands.shape[2] in (2, 4)
        color = bands[:, :, :-1] if has_alpha else bands
        alpha = bands[:, :, -1] if has_alpha else None
        return RawImage(color, alpha, _find_profile(image, path), _find_orientation(image, path))


# --- TIFF ---

_DNG_VERSION = 50706
_ORIENTATION = 274
_CHANNELS = {
    tifffile.PHOTOMETRIC.MINISWHITE: 1,
    tifffile.PHOTOMETRIC.MINISBLACK: 1,
    tifffile.PHOTOMETRIC.RGB: 3,
    tifffile.PHOTOMETRIC.SEPARATED: 4,
}
_FLOAT, _SIGNED = 3, 2  # SampleFormat


def read_tiff(data: bytes, path: Path) -> RawImage:
    """As `read_with_pillow`, for the first page of a TIFF; tifffile reads more than 8 bits a channel."""
    with _damage_reported("TIFF", path), tifffile.TiffFile(BytesIO(data)) as tiff:
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


def _read_deep_page(page: tifffile.TiffPage, file_size: int, path: Path) -> RawImage:
    """A page of 9 to 64 bits a channel, as uint16."""
    _check_size(page.imagewidth, page.imagelength, path)
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
    return RawImage(deep, alpha, bytes(profile) if profile else None, int(orientation))


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
    return _round(values * (65535.0 / (2**bits - 1)))


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
