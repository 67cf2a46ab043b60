"""Files on shared disks: atomic writes, retried reads, checksums."""

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

RETRY_DELAYS = (0.1, 0.5, 2.0, 5.0)
"""Seconds before each retry."""


def retry_io(read: Callable[[], T], *, expected: bool = False) -> T:
    """Call a function that reads files, again after a while if a shared file system lags behind.

    Args:
        read: the function.
        expected: whether the files exist for sure, so that a missing one will appear.
    """
    transient = {errno.ESTALE, errno.ENOENT} if expected else {errno.ESTALE}
    for wait in RETRY_DELAYS:
        try:
            return read()
        except OSError as error:
            if error.errno not in transient:
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
def atomic_path(path: Path | str, *, mode: int | None = None, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success sync it and rename it to ``path``.

    So a reader sees the old file or the new one, never half of one. The temporary file keeps the
    suffix, by which libraries choose a format. On an exception it is removed and ``path`` stays as
    it was. Missing parent folders are created. ``mode`` are permission bits (default: by the umask).
    Without ``sync`` a crash of the machine may lose the file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem[:100]}.{secrets.token_hex(6)}.tmp{path.suffix}")
    try:
        yield temporary
        if mode is None and stat.S_IMODE(temporary.stat().st_mode) == 0o600:
            # Some libraries write for the owner alone, but a store may be shared.
            mode = _usual_mode(temporary)
        if mode is not None:
            temporary.chmod(mode)
        if sync:
            descriptor = os.open(temporary, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _usual_mode(path: Path) -> int:
    """The mode of a new file. Reading the umask itself would change it for all threads."""
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
