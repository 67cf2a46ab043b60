"""Small images of large ones, for sheets and for the report."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from nstcore.errors import ImageError
from nstcore.images import decode, resize, to_float
from nstcore.plan.values import INPUT_AXES

SourceImage = Path | Sequence[Path]
"""One image file, or those of a blend, which are shown side by side."""

Sources = Mapping[str, Mapping[str, SourceImage]]
"""The images of each style and content: axis, then id."""

_SMALLEST_SIZE = 32  # pixels; what a configuration may ask for

_LARGE = 16_000_000  # pixels
_large_lock = threading.Lock()
"""Several threads read small images at the same time, but one large image after the other."""


def load(source: SourceImage, box: tuple[int, int]) -> Image.Image:
    """Read an image at about the size that ``box`` can show, as 8-bit sRGB.

    Args:
        source: PNG, JPEG, WebP or TIFF of any bit depth; several are shown as strips side by side.
        box: width and height; the image is no larger than needed to fill it, and never enlarged.

    Raises:
        ImageError: a file is missing or damaged.
    """
    paths = [source] if isinstance(source, Path) else source
    first = _load_file(paths[0], box)
    if len(paths) == 1:
        return first
    width, height = first.size
    strips = Image.new("RGB", first.size, "white")
    for number, path in enumerate(paths):
        left, right = (width * n // len(paths) for n in (number, number + 1))
        if right > left:
            room = (right - left, height)
            part = ImageOps.fit(_load_file(path, box), room, Image.Resampling.LANCZOS)
            strips.paste(part, (left, 0))
    return strips


def _load_file(path: Path, box: tuple[int, int]) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * box[0], 2 * box[1]))
            with _large_lock if image.width * image.height > _LARGE else nullcontext():
                rgb = _rgb(ImageOps.exif_transpose(image))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        with _large_lock:
            rgb = _decoded(path, error)
    rgb.thumbnail(box, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return rgb


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, which convert() would clip to white
        levels = np.asarray(image, dtype=np.uint32) >> 8
        image = Image.fromarray(levels.clip(0, 255).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        background = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(background, rgba).convert("RGB")
    return image.convert("RGB")


def _decoded(path: Path, error: Exception) -> Image.Image:
    """Read what Pillow alone cannot, such as a TIFF with 16 bits a channel."""
    if not path.is_file():
        raise ImageError(f"{path}: this image is missing") from error
    pixels = to_float(decode(path).pixels)
    height, width = pixels.shape[:2]
    scale = min(1.0, 2048 / max(width, height))
    small = resize(pixels, (max(1, round(width * scale)), max(1, round(height * scale))))
    return Image.fromarray((np.clip(small, 0, 1) * 255 + 0.5).astype(np.uint8))


def source_size(source: SourceImage) -> tuple[int, int] | None:
    """Width and height of the image of a style or content, or None where it cannot be read."""
    path = source if isinstance(source, Path) else source[0]
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(0x0112, 1) >= 5
            return (image.height, image.width) if turned else image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def source_sizes(sources: Sources) -> dict[tuple[str, str], tuple[int, int]]:
    """The sizes of all source images that can be read, by axis and id."""
    return {
        (axis, name): size
        for axis, images in sources.items()
        for name, image in images.items()
        if (size := source_size(image))
    }


def find_sources(run_dir: Path) -> dict[str, dict[str, list[Path]]]:
    """The prepared images that a run left under ``inputs/``, the largest size of each.

    ``<id>/<size>.png`` is an image at one of its sizes, perhaps with a word after the number that names
    the side that it measures; ``<id>/<index>.png``, with numbers smaller than any size, are the images
    of a blend.
    """
    sources: dict[str, dict[str, list[Path]]] = {}
    for axis in INPUT_AXES:
        sources[axis] = {}
        for folder in sorted((run_dir / "inputs" / f"{axis}s").glob("*/")):
            numbered = {
                int(name[1]): path
                for path in sorted(folder.glob("*.png"))
                if (name := re.fullmatch(r"(\d+)(short|area)?", path.stem))
            }
            parts = [numbered[n] for n in sorted(numbered) if n < _SMALLEST_SIZE]
            if numbered:
                sources[axis][folder.name] = parts or [numbered[max(numbered)]]
    return sources
