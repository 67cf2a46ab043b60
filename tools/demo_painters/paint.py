"""The demo's style images: their painters, sizes, seeds and encoding."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from nstcore.store.files import write_bytes
from tools.demo_painters.glass import paint_glass
from tools.demo_painters.ink import paint_ink
from tools.demo_painters.marble import paint_marble
from tools.demo_painters.night import paint_night
from tools.demo_painters.noise import Floats
from tools.demo_painters.points import paint_points
from tools.demo_painters.sunset import paint_sunset
from tools.demo_painters.wave import paint_wave

__all__ = [
    "STYLES",
    "Style",
    "encode_jpeg",
    "paint_glass",
    "paint_ink",
    "paint_marble",
    "paint_night",
    "paint_points",
    "paint_style",
    "paint_sunset",
    "paint_wave",
    "write_styles",
]

logger = logging.getLogger(__name__)

MAX_BYTES = 200_000
"""No style image's file is larger."""


@dataclass(frozen=True)
class Style:
    """One style image of the demo.

    Attributes:
        paint: (width, height, seed) -> (height, width, 3) float32 in [0, 1].
        width: of the image in pixels.
        height: of the image in pixels.
        seed: chosen by eye among a handful.
    """

    paint: Callable[[int, int, int], Floats]
    width: int
    height: int
    seed: int


STYLES: dict[str, Style] = {
    "night": Style(paint_night, 640, 512, 1),
    "wave": Style(paint_wave, 640, 480, 2),
    "glass": Style(paint_glass, 640, 512, 2),
    "points": Style(paint_points, 560, 448, 1),
    "sunset": Style(paint_sunset, 640, 512, 3),
    "ink": Style(paint_ink, 640, 512, 3),
    "marble": Style(paint_marble, 512, 410, 4),
}
"""Every style of the demo by its id."""


def paint_style(name: str, long_side: int | None = None) -> Floats:
    """Paint a style of the demo.

    The composition does not depend on the number of pixels; but a line thinner than a pixel comes
    out a pixel wide, so that small versions of ``glass`` and ``ink`` are darker.

    Args:
        name: an id in :data:`STYLES`.
        long_side: pixels on the long side; as committed by default.

    Returns:
        (H, W, 3) float32 sRGB in [0, 1].

    Raises:
        KeyError: for an unknown id.
    """
    style = STYLES[name]
    factor = 1.0 if long_side is None else long_side / max(style.width, style.height)
    return style.paint(round(style.width * factor), round(style.height * factor), style.seed)


def encode_jpeg(picture: Floats, max_bytes: int = MAX_BYTES) -> bytes:
    """Encode without chroma subsampling at the best quality that fits.

    Args:
        picture: (H, W, 3) float32 sRGB in [0, 1].
        max_bytes: size not to be exceeded.

    Raises:
        ValueError: if even quality 50 is too large.
    """
    image = Image.fromarray(np.round(picture * 255).astype(np.uint8))
    for quality in range(95, 49, -1):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, subsampling=0)
        if buffer.tell() <= max_bytes:
            return buffer.getvalue()
    raise ValueError(f"a JPEG of {image.width} x {image.height} does not fit {max_bytes} bytes")


def write_styles(directory: Path | str) -> dict[str, Path]:
    """Paint all styles into ``directory`` as ``<id>.jpg``; about five seconds each.

    Returns:
        The file of each style's id.
    """
    files = {name: Path(directory) / f"{name}.jpg" for name in STYLES}
    for name, path in files.items():
        logger.info("painting %s", path)
        write_bytes(path, encode_jpeg(paint_style(name)))
    return files
