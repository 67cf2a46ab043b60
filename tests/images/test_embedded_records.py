"""The record in the picture comes back from every format."""

from __future__ import annotations

import io
import json
import logging
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from nstcore.errors import ImageError
from nstcore.images import decode, read_record, write_image

SUFFIXES = [".png", ".jpg", ".tif", ".webp"]


def record_with_trace(iterations: int) -> dict[str, Any]:
    random = np.random.default_rng(0)
    names = ("total_loss", "content_loss", "style_loss", "tv_loss")
    return {
        "schema": 1,
        "key": "0" * 64,
        "cell": {"style": "Sternennacht \u2605", "content": "Tübingen", "axes": {"size": 512}},
        "trace": {name: random.random(iterations).tolist() for name in names},
    }


@pytest.mark.parametrize(
    ("suffix", "bits"),
    [(".png", 8), (".png", 16), (".jpg", 8), (".tif", 8), (".tif", 16), (".webp", 8)],
)
def test_there_and_back(tmp_path: Path, noise: NDArray[np.float32], suffix: str, bits: int) -> None:
    path = tmp_path / f"picture{suffix}"
    record = record_with_trace(20)
    write_image(path, noise, bits=bits, record=record)
    assert read_record(path) == record
    without = tmp_path / f"without{suffix}"
    write_image(without, noise, bits=bits)
    assert decode(path).digest == decode(without).digest


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    record=st.dictionaries(
        st.text(),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=8,
        ),
    ),
    suffix=st.sampled_from(SUFFIXES),
)
def test_any_json_object(tmp_path: Path, record: dict[str, Any], suffix: str) -> None:
    path = tmp_path / f"picture{suffix}"
    write_image(path, np.zeros((2, 2, 3), dtype=np.float32), record=record)
    assert read_record(path) == record


def test_others_find_it_where_it_belongs(tmp_path: Path, noise: NDArray[np.float32]) -> None:
    record = {"schema": 1, "name": "Tübingen"}
    for suffix in SUFFIXES:
        write_image(tmp_path / f"picture{suffix}", noise, record=record)
    with Image.open(tmp_path / "picture.png") as image:
        assert json.loads(image.text["nst"]) == record  # type: ignore[attr-defined]
    for suffix in (".jpg", ".webp"):
        with Image.open(tmp_path / f"picture{suffix}") as image:
            comment = image.getexif().get_ifd(0x8769)[0x9286]
        assert comment.startswith(b"ASCII\0\0\0")
        assert json.loads(comment[8:]) == record
    with tifffile.TiffFile(tmp_path / "picture.tif") as tiff:
        assert json.loads(tiff.pages[0].tags["ImageDescription"].value) == record


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_100_kilobytes(tmp_path: Path, noise: NDArray[np.float32], suffix: str) -> None:
    """Whole where the format has room; a JPEG segment ends at 64 kB, so the trace goes."""
    record = record_with_trace(1300)
    assert len(json.dumps(record)) > 100_000
    path = tmp_path / f"picture{suffix}"
    write_image(path, noise, record=record)
    found = read_record(path)
    if suffix == ".jpg":
        assert found == {key: value for key, value in record.items() if key != "trace"}
    else:
        assert found == record
    decode(path)


def test_a_long_record_without_trace_is_compressed(
    tmp_path: Path, noise: NDArray[np.float32]
) -> None:
    record = {"note": "again and again " * 10_000}
    path = tmp_path / "picture.jpg"
    write_image(path, noise, record=record)
    assert read_record(path) == record


