"""Small images of large ones: every kind of file, at the size asked for."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from synthetic import painting

from nstcore.errors import ImageError
from nstcore.images.reading import read_thumbnail


def test_pictures_of_all_kinds_can_be_read(tmp_path: Path) -> None:
    picture = painting(1, (80, 40))
    for suffix in ("png", "jpg", "webp", "tif"):
        picture.save(tmp_path / f"a.{suffix}")
        assert read_thumbnail(tmp_path / f"a.{suffix}", (40, 40)).size == (40, 20)
    deep = np.full((4, 4), 0x8000, dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert read_thumbnail(tmp_path / "deep.png", (4, 4)).getpixel((0, 0)) == (128, 128, 128)
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert read_thumbnail(tmp_path / "clear.png", (4, 4)).getpixel((0, 0)) == (255, 255, 255)
    turned = Image.Exif()
    turned[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=turned)
    assert read_thumbnail(tmp_path / "turned.jpg", (80, 80)).size == (40, 80)
    with pytest.raises(ImageError, match="missing"):
        read_thumbnail(tmp_path / "no.png", (4, 4))
