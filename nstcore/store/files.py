"""Writing files so that a reader sees the old one or the new one, never half of one."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

WAITS = (0.1, 0.5, 2.0, 5.0)
"""Seconds before each further try."""


def retry_io(read: Callable[[], T], *, awaited: bool = False) -> T:
    """The result of a function that reads files, called again where a shared file system needs time.

    Args:
        read: the function.
        awaited: whether the files are known to be there, so that one that is missing will appear.

    Raises:
        OSError: that of the last try, or at once one that time does not mend.
    """
    passing = {errno.ESTALE, errno.ENOENT} if awaited else {errno.ESTALE}
    for wait in WAITS:
        try:
            return read()
        except OSError as error:
            if error.errno not in passing:
                raise
        time.sleep(wait)
    return read()


def digest(value: Any) -> str:
    """sha256 of a value's canonical JSON: sorted keys, no spaces.

    Raises:
        ValueError: if a number is infinite or not a number.
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


@contextmanager
def atomic_path(path: Path | str, *, mode: int | None = None) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is synced and takes its place.

    The temporary file keeps the suffix of ``path``, so that libraries which choose a format by
    suffix choose the right one.  On an exception the temporary file is removed and ``path`` is left
    as it was.  Missing parent folders are made.

    Args:
        path: where the finished file shall stand.
        mode: permission bits of the finished file (default: what the umask gives).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem[:100]}.{secrets.token_hex(6)}.tmp{path.suffix}")
    try:
        yield temporary
        if mode is None and stat.S_IMODE(temporary.stat().st_mode) == 0o600:
            # Some libraries write for the owner alone, and a store may be shared.
            mode = _usual_mode(temporary)
        if mode is not None:
            temporary.chmod(mode)
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _usual_mode(path: Path) -> int:
    """What the umask gives to a new file; to ask for the umask itself is to change it for all threads."""
    probe = path.with_suffix(".mode")
    try:
        probe.touch()
        return stat.S_IMODE(probe.stat().st_mode)
    finally:
        probe.unlink(missing_ok=True)


def write_bytes(path: Path | str, data: bytes, *, mode: int | None = None) -> None:
    """Write ``data`` to ``path`` atomically."""
    with atomic_path(path, mode=mode) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path | str, text: str) -> None:
    """Write ``text`` as UTF-8 with Unix line ends to ``path`` atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path | str, value: Any) -> None:
    """Write ``value`` as indented JSON to ``path`` atomically.

    Raises:
        ValueError: for NaN or infinity, which JSON cannot hold.
    """
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def file_sha256(path: Path | str) -> str:
    """sha256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
