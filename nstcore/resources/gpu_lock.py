"""Lets jobs side by side on a machine with several GPUs take one each.

Snakemake counts GPUs but hands out no device ids, so all jobs would compute on the first one. They
agree through locks instead: each GPU has one lock file for each job on it, in a folder of the user's
on this machine. The kernel frees the lock of a process that ends, even of a killed one.

This module does not import torch: the caller says which GPUs there are.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)

FOLDER_VARIABLE = "NST_GPU_LOCKS"
"""Environment variable with the folder of the locks."""


@dataclass
class Claim:
    """A GPU that this process computes on, until `release` or the end of the process.

    Attributes:
        index: of the GPU among those that were offered.
        others: how many other processes used it when it was taken.
    """

    index: int
    others: int
    _lock: FileLock | None = None

    def release(self) -> None:
        """Free the GPU; a second call does nothing."""
        if self._lock is not None:
            self._lock.release()


def lock_folder() -> Path:
    """Return this user's lock folder on this machine; create it for the user alone if missing.

    ``$NST_GPU_LOCKS``, else a folder in ``$XDG_RUNTIME_DIR``, else one in the temporary folder.

    Raises:
        OSError: it cannot be created, or it belongs to another user.
    """
    chosen, runtime = os.environ.get(FOLDER_VARIABLE), os.environ.get("XDG_RUNTIME_DIR")
    if chosen:
        folder = Path(chosen)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder
    if runtime and os.access(runtime, os.W_OK):
        folder = Path(runtime) / "nstcore-gpus"
    else:
        folder = Path(tempfile.gettempdir()) / f"nstcore-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.lstat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user")
    return folder


def claim(identities: Sequence[str], folder: Path) -> Claim:
    """Take the GPU with the fewest jobs, the first among equals. It never waits for a GPU.

    Args:
        identities: at least one name, one for each GPU, the same in every process.
        folder: of the locks.

    Raises:
        OSError: files there cannot be locked.
    """
    # One process chooses at a time: two that look at once would both find the same GPU free.
    with _lock(folder / "choosing.lock", timeout=-1):
        used = [_count_held(folder, identity) for identity in identities]
        index = min(range(len(used)), key=used.__getitem__)
        for place in itertools.count():
            lock = _try_lock(folder / f"{_file_name(identities[index])}.{place}.lock")
            if lock is not None:
                return Claim(index, used[index], lock)
    raise AssertionError("unreachable")


def choose(identities: Sequence[str]) -> Claim:
    """Take a GPU by `claim` in the user's folder and log it; the first GPU if locks do not work."""
    if len(identities) == 1:
        return Claim(0, 0)
    try:
        chosen = claim(identities, lock_folder())
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        log.warning("GPUs cannot be shared out between jobs, the first one is used: %s", error)
        return Claim(0, 0)
    if chosen.others:
        log.warning(
            "all %d GPUs are taken; number %d is shared with %d other jobs. "
            "`--resources gpu=%d` starts no more jobs than there are GPUs",
            len(identities),
            chosen.index,
            chosen.others,
            len(identities),
        )
    else:
        log.info("GPU %d of %d is free and taken", chosen.index, len(identities))
    return chosen


def _file_name(identity: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]", "_", identity)


def _lock(path: Path, timeout: float) -> FileLock:
    # Any thread may release it.
    return FileLock(path, timeout, mode=0o600, thread_local=False)


def _try_lock(path: Path) -> FileLock | None:
    """Lock a file, or return None while another process holds it."""
    lock = _lock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return None
    return lock


def _count_held(folder: Path, identity: str) -> int:
    """Count the running processes on one GPU."""
    held = 0
    for path in folder.glob(f"{_file_name(identity)}.*.lock"):
        lock = _try_lock(path)
        if lock is None:
            held += 1
        else:
            lock.release()
    return held
