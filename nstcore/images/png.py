"""The chunks of a PNG file (PNG specification, third edition, section 5)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"


class BrokenPng(ValueError):
    """The file ends early or a checksum is wrong."""


def read_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield ``(type, content)`` of each chunk up to and including IEND.

    Raises:
        BrokenPng: where the file is cut short, or a critical chunk's checksum does not match.
    """
    view = memoryview(data)
    position = len(SIGNATURE)
    while position + 12 <= len(view):
        length, kind = struct.unpack_from(">I4s", view, position)
        end = position + 8 + length
        if end + 4 > len(view):
            break
        content = view[position + 8 : end]
        (checksum,) = struct.unpack_from(">I", view, end)
        is_critical = not kind[0] & 0x20
        if is_critical and zlib.crc32(view[position + 4 : end]) != checksum:
            raise BrokenPng(f"the checksum of its {kind!r} chunk is wrong")
        yield kind, content
        if kind == b"IEND":
            return
        position = end + 4
    raise BrokenPng("it ends early")


def write_chunk(kind: bytes, content: bytes) -> bytes:
    """One chunk with its length and checksum."""
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def icc_chunk(profile: bytes) -> bytes:
    """An ``iCCP`` chunk."""
    return write_chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(profile, 9))


def text_chunk(keyword: str, text: str) -> bytes:
    """A compressed ``iTXt`` chunk, UTF-8."""
    head = keyword.encode("latin-1") + b"\0" + b"\1\0" + b"\0" + b"\0"
    return write_chunk(b"iTXt", head + zlib.compress(text.encode("utf-8"), 9))


def find_text(data: bytes, keyword: str) -> str | None:
    """The text of the first ``iTXt`` chunk of that keyword, or None.

    Raises:
        BrokenPng: as ``read_chunks``.
    """
    wanted = keyword.encode("latin-1") + b"\0"
    for kind, content in read_chunks(data):
        if kind != b"iTXt" or content[: len(wanted)] != wanted:
            continue
        try:
            flags, rest = content[len(wanted) :][:2], bytes(content[len(wanted) + 2 :])
            _language, _translated, text = rest.split(b"\0", 2)
            return (zlib.decompress(text) if flags[0] else text).decode("utf-8")
        except (ValueError, IndexError, zlib.error) as error:
            raise BrokenPng(f"its {keyword!r} text is damaged") from error
    return None
