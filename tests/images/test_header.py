"""A picture's size from its header is that of the decoded picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from nstcore.errors import ImageError
from nstcore.images import decode
from nstcore.images.reading import upright_size


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_it_agrees_with_decoding(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = tmp_path / f"picture{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (30, 20), "#4080c0").save(path, exif=exif)
    picture = decode(path)
    assert upright_size(path) == (picture.width, picture.height)


def test_a_deep_tiff_too(tmp_path: Path) -> None:
    path = tmp_path / "deep.tif"
    tifffile.imwrite(path, np.zeros((12, 34, 3), np.uint16), photometric="rgb")
    assert upright_size(path) == (34, 12)


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"GIF89a" + b"\0" * 20])
def test_what_is_no_picture_gives_the_line_that_decoding_gives(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    with pytest.raises(ImageError) as expected:
        decode(path)
    with pytest.raises(ImageError) as found:
        upright_size(path)
    assert str(found.value) == str(expected.value)


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (11_000, 9_000)).save(path)
    with pytest.raises(ImageError, match="too many pixels"):
        upright_size(path)
