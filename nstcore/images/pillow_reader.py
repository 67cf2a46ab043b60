"""Pictures of up to 8 bits a channel, through Pillow."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import cast

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from nstcore.errors import ImageError
from nstcore.images.image import DAMAGED, Raster, megapixels_problem

logger = logging.getLogger(__name__)

_warnings_lock = threading.Lock()

_FORMATS = {"PNG": "PNG", "JPEG": "JPEG", "WEBP": "WebP", "TIFF": "TIFF"}


def read_with_pillow(data: bytes, kind: str, path: Path) -> Raster:
    """Decode the first frame of a file.

    Args:
        data: the whole file.
        kind: Pillow's name of its format; no other is tried.
        path: for the messages.

    Raises:
        ImageError: when the file is damaged, cut short or too large.

    """
    with open_image(data, kind, path) as image:
        try:
            image.load()
            color, alpha = _split(image)
        except MemoryError:
            raise
        except Exception as error:  # a damaged file can make a decoder raise anything
            raise ImageError(f"{path}: the {_FORMATS[kind]} {DAMAGED}") from error
        return Raster(color, alpha, find_profile(image, path), find_orientation(image, path))


@contextmanager
def muted_warnings() -> Iterator[None]:
    """Keep Pillow's remarks on odd metadata off the screen; a bomb's warning becomes an error.

    One thread at a time, since ``warnings.catch_warnings`` changes the whole process.
    """
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def open_image(data: bytes, kind: str, path: Path) -> Image.Image:
    """Open a file and check its header; nothing is decoded yet.

    Raises:
        ImageError: when the header is damaged, or promises too many pixels.

    """
    name = _FORMATS[kind]
    try:
        with muted_warnings():
            image = Image.open(BytesIO(data), formats=[kind])
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ImageError(
            f"{path}: has too many pixels to be safe to decode; make it smaller first ({error})"
        ) from None
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{path}: its {name} header is damaged or of an unusual kind; "
            "export it again as an ordinary PNG or JPEG"
        ) from error
    except MemoryError:
        raise
    except Exception as error:
        raise ImageError(f"{path}: the {name} {DAMAGED}") from error
    problem = megapixels_problem(image.width, image.height)
    if problem:
        raise ImageError(f"{path}: {problem}")
    frames = getattr(image, "n_frames", 1)
    # MPO: a JPEG that carries its own preview or gain map behind the picture proper.
    if frames > 1 and image.format != "MPO":
        logger.warning("%s: holds %d frames; only the first is used", path, frames)
    return image


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


def find_orientation(image: Image.Image, path: Path) -> int:
    """The EXIF orientation that is still to be undone; 1 where there is none, or it is damaged."""
    try:
        with muted_warnings():
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        return int(orientation) if 1 <= int(orientation) <= 8 else 1
    except Exception:  # EXIF is written by anything and everything
        logger.warning("%s: its EXIF data are damaged; taking it as upright", path)
        return 1


def find_profile(image: Image.Image, path: Path) -> bytes | None:
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
