"""How large a picture is, without decoding it."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from PIL import ExifTags, Image

from nstcore.images.decoding import decode, identify, read_file
from nstcore.images.pillow_reader import muted_warnings


def upright_size(path: Path | str) -> tuple[int, int]:
    """Width and height of a picture as ``decode`` would give it, from its header where that tells.

    Raises:
        ImageError: as ``decode``, for what is no picture at all; damage further on is not seen.

    """
    path = Path(path)
    data = read_file(path)
    kind = identify(data, path)
    try:
        with muted_warnings(), Image.open(BytesIO(data), formats=[kind]) as image:
            # Of a TIFF Pillow tells the upright size by itself.
            turned = kind != "TIFF" and image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            width, height = image.size
    except Exception:  # a deep TIFF, which Pillow does not know, or what decode() has a line for
        picture = decode(path)
        return picture.width, picture.height
    return (height, width) if turned else (width, height)
