"""The decoded image, and the step between integer pixels and float32."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
from numpy.typing import NDArray

MAX_PIXELS = 1024**3 // 4 // 3
"""Most pixels that are decoded, 89 million: where Pillow starts to warn of a decompression bomb."""

DAMAGED = "is damaged or cut short; copy or export it again"


IntegerPixels = NDArray[np.uint8] | NDArray[np.uint16]
"""Integer pixels: 8 or 16 bits a channel, full scale 255 or 65535."""


@dataclass(frozen=True, eq=False)
class RawImage:
    """Pixels as stored in a file.

    Attributes:
        color: ``(H, W, C)`` uint8 or uint16 with C = 1 (grey), 3 (RGB) or 4 (CMYK, 0 = no ink).
        alpha: ``(H, W)`` of the same dtype, full scale = opaque, or None.
        profile: the ICC profile that ``color`` is in, or None for sRGB.
        orientation: EXIF orientation still to be undone, 1 to 8.
    """

    color: IntegerPixels
    alpha: IntegerPixels | None = None
    profile: bytes | None = None
    orientation: int = 1


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """A decoded image: upright, in sRGB.

    Attributes:
        pixels: ``(H, W, 3)`` uint8, or uint16 where the source had more than 8 bits; read-only.
        source_format: ``"PNG"``, ``"JPEG"``, ``"WEBP"`` or ``"TIFF"``.
        alpha: ``(H, W)`` of the same dtype, full scale = opaque; None where all is opaque.
    """

    pixels: IntegerPixels
    source_format: str
    alpha: IntegerPixels | None = None

    def __post_init__(self) -> None:
        """Freeze the pixels too, since the digest speaks for them."""
        self.pixels.flags.writeable = False

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[0])

    @property
    def bits(self) -> int:
        """Bits a channel, 8 or 16."""
        return 8 * self.pixels.dtype.itemsize

    @cached_property
    def digest(self) -> str:
        """:func:`pixel_digest` of the pixels, whatever is transparent."""
        return pixel_digest(self.pixels)


def megapixels_problem(width: int, height: int) -> str | None:
    """What is wrong with an image of this size, or None."""
    if width * height <= MAX_PIXELS:
        return None
    return (
        f"has {width} x {height} = {width * height / 1e6:.0f} megapixels, more than the "
        f"{MAX_PIXELS / 1e6:.0f} that are safe to decode; make it smaller first"
    )


def pixel_digest(pixels: IntegerPixels) -> str:
    """SHA-256 of ``"HxWx3:dtype:"`` followed by the little-endian pixels, as 64 hex digits."""
    header = f"{'x'.join(map(str, pixels.shape))}:{pixels.dtype.name}:"
    little_endian = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False)
    digest = hashlib.sha256(header.encode("ascii"))
    digest.update(np.ascontiguousarray(little_endian).data)
    return digest.hexdigest()


def shown_digest(pixels: IntegerPixels, alpha: IntegerPixels | None) -> str:
    """Digest of a finished image: its colours, and its alpha ``(H, W)`` where not all is opaque."""
    shown = pixels if alpha is None or is_opaque(alpha) else np.dstack([pixels, alpha])
    return pixel_digest(cast(IntegerPixels, shown))


def is_opaque(alpha: IntegerPixels | None) -> bool:
    """Whether an alpha channel, if there is one, hides nothing."""
    return alpha is None or bool((alpha == np.iinfo(alpha.dtype).max).all())


def to_float(pixels: IntegerPixels) -> NDArray[np.float32]:
    """Scale uint8 or uint16 pixels to float32 in [0, 1] by their full scale.

    Raises:
        TypeError: for any other kind of number.
    """
    if pixels.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"pixels are {pixels.dtype}, expected uint8 or uint16")
    full_scale = np.float32(np.iinfo(pixels.dtype).max)
    return pixels.astype(np.float32) / full_scale


def quantize(rgb: NDArray[np.float32], bits: int) -> IntegerPixels:
    """Round float pixels to the nearest integer level; halves go up.

    It undoes ``to_float`` exactly.  Finite values outside [0, 1] are clipped: an optimizer that
    does not clamp oversteps a little.

    Args:
        rgb: ``(H, W, 3)``, sRGB, nominally in [0, 1].
        bits: 8 or 16.

    Raises:
        ValueError: for NaN or infinity, another shape, no pixels, or other bits.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        raise ValueError(f"image has shape {rgb.shape}, expected (H, W, 3) with H, W >= 1")
    return levels_of(rgb, bits)


def levels_of(values: NDArray[np.float32], bits: int) -> IntegerPixels:
    """:func:`quantize` of values of any shape, such as an alpha channel ``(H, W)``."""
    if bits not in (8, 16):
        raise ValueError(f"bits is {bits}, expected 8 or 16")
    if not np.isfinite(values).all():
        raise ValueError("image holds NaN or infinity")
    full_scale = 2**bits - 1
    # float32 has 24 bits of mantissa, so that level + 0.5 is still exact enough at 16 bits.
    levels = np.clip(values.astype(np.float32, copy=False), 0.0, 1.0) * np.float32(full_scale)
    levels += np.float32(0.5)
    return levels.astype(np.uint8) if bits == 8 else levels.astype(np.uint16)
