"""The record inside an image: JSON in the place that each format has for text."""

from __future__ import annotations

import base64
import json
import logging
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import tifffile
from PIL import ExifTags, Image

from nstcore.errors import ImageError
from nstcore.images.decoders import muted_warnings
from nstcore.images.png import find_text
from nstcore.images.reading import identify, read_file

logger = logging.getLogger(__name__)

PNG_KEYWORD = "nst"
_ASCII = b"ASCII\0\0\0"  # the character code that starts an EXIF UserComment
_PACKED = "zlib+base64:"

# Most bytes of text.  Pillow refuses to open a PNG with more than 2^20 of it; a JPEG segment holds
# 65,533 bytes, of which EXIF's own structure takes under 200.
TEXT_LIMITS: dict[str, int | None] = {
    "PNG": 1_000_000,
    "JPEG": 65_000,
    "WEBP": 1_000_000,
    "TIFF": None,
}


def record_text(record: dict[str, Any], limit: int | None, path: Path) -> str | None:
    """The record as ASCII JSON of at most ``limit`` bytes.

    Where it is too long the trace is left out first; then the rest is compressed; then there is
    none, with a warning: the image matters more, and the record has a copy beside it.

    Raises:
        ValueError: for NaN or infinity, which JSON cannot hold.
    """
    text = _to_json(record)
    if limit is None or len(text) <= limit:
        return text
    text = _to_json({key: value for key, value in record.items() if key != "trace"})
    if len(text) <= limit:
        logger.info("%s: the record is embedded without its trace", path)
        return text
    packed = _PACKED + base64.b64encode(zlib.compress(text.encode("ascii"), 9)).decode("ascii")
    if len(packed) <= limit:
        return packed
    logger.warning("%s: the record is too long (%d bytes) to be embedded", path, len(text))
    return None


def _to_json(record: dict[str, Any]) -> str:
    return json.dumps(record, allow_nan=False, separators=(",", ":"))


def exif_block(text: str) -> bytes:
    """EXIF data with ``text`` as UserComment and sRGB as colour space."""
    exif = Image.Exif()
    fields = exif.get_ifd(ExifTags.IFD.Exif)
    fields[ExifTags.Base.UserComment] = _ASCII + text.encode("ascii")
    fields[ExifTags.Base.ColorSpace] = 1
    return exif.tobytes()


def read_record(path: Path | str) -> dict[str, Any]:
    """The record that ``write_image`` embedded, without decoding; a long one may lack its ``trace``.

    Raises:
        ImageError: when there is none, or the file is no image or damaged.
    """
    path = Path(path)
    data = read_file(path)
    kind = identify(data, path)
    try:
        text = _FINDERS[kind](data)
    except Exception as error:  # a damaged file can make a parser raise anything
        raise ImageError(f"{path}: is damaged, no record can be read from it") from error
    if text is None:
        raise ImageError(
            f"{path}: holds no record of how it was made; give an image as the workflow wrote it"
        )
    try:
        if text.startswith(_PACKED):
            text = zlib.decompress(base64.b64decode(text.removeprefix(_PACKED))).decode("ascii")
        record = json.loads(text)
        if not isinstance(record, dict):
            raise ValueError("not an object")
    except (ValueError, zlib.error) as error:
        raise ImageError(
            f"{path}: what it holds as description is no record of this workflow; "
            "give an image as the workflow wrote it"
        ) from error
    return record


def _find_in_jpeg(data: bytes) -> str | None:
    """Walk the segments up to the start of the scan (ITU-T T.81, B.1.1.4) for APP1 with EXIF."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker, length = struct.unpack_from(">BH", data, position + 1)
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker == 0xDA:
            break
        segment = data[position + 4 : position + 2 + length]
        if marker == 0xE1 and segment.startswith(b"Exif\0\0"):
            return _find_in_exif(segment)
        position += 2 + length
    return None


def _find_in_webp(data: bytes) -> str | None:
    """Walk the RIFF chunks for ``EXIF``."""
    position = 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        if kind == b"EXIF":
            return _find_in_exif(data[position + 8 : position + 8 + length])
        position += 8 + length + length % 2
    return None


def _find_in_exif(block: bytes) -> str | None:
    with muted_warnings():
        exif = Image.Exif()
        exif.load(block)
        comment = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment)
    if not isinstance(comment, bytes) or not comment.startswith(_ASCII):
        return None
    return comment.removeprefix(_ASCII).rstrip(b"\0").decode("ascii")


def _find_in_tiff(data: bytes) -> str | None:
    with tifffile.TiffFile(BytesIO(data)) as tiff:
        page = tiff.pages[0]
        description = page.description if isinstance(page, tifffile.TiffPage) else ""
    return description or None


_FINDERS: dict[str, Callable[[bytes], str | None]] = {
    "PNG": lambda data: find_text(data, PNG_KEYWORD),
    "JPEG": _find_in_jpeg,
    "WEBP": _find_in_webp,
    "TIFF": _find_in_tiff,
}
