"""From an image file to upright, opaque sRGB pixels."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from nstcore.errors import ImageError
from nstcore.images import color
from nstcore.images.decoders import muted_warnings, read_png, read_tiff, read_with_pillow
from nstcore.images.image import (
    DAMAGED,
    DecodedImage,
    IntegerPixels,
    RawImage,
    is_opaque,
    to_float,
)
from nstcore.images.png import SIGNATURE

_WANTED = "give a PNG, JPEG, WebP or TIFF image"

_READERS: dict[str, Callable[[bytes, Path], RawImage]] = {
    "PNG": read_png,
    "JPEG": lambda data, path: read_with_pillow(data, "JPEG", path),
    "WEBP": lambda data, path: read_with_pillow(data, "WEBP", path),
    "TIFF": read_tiff,
}

# What people hand in by mistake, to name it for them.
_OTHER_KINDS: tuple[tuple[bytes, str], ...] = (
    (b"GIF8", "a GIF"),
    (b"BM", "a BMP"),
    (b"8BPS", "a Photoshop document"),
    (b"%PDF", "a PDF"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (b"\x76\x2f\x31\x01", "an OpenEXR image"),
    (b"version https://git-lfs", "a Git LFS pointer, not the image itself (run git lfs pull)"),
)


def decode(path: Path | str, *, background: str = "#ffffff", flat: bool = True) -> DecodedImage:
    """Read an image file whole: upright, in sRGB, laid over a background.

    * PNG, JPEG, WebP and TIFF are told apart by their content, not by the suffix.
    * The EXIF orientation is undone.
    * Colours are converted to sRGB by the ICC profile, or by PNG's gAMA and cHRM, or by the EXIF
      mark of Adobe RGB; a profile that is broken is reported in the log and passed over.
    * Transparent pixels are laid over ``background``; how transparent they were stays in ``alpha``.
    * Sources of more than 8 bits a channel become uint16, scaled to its full range, never clipped.
    * Of several frames or pages the first is taken, and the log says so.

    Args:
        path: the file.
        background: ``"#rrggbb"`` or a CSS colour name.
        flat: whether there is a background; without one colours stay as they are, however transparent.

    Raises:
        ImageError: one line: the file is missing, empty, damaged, of another kind or too large.
    """
    path = Path(path)
    backdrop = color.parse_background(background)
    data = read_file(path)
    source_format = identify(data, path)
    raw = _READERS[source_format](data, path)
    rgb = color.to_srgb(raw.color, raw.profile, path)
    alpha = None if is_opaque(raw.alpha) else raw.alpha
    if flat and alpha is not None:
        rgb = color.flatten(rgb, alpha, backdrop)
    # Copies of their own, so that no view keeps a larger buffer alive.
    pixels = np.array(color.upright(rgb, raw.orientation), order="C")
    if alpha is not None:
        alpha = cast(IntegerPixels, np.array(color.upright(alpha, raw.orientation), order="C"))
    return DecodedImage(cast(IntegerPixels, pixels), source_format, path, alpha)


def read_file(path: Path) -> bytes:
    """The bytes of a file; ImageError when it is missing, empty or cannot be read."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{path}: there is no such file; {_WANTED}") from None
    except IsADirectoryError:
        raise ImageError(f"{path}: is a folder; {_WANTED}") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ImageError(f"{path}: cannot be read ({reason}); make it readable") from None
    if not data:
        raise ImageError(f"{path}: the file is empty; {_WANTED}")
    return data


def identify(data: bytes, path: Path) -> str:
    """The format, by the file's first bytes: "PNG", "JPEG", "WEBP" or "TIFF"; else ImageError."""
    if data.startswith(SIGNATURE):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    signatures = (SIGNATURE, b"\xff\xd8\xff", b"RIFF", b"II*\0", b"MM\0*")
    if any(signature.startswith(data) for signature in signatures):
        raise ImageError(f"{path}: {DAMAGED}")
    raise ImageError(f"{path}: is {_name_kind(data)}; {_WANTED}")


def _name_kind(data: bytes) -> str:
    for signature, name in _OTHER_KINDS:
        if data.startswith(signature):
            return name
    if data[4:8] == b"ftyp":
        is_avif = data[8:12] in (b"avif", b"avis")
        return "an AVIF image" if is_avif else "a HEIC image or a video"
    start = data[:256].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page (a download that went wrong?)"
    if start.startswith((b"<svg", b"<?xml")):
        return "an SVG or XML document"
    return "not an image of a known kind"


def load_float(path: Path | str) -> NDArray[np.float32]:
    """A prepared or a finished image as ``(H, W, 3)`` float32 in [0, 1], without any transparency.

    Raises:
        ImageError: when it cannot be read.
    """
    return to_float(decode(path, flat=False).pixels)


def upright_size(path: Path | str) -> tuple[int, int]:
    """Width and height of an image as ``decode`` would give it, from its header where possible.

    Raises:
        ImageError: as ``decode``, for what is no image at all; damage further on is not seen.
    """
    path = Path(path)
    data = read_file(path)
    kind = identify(data, path)
    try:
        with muted_warnings(), Image.open(BytesIO(data), formats=[kind]) as image:
            # Of a TIFF Pillow gives the upright size by itself.
            turned = kind != "TIFF" and image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            width, height = image.size
    except Exception:  # a deep TIFF, which Pillow cannot read, or what decode() has a message for
        decoded = decode(path)
        return decoded.width, decoded.height
    return (height, width) if turned else (width, height)
