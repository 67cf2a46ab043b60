"""More than 8 bits a channel: kept, scaled to the full range, never clipped."""

from __future__ import annotations

import logging
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import png
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from nstcore.errors import ImageError
from nstcore.images import decode, to_float


def write_png(path: Path, bands: NDArray[np.uint16]) -> None:
    """By pypng, which shares no code with what decodes."""
    height, width, count = bands.shape
    with path.open("wb") as file:
        writer = png.Writer(width, height, greyscale=count < 3, bitdepth=16)
        writer.write(file, bands.reshape(height, -1).tolist())


def test_rgb48_png(tmp_path: Path, ramp16: NDArray[np.uint16]) -> None:
    path = tmp_path / "deep.png"
    write_png(path, ramp16)
    picture = decode(path)
    assert (picture.bits, picture.source_format) == (16, "PNG")
    np.testing.assert_array_equal(picture.pixels, ramp16)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_grey_16_keeps_every_level(tmp_path: Path, suffix: str) -> None:
    """A plain convert("RGB") would clip 255/256 of these to white."""
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    path = tmp_path / f"grey{suffix}"
    if suffix == ".png":
        write_png(path, levels)
    else:
        tifffile.imwrite(path, levels[..., 0], photometric="minisblack")
    pixels = decode(path).pixels
    assert len(np.unique(pixels)) == 65536
    np.testing.assert_array_equal(pixels, np.repeat(levels, 3, axis=2))
    assert to_float(pixels).max() == 1.0


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "zstd"])
def test_rgb48_tiff(
    tmp_path: Path,
    ramp16: NDArray[np.uint16],
    byteorder: str,
    planar: str,
    compression: str | None,
) -> None:
    path = tmp_path / "deep.tif"
    stored = np.moveaxis(ramp16, -1, 0) if planar == "separate" else ramp16
    tifffile.imwrite(
        path,
        stored,
        byteorder=byteorder,
        photometric="rgb",
        planarconfig=planar,
        compression=compression,
        predictor=compression is not None,
    )
    picture = decode(path)
    assert (picture.bits, picture.source_format) == (16, "TIFF")
    np.testing.assert_array_equal(picture.pixels, ramp16)


def test_tiled_and_big_tiff(tmp_path: Path, ramp16: NDArray[np.uint16]) -> None:
    path = tmp_path / "deep.tif"
    tifffile.imwrite(path, ramp16, photometric="rgb", tile=(16, 16), bigtiff=True)
    np.testing.assert_array_equal(decode(path).pixels, ramp16)


def test_grey_16_written_by_pillow(tmp_path: Path) -> None:
    levels = np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32)
    for suffix in (".png", ".tif"):
        path = tmp_path / f"grey{suffix}"
        Image.fromarray(levels).save(path)
        np.testing.assert_array_equal(decode(path).pixels[..., 2], levels)


def test_white_is_zero_16(tmp_path: Path) -> None:
    path = tmp_path / "inverse.tif"
    levels = np.arange(0, 65536, 257, dtype=np.uint16)[None]
    tifffile.imwrite(path, levels, photometric="miniswhite")
    np.testing.assert_array_equal(decode(path).pixels[..., 0], 65535 - levels)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_packed_depths_reach_white(tmp_path: Path, bits: int) -> None:
    """Packed as cameras and scanners do, by hand: most significant bit first, rows padded."""
    levels = np.linspace(0, 2**bits - 1, 64).astype(np.uint16)
    shifts = np.arange(bits - 1, -1, -1)
    row = np.packbits(((levels[:, None] >> shifts) & 1).astype(np.uint8).reshape(-1)).tobytes()
    path = tmp_path / "scan.tif"
    write_tiff(path, 64, 1, bits, row)
    grey = decode(path).pixels[0, :, 0]
    np.testing.assert_array_equal(grey, np.floor(levels * 65535.0 / (2**bits - 1) + 0.5))
    assert grey.max() == 65535


def write_tiff(path: Path, width: int, height: int, bits: int, strip: bytes) -> None:
    """An uncompressed grey TIFF in one strip."""
    entries = [(256, width), (257, height), (258, bits), (259, 1), (262, 1)]
    entries += [(273, 8 + 2 + 9 * 12 + 4), (277, 1), (278, height), (279, len(strip))]
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4) + strip)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_tiff(tmp_path: Path, dtype: type) -> None:
    path = tmp_path / "float.tif"
    values = np.linspace(0, 1, 300).reshape(10, 10, 3).astype(dtype)
    tifffile.imwrite(path, values, photometric="rgb")
    decoded = to_float(decode(path).pixels)
    np.testing.assert_allclose(decoded, values.astype(np.float64), atol=0.5 / 65535 + 1e-7)


