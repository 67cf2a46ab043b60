"""The content-addressed store: each finished cell once, under its key.

Snakemake does not know about it. A job that runs again links what the store has and computes only
the rest; two runs with the same cell share its image.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nstcore.store.files import atomic_path, file_sha256, retry_io, write_json

log = logging.getLogger(__name__)

_FICLONE = 0x40049409
"""The Linux ioctl by which two files share their blocks until one of them changes."""


@dataclass(frozen=True)
class StoredCell:
    """A finished cell: its image and its record."""

    key: str
    image: Path
    record: dict[str, Any]


class Store:
    """A folder of finished cells, metrics, checkpoints and claims.

    Any number of processes, on several machines too, may use a store at the same time: files appear
    whole or not at all, and a key always means the same contents.

    Args:
        root: the folder; created at the first write.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def path(self, kind: str, key: str, suffix: str) -> Path:
        """The path of an object: ``<root>/<kind>/<first two digits>/<key><suffix>``."""
        return self.root / kind / key[:2] / f"{key}{suffix}"

    def find(self, key: str) -> StoredCell | None:
        """Return a finished cell, or None.

        An image that does not match its checksum is removed with a warning and counts as missing.
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
        return StoredCell(key, image, record)

    def checkpoints(self, key: str) -> Path:
        """The folder of a cell's checkpoints; see `nstcore.jobs.checkpoint`."""
        return self.path("checkpoints", key, "")

    def has(self, key: str) -> bool:
        """Whether a cell is finished; its image is not verified."""
        return self.path("cells", key, ".json").is_file()

    def put(
        self, key: str, suffix: str, save: Callable[[Path], None], record: dict[str, Any]
    ) -> StoredCell:
        """Keep a finished cell.

        Args:
            key: its key.
            suffix: of the image file, such as ``.png``.
            save: writes the image to a path.
            record: the rest; the image's file name and checksum are added under ``image``.
        """
        # Two processes may make the same cell at once, and their files differ in their dates. Each
        # writes its own, and the record that stays names the one it belongs to.
        image = self.path("cells", key, f".{secrets.token_hex(4)}{suffix}")
        # Read-only, because runs hold hard links to this very file.
        with atomic_path(image, mode=0o444) as temporary:
            save(temporary)
            checksum = file_sha256(temporary)
        record = {**record, "image": {**record["image"], "file": image.name, "sha256": checksum}}
        # The record comes last: a cell without one does not exist.
        write_json(self.path("cells", key, ".json"), record)
        return StoredCell(key, image, record)

    def read(self, kind: str, key: str) -> dict[str, Any] | None:
        """Return a JSON object of a kind such as ``metrics``; None if missing or damaged."""
        path = self.path(kind, key, ".json")
        try:
            value = json.loads(retry_io(lambda: path.read_text(encoding="utf-8")))
        except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
            return None
        return value if isinstance(value, dict) else None

    def write(self, kind: str, key: str, value: dict[str, Any]) -> None:
        """Keep a JSON object."""
        write_json(self.path(kind, key, ".json"), value)

    def keys(self) -> list[str]:
        """The keys of all finished cells, sorted."""
        return [path.stem for path in self.objects("cells")]

    def objects(self, kind: str) -> list[Path]:
        """The JSON files of a kind, sorted, without those that are being written."""
        return sorted((self.root / kind).glob("*/[!.]*.json"))


def link(source: Path, destination: Path) -> str:
    """Make ``destination`` the same image as ``source``, on the same disk blocks where possible.

    It tries a reflink (an independent file that shares blocks), then a hard link (the same,
    read-only file), then a copy.

    Returns:
        ``reflink``, ``hardlink`` or ``copy``.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    temporary = destination.with_name(f".{secrets.token_hex(8)}.link")
    try:
        if _clone(source, temporary):
            how = "reflink"
        elif _hard_link(source, temporary):
            how = "hardlink"
        else:
            shutil.copyfile(source, temporary)
            how = "copy"
        os.replace(temporary, destination)
    finally:
        # rename() does nothing when both are links to one file already.
        temporary.unlink(missing_ok=True)
    return how


def _clone(source: Path, destination: Path) -> bool:
    try:
        with open(source, "rb") as reader, open(destination, "wb") as writer:
            fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
    except OSError:
        destination.unlink(missing_ok=True)
        return False
    return True


def _hard_link(source: Path, destination: Path) -> bool:
    # We could not touch a link to another user's file.
    if source.stat().st_uid != os.geteuid():
        return False
    try:
        os.link(source, destination)
        # Snakemake compares dates: an output must not be older than its inputs.
        os.utime(destination)
    except OSError as error:
        # Another file system, one without links, or too many links.
        if error.errno in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES):
            return False
        raise
    return True
