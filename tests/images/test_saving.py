"""What is written holds the nearest levels, says sRGB, and is read the same by others."""

from __future__ import annotations

import io
from itertools import product
from pathlib import Path

import numpy as np
import png
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms, JpegImagePlugin

from nstcore.errors import ImageError
from nstcore.images import decode, quantize, to_float, write_image

LOSSLESS = [(".png", 8), (".png", 16), (".tif", 8), (".tiff", 16), (".webp", 8)]


@pytest.mark.parametrize(("suffix", "bits"), LOSSLESS)
def test_nearest_level_and_back(
    tmp_path: Path, noise: NDArray[np.float32], suffix: str, bits: int
) -> None:
    path = tmp_path / "new" / f"picture{suffix}"
    write_image(path, noise, bits=bits)
    picture = decode(path)
    assert picture.bits == bits
    step = 1 / (2**bits - 1)
    assert np.abs(to_float(picture.pixels) - noise).max() <= step / 2 + 1e-7
    # Once more, and nothing moves.
    again = tmp_path / f"again{suffix}"
    write_image(again, to_float(picture.pixels), bits=bits)
    assert decode(again).digest == picture.digest
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("bits", [8, 16])
def test_every_level_comes_back(bits: int) -> None:
    levels = np.arange(2**bits).astype(f"uint{bits}").reshape(-1, 1, 1).repeat(3, axis=2)
    np.testing.assert_array_equal(quantize(to_float(levels), bits), levels)


def test_rounding_not_truncation() -> None:
    values = np.array([[[0.49999 / 255, 0.50001 / 255, 254.50001 / 255]]], dtype=np.float32)
    assert quantize(values, 8).tolist() == [[[0, 1, 255]]]
    # A half goes up, at even and at odd levels alike.
    halves = np.array([[[0.5, 1.5, 2.5]]], dtype=np.float32) / np.float32(255)
    assert quantize(halves, 8).tolist() == [[[1, 2, 3]]]


def test_bits_of_quantize() -> None:
    with pytest.raises(ValueError, match="8 or 16"):
        quantize(np.zeros((1, 1, 3), np.float32), 12)


def test_oversteps_are_clipped() -> None:
    values = np.array([[[-0.2, 1.3, 0.5]]], dtype=np.float32)
    assert quantize(values, 16).tolist() == [[[0, 65535, 32768]]]


def test_16_bit_png_as_pypng_reads_it(tmp_path: Path, noise: NDArray[np.float32]) -> None:
    path = tmp_path / "deep.png"
    write_image(path, noise, bits=16, record={"schema": 1})
    width, height, rows, info = png.Reader(bytes=path.read_bytes()).asDirect()
    assert (width, height, info["bitdepth"], info["planes"]) == (30, 20, 16, 3)
    values = np.array([list(row) for row in rows]).reshape(20, 30, 3)
    np.testing.assert_array_equal(values, np.floor(noise.astype(np.float64) * 65535 + 0.5))


def test_16_bit_tiff_as_tifffile_reads_it(tmp_path: Path, noise: NDArray[np.float32]) -> None:
    path = tmp_path / "deep.tif"
    write_image(path, noise, bits=16)
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        assert page.photometric == tifffile.PHOTOMETRIC.RGB
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
    np.testing.assert_array_equal(tifffile.imread(path), quantize(noise, 16))


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_8_bits_as_pillow_reads_them(
    tmp_path: Path, noise: NDArray[np.float32], suffix: str
) -> None:
    path = tmp_path / f"picture{suffix}"
    write_image(path, noise, record={"schema": 1})
    with Image.open(path) as image:
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), quantize(noise, 8))


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG"])
def test_jpeg_has_full_colour_resolution(tmp_path: Path, suffix: str) -> None:
    """Columns of red and green, one pixel wide: 4:2:0 would mix them to one colour."""
    picture = np.zeros((16, 16, 3), dtype=np.float32)
    picture[:, ::2, 0] = picture[:, 1::2, 1] = 1
    path = tmp_path / f"columns{suffix}"
    write_image(path, picture, quality=95)
    decoded = to_float(decode(path).pixels)
    assert np.abs(decoded - picture).mean() < 0.03
    with Image.open(path) as image:
        assert JpegImagePlugin.get_sampling(image) == 0  # Pillow's name of 4:4:4


