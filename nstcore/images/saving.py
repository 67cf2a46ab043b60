"""From float pixels to an image file."""

from __future__ import annotations

import logging
from io import BytesIO
from pathlib import Path
from typing import Any, Final, cast

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from nstcore.errors import ImageError
from nstcore.images.color import SRGB_PROFILE
from nstcore.images.image import (
    DecodedImage,
    IntegerPixels,
    levels_of,
    pixel_digest,
    quantize,
    to_float,
)
from nstcore.images.metadata import PNG_KEYWORD, TEXT_LIMITS, exif_block, record_text
from nstcore.images.png import SIGNATURE, icc_chunk, text_chunk
from nstcore.images.reading import decode
from nstcore.images.resize import SizeBy, fit_size, resize, resize_plane
from nstcore.store.files import write_bytes

logger = logging.getLogger(__name__)

FORMATS: Final = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
_BITS: Final = {"PNG": (8, 16), "JPEG": (8,), "TIFF": (8, 16), "WEBP": (8,)}
# JPEG's own limit is 65,535; libjpeg stops at JPEG_MAX_DIMENSION.
_LONGEST_SIDE: Final = {"PNG": 2**31 - 1, "JPEG": 65_500, "TIFF": 2**31 - 1, "WEBP": 16_383}
# Run lengths alone: on painted and photographed images smaller than a search for longer matches,
# and three times as fast (4096 x 4096 at 16 bits: 3 s instead of 8 s).
_PNG_STRATEGY: Final = imagecodecs.PNG.STRATEGY.RLE


def write_image(
    path: Path | str,
    rgb: NDArray[np.float32],
    *,
    bits: int = 8,
    quality: int = 95,
    record: dict[str, Any] | None = None,
    alpha: NDArray[np.float32] | None = None,
) -> None:
    """Write an image in the format of its suffix, atomically, as sRGB with the profile embedded.

    PNG, TIFF (deflate) and WebP are lossless; JPEG keeps full colour resolution (4:4:4).

    The record is embedded as JSON: in PNG as compressed iTXt with the keyword ``nst``, in JPEG and
    WebP as EXIF UserComment, in TIFF as ImageDescription.  One that is too long for its place loses
    its ``trace``; see ``metadata.record_text``.  ``read_record`` gives it back.

    Args:
        path: ends in .png, .jpg, .jpeg, .tif, .tiff or .webp.
        rgb: ``(H, W, 3)``; rounded to the nearest level, and clipped where it leaves [0, 1].
        bits: bits a channel: 8, or 16 for PNG and TIFF.
        quality: of JPEG, 1 to 100.
        alpha: ``(H, W)`` in [0, 1], 1 = opaque; colours are not multiplied by it.  Not for JPEG.

    Raises:
        ImageError: when the format cannot hold the image as asked.
        ValueError: for NaN or infinity in ``rgb`` or the record, or another shape.
    """
    path = Path(path)
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ImageError(
            f"{path}: cannot write {path.suffix or 'a file without a suffix'}; "
            "end it in .png, .jpg, .tif or .webp"
        )
    if bits not in _BITS[kind]:
        able = " or ".join(str(count) for count in _BITS[kind])
        instead = "" if 16 in _BITS[kind] else ", or write .png or .tif for 16"
        raise ImageError(f"{path}: {kind} cannot hold {bits} bits; choose {able}{instead}")
    if not 1 <= quality <= 100:
        raise ImageError(f"{path}: quality is {quality}; choose 1 to 100")
    if alpha is not None and kind == "JPEG":
        raise ImageError(f"{path}: JPEG holds no transparency; write .png, .tif or .webp")
    check_sides(path, rgb.shape[1], rgb.shape[0])
    pixels = quantize(rgb, bits)
    if alpha is not None:
        pixels = cast(IntegerPixels, np.dstack([pixels, levels_of(alpha, bits)]))
    text = None if record is None else record_text(record, TEXT_LIMITS[kind], path)
    if kind == "PNG":
        data = _encode_png(pixels, text)
    elif kind == "TIFF":
        data = _encode_tiff(pixels, text)
    else:
        data = _encode_with_pillow(pixels, kind, quality, text)
    write_bytes(path, data)


