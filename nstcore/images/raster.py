"""What a reader of one file format hands on, before colours are brought to sRGB."""

from __future__ import annotations

from dataclasses import dataclass

from nstcore.images.picture import Pixels

MAX_PIXELS = 1024**3 // 4 // 3
"""Most pixels that are decoded, 89 million: where Pillow starts to warn of a decompression bomb."""

DAMAGED = "is damaged or cut short; copy or export it again"


@dataclass(frozen=True, eq=False)
class Raster:
    """Pixels as stored in a file.

    Attributes:
        color: ``(H, W, C)`` uint8 or uint16 with C = 1 (grey), 3 (RGB) or 4 (CMYK, 0 = no ink).
        alpha: ``(H, W)`` of the same dtype, full scale = opaque, or None.
        profile: the ICC profile that ``color`` is in, or None for sRGB.
        orientation: EXIF orientation still to be undone, 1 to 8.

    """

    color: Pixels
    alpha: Pixels | None = None
    profile: bytes | None = None
    orientation: int = 1


def megapixels_problem(width: int, height: int) -> str | None:
    """What is wrong with a picture of this size, or None."""
    if width * height <= MAX_PIXELS:
        return None
    return (
        f"has {width} x {height} = {width * height / 1e6:.0f} megapixels, more than the "
        f"{MAX_PIXELS / 1e6:.0f} that are safe to decode; make it smaller first"
    )