def test_a_noisy_jpeg_at_the_best_quality(tmp_path: Path) -> None:
    """With optimize=True Pillow's buffer is too small for it."""
    noise = np.random.default_rng(4).random((200, 300, 3), dtype=np.float32)
    path = tmp_path / "noise.jpg"
    write_image(path, noise, quality=100, record={"note": "x" * 60_000})
    assert np.abs(to_float(decode(path).pixels) - noise).mean() < 0.01


def test_quality_matters(tmp_path: Path, noise: NDArray[np.float32]) -> None:
    for quality in (30, 95):
        write_image(tmp_path / f"{quality}.jpg", noise, quality=quality)
    assert (tmp_path / "30.jpg").stat().st_size < (tmp_path / "95.jpg").stat().st_size * 0.7


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_srgb_profile_is_embedded(tmp_path: Path, noise: NDArray[np.float32], suffix: str) -> None:
    path = tmp_path / f"picture{suffix}"
    write_image(path, noise)
    with Image.open(path) as image:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    assert "sRGB" in ImageCms.getProfileDescription(profile)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("picture.gif", {}, ".gif"),
        ("picture", {}, "without a suffix"),
        ("picture.jpg", {"bits": 16}, "16 bits"),
        ("picture.webp", {"bits": 16}, "16 bits"),
        ("picture.png", {"bits": 10}, "10 bits"),
        ("picture.jpg", {"quality": 0}, "quality"),
        ("picture.jpg", {"quality": 101}, "quality"),
    ],
)
def test_what_a_format_cannot_hold(
    tmp_path: Path, noise: NDArray[np.float32], name: str, options: dict[str, int], says: str
) -> None:
    path = tmp_path / name
    with pytest.raises(ImageError) as error:
        write_image(path, noise, **options)  # type: ignore[arg-type]
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert says in message
    assert "\n" not in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("suffix", "shape"),
    [
        (".jpg", (1, 65_501, 3)),
        (".jpg", (65_501, 1, 3)),
        (".webp", (1, 16_384, 3)),
        (".webp", (16_384, 1, 3)),
    ],
)
def test_longest_sides(tmp_path: Path, suffix: str, shape: tuple[int, int, int]) -> None:
    path = tmp_path / f"long{suffix}"
    with pytest.raises(ImageError, match=r"at most .* write \.png or \.tif"):
        write_image(path, np.zeros(shape, dtype=np.float32))
    shorter = tuple(side - 1 if side > 3 else side for side in shape)
    write_image(path, np.zeros(shorter, dtype=np.float32))
    assert max(decode(path).pixels.shape) == max(shape) - 1
    write_image(tmp_path / "long.png", np.zeros(shape, dtype=np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_not_a_number(tmp_path: Path, noise: NDArray[np.float32], bad: float, suffix: str) -> None:
    noise[3, 4, 1] = bad
    path = tmp_path / f"picture{suffix}"
    with pytest.raises(ValueError, match="NaN or infinity"):
        write_image(path, noise)
    assert not path.exists()


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4), (4, 4, 1), (0, 4, 3), (1, 4, 4, 3)])
def test_other_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape"):
        write_image(tmp_path / "picture.png", np.zeros(shape, dtype=np.float32))


def test_a_failed_write_leaves_the_old_picture(
    tmp_path: Path, noise: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "picture.png"
    write_image(path, noise)
    before = path.read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_image(path, 1 - noise)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_odd_sizes_and_layouts(tmp_path: Path) -> None:
    """Slices, transposes and float64, as an optimizer may hand them over."""
    base = np.random.default_rng(2).random((3, 9, 14))
    for (suffix, bits), step in product(LOSSLESS, (1, 2)):
        view = base.transpose(1, 2, 0)[::step, ::-1]
        path = tmp_path / f"view{suffix}"
        write_image(path, view, bits=bits)  # type: ignore[arg-type]
        np.testing.assert_array_equal(decode(path).pixels, quantize(view.copy(), bits))
