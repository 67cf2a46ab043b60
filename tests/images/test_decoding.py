"""Every kind of 8-bit file gives the pixels that its format says, and bad files give one line."""

from __future__ import annotations

import hashlib
import io
import logging
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFile

from nstcore.errors import ImageError
from nstcore.images import DecodedImage, decode, to_float


def check_one_line(error: pytest.ExceptionInfo[ImageError], path: Path) -> str:
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert ";" in message, "says what is wrong; what would be right"
    return message


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".png", {}),
        (".webp", {"lossless": True}),
        (".tif", {}),
        (".tif", {"compression": "tiff_lzw"}),
        (".tif", {"compression": "tiff_adobe_deflate"}),
        (".tif", {"big_tiff": True}),
    ],
)
def test_lossless_rgb_comes_back_as_it_is(
    tmp_path: Path, ramp8: NDArray[np.uint8], suffix: str, options: dict[str, object]
) -> None:
    path = tmp_path / f"picture{suffix}"
    Image.fromarray(ramp8).save(path, **options)
    picture = decode(path)
    np.testing.assert_array_equal(picture.pixels, ramp8)
    assert picture.pixels.dtype == np.uint8
    assert (picture.width, picture.height, picture.bits) == (24, 16, 8)


def test_jpeg_equals_pillow(tmp_path: Path, ramp8: NDArray[np.uint8]) -> None:
    path = tmp_path / "picture.jpg"
    Image.fromarray(ramp8).save(path, quality=90)
    np.testing.assert_array_equal(decode(path).pixels, np.asarray(Image.open(path)))
    assert decode(path).source_format == "JPEG"


