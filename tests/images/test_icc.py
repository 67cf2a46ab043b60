"""Colour profiles against the colour maths of their definitions, written out here."""

from __future__ import annotations

import io
import logging
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms

from nstcore.images import decode
from nstcore.images.color import SRGB_PROFILE

WHITE = (0.3127, 0.3290)
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
DISPLAY_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE_RGB = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
ADOBE_GAMMA = 563 / 256


def to_xyz(primaries: tuple[tuple[float, float], ...]) -> NDArray[np.float64]:
    """Linear RGB to XYZ (Lindbloom): columns of the primaries, scaled so that they add to white."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    x, y = WHITE
    return columns * np.linalg.solve(columns, [x / y, 1, (1 - x - y) / y])


def srgb_encode(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """IEC 61966-2-1."""
    curve = 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055
    return np.where(light <= 0.0031308, 12.92 * light, curve)


def expected_srgb(
    rgb: NDArray[np.float64], primaries: tuple[tuple[float, float], ...], gamma: float
) -> NDArray[np.float64]:
    light = rgb**gamma @ (np.linalg.inv(to_xyz(SRGB)) @ to_xyz(primaries)).T
    return srgb_encode(light.clip(0, 1)).clip(0, 1)


def profile_of(primaries: tuple[tuple[float, float], ...], gamma: float) -> bytes:
    points = [value for x, y in primaries for value in (x, y, 1.0)]
    return imagecodecs.cms_profile("rgb", whitepoint=[*WHITE, 1.0], primaries=points, gamma=gamma)


@pytest.fixture
def colors8() -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (40, 50, 3), dtype=np.uint8)


@pytest.fixture
def colors16() -> NDArray[np.uint16]:
    return np.random.default_rng(3).integers(0, 65536, (40, 50, 3), dtype=np.uint16)


@pytest.mark.parametrize(
    ("primaries", "gamma"), [(DISPLAY_P3, 2.2), (ADOBE_RGB, ADOBE_GAMMA)], ids=["p3", "adobe"]
)
class TestWideGamut:
    """Profiles made of primaries and a gamma."""

    @pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
    def test_8_bits(
        self,
        tmp_path: Path,
        colors8: NDArray[np.uint8],
        primaries: tuple[tuple[float, float], ...],
        gamma: float,
        suffix: str,
    ) -> None:
        path = tmp_path / f"wide{suffix}"
        options = {"lossless": True} if suffix == ".webp" else {}
        profile = profile_of(primaries, gamma)
        Image.fromarray(colors8).save(path, icc_profile=profile, **options)
        decoded = decode(path).pixels
        expected = 255 * expected_srgb(colors8 / 255, primaries, gamma)
        assert np.abs(decoded - expected).max() < 1.0
        by_pillow = ImageCms.profileToProfile(
            Image.fromarray(colors8),
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
        )
        assert np.abs(decoded.astype(int) - np.asarray(by_pillow)).max() <= 1

    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    def test_16_bits_keep_their_precision(
        self,
        tmp_path: Path,
        colors16: NDArray[np.uint16],
        primaries: tuple[tuple[float, float], ...],
        gamma: float,
        suffix: str,
    ) -> None:
        path = tmp_path / f"wide{suffix}"
        profile = profile_of(primaries, gamma)
        if suffix == ".tif":
            tifffile.imwrite(path, colors16, photometric="rgb", iccprofile=profile)
        else:
            path.write_bytes(with_chunk(imagecodecs.png_encode(colors16), b"iCCP", profile))
        expected = 65535 * expected_srgb(colors16 / 65535, primaries, gamma)
        error = np.abs(decode(path).pixels - expected)
        assert error.max() < 128  # half an 8-bit step, in dark saturated colours
        assert error.mean() < 4


def with_chunk(png: bytes, name: bytes, content: bytes) -> bytes:
    """The PNG with one more chunk behind its header."""
    if name == b"iCCP":
        content = b"profile\0\0" + zlib.compress(content)
    checksum = struct.pack(">I", zlib.crc32(name + content))
    chunk = struct.pack(">I", len(content)) + name + content + checksum
    return png[:33] + chunk + png[33:]


def test_a_neutral_stays_neutral(tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    grey = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    Image.fromarray(grey).save(path, icc_profile=profile_of(DISPLAY_P3, 2.2))
    decoded = decode(path).pixels.astype(int)
    assert np.ptp(decoded, axis=2).max() <= 1


@pytest.mark.parametrize(
    "profile",
    [
        SRGB_PROFILE,
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        imagecodecs.cms_profile("srgb"),
    ],
    ids=["ours", "pillow", "imagecodecs"],
)
def test_srgb_by_any_spelling_changes_nothing(
    tmp_path: Path, colors8: NDArray[np.uint8], profile: bytes
) -> None:
    path = tmp_path / "srgb.png"
    Image.fromarray(colors8).save(path, icc_profile=profile)
    np.testing.assert_array_equal(decode(path).pixels, colors8)


def test_our_profile_is_srgb_for_littlecms(colors8: NDArray[np.uint8]) -> None:
    ours = ImageCms.ImageCmsProfile(io.BytesIO(SRGB_PROFILE))
    assert ImageCms.getProfileDescription(ours).strip() == "sRGB"
    moved = ImageCms.profileToProfile(
        Image.fromarray(colors8), ours, ImageCms.createProfile("sRGB")
    )
    assert np.abs(np.asarray(moved).astype(int) - colors8).max() <= 1
    matrix = np.linalg.inv(to_xyz(SRGB)) @ to_xyz(SRGB)
    np.testing.assert_allclose(matrix, np.eye(3), atol=1e-12)


def test_grey_profile(tmp_path: Path) -> None:
    """Grey of gamma 1.8 on sRGB's curve."""
    curve = struct.pack(">4sIIH2x", b"curv", 0, 1, round(1.8 * 256))
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    description = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"gray\0" + bytes(78)
    description += bytes(-len(description) % 4)
    tags = {b"desc": description, b"wtpt": white, b"kTRC": curve}
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(body), len(content))
        body += content
    header = struct.pack(">I4sI", 128 + len(table) + len(body), b"\0" * 4, 0x02100000)
    header += b"mntrGRAYXYZ " + bytes(12) + b"acsp" + bytes(28)
    header += struct.pack(">3i", 63190, 65536, 54061)
    profile = header.ljust(128, b"\0") + table + body

    levels = np.arange(256, dtype=np.uint8)[None]
    path = tmp_path / "grey.png"
    Image.fromarray(levels).save(path, icc_profile=profile)
    expected = 255 * srgb_encode((levels / 255) ** 1.8)
    decoded = decode(path).pixels
    assert np.abs(decoded[..., 1] - expected).max() < 1.0
    assert np.ptp(decoded.astype(int), axis=2).max() <= 1

    deep = tmp_path / "grey.tif"
    levels16 = np.arange(0, 65536, 16, dtype=np.uint16)[None]
    tifffile.imwrite(deep, levels16, photometric="minisblack", iccprofile=profile)
    expected = 65535 * srgb_encode((levels16 / 65535) ** 1.8)
    assert np.abs(decode(deep).pixels[..., 1] - expected).max() < 64


