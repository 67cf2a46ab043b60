"""The page as a single file: its pictures inside it, so that it can be moved and mailed alone."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

log = logging.getLogger(__name__)

SingleFile = bool | Literal["auto"]

LIMIT = 8_000_000
"""Most bytes that a page takes in by itself.  Base64 makes 4/3 of them, and mails of more than some
10 MB are often refused."""

_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
}


def inlined(
    wanted: SingleFile, texts: int, small: Mapping[str, Path], full: Mapping[str, Path]
) -> dict[str, str] | None:
    """The pictures that the page shall hold.

    Either all, or thumbnails only, or none: a page of which some pictures open and others do not
    would be a riddle.

    Args:
        wanted: whether to hold all; ``auto`` for what is small enough.
        texts: size in bytes of curves and records, which come along.
        small: name -> file of the thumbnails.
        full: the same of the pictures themselves.

    Returns:
        Name -> ``data:`` URI, None for a page that holds nothing.
    """
    if wanted is False:
        return None
    everything = {**small, **full}
    if wanted is True or texts + _size(everything) <= LIMIT:
        chosen: Mapping[str, Path] = everything
    elif texts + _size(small) <= LIMIT:
        chosen = small
    else:
        return None
    uris = {name: data_uri(path) for name, path in chosen.items()}
    return {name: uri for name, uri in uris.items() if uri is not None}


def data_uri(path: Path) -> str | None:
    """A picture as a URI that holds it; None for one that no browser shows or that is not there."""
    kind = _TYPES.get(path.suffix.lower())
    if kind is None:
        return None
    try:
        data = path.read_bytes()
    except OSError as error:
        log.warning("report: %s", error)
        return None
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _size(files: Mapping[str, Path]) -> int:
    total = 0
    for path in files.values():
        try:
            total += path.stat().st_size
        except OSError:
            continue
    return total
