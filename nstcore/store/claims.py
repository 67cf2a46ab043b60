"""Whose turn it is to make a cell, where several jobs want the same at the same time."""

from __future__ import annotations

import json
import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Self

from nstcore.store.cells import Store
from nstcore.store.files import write_json

log = logging.getLogger(__name__)


@cache
def process_space() -> str | None:
    """What tells apart containers of one host, whose processes have numbers of their own, if known."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:  # not Linux
        return None


def lives(pid: int) -> bool:
    """Whether a process of this machine is there, whoever's it is."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


# --- Which cells are being made: jobs that share a store leave each other's alone. ---

EVERY = 15.0
"""Seconds between two touches of a claim."""

STALE = 120.0
"""Seconds of seeing a claim unchanged after which its holder counts as gone: NFS may show a change a
minute late."""

ANCIENT = 3600.0
"""Seconds since its last touch after which a claim is stale at first sight."""


@dataclass
class Claims:
    """The cells that this process is making; leaving the context gives all of them back.

    Args:
        store: where they will stand.
        job: what a scheduler calls this process's job, for whoever waits for it.
        every, stale: see :data:`EVERY` and :data:`STALE`.
        clock: seconds that only grow.
    """

    store: Store
    job: str | None = None
    every: float = EVERY
    stale: float = STALE
    clock: Callable[[], float] = time.monotonic
    _held: set[str] = field(default_factory=set)
    _seen: dict[str, tuple[int, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        here = {"host": platform.node(), "space": process_space()}
        self._own = {**here, "pid": os.getpid(), "job": self.job}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self.release(list(self._held))

    def take(self, keys: Iterable[str], *, whole: bool = False) -> dict[str, str]:
        """Claim cells, as far as they are free.

        Args:
            keys: of the cells; those that are held already stay so.
            whole: whether to claim none where one is refused.

        Returns:
            Those that another holds, and who, in words; with ``whole`` the first of them.
        """
        refused, taken = dict[str, str](), list[str]()
        # In one order for everybody: of two that want the same cells, one comes first to all of them.
        for key in sorted(set(keys) - self._held):
            if whole and refused:
                # Looked at all the same, so that those of one holder go stale together.
                with suppress(OSError):
                    self._holder(key)
                continue
            holder = self._take(key)
            if holder is not None:
                refused[key] = holder
            else:
                taken.append(key)
        if whole and refused:
            self.release(taken)
        if self._held and self._thread is None:
            thread = threading.Thread(target=self._touch, name="claims", daemon=True)
            try:
                thread.start()
                self._thread = thread
            except RuntimeError:  # no memory for one: they go stale, and a cell may be made twice
                log.info("claims are not touched", exc_info=True)
        return refused

    def release(self, keys: Iterable[str]) -> None:
        """Give cells back, finished or not; those not held are left alone."""
        for key in keys:
            with self._lock:
                if key not in self._held:
                    continue
                self._held.remove(key)
            path = self._path(key)
            try:
                if _read(path) == self._own:
                    path.unlink(missing_ok=True)
            except OSError as error:
                log.info("%s stays: %s", path, error)

    def _path(self, key: str) -> Path:
        return self.store.path("claims", key, ".json")

    def _take(self, key: str) -> str | None:
        """Claim a cell; who holds it, or None."""
        path = self._path(key)
        try:
            if not _create(path, self._own):
                holder = self._holder(key)
                if holder is not None:
                    return holder
                log.info("%s is taken over: who held it has gone", path)
                write_json(path, self._own)
        except FileNotFoundError:
            return _words({})  # given back just now; why, the next question finds out
        except OSError as error:
            # Another user's folder, a full disk: the picture is made in spite of it.
            log.info("%s is not claimed: %s", path, error)
            return None
        self._seen.pop(key, None)
        with self._lock:
            self._held.add(key)
        return None

    def _holder(self, key: str) -> str | None:
        """Who holds a claim, in words; None if he has gone.

        Raises:
            FileNotFoundError: if there is no claim.
        """
        path = self._path(key)
        holder, changed = _read(path), path.stat().st_mtime_ns
        return None if self._is_stale(key, holder, changed) else _words(holder)

    def _is_stale(self, key: str, holder: Mapping[str, Any], changed: int) -> bool:
        is_here = all(holder.get(name) == self._own[name] for name in ("host", "space"))
        if is_here and not lives(holder["pid"]):
            return True
        if time.time() - changed / 1e9 > ANCIENT:
            return True
        now = self.clock()
        known, since = self._seen.get(key, (None, now))
        if known != changed:
            since = now
        self._seen[key] = changed, since
        return now - since > self.stale

    def _touch(self) -> None:
        """The thread: what is held stays fresh."""
        while not self._ended.wait(self.every):
            with self._lock:
                held = list(self._held)
            for key in held:
                try:
                    os.utime(self._path(key))
                except OSError as error:  # given back just now, or taken over while we slept
                    log.debug("%s was not touched: %s", key, error)


def _create(path: Path, value: Mapping[str, Any]) -> bool:
    """Make a file unless there is one; whether it was made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(value, file)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return True


def _read(path: Path) -> dict[str, Any]:
    """Who holds a claim; nothing of one that is being written, or not ours.

    Raises:
        FileNotFoundError: if nobody does.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    whole = isinstance(value, dict) and isinstance(value.get("pid"), int)
    return value if whole else {}


def _words(holder: Mapping[str, Any]) -> str:
    if not holder:
        return "another process"
    words = f"process {holder.get('pid')} on {holder.get('host')}"
    return f"{words}, job {holder['job']}" if holder.get("job") else words


# --- Whose turn it is to make a cell, where several jobs want the same at the same time. ---

WaitCallback = Callable[[str], None]
"""Called with who makes what a job waits for, in words."""


class ClaimQueue:
    """What a job makes now, and what it asks for again when everything else is made.

    Args:
        claims: of this job.
        made: links a cell, by its key, if another job has made it since this one began; whether it has.
        waits: told for whom nothing can be done, at every question.
    """

    def __init__(
        self, claims: Claims, made: Callable[[str], bool], waits: WaitCallback | None = None
    ) -> None:
        self._claims, self._made, self._waits = claims, made, waits
        self._put_off: set[str] = set()
        self._awaited: set[str] = set()

    def ask(self, keys: Sequence[str]) -> tuple[list[str], list[str]]:
        """Claim cells that would be made together.

        At the first question it is all or none, so that of two jobs that have just begun the same
        cells one gets them together.

        Returns:
            Those to make now, and those that others make; what is in neither is finished.
        """
        missing = [key for key in keys if not self._made(key)]
        first = self._put_off.isdisjoint(missing)
        refused = self._claims.take(missing, whole=first)
        if refused and first:
            self._put_off.update(missing)
            return [], missing
        # It may have been finished just before it was claimed.
        now = [key for key in missing if key not in refused and not self._made(key)]
        if refused and not now:
            holder = next(iter(refused.values()))
            if self._waits is not None:
                self._waits(holder)
            if holder not in self._awaited:
                self._awaited.add(holder)
                log.warning(
                    "waiting for %s, which makes %d of the same cells", holder, len(refused)
                )
        return now, list(refused)
