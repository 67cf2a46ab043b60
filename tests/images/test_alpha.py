"""Transparency: alpha·colour + (1 - alpha)·background, in every way that files hold it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import png
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from nstcore.errors import ImageError
from nstcore.images import decode, load_float, prepare, read_record, write_image
from nstcore.images.image import pixel_digest

BACKGROUND = "#204060"
BEHIND = np.array([0x20, 0x40, 0x60])


def mix(color: NDArray[np.generic], alpha: NDArray[np.generic], top: int) -> NDArray[np.float64]:
    """The definition, in float64 and in units of ``top``."""
    cover = alpha[..., None] / top
    return color * cover + (1 - cover) * BEHIND / 255 * top


@pytest.fixture
def rgba8() -> NDArray[np.uint8]:
    return np.random.default_rng(5).integers(0, 256, (30, 40, 4), dtype=np.uint8)


@pytest.fixture
def rgba16() -> NDArray[np.uint16]:
    return np.random.default_rng(5).integers(0, 65536, (30, 40, 4), dtype=np.uint16)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_rgba(tmp_path: Path, rgba8: NDArray[np.uint8], suffix: str) -> None:
    path = tmp_path / f"glass{suffix}"
    options = {"lossless": True, "exact": True} if suffix == ".webp" else {}
    Image.fromarray(rgba8).save(path, **options)
    expected = mix(rgba8[..., :3], rgba8[..., 3], 255)
    decoded = decode(path, background=BACKGROUND).pixels
    assert np.abs(decoded - expected).max() <= 0.5 + 1e-9  # the nearest level


def test_grey_with_alpha(tmp_path: Path, rgba8: NDArray[np.uint8]) -> None:
    path = tmp_path / "glass.png"
    Image.fromarray(rgba8[..., 2:]).save(path)
    expected = mix(rgba8[..., 2:3], rgba8[..., 3], 255)
    decoded = decode(path, background=BACKGROUND).pixels
    assert np.abs(decoded - expected).max() <= 0.5 + 1e-9


def test_palette_with_transparency(tmp_path: Path) -> None:
    path = tmp_path / "glass.png"
    image = Image.new("P", (3, 1))
    image.putpalette([200, 100, 50] * 3)
    image.putdata([0, 1, 2])
    image.save(path, transparency=bytes([0, 128, 255]))
    decoded = decode(path, background=BACKGROUND).pixels[0]
    alpha = np.array([0, 128, 255])
    expected = mix(np.array([200, 100, 50]), alpha, 255)
    assert np.abs(decoded - expected).max() <= 0.5 + 1e-9


@pytest.mark.parametrize(
    ("mode", "clear", "other"),
    [("RGB", (1, 2, 3), (4, 5, 6)), ("L", 7, 8), ("1", 0, 255)],
)
def test_one_transparent_colour(tmp_path: Path, mode: str, clear: object, other: object) -> None:
    path = tmp_path / "glass.png"
    image = Image.new(mode, (2, 1), clear)
    image.putpixel((1, 0), other)
    image.save(path, transparency=clear)
    decoded = decode(path, background=BACKGROUND).pixels[0]
    assert decoded[0].tolist() == BEHIND.tolist()
    assert decoded[1].tolist() == np.broadcast_to(other, 3).tolist()


@pytest.mark.parametrize("grey", [False, True])
def test_16_bit_png(tmp_path: Path, rgba16: NDArray[np.uint16], grey: bool) -> None:
    bands = rgba16[..., 2:] if grey else rgba16
    path = tmp_path / "glass.png"
    with path.open("wb") as file:
        writer = png.Writer(40, 30, greyscale=grey, alpha=True, bitdepth=16)
        writer.write(file, bands.reshape(30, -1).tolist())
    decoded = decode(path, background=BACKGROUND).pixels
    assert decoded.dtype == np.uint16
    expected = mix(bands[..., :-1], bands[..., -1], 65535)
    assert np.abs(decoded - expected).max() <= 0.5 + 1e-6


def test_16_bit_png_with_one_transparent_colour(tmp_path: Path, ramp16: NDArray[np.uint16]) -> None:
    """Clear is the exact 16-bit colour: its neighbour in the low byte is not."""
    pixels = ramp16.copy()
    pixels[0, 0], pixels[0, 1] = (1000, 2000, 3000), (1000, 2000, 3001)
    path = tmp_path / "glass.png"
    with path.open("wb") as file:
        clear = (1000, 2000, 3000)
        writer = png.Writer(64, 32, greyscale=False, bitdepth=16, transparent=clear)
        writer.write(file, pixels.reshape(32, -1).tolist())
    decoded = decode(path, background=BACKGROUND).pixels
    assert decoded[0, 0].tolist() == (BEHIND * 257).tolist()
    np.testing.assert_array_equal(decoded[0, 1:], pixels[0, 1:])


@pytest.mark.parametrize("associated", [False, True])
def test_16_bit_tiff(tmp_path: Path, rgba16: NDArray[np.uint16], associated: bool) -> None:
    path = tmp_path / "glass.tif"
    stored = rgba16.copy()
    if associated:
        stored[..., :3] = np.rint(rgba16[..., :3] * (rgba16[..., 3:] / 65535))
    kind = "assocalpha" if associated else "unassalpha"
    tifffile.imwrite(path, stored, photometric="rgb", extrasamples=[kind])
    decoded = decode(path, background=BACKGROUND).pixels
    expected = mix(rgba16[..., :3], rgba16[..., 3], 65535)
    assert np.abs(decoded - expected).max() <= (1.5 if associated else 0.5) + 1e-6


def test_an_unspecified_extra_channel_is_not_transparency(
    tmp_path: Path, rgba16: NDArray[np.uint16]
) -> None:
    """Image editors store saved selections so."""
    for depth, pixels in ((8, (rgba16 >> 8).astype(np.uint8)), (16, rgba16)):
        path = tmp_path / f"selection{depth}.tif"
        tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=["unspecified"])
        np.testing.assert_array_equal(decode(path).pixels, pixels[..., :3])


def test_default_background_is_white(tmp_path: Path) -> None:
    path = tmp_path / "glass.png"
    Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(path)
    assert (decode(path).pixels == 255).all()


@pytest.mark.parametrize("spelling", ["#369", "#336699", "rgb(51, 102, 153)"])
def test_spellings_of_a_background(tmp_path: Path, spelling: str) -> None:
    path = tmp_path / "glass.png"
    Image.new("RGBA", (1, 1), (0, 0, 0, 0)).save(path)
    assert decode(path, background=spelling).pixels[0, 0].tolist() == [0x33, 0x66, 0x99]


@pytest.mark.parametrize("background", ["", "no colour", "#12", "#11223344", None, 7])
def test_a_background_that_is_no_colour(tmp_path: Path, background: object) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "PNG")
    path = tmp_path / "picture.png"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(ImageError, match="write one such as '#ffffff'"):
        decode(path, background=background)  # type: ignore[arg-type]


# --- kept ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_alpha_is_kept_beside_the_flattened_colours(
    tmp_path: Path, rgba8: NDArray[np.uint8], suffix: str
) -> None:
    path = tmp_path / f"glass{suffix}"
    options = {"lossless": True, "exact": True} if suffix == ".webp" else {}
    Image.fromarray(rgba8).save(path, **options)
    picture = decode(path)
    np.testing.assert_array_equal(picture.alpha, rgba8[..., 3])
    bare = decode(path, flat=False)
    np.testing.assert_array_equal(bare.pixels, rgba8[..., :3])
    assert pixel_digest(bare.alpha) == pixel_digest(picture.alpha) != bare.digest


def test_an_opaque_picture_has_no_alpha(tmp_path: Path, rgba8: NDArray[np.uint8]) -> None:
    rgba8[..., 3] = 255
    Image.fromarray(rgba8).save(tmp_path / "opaque.png")
    picture = decode(tmp_path / "opaque.png")
    assert picture.alpha is None


def test_alpha_is_turned_with_the_picture(tmp_path: Path, rgba8: NDArray[np.uint8]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn, clockwise
    Image.fromarray(rgba8).save(tmp_path / "turned.png", exif=exif)
    picture = decode(tmp_path / "turned.png")
    assert picture.pixels.shape[:2] == (40, 30)
    np.testing.assert_array_equal(picture.alpha, np.rot90(rgba8[..., 3], -1))


@pytest.mark.parametrize(
    ("suffix", "bits"), [(".png", 8), (".png", 16), (".tif", 8), (".tif", 16), (".webp", 8)]
)
def test_alpha_is_written_and_read_by_others(tmp_path: Path, suffix: str, bits: int) -> None:
    random = np.random.default_rng(5)
    rgb, alpha = random.random((30, 40, 3), np.float32), random.random((30, 40), np.float32)
    alpha[:5] = 0  # colours under what is fully transparent stay too
    path = tmp_path / f"glass{suffix}"
    write_image(path, rgb, bits=bits, alpha=alpha, record={"schema": 1})
    top = 2**bits - 1
    wanted = np.floor(np.dstack([rgb, alpha]).astype(np.float64) * top + 0.5)
    if (suffix, bits) == (".png", 16):
        width, height, rows, info = png.Reader(bytes=path.read_bytes()).asDirect()
        assert (width, height, info["planes"], info["alpha"]) == (40, 30, 4, True)
        found = np.array([list(row) for row in rows]).reshape(30, 40, 4)
    elif suffix == ".tif":
        with tifffile.TiffFile(path) as tiff:
            assert tiff.pages[0].extrasamples == (tifffile.EXTRASAMPLE.UNASSALPHA,)
        found = tifffile.imread(path)
    else:
        with Image.open(path) as image:
            assert image.mode == "RGBA"
            found = np.asarray(image)
    assert np.abs(found - wanted).max() <= 1
    assert np.abs(found - wanted).mean() < 0.01
    assert read_record(path) == {"schema": 1}
    assert np.abs(load_float(path) - rgb).max() <= 0.51 / top, "colours without the background"


def test_a_jpeg_has_no_transparency(tmp_path: Path) -> None:
    path = tmp_path / "glass.jpg"
    with pytest.raises(ImageError, match=r"no transparency; write \.png"):
        write_image(path, np.zeros((2, 2, 3), np.float32), alpha=np.ones((2, 2), np.float32))
    assert not path.exists()


def test_prepared_alpha_has_the_prepared_size(tmp_path: Path) -> None:
    """A white disc with a soft edge: its share of the area stays."""
    y, x = np.mgrid[0:60, 0:80]
    disc = np.clip(20.5 - np.hypot(x - 40, y - 30), 0, 1) * 255
    rgba = np.dstack([np.full((60, 80, 3), 40.0), disc]).round().astype(np.uint8)
    Image.fromarray(rgba).save(tmp_path / "disc.png")
    facts = prepare(tmp_path / "disc.png", tmp_path / "40.png", 40, alpha=tmp_path / "40.alpha.png")
    alpha = load_float(tmp_path / "40.alpha.png")
    assert alpha.shape == (30, 40, 3)
    assert np.ptp(alpha, axis=-1).max() == 0
    assert alpha.mean() == pytest.approx(rgba[..., 3].mean() / 255, abs=2e-3)
    assert load_float(tmp_path / "40.png")[0, 0].tolist() == [1, 1, 1], "laid over white"
    assert len(facts["alpha"]) == 64
    opaque = Image.fromarray(rgba).convert("RGB")
    opaque.save(tmp_path / "opaque.png")
    facts = prepare(
        tmp_path / "opaque.png", tmp_path / "20.png", 20, alpha=tmp_path / "20.alpha.png"
    )
    assert facts["alpha"] is None
    assert (load_float(tmp_path / "20.alpha.png") == 1).all()
