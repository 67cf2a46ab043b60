"""The sRGB profile that is embedded in what we write.

Built here, byte for byte the same everywhere: littleCMS puts the clock into the profiles that it
makes, and two equal pictures would become two different files.
"""

from __future__ import annotations

import struct

# Bradford-adapted to D50, as in the ICC's own sRGB v4 profiles.
_COLORANTS = {
    b"rXYZ": (0.43607, 0.22249, 0.01392),
    b"gXYZ": (0.38515, 0.71687, 0.09708),
    b"bXYZ": (0.14307, 0.06061, 0.71410),
}
_D50 = (0.9642, 1.0, 0.8249)
_D65_TO_D50 = (
    (1.04788, 0.02292, -0.05022),
    (0.02959, 0.99048, -0.01707),
    (-0.00925, 0.01508, 0.75168),
)
# IEC 61966-2-1: ((x + 0.055) / 1.055)^2.4 from 0.04045 on, x / 12.92 below.
_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def _fixed(*values: float) -> bytes:
    """s15Fixed16Number."""
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def _text(text: str) -> bytes:
    """MultiLocalizedUnicodeType with one record, en-US."""
    encoded = text.encode("utf-16-be")
    return struct.pack(">4sIII2s2sII", b"mluc", 0, 1, 12, b"en", b"US", len(encoded), 28) + encoded


def build_srgb_profile() -> bytes:
    """An ICC v4.3 matrix/curve display profile of sRGB (ICC.1:2010, tables 15 and 23)."""
    tags: dict[bytes, bytes] = {
        b"desc": _text("sRGB"),
        b"cprt": _text("CC0"),
        b"wtpt": b"XYZ \0\0\0\0" + _fixed(*_D50),
        b"chad": b"sf32\0\0\0\0" + b"".join(_fixed(*row) for row in _D65_TO_D50),
    }
    for name, xyz in _COLORANTS.items():
        tags[name] = b"XYZ \0\0\0\0" + _fixed(*xyz)
    curve = b"para\0\0\0\0" + struct.pack(">HH", 3, 0) + _fixed(*_CURVE)
    tags.update(dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))

    directory = struct.pack(">I", len(tags))
    body = b""
    start = 128 + 4 + 12 * len(tags)
    places: dict[bytes, int] = {}  # the three curves share one place
    for name, tag in tags.items():
        if tag not in places:
            places[tag] = start + len(body)
            body += tag + bytes(-len(tag) % 4)
        directory += struct.pack(">4sII", name, places[tag], len(tag))

    header = struct.pack(
        ">I4sI4s4s4s6H4s4sI4sIQI",
        start + len(body),
        b"\0\0\0\0",
        0x04300000,
        b"mntr",
        b"RGB ",
        b"XYZ ",
        *(2026, 1, 1, 0, 0, 0),
        b"acsp",
        b"\0\0\0\0",
        0,
        b"\0\0\0\0",
        0,
        0,
        0,
    )
    header += _fixed(*_D50)
    return header.ljust(128, b"\0") + directory + body


SRGB_PROFILE = build_srgb_profile()
"""The profile's bytes."""
