"""Claims: which job makes a cell when several jobs want the same one at the same time."""

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
def pid_namespace() -> str | None:
    """The namespace of this process's id, which tells containers of one host apart; None if unknown."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:  # not Linux
        return None


def process_exists(pid: int) -> bool:
    """Whether a process of any user runs on this machine."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


REFRESH_SECONDS = 15.0
"""A holder touches its claims this often."""

STALE_SECONDS = 120.0
"""A claim that was seen unchanged for so long is stale: its holder has ended. NFS may show a change a
minute late."""

EXPIRY_SECONDS = 3600.0
"""A claim whose last touch is so long ago is stale at first sight."""


@dataclass
class Claims:
    """The cells that this process is making; leaving the context releases them.

    Args:
        store: the store they are made for.
        job: the scheduler's id of this job, for the messages of jobs that wait for it.
        refresh, stale: see `REFRESH_SECONDS` and `STALE_SECONDS`.
        clock: a monotonic clock, in seconds.
    """

    store: Store
    job: str | None = None
    refresh: float = REFRESH_SECONDS
    stale: float = STALE_SECONDS
    clock: Callable[[], float] = time.monotonic
    _held: set[str] = field(default_factory=set)
    _seen: dict[str, tuple[int, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        here = {"host": platform.node(), "space": pid_namespace()}
        self._own = {**here, "pid": os.getpid(), "job": self.job}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self.release(list(self._held))

    def take(self, keys: Iterable[str], *, whole: bool = False) -> dict[str, str]:
        """Claim the cells that are free.

        Args:
            keys: of the cells; those that this process holds already count as claimed.
            whole: claim all or none.

        Returns:
            Key -> description of the holder, for cells of other jobs; with ``whole`` only the first.
        """
        refused, taken = dict[str, str](), list[str]()
        # Everybody goes in the same order, so that of two jobs with the same cells one gets them all.
        for key in sorted(set(keys) - self._held):
            if whole and refused:
                # Look at the others too, so that all claims of one holder go stale together.
                with suppress(OSError):
                    self._holder(key)
                continue
            if (holder := self._take(key)) is None:
                taken.append(key)
            else:
                refused[key] = holder
        if whole and refused:
            self.release(taken)
        if self._held and self._thread is None:
            thread = threading.Thread(target=self._touch, name="claims", daemon=True)
            try:
                thread.start()
                self._thread = thread
            except RuntimeError:  # no memory: the claims go stale, and a cell may be made twice
                log.info("claims are not touched", exc_info=True)
        return refused

    def release(self, keys: Iterable[str]) -> None:
        """Release cells, finished or not; those of other jobs are left alone."""
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
                log.info("%s was not removed: %s", path, error)

    def _path(self, key: str) -> Path:
        return self.store.path("claims", key, ".json")

    def _take(self, key: str) -> str | None:
        """Claim a cell; return a description of the holder if that is another job."""
        path = self._path(key)
        try:
            if not _create(path, self._own):
                if (holder := self._holder(key)) is not None:
                    return holder
                log.info("%s is taken over: its holder has ended", path)
                write_json(path, self._own)
        except FileNotFoundError:
            return _describe({})  # released just now; the next request will tell why
        except OSError as error:
            # Another user's folder or a full disk: make the cell without a claim.
            log.info("%s is not claimed: %s", path, error)
            return None
        self._seen.pop(key, None)
        with self._lock:
            self._held.add(key)
        return None

    def _holder(self, key: str) -> str | None:
        """Describe the holder of a claim; None if the claim is stale."""
        path = self._path(key)
        holder, changed = _read(path), path.stat().st_mtime_ns
        return None if self._is_stale(key, holder, changed) else _describe(holder)

    def _is_stale(self, key: str, holder: Mapping[str, Any], changed: int) -> bool:
        same_machine = all(holder.get(name) == self._own[name] for name in ("host", "space"))
        if same_machine and not process_exists(holder["pid"]):
            return True
        if time.time() - changed / 1e9 > EXPIRY_SECONDS:
            return True
        now = self.clock()
        known, since = self._seen.get(key, (None, now))
        if known != changed:
            since = now
        self._seen[key] = changed, since
        return now - since > self.stale

    def _touch(self) -> None:
        """The background thread: touch the claims that are held."""
        while not self._ended.wait(self.refresh):
            with self._lock:
                held = list(self._held)
            for key in held:
                try:
                    os.utime(self._path(key))
                except OSError as error:  # released just now, or taken over while we slept
                    log.debug("%s was not touched: %s", key, error)


def _create(path: Path, value: Mapping[str, Any]) -> bool:
    """Create a file; False if it exists."""
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
    """Who holds a claim; empty for one that is being written or that is damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    valid = isinstance(value, dict) and isinstance(value.get("pid"), int)
    return value if valid else {}


def _describe(holder: Mapping[str, Any]) -> str:
    if not holder:
        return "another process"
    job = f", job {holder['job']}" if holder.get("job") else ""
    return f"process {holder.get('pid')} on {holder.get('host')}{job}"


WaitCallback = Callable[[str], None]
"""Called with a description of the job that another job waits for."""


class ClaimQueue:
    """Decides which cells a job makes now, and which it asks for again later.

    Args:
        claims: of this job.
        link_finished: links the cell of a key if another job has finished it; returns whether it has.
        on_wait: called whenever there is nothing to do but to wait for another job.
    """

    def __init__(
        self,
        claims: Claims,
        link_finished: Callable[[str], bool],
        on_wait: WaitCallback | None = None,
    ) -> None:
        self._claims, self._link_finished, self._on_wait = claims, link_finished, on_wait
        self._deferred: set[str] = set()
        self._reported: set[str] = set()

    def ask(self, keys: Sequence[str]) -> tuple[list[str], list[str]]:
        """Claim cells that are to be made together.

        The first request claims all or none: of two jobs that start with the same cells at the same
        time, one gets all of them.

        Returns:
            The cells to make now, and those that other jobs are making. The rest is finished.
        """
        missing = [key for key in keys if not self._link_finished(key)]
        first = self._deferred.isdisjoint(missing)
        refused = self._claims.take(missing, whole=first)
        if refused and first:
            self._deferred.update(missing)
            return [], missing
        # Another job may have finished a cell just before it was claimed.
        now = [key for key in missing if key not in refused and not self._link_finished(key)]
        if refused and not now:
            holder = next(iter(refused.values()))
            if self._on_wait is not None:
                self._on_wait(holder)
            if holder not in self._reported:
                self._reported.add(holder)
                log.warning(
                    "waiting for %s, which makes %d of the same cells", holder, len(refused)
                )
        return now, list(refused)