@pytest.mark.parametrize("levels", [2, 4, 16, 256])
def test_grey_png_of_every_small_depth(tmp_path: Path, levels: int) -> None:
    """1-, 2-, 4- and 8-bit grey, written by hand: white is 255 at any depth."""
    bits = levels.bit_length() - 1
    packed = np.arange(levels, dtype=np.uint8)
    row = np.unpackbits(packed[:, None], axis=1)[:, 8 - bits :].reshape(-1)
    path = tmp_path / "grey.png"
    path.write_bytes(png(levels, 1, bits, 0, b"\0" + np.packbits(row).tobytes()))
    grey = decode(path).pixels[0, :, 0]
    np.testing.assert_array_equal(grey, np.arange(levels) * 255 // (levels - 1))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_palette(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"palette{suffix}"
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    image.save(path)
    np.testing.assert_array_equal(decode(path).pixels, [[[10, 20, 30], [200, 100, 50]]])


def test_white_is_zero_tiff(tmp_path: Path) -> None:
    path = tmp_path / "inverse.tif"
    Image.new("L", (2, 2), 200).save(path, tiffinfo={262: 0})  # PhotometricInterpretation
    expected = np.asarray(Image.open(path).convert("L"))[0, 0]
    assert (decode(path).pixels == expected).all()


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_without_profile(tmp_path: Path, suffix: str) -> None:
    """(1 - ink)(1 - black): paper, full black, half black, pure cyan."""
    path = tmp_path / f"inks{suffix}"
    inks = [(0, 0, 0, 0), (0, 0, 0, 255), (0, 0, 0, 128), (255, 0, 0, 0)]
    image = Image.new("CMYK", (64, 16))
    for column, ink in enumerate(inks):
        image.paste(ink, (column * 16, 0, column * 16 + 16, 16))
    image.save(path, **({"quality": 100, "subsampling": 0} if suffix == ".jpg" else {}))
    middles = decode(path).pixels[8, 8::16].astype(int)
    expected = [[255] * 3, [0] * 3, [127] * 3, [0, 255, 255]]
    np.testing.assert_allclose(middles, expected, atol=2)


def test_ycbcr_and_lab_tiff(tmp_path: Path, ramp8: NDArray[np.uint8]) -> None:
    ycbcr = tmp_path / "ycbcr.tif"
    Image.fromarray(ramp8).convert("YCbCr").save(ycbcr, compression="tiff_adobe_deflate")
    np.testing.assert_allclose(decode(ycbcr).pixels.astype(int), ramp8.astype(int), atol=3)
    # CIE L*a*b* D50: L* = 53.585 and a* = b* = 0 is sRGB's middle grey, 128.
    lab = tmp_path / "lab.tif"
    Image.new("LAB", (2, 2), (round(53.585 * 2.55), 128, 128)).save(lab)
    np.testing.assert_allclose(decode(lab).pixels.astype(int), 128, atol=2)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_first_of_several_frames(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"frames{suffix}"
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime", "blue")]
    options = {"lossless": True} if suffix == ".webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    with caplog.at_level(logging.WARNING):
        picture = decode(path)
    assert (picture.pixels == (255, 0, 0)).all()
    assert "only the first is used" in caplog.text
    assert str(path) in caplog.text


def test_a_jpeg_with_a_preview_is_a_jpeg(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "camera.jpg"
    big, small = Image.new("RGB", (16, 16), "red"), Image.new("RGB", (8, 8), "blue")
    big.save(path, format="MPO", save_all=True, append_images=[small])
    picture = decode(path)
    assert (picture.source_format, picture.width) == ("JPEG", 16)
    assert not caplog.records


def test_the_suffix_does_not_matter(tmp_path: Path, ramp8: NDArray[np.uint8]) -> None:
    path = tmp_path / "really_a_png.jpg"
    Image.fromarray(ramp8).save(path, format="PNG")
    assert decode(path).source_format == "PNG"


def test_digest_is_that_of_the_contract(tmp_path: Path, ramp8: NDArray[np.uint8]) -> None:
    path = tmp_path / "picture.png"
    Image.fromarray(ramp8).save(path)
    expected = hashlib.sha256(b"16x24x3:uint8:" + ramp8.tobytes()).hexdigest()
    assert decode(path).digest == expected
    deep = DecodedImage(ramp8.astype(">u2"), "PNG")
    expected = hashlib.sha256(b"16x24x3:uint16:" + ramp8.astype("<u2").tobytes()).hexdigest()
    assert deep.digest == expected


def test_a_picture_cannot_be_changed(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    Image.new("RGB", (2, 2)).save(path)
    with pytest.raises(ValueError, match="read-only"):
        decode(path).pixels[0, 0, 0] = 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_to_float_spans_zero_to_one(dtype: type) -> None:
    top = np.iinfo(dtype).max
    levels = np.array([[[0, top // 3, top]]], dtype=dtype)
    floats = to_float(levels)
    assert floats.dtype == np.float32
    np.testing.assert_allclose(floats[0, 0], [0, 1 / 3, 1], rtol=1e-6)
    with pytest.raises(TypeError):
        to_float(levels.astype(np.int32))  # type: ignore[arg-type]


# Files that are not right


def png(width: int, height: int, bits: int, kind: int, raw: bytes) -> bytes:
    """A PNG file put together by hand."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"hello, I am a text file", "not an image of a known kind"),
        (b"GIF89a" + bytes(100), "a GIF"),
        (b"BM" + bytes(100), "a BMP"),
        (b"\0\0\0\x18ftypheic" + bytes(100), "HEIC"),
        (b"\0\0\0\x18ftypavif" + bytes(100), "AVIF"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"<svg xmlns=''>", "SVG"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS"),
        (b"%PDF-1.7", "PDF"),
        (b"8BPS\0\1", "Photoshop"),
        (b"\x89PNG", "cut short"),
        (b"\xff\xd8\xff", "JPEG"),
        (b"RIFF\x10\0\0\0WEBP", "WebP"),
        (b"II*\0\x08\0\0\0", "TIFF"),
    ],
)
def test_what_is_no_picture_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(ImageError) as error:
        decode(path)
    assert says in check_one_line(error, path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as error:
        decode(tmp_path / "nowhere.png")
    assert "no such file" in check_one_line(error, tmp_path / "nowhere.png")
    with pytest.raises(ImageError) as error:
        decode(tmp_path)
    assert "folder" in check_one_line(error, tmp_path)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.png"

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ImageError) as error:
        decode(path)
    assert "Permission denied" in check_one_line(error, path)


def encoded(suffix: str) -> bytes:
    """A noisy picture, so that a cut anywhere is a cut into its pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    kinds = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "tif": "TIFF", "lzw": "TIFF"}
    options = {"webp": {"lossless": True}, "lzw": {"compression": "tiff_lzw"}}.get(suffix, {})
    Image.fromarray(noise).save(buffer, kinds[suffix], **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "lzw"])
def test_truncated_files_are_refused_by_name(tmp_path: Path, suffix: str, kept: float) -> None:
    data = encoded(suffix)
    path = tmp_path / f"half.{suffix}"
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ImageError) as error:
        decode(path)
    assert "damaged" in check_one_line(error, path)


def test_a_flipped_bit_in_a_png_is_noticed(tmp_path: Path) -> None:
    data = bytearray(encoded("png"))
    data[len(data) // 2] ^= 1
    path = tmp_path / "flipped.png"
    path.write_bytes(data)
    with pytest.raises(ImageError, match="checksum"):
        decode(path)


def test_pillow_is_not_told_to_accept_truncated_files() -> None:
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    assert Image.MAX_IMAGE_PIXELS == 1024**3 // 4 // 3


@pytest.mark.parametrize("side", [10_000, 100_000])
def test_a_decompression_bomb_is_not_decoded(tmp_path: Path, side: int) -> None:
    """Above Pillow's warning, and above its error at twice as many."""
    path = tmp_path / "bomb.png"
    path.write_bytes(png(side, side, 1, 0, b"\0"))
    with pytest.raises(ImageError) as error:
        decode(path)
    assert "safe to decode" in check_one_line(error, path)
    assert Image.MAX_IMAGE_PIXELS is not None


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    suffix=st.sampled_from(["png", "jpg", "webp", "tif", "lzw"]),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
    kept=st.floats(0.01, 1),
)
def test_no_damage_raises_anything_else(
    tmp_path: Path, suffix: str, changes: list[tuple[float, int]], kept: float
) -> None:
    data = bytearray(encoded(suffix))
    for place, value in changes:
        # Mostly near the start, where the structure is.
        data[int(len(data) * place**4)] = value
    path = tmp_path / f"damaged.{suffix}"
    path.write_bytes(data[: max(1, int(len(data) * kept))])
    message = ""
    try:
        decode(path)
    except ImageError as error:
        message = str(error)
    if message:
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
