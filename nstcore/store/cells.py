"""The content-addressed store: every finished cell, once, by its key.

Snakemake does not know of it.  A job that runs again, for whatever reason, links what the store has
and computes only the rest; two runs that share a cell share its picture.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nstcore.store.files import atomic_path, file_sha256, retry_io, write_json

log = logging.getLogger(__name__)

_FICLONE = 0x40049409
"""ioctl of Linux that lets two files share their blocks until one is written to."""


@dataclass(frozen=True)
class Stored:
    """One finished cell in the store: its picture and its record."""

    key: str
    image: Path
    record: dict[str, Any]


class Store:
    """A folder of finished cells, of measurements and of style targets.

    Any number of processes, also on several machines, may use one store at the same time: files
    appear whole or not at all, and a key always stands for the same contents.

    Args:
        root: the folder; made when something is first written.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def path(self, kind: str, key: str, suffix: str) -> Path:
        """Where an object stands: ``<root>/<kind>/<first two digits>/<key><suffix>``."""
        return self.root / kind / key[:2] / f"{key}{suffix}"

    def find(self, key: str) -> Stored | None:
        """A finished cell, or None.

        The picture's checksum is verified: one that was changed in place is removed from the store,
        with a warning, and counts as missing.
        """
        record_path = self.path("cells", key, ".json")
        try:
            record = json.loads(retry_io(lambda: record_path.read_text(encoding="utf-8")))
            image = record_path.with_name(Path(record["image"]["file"]).name)
            checksum = str(record["image"]["sha256"])
        except FileNotFoundError:
            return None
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
            log.warning("%s is damaged; the cell is computed again", record_path)
            record_path.unlink(missing_ok=True)
            return None
        try:
            intact = retry_io(lambda: file_sha256(image)) == checksum
        except FileNotFoundError:
            intact = False
        if not intact:
            log.warning("%s does not match its checksum; the cell is computed again", image)
            record_path.unlink(missing_ok=True)
            image.unlink(missing_ok=True)
            return None
        return Stored(key, image, record)

    def checkpoints(self, key: str) -> Path:
        """The folder for the states of a cell that is being made; see ``nstcore.jobs.checkpoint``."""
        return self.path("checkpoints", key, "")

    def has(self, key: str) -> bool:
        """Whether a cell is finished, without a look at its picture."""
        return self.path("cells", key, ".json").is_file()

    def put(
        self, key: str, suffix: str, save: Callable[[Path], None], record: dict[str, Any]
    ) -> Stored:
        """Keep a finished cell.

        Args:
            key: its key.
            suffix: of the picture's file, ``.png`` for example.
            save: writes the picture to the path it is given.
            record: everything else; the picture's checksum is added under ``image``.
        """
        # Two processes may make the same cell at once, and their files differ in their dates: each
        # has its own, and the record that stays names the one it belongs to.
        image = self.path("cells", key, f".{secrets.token_hex(4)}{suffix}")
        # Read-only, because runs hold hard links to this very file.
        with atomic_path(image, mode=0o444) as temporary:
            save(temporary)
            checksum = file_sha256(temporary)
        record = {**record, "image": {**record["image"], "file": image.name, "sha256": checksum}}
        # The record comes last: a cell without one does not exist.
        write_json(self.path("cells", key, ".json"), record)
        return Stored(key, image, record)

    def read(self, kind: str, key: str) -> dict[str, Any] | None:
        """A JSON object of a kind such as ``metrics``, or None if it is missing or damaged."""
        try:
            path = self.path(kind, key, ".json")
            text = retry_io(lambda: path.read_text(encoding="utf-8"))
            value = json.loads(text)
        except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
            return None
        return value if isinstance(value, dict) else None

    def write(self, kind: str, key: str, value: dict[str, Any]) -> None:
        """Keep a JSON object."""
        write_json(self.path(kind, key, ".json"), value)

    def keys(self) -> Iterator[str]:
        """The keys of all finished cells, sorted."""
        for path in self.objects("cells"):
            yield path.stem

    def objects(self, kind: str) -> list[Path]:
        """The JSON files of a kind, sorted, without those that are only being written."""
        return sorted((self.root / kind).glob("*/[!.]*.json"))


def link(source: Path, destination: Path) -> str:
    """Make ``destination`` the same picture as ``source``, sharing its blocks where possible.

    Tried in turn: a reflink (an independent file that shares blocks), a hard link (the same,
    read-only file), a copy.

    Returns:
        ``reflink``, ``hardlink`` or ``copy``.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    temporary = destination.with_name(f".{secrets.token_hex(8)}.link")
    try:
        how = _clone(source, temporary) or _hard_link(source, temporary)
        if how is None:
            shutil.copyfile(source, temporary)
            how = "copy"
        os.replace(temporary, destination)
    finally:
        # rename() leaves the old name when both are links to one file already.
        temporary.unlink(missing_ok=True)
    return how


def _clone(source: Path, destination: Path) -> str | None:
    try:
        with open(source, "rb") as reader, open(destination, "wb") as writer:
            fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
    except OSError:
        destination.unlink(missing_ok=True)
        return None
    return "reflink"


def _hard_link(source: Path, destination: Path) -> str | None:
    # A link to another user's file could be neither touched nor, later, be told from our own.
    if hasattr(os, "geteuid") and source.stat().st_uid != os.geteuid():
        return None
    try:
        os.link(source, destination)
        # A workflow compares dates: what is linked now must not be older than what it is made from.
        os.utime(destination)
    except OSError as error:
        # Another file system, no links there, or too many links already.
        if error.errno in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES):
            return None
        raise
    return "hardlink"
