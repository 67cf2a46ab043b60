"""From an image file to upright, opaque sRGB pixels, or to a small image for display."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from nstcore.errors import ImageError
from nstcore.images import color
from nstcore.images.decoders import muted_warnings, read_png, read_tiff, read_with_pillow
from nstcore.images.image import (
    DAMAGED,
    DecodedImage,
    IntegerPixels,
    RawImage,
    is_opaque,
    quantize,
    to_float,
)
from nstcore.images.png import SIGNATURE
from nstcore.images.resize import fit_size, resize

_WANTED = "give a PNG, JPEG, WebP or TIFF image"

_READERS: dict[str, Callable[[bytes, Path], RawImage]] = {
    "PNG": read_png,
    "JPEG": lambda data, path: read_with_pillow(data, "JPEG", path),
    "WEBP": lambda data, path: read_with_pillow(data, "WEBP", path),
    "TIFF": read_tiff,
}

_SIGNATURES = (
    (SIGNATURE, "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"RIFF", "WEBP"),
    *((start, "TIFF") for start in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
)

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
    return DecodedImage(cast(IntegerPixels, pixels), source_format, alpha)


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
    for signature, kind in _SIGNATURES:
        if data.startswith(signature) and (kind != "WEBP" or data[8:12] == b"WEBP"):
            return kind
    if any(signature.startswith(data) for signature, _ in _SIGNATURES):
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


# --- Small images of large ones ---

SourceImage = Path | Sequence[Path]
"""One image file, or those of a blend, which are shown side by side."""

_LARGE = 16_000_000  # pixels
_large_lock = threading.Lock()
"""Several threads read small images at the same time, but one large image after the other."""


def read_thumbnail(source: SourceImage, box: tuple[int, int]) -> Image.Image:
    """Read an image at about the size that ``box`` can show, as 8-bit sRGB.

    Args:
        source: PNG, JPEG, WebP or TIFF of any bit depth; several are shown as strips side by side.
        box: width and height; the image is no larger than needed to fill it, and never enlarged.

    Raises:
        ImageError: a file is missing or damaged.
    """
    paths = [source] if isinstance(source, Path) else source
    first = _read_small(paths[0], box)
    if len(paths) == 1:
        return first
    width, height = first.size
    strips = Image.new("RGB", first.size, "white")
    for number, path in enumerate(paths):
        left, right = (width * n // len(paths) for n in (number, number + 1))
        if right > left:
            room = (right - left, height)
            part = ImageOps.fit(_read_small(path, box), room, Image.Resampling.LANCZOS)
            strips.paste(part, (left, 0))
    return strips


def _read_small(path: Path, box: tuple[int, int]) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * box[0], 2 * box[1]))
            with _large_lock if image.width * image.height > _LARGE else nullcontext():
                rgb = _to_rgb(ImageOps.exif_transpose(image))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        with _large_lock:
            rgb = _decode_small(path, error)
    rgb.thumbnail(box, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return rgb


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, which convert() would clip to white
        levels = np.asarray(image, dtype=np.uint32) >> 8
        image = Image.fromarray(levels.clip(0, 255).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        background = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(background, rgba).convert("RGB")
    return image.convert("RGB")


def _decode_small(path: Path, error: Exception) -> Image.Image:
    """Read what Pillow alone cannot, such as a TIFF with 16 bits a channel."""
    if not path.is_file():
        raise ImageError(f"{path}: this image is missing") from error
    decoded = decode(path)
    native = decoded.width, decoded.height
    small = resize(to_float(decoded.pixels), fit_size(native, min(2048, max(native))))
    return Image.fromarray(quantize(small, 8))
