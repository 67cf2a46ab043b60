"""EXIF orientation against its definition (TIFF 6.0, page 36; EXIF 2.32, 4.6.4)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from nstcore.images import decode

# What the stored row 0 and column 0 are when the picture is seen upright.
UPRIGHT_TO_STORED: dict[int, Callable[[NDArray[np.generic]], NDArray[np.generic]]] = {
    1: lambda seen: seen,  # row 0 = top, column 0 = left
    2: np.fliplr,  # top, right
    3: lambda seen: np.rot90(seen, 2),  # bottom, right
    4: np.flipud,  # bottom, left
    5: lambda seen: np.transpose(seen, (1, 0, 2)),  # left, top
    6: lambda seen: np.rot90(seen, 1),  # right, top
    7: lambda seen: np.rot90(np.transpose(seen, (1, 0, 2)), 2),  # right, bottom
    8: lambda seen: np.rot90(seen, -1),  # left, bottom
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "webp", "tif", "lzw.tif"])
def test_upright_again(
    tmp_path: Path, ramp8: NDArray[np.uint8], orientation: int, kind: str
) -> None:
    stored = np.ascontiguousarray(UPRIGHT_TO_STORED[orientation](ramp8))
    path = tmp_path / f"turned.{kind}"
    exif = Image.Exif()
    exif[274] = orientation
    options = {"webp": {"lossless": True}, "lzw.tif": {"compression": "tiff_lzw"}}.get(kind, {})
    Image.fromarray(stored).save(path, exif=exif, **options)
    np.testing.assert_array_equal(decode(path).pixels, ramp8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_jpeg(tmp_path: Path, orientation: int) -> None:
    seen = np.zeros((32, 64, 3), np.uint8)
    seen[:16, :32] = (255, 0, 0)
    seen[:16, 32:] = (0, 255, 0)
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[274] = orientation
    stored = np.ascontiguousarray(UPRIGHT_TO_STORED[orientation](seen))
    Image.fromarray(stored).save(path, exif=exif, quality=95, subsampling=0)
    np.testing.assert_allclose(decode(path).pixels.astype(int), seen.astype(int), atol=8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_tiff_of_16_bits(
    tmp_path: Path, ramp16: NDArray[np.uint16], orientation: int
) -> None:
    path = tmp_path / "turned.tif"
    stored = np.ascontiguousarray(UPRIGHT_TO_STORED[orientation](ramp16))
    tags = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(path, stored, photometric="rgb", extratags=tags)
    np.testing.assert_array_equal(decode(path).pixels, ramp16)


@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_senseless_orientation_is_upright(
    tmp_path: Path, ramp8: NDArray[np.uint8], orientation: int
) -> None:
    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(ramp8).save(path, exif=exif)
    np.testing.assert_array_equal(decode(path).pixels, ramp8)


def test_damaged_exif_is_passed_over(
    tmp_path: Path, ramp8: NDArray[np.uint8], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "odd.png"
    Image.fromarray(ramp8).save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(decode(path).pixels, ramp8)
