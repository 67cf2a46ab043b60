"""The demo's guides: regions of its pictures in flat colours, drawn by hand as polygons."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from nstcore.demo.writing import write_files

__all__ = ["BACKGROUND", "FIGURE", "GUIDES", "DemoGuide", "write_guides"]

FIGURE, BACKGROUND = "#ff0000", "#0000ff"
"""Colours of the two regions, and so their names."""


@dataclass(frozen=True)
class DemoGuide:
    """One guide of the demo.

    Attributes:
        size: (width, height) in pixels, of the picture it belongs to.
        figure: corners of the region in :data:`FIGURE`; all else is :data:`BACKGROUND`.
        about: what the regions are.
    """

    size: tuple[int, int]
    figure: tuple[tuple[int, int], ...]
    about: str


GUIDES: dict[str, DemoGuide] = {
    "cat": DemoGuide(
        (451, 300),
        (
            *((40, -1), (36, 30), (32, 75), (33, 105), (20, 125), (-1, 140), (-1, 300)),
            *((290, 300), (303, 272), (314, 248), (320, 225), (330, 205), (350, 182)),
            *((361, 152), (358, 112), (352, 80), (362, 65), (378, 32), (397, -1)),
        ),
        "the cat red, what is behind it blue",
    ),
    "sunset": DemoGuide(
        (640, 512),
        ((-1, -1), (640, -1), (640, 205), (-1, 205)),
        "the burning sky red, land and water blue",
    ),
}
"""Every guide of the demo by the id of its picture."""


def write_guides(directory: Path | str, *, replace: bool = True) -> dict[str, Path]:
    """Draw all guides into ``directory`` as ``<id>.png``.

    Args:
        directory: made when it is missing.
        replace: draw anew what exists already.

    Returns:
        The file of each guide's id.
    """
    files = {name: f"{name}.png" for name in GUIDES}
    return write_files(directory, files, lambda name: _draw(GUIDES[name]), replace=replace)


def _draw(guide: DemoGuide) -> bytes:
    """A guide as PNG."""
    image = Image.new("RGB", guide.size, BACKGROUND)
    # Pillow draws polygons without smoothing, as a guide needs them.
    ImageDraw.Draw(image).polygon(guide.figure, fill=FIGURE)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
