"""The demo's guides: regions of its images in flat colours, drawn by hand as polygons."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from nstcore.store.files import atomic_path

__all__ = ["BACKGROUND", "FIGURE", "GUIDES", "DemoGuide", "write_guides"]

FIGURE, BACKGROUND = "#ff0000", "#0000ff"
"""Colours of the two regions, and so their names."""


@dataclass(frozen=True)
class DemoGuide:
    """One guide of the demo.

    Attributes:
        size: (width, height) in pixels, of the image it belongs to.
        figure: corners of the region in :data:`FIGURE`; all else is :data:`BACKGROUND`.
    """

    size: tuple[int, int]
    figure: tuple[tuple[int, int], ...]


GUIDES: dict[str, DemoGuide] = {
    "cat": DemoGuide(
        (451, 300),
        (
            *((40, -1), (36, 30), (32, 75), (33, 105), (20, 125), (-1, 140), (-1, 300)),
            *((290, 300), (303, 272), (314, 248), (320, 225), (330, 205), (350, 182)),
            *((361, 152), (358, 112), (352, 80), (362, 65), (378, 32), (397, -1)),
        ),
    ),
    "sunset": DemoGuide(
        (640, 512),
        ((-1, -1), (640, -1), (640, 205), (-1, 205)),
    ),
}
"""Every guide of the demo by the id of its image."""


def write_guides(directory: Path | str) -> dict[str, Path]:
    """Draw all guides into ``directory`` as ``<id>.png``; return the file of each id."""
    files = {name: Path(directory) / f"{name}.png" for name in GUIDES}
    for name, path in files.items():
        guide = GUIDES[name]
        image = Image.new("RGB", guide.size, BACKGROUND)
        # Pillow draws polygons without smoothing, as a guide needs them.
        ImageDraw.Draw(image).polygon(guide.figure, fill=FIGURE)
        with atomic_path(path) as temporary:
            image.save(temporary, "PNG", optimize=True)
    return files
