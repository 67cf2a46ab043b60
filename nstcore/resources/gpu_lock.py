"""Several jobs on a machine with several GPUs: each takes its own.

Snakemake counts GPUs but hands out no device ids, so that jobs started side by side would all compute
on the first one.  They agree by locks: every GPU has a row of lock files, one for each job on
it, in a folder of the user's on this machine.  The kernel gives a lock back when its process ends,
however it ends.

This module knows no torch: what GPUs there are is told to it.
"""

from __future__ import annotations

import fcntl
import itertools
import logging
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

FOLDER_VARIABLE = "NST_GPU_LOCKS"
"""Environment variable with the folder of the locks."""


@dataclass
class Claim:
    """A GPU that this process computes on, held until :meth:`release` or the end of the process.

    Attributes:
        index: which of the GPUs that were asked for.
        others: how many other processes were on it when it was taken.
    """

    index: int
    others: int
    _descriptor: int | None = None

    def release(self) -> None:
        """Give the GPU back; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def lock_folder() -> Path:
    """Where this user's locks stand on this machine: made for the user alone if it is missing.

    ``$NST_GPU_LOCKS``, else a folder in ``$XDG_RUNTIME_DIR``, else one in the folder for temporary files.

    Raises:
        OSError: if it cannot be made, or in the shared folder belongs to someone else.
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
    """Take the GPU with the fewest jobs on it, the first of equals.  Never waits for one.

    A job that comes first has a GPU to itself; when every GPU is taken, the least used is shared.

    Args:
        identities: one name for each GPU, the same in every process that sees it; at least one.
        folder: of the locks.

    Raises:
        OSError: if files there cannot be locked.
    """
    with _alone(folder):
        used = [sum(1 for _ in _held(folder, identity)) for identity in identities]
        index = min(range(len(used)), key=used.__getitem__)
        for place in itertools.count():
            descriptor = _try_lock(_lock_file(folder, identities[index], place))
            if descriptor is not None:
                return Claim(index, used[index], descriptor)
    raise AssertionError("unreachable")


def choose(identities: Sequence[str]) -> Claim:
    """:func:`claim` in the user's folder, with a word to the log; without locks the first GPU."""
    if len(identities) == 1:
        return Claim(0, 0)
    try:
        chosen = claim(identities, lock_folder())
    except OSError as error:
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


def _lock_file(folder: Path, identity: str, place: int) -> Path:
    return folder / f"{re.sub(r'[^A-Za-z0-9-]', '_', identity)}.{place}.lock"


def _try_lock(path: Path) -> int | None:
    """A descriptor that holds the lock, or None while another process holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _held(folder: Path, identity: str) -> Iterator[int]:
    """The places of one GPU that living processes hold."""
    for place in itertools.count():
        path = _lock_file(folder, identity, place)
        if not path.exists():
            return
        descriptor = _try_lock(path)
        if descriptor is None:
            yield place
        else:
            os.close(descriptor)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process chooses at a time, else two that look at once would take the same GPU for free."""
    descriptor = os.open(
        folder / "choosing.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
    )
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
