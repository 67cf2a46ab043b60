"""Copies of what many jobs read, on a node's own disk.

A copy is made once a node and a version of the file, under a lock, and appears whole or not at all.
Where that fails, for a full disk or a folder that is not there, the file is read where it stands.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import string
from collections.abc import Mapping
from pathlib import Path

from nstcore.store.files import atomic_path, file_sha256

log = logging.getLogger(__name__)

FOLDER = "nst-scratch"


class Scratch:
    """A folder for copies.

    Args:
        folder: as in the configuration, perhaps with ``$VARIABLES``; None for no copies.
        environment: what the variables stand for.
    """

    def __init__(self, folder: str | None, environment: Mapping[str, str] = os.environ) -> None:
        self.root: Path | None = None
        self._copies: dict[Path, Path] = {}
        if folder is None:
            return
        try:
            base = Path(string.Template(folder).substitute(environment)).expanduser()
        except (KeyError, ValueError) as error:
            log.warning("cluster.scratch: %s is not set here, nothing is copied", error)
            return
        # Others may not exchange what we read: a folder of this user alone.
        self.root = base / f"{FOLDER}-{os.getuid()}"

    def local(self, path: Path) -> Path:
        """A copy of a file on this node, or the file itself where there can be none."""
        root = self.root  # another thread may find out that nothing can be copied
        if root is None:
            return path
        try:
            if path not in self._copies:
                self._copies[path] = _copy(path, root)
            return self._copies[path]
        except OSError as error:
            log.warning("%s is read where it stands, not from %s: %s", path, root, error)
            self.root = None
            return path


def _copy(path: Path, root: Path) -> Path:
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if root.stat().st_uid != os.getuid():
        raise PermissionError(f"{root} belongs to another user")
    facts = path.stat()
    # Another version of the file is another copy; it keeps the suffix, by which readers go.
    version = f"{path.resolve()}\0{facts.st_size}\0{facts.st_mtime_ns}"
    name = hashlib.sha256(version.encode()).hexdigest()[:32]
    copy = root / f"{name}{path.suffix}"
    with open(root / f"{name}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (copy.is_file() and copy.stat().st_size == facts.st_size):
            with atomic_path(copy) as temporary:
                shutil.copyfile(path, temporary)
                if file_sha256(temporary) != file_sha256(path):
                    raise OSError(f"the copy of {path} differs from it")
    return copy
