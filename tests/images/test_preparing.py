"""A prepared picture decodes to the pixels that its digest stands for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import png
import pytest
from numpy.typing import NDArray
from PIL import Image

from nstcore.errors import ImageError
from nstcore.images import decode, load_float, prepare, resize, to_float


@pytest.fixture
def source8(tmp_path: Path, ramp8: NDArray[np.uint8]) -> Path:
    path = tmp_path / "source8.png"
    Image.fromarray(ramp8).save(path)
    return path


@pytest.fixture
def source16(tmp_path: Path, ramp16: NDArray[np.uint16]) -> Path:
    path = tmp_path / "source16.png"
    with path.open("wb") as file:
        writer = png.Writer(64, 32, greyscale=False, bitdepth=16)
        writer.write(file, ramp16.reshape(32, -1).tolist())
    return path


@pytest.mark.parametrize(("size", "by"), [(10, "long"), (24, "long"), (50, "short"), (20, "area")])
def test_digest_is_that_of_the_file(tmp_path: Path, source8: Path, size: int, by: str) -> None:
    told = prepare(source8, tmp_path / "out" / "prepared.png", size, by=by)  # type: ignore[arg-type]
    picture = decode(tmp_path / "out" / "prepared.png")
    assert told == {
        "path": str(source8),
        "digest": picture.digest,
        "width": picture.width,
        "height": picture.height,
        "bits": 8,
        "source_width": 24,
        "source_height": 16,
    }


def test_16_bits_stay_16(tmp_path: Path, source16: Path, ramp16: NDArray[np.uint16]) -> None:
    out = tmp_path / "prepared.png"
    told = prepare(source16, out, 48)
    assert (told["bits"], told["width"], told["height"]) == (16, 48, 24)
    picture = decode(out)
    assert (picture.bits, picture.digest) == (16, told["digest"])
    expected = resize(to_float(ramp16), (48, 24))
    np.testing.assert_allclose(load_float(out), expected, atol=0.5 / 65535 + 1e-7)
    assert len(np.unique(picture.pixels)) > 256


def test_own_size_keeps_the_pixels(tmp_path: Path, source8: Path, source16: Path) -> None:
    for source, size in ((source8, 24), (source16, 64)):
        told = prepare(source, tmp_path / "prepared.png", size)
        assert told["digest"] == decode(source).digest


def test_preparing_twice_gives_the_same_file(tmp_path: Path, source8: Path) -> None:
    for name in ("one.png", "two.png"):
        prepare(source8, tmp_path / name, 17)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


@pytest.mark.parametrize("by", ["long", "short", "area"])
def test_without_upscale_never_larger(tmp_path: Path, source8: Path, by: str) -> None:
    out = tmp_path / "prepared.png"
    larger = prepare(source8, out, 100, by=by)  # type: ignore[arg-type]
    assert larger["width"] > 24
    kept = prepare(source8, out, 100, by=by, upscale=False)  # type: ignore[arg-type]
    assert (kept["width"], kept["height"]) == (24, 16)
    assert kept["digest"] == decode(source8).digest
    smaller = prepare(source8, out, 10, by=by, upscale=False)  # type: ignore[arg-type]
    assert smaller == prepare(source8, out, 10, by=by)  # type: ignore[arg-type]


def test_upright_and_on_its_background(tmp_path: Path) -> None:
    source = tmp_path / "phone.png"
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGBA", (40, 20), (0, 0, 0, 0)).save(source, exif=exif)
    told = prepare(source, tmp_path / "prepared.png", 20, background="#ff8000")
    assert (told["source_width"], told["source_height"]) == (20, 40)
    assert (told["width"], told["height"]) == (10, 20)
    loaded = load_float(tmp_path / "prepared.png")
    assert loaded.dtype == np.float32
    np.testing.assert_allclose(loaded[5, 5], [1, 128 / 255, 0], atol=1e-6)


def test_a_damaged_source_leaves_nothing(tmp_path: Path, source8: Path) -> None:
    source8.write_bytes(source8.read_bytes()[:-30])
    with pytest.raises(ImageError, match="source8"):
        prepare(source8, tmp_path / "prepared.png", 10)
    assert not (tmp_path / "prepared.png").exists()