def test_a_grey_picture_with_an_rgb_profile(tmp_path: Path) -> None:
    path = tmp_path / "scan.png"
    levels = np.arange(256, dtype=np.uint8)[None]
    Image.fromarray(levels).save(path, icc_profile=profile_of(ADOBE_RGB, ADOBE_GAMMA))
    expected = 255 * srgb_encode((levels / 255) ** ADOBE_GAMMA)
    assert np.abs(decode(path).pixels[..., 0] - expected).max() < 1.0


def test_transparent_colours_are_converted_before_they_are_mixed(tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    rgba = np.array([[[200, 80, 40, 255], [200, 80, 40, 0]]], dtype=np.uint8)
    Image.fromarray(rgba).save(path, icc_profile=profile_of(DISPLAY_P3, 2.2))
    decoded = decode(path, background="#123456").pixels[0]
    expected = 255 * expected_srgb(rgba[0, :1, :3] / 255, DISPLAY_P3, 2.2)
    np.testing.assert_allclose(decoded[:1], expected, atol=1)
    assert decoded[1].tolist() == [0x12, 0x34, 0x56]  # the background is sRGB already


def damaged_profiles() -> dict[str, bytes]:
    good = profile_of(DISPLAY_P3, 2.2)
    return {
        "text": b"this is no profile " * 20,
        "short": good[:200],
        "tiny": b"x",
        "zeroed": good[:140] + bytes(len(good) - 140),
    }


@pytest.mark.parametrize("kind", ["text", "short", "tiny", "zeroed"])
def test_a_damaged_profile_is_reported_and_passed_over(
    tmp_path: Path, colors8: NDArray[np.uint8], caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    path = tmp_path / "odd.png"
    Image.fromarray(colors8).save(path, icc_profile=damaged_profiles()[kind])
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(decode(path).pixels, colors8)
    assert "reading it as sRGB" in caplog.text
    assert str(path) in caplog.text


def test_an_unreadable_profile_chunk_is_reported(
    tmp_path: Path, colors8: NDArray[np.uint8], caplog: pytest.LogCaptureFixture
) -> None:
    buffer = io.BytesIO()
    Image.fromarray(colors8).save(buffer, "PNG")
    path = tmp_path / "odd.png"
    path.write_bytes(with_chunk(buffer.getvalue(), b"iCCP", SRGB_PROFILE)[:60] + buffer.getvalue())
    broken = struct.pack(">I", 30) + b"iCCP" + (b"p\0\0" + b"not deflated" * 3)[:30]
    broken += struct.pack(">I", zlib.crc32(broken[4:]))
    path.write_bytes(buffer.getvalue()[:33] + broken + buffer.getvalue()[33:])
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(decode(path).pixels, colors8)
    assert "colour profile is damaged" in caplog.text


def test_a_profile_for_other_inks_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "inks.jpg"
    image = Image.new("CMYK", (16, 16), (0, 0, 0, 0))
    image.save(path, icc_profile=profile_of(DISPLAY_P3, 2.2), quality=100)
    with caplog.at_level(logging.WARNING):
        assert (decode(path).pixels == 255).all()
    assert "CMYK" in caplog.text


def cmyk_profile() -> bytes:
    """A CMYK profile whose table says: lightness 100·(1 - C)·(1 - K), no hue (lut8, ICC.1 10.9)."""
    grid = np.linspace(0, 1, 3)
    cyan, _, _, black = np.meshgrid(grid, grid, grid, grid, indexing="ij")
    lightness = np.rint(255 * (1 - cyan) * (1 - black)).astype(np.uint8)
    lab = np.stack([lightness, np.full_like(lightness, 128), np.full_like(lightness, 128)], -1)
    identity = bytes(range(256))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 3, 0])
    lut += struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut += identity * 4 + lab.tobytes() + identity * 3
    lut += bytes(-len(lut) % 4)
    tag = struct.pack(">I", 1) + b"A2B0" + struct.pack(">II", 144, len(lut))
    header = struct.pack(">I4sI", 144 + len(lut), b"\0" * 4, 0x02100000)
    header += b"prtrCMYKLab " + bytes(12) + b"acsp" + bytes(28)
    header += struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + tag + lut