def check_sides(path: Path, width: int, height: int) -> None:
    """Raise ImageError if the format of a file of this name cannot hold an image of this size."""
    kind, longest = FORMATS[path.suffix.lower()], max(width, height)
    if longest > _LONGEST_SIDE[kind]:
        raise ImageError(
            f"{path}: {kind} holds at most {_LONGEST_SIDE[kind]:,} pixels a side, this image has "
            f"{longest:,}; write .png or .tif"
        )


def _encode_plain_png(pixels: IntegerPixels) -> bytes:
    contiguous = np.ascontiguousarray(pixels)
    return bytes(imagecodecs.png_encode(contiguous, level=4, strategy=_PNG_STRATEGY))


def _encode_png(pixels: IntegerPixels, text: str | None = None) -> bytes:
    """A PNG file with the sRGB profile and a text."""
    encoded = _encode_plain_png(pixels)
    after_header = len(SIGNATURE) + 8 + 13 + 4
    chunks = icc_chunk(SRGB_PROFILE)
    if text is not None:
        chunks += text_chunk(PNG_KEYWORD, text)
    return encoded[:after_header] + chunks + encoded[after_header:]


def _encode_tiff(pixels: IntegerPixels, text: str | None) -> bytes:
    buffer = BytesIO()
    tifffile.imwrite(
        buffer,
        pixels,
        byteorder="<",
        photometric="rgb",
        extrasamples=["unassalpha"] if pixels.shape[2] == 4 else None,
        compression="adobe_deflate",
        predictor=True,
        iccprofile=SRGB_PROFILE,
        description=text,
        metadata=None,  # else tifffile adds a description of its own
        software=False,
    )
    return buffer.getvalue()


def _encode_with_pillow(pixels: IntegerPixels, kind: str, quality: int, text: str | None) -> bytes:
    options: dict[str, Any] = {"icc_profile": SRGB_PROFILE}
    if text is not None:
        options["exif"] = exif_block(text)
    if kind == "JPEG":
        # No optimize: with it Pillow cannot encode a noisy image ("Suspension not allowed here").
        options.update(quality=quality, subsampling=0)
    else:
        # exact: keep colours under transparent pixels as well.
        options.update(lossless=True, exact=True, quality=30, method=3)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


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
    """Decode an image, bring it to size and write it as PNG with the source's bit depth.

    Args:
        source: any image that ``decode`` reads.
        destination: the PNG to write, whatever its suffix.
        size, by: the wanted size in pixels; see ``fit_size``.
        background: what transparent pixels are laid over.
        upscale: whether the image may become larger than its source.
        alpha: where to write how opaque it is, at the same size, as a grey PNG; None not to.

    Returns:
        ``path`` of the source; ``digest``, ``width``, ``height`` and ``bits`` of the prepared
        pixels, as ``decode`` finds them again; ``source_width`` and ``source_height``, upright; with
        ``alpha`` also its digest as ``alpha``, or None where all is opaque.

    Raises:
        ImageError: when the source cannot be read.
    """
    image = decode(source, background=background)
    native = image.width, image.height
    target = fit_size(native, size, by)
    if not upscale and (target[0] > native[0] or target[1] > native[1]):
        logger.info("%s: %d x %d is smaller than asked; keeping it", source, *native)
        target = native
    pixels = image.pixels
    if target != native:
        pixels = quantize(resize(to_float(pixels), target), image.bits)
    write_bytes(destination, _encode_png(pixels))
    metadata = {
        "path": str(source),
        "digest": pixel_digest(pixels),
        "width": target[0],
        "height": target[1],
        "bits": image.bits,
        "source_width": image.width,
        "source_height": image.height,
    }
    if alpha is not None:
        opacity = _opacity(image, target)
        write_bytes(alpha, _encode_plain_png(opacity))
        metadata["alpha"] = None if image.alpha is None else pixel_digest(opacity)
    return metadata


def _opacity(image: DecodedImage, size_wh: tuple[int, int]) -> IntegerPixels:
    """How opaque an image is at some size, ``(H, W)``, with its bit depth."""
    if image.alpha is None:
        top = np.iinfo(image.pixels.dtype).max
        return np.full(size_wh[::-1], top, dtype=image.pixels.dtype)
    if size_wh == (image.width, image.height):
        return image.alpha
    return levels_of(resize_plane(to_float(image.alpha), size_wh), image.bits)