def test_a_wide_range_is_scaled_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "hdr.tif"
    values = np.linspace(-1, 7, 300, dtype=np.float32).reshape(10, 10, 3)
    tifffile.imwrite(path, values, photometric="rgb")
    with caplog.at_level(logging.WARNING):
        decoded = to_float(decode(path).pixels)
    np.testing.assert_allclose(decoded, (values + 1) / 8, atol=1e-5)
    assert str(path) in caplog.text


def test_nan_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "nan.tif"
    tifffile.imwrite(path, np.full((4, 4), np.nan, dtype=np.float32))
    with pytest.raises(ImageError, match="NaN"):
        decode(path)


def test_modes_i_and_f_of_pillow(tmp_path: Path) -> None:
    levels = np.arange(0, 65536, 1024, dtype=np.int32).reshape(8, 8)
    Image.fromarray(levels).save(tmp_path / "i.tif")
    np.testing.assert_array_equal(decode(tmp_path / "i.tif").pixels[..., 0], levels)
    floats = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    Image.fromarray(floats).save(tmp_path / "f.tif")
    np.testing.assert_allclose(
        to_float(decode(tmp_path / "f.tif").pixels)[..., 0], floats, atol=1e-5
    )


def test_32_bit_integers(tmp_path: Path) -> None:
    path = tmp_path / "wide.tif"
    values = np.linspace(0, 2**32 - 1, 300).astype(np.uint32).reshape(10, 10, 3)
    tifffile.imwrite(path, values, photometric="rgb")
    np.testing.assert_allclose(to_float(decode(path).pixels), values / (2**32 - 1), atol=1 / 65535)


def test_16_bit_cmyk_without_profile(tmp_path: Path) -> None:
    path = tmp_path / "inks.tif"
    inks = np.random.default_rng(1).integers(0, 65536, (9, 7, 4), dtype=np.uint16)
    tifffile.imwrite(path, inks, photometric="separated")
    paper = 1 - inks / 65535
    expected = 65535 * paper[..., :3] * paper[..., 3:]
    assert np.abs(decode(path).pixels - expected).max() <= 0.5 + 1e-6


def test_pages_of_16_bits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "pages.tif"
    with tifffile.TiffWriter(path) as writer:
        for value in (1000, 2000):
            writer.write(np.full((8, 8), value, np.uint16), photometric="minisblack")
    with caplog.at_level(logging.WARNING):
        assert (decode(path).pixels == 1000).all()
    assert "only the first is used" in caplog.text


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("kept", [0.3, 0.95])
def test_truncated_deep_files(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"half{suffix}"
    noise = np.random.default_rng(0).integers(0, 65536, (32, 32, 3), dtype=np.uint16)
    if suffix == ".png":
        data = bytes(imagecodecs.png_encode(noise))
    else:
        tifffile.imwrite(path, noise, photometric="rgb")
        data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ImageError, match="damaged or cut short"):
        decode(path)


def test_a_deep_bomb_is_not_decoded(tmp_path: Path) -> None:
    path = tmp_path / "bomb.tif"
    write_tiff(path, 20_000, 20_000, 16, b"\0")
    with pytest.raises(ImageError, match="safe to decode"):
        decode(path)


def test_unusual_kinds_are_named(tmp_path: Path) -> None:
    path = tmp_path / "odd.tif"
    volume = np.zeros((4, 8, 8), np.uint16)
    tifffile.imwrite(path, volume, photometric="minisblack", volumetric=True)
    with pytest.raises(ImageError, match="unusual kind"):
        decode(path)
    raw = tmp_path / "raw.dng"
    tags = [(50706, "B", 4, (1, 4, 0, 0), True)]
    tifffile.imwrite(raw, np.zeros((8, 8), np.uint8), extratags=tags)
    with pytest.raises(ImageError, match="camera raw"):
        decode(raw)


def test_a_16_bit_png_with_a_broken_stream(tmp_path: Path) -> None:
    """Every checksum is right and the picture is still not there."""
    pixels = np.zeros((8, 8, 3), np.uint16)
    data = bytes(imagecodecs.png_encode(pixels))
    start = data.index(b"IDAT")
    (length,) = struct.unpack(">I", data[start - 4 : start])
    content = b"IDAT" + b"\xff" * length
    broken = content + struct.pack(">I", zlib.crc32(content)) + data[start + 8 + length :]
    path = tmp_path / "broken.png"
    path.write_bytes(data[:start] + broken)
    with pytest.raises(ImageError, match="damaged"):
        decode(path)