@pytest.mark.parametrize("kind", ["jpg", "tif", "deep.tif"])
def test_cmyk_profile(tmp_path: Path, kind: str) -> None:
    """Magenta prints nothing under this profile; without it the picture would be magenta."""
    path = tmp_path / f"inks.{kind}"
    inks = np.zeros((16, 32, 4), np.uint8)
    inks[..., 1] = 255
    inks[:, 16:, 3] = 128
    profile = cmyk_profile()
    if kind == "deep.tif":
        tifffile.imwrite(
            path, inks.astype(np.uint16) * 257, photometric="separated", iccprofile=profile
        )
    else:
        options = {"quality": 100, "subsampling": 0} if kind == "jpg" else {}
        Image.frombytes("CMYK", (32, 16), inks.tobytes()).save(path, icc_profile=profile, **options)
    decoded = decode(path).pixels
    full_scale = np.iinfo(decoded.dtype).max
    paper, half = decoded[8, 4] / full_scale, decoded[8, 28] / full_scale
    np.testing.assert_allclose(paper, 1, atol=0.01)
    # L* = 100·(1 - 128/255) = 49.8 is Y = 0.1826.
    np.testing.assert_allclose(half, srgb_encode(np.array(0.1826)), atol=0.02)


def test_png_gamma_and_chromaticities(tmp_path: Path, colors8: NDArray[np.uint8]) -> None:
    """A PNG without profile whose gAMA says linear light, then with cHRM of Adobe RGB too."""
    buffer = io.BytesIO()
    Image.fromarray(colors8).save(buffer, "PNG")
    path = tmp_path / "linear.png"
    linear = with_chunk(buffer.getvalue(), b"gAMA", struct.pack(">I", 100_000))
    path.write_bytes(linear)
    expected = 255 * srgb_encode(colors8 / 255)
    assert np.abs(decode(path).pixels - expected).max() < 1.0

    points = [round(100_000 * value) for point in (WHITE, *ADOBE_RGB) for value in point]
    path.write_bytes(with_chunk(linear, b"cHRM", struct.pack(">8I", *points)))
    expected = 255 * expected_srgb(colors8 / 255, ADOBE_RGB, 1.0)
    assert np.abs(decode(path).pixels - expected).max() < 1.0

    # The sRGB chunk outranks both, and 1/2.2 is how old writers say sRGB.
    path.write_bytes(with_chunk(linear, b"sRGB", b"\0"))
    np.testing.assert_array_equal(decode(path).pixels, colors8)
    path.write_bytes(with_chunk(buffer.getvalue(), b"gAMA", struct.pack(">I", 45_455)))
    np.testing.assert_array_equal(decode(path).pixels, colors8)


def test_senseless_gamma_is_passed_over(
    tmp_path: Path, colors8: NDArray[np.uint8], caplog: pytest.LogCaptureFixture
) -> None:
    buffer = io.BytesIO()
    Image.fromarray(colors8).save(buffer, "PNG")
    path = tmp_path / "odd.png"
    path.write_bytes(with_chunk(buffer.getvalue(), b"gAMA", struct.pack(">I", 1)))
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(decode(path).pixels, colors8)
    assert "make no sense" in caplog.text


def test_adobe_rgb_marked_in_exif_alone(tmp_path: Path) -> None:
    """As cameras do: ColorSpace uncalibrated, interoperability index R03 (DCF 2.0)."""
    path = tmp_path / "_DSC0001.jpg"
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 0xFFFF
    exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    Image.new("RGB", (16, 16), (60, 200, 90)).save(path, exif=exif, quality=100, subsampling=0)
    expected = 255 * expected_srgb(np.array([60, 200, 90]) / 255, ADOBE_RGB, ADOBE_GAMMA)
    np.testing.assert_allclose(decode(path).pixels[8, 8], expected, atol=3)