def test_what_fits_nowhere_is_left_out_and_the_picture_kept(
    tmp_path: Path, noise: NDArray[np.float32], caplog: pytest.LogCaptureFixture
) -> None:
    record = {"note": np.random.default_rng(0).bytes(90_000).hex()}
    path = tmp_path / "picture.jpg"
    with caplog.at_level(logging.WARNING):
        write_image(path, noise, record=record)
    assert "too long" in caplog.text
    assert decode(path).width == 30
    with pytest.raises(ImageError, match="no record"):
        read_record(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_huge_record_leaves_a_picture_that_pillow_opens(
    tmp_path: Path, noise: NDArray[np.float32], suffix: str
) -> None:
    path = tmp_path / f"picture{suffix}"
    write_image(path, noise, record=record_with_trace(40_000))
    assert read_record(path)["key"] == "0" * 64
    with Image.open(path) as image:
        image.load()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_record(tmp_path: Path, noise: NDArray[np.float32], suffix: str) -> None:
    path = tmp_path / f"picture{suffix}"
    write_image(path, noise)
    with pytest.raises(ImageError) as error:
        read_record(path)
    assert str(error.value).startswith(f"{path}: holds no record")


def test_someone_elses_comments(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 4))
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0OLYMPUS DIGITAL CAMERA"
    image.save(tmp_path / "camera.jpg", exif=exif)
    image.save(tmp_path / "other.tif", tiffinfo={270: "a sunny day"})
    image.save(tmp_path / "other.png", exif=exif)
    tifffile.imwrite(tmp_path / "shaped.tif", np.zeros((4, 4), np.uint8), description="[1, 2]")
    for name in ("camera.jpg", "other.tif", "other.png", "shaped.tif"):
        with pytest.raises(ImageError, match="record") as error:
            read_record(tmp_path / name)
        assert "\n" not in str(error.value)


def test_what_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "cell.json"
    path.write_text("{}")
    with pytest.raises(ImageError, match="not an image"):
        read_record(path)
    with pytest.raises(ImageError, match="no such file"):
        read_record(tmp_path / "nowhere.png")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_damaged_picture(tmp_path: Path, noise: NDArray[np.float32], suffix: str) -> None:
    path = tmp_path / f"picture{suffix}"
    write_image(path, noise, record={"note": "x" * 3000})
    data = path.read_bytes()
    messages: list[str] = []
    for kept in range(1, len(data), max(1, len(data) // 97)):
        path.write_bytes(data[:kept])
        try:
            found = read_record(path)
        except ImageError as error:
            found = None
            messages.append(str(error))
        assert found in (None, {"note": "x" * 3000})
    assert messages
    assert all(message.startswith(f"{path}: ") for message in messages)
    assert not any("\n" in message for message in messages)


def test_nan_in_the_record(tmp_path: Path, noise: NDArray[np.float32]) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_image(tmp_path / "picture.png", noise, record={"loss": float("nan")})
    assert not (tmp_path / "picture.png").exists()


def test_a_picture_too_large_to_decode_still_tells(tmp_path: Path) -> None:
    """read_record looks at the file's structure alone."""
    path = tmp_path / "large.png"
    write_image(path, np.zeros((2, 2, 3), dtype=np.float32), record={"schema": 1})
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", 50_000, 50_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    with pytest.raises(ImageError, match="safe to decode"):
        decode(path)
    assert read_record(path) == {"schema": 1}


def test_the_file_does_not_depend_on_the_clock(
    tmp_path: Path, noise: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    for suffix in SUFFIXES:
        first, second = tmp_path / f"1{suffix}", tmp_path / f"2{suffix}"
        write_image(first, noise, record={"schema": 1})
        with monkeypatch.context() as patched:
            patched.setattr(time, "time", lambda: 1e9)
            write_image(second, noise, record={"schema": 1})
        assert first.read_bytes() == second.read_bytes()


def test_jpeg_segments_stay_in_bounds(tmp_path: Path) -> None:
    """Just under the limit, with the profile and pixels of a larger picture around it."""
    noise = np.random.default_rng(4).random((200, 300, 3), dtype=np.float32)
    record = {"note": "x" * 64_980}
    path = tmp_path / "picture.jpg"
    write_image(path, noise, record=record, quality=100)
    assert read_record(path) == record
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        image.load()
        assert image.info["icc_profile"]
