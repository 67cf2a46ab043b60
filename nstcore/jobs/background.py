"""Reading and writing files in the background, while the device computes."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, Self, TypeVar

log = logging.getLogger(__name__)

K = TypeVar("K")
T = TypeVar("T")


class BackgroundWriter:
    """Runs tasks one after another in a thread, and their callbacks in the caller's thread.

    Leaving the context waits for every task, whatever the reason for leaving, so that nothing
    finished is lost.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "background-writer")
        self._pending: deque[tuple[Future[Any], Callable[[Any], None]]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.finish(0)
        finally:
            self._thread.shutdown()

    def submit(
        self, task: Callable[[], T], callback: Callable[[T], None], *, pending: float = 0
    ) -> None:
        """Start a task, and call ``callback`` with its result at a later call, or at the end.

        At most ``pending`` tasks, this one included, are unfinished on return; see :meth:`finish`.
        """
        self._pending.append((self._thread.submit(task), callback))
        self.finish(pending)

    def finish(self, pending: float = math.inf) -> None:
        """Call the callbacks of finished tasks, and wait until at most ``pending`` are unfinished.

        Raises:
            Exception: whatever a task raised.
        """
        while self._pending and (len(self._pending) > pending or self._pending[0][0].done()):
            future, callback = self._pending.popleft()
            callback(future.result())


class Prefetcher(Generic[K, T]):
    """Reads in a thread what will be needed next; ``read`` may run in both threads at once."""

    def __init__(self, read: Callable[[K], T]) -> None:
        self._read = read
        self._thread = ThreadPoolExecutor(1, "prefetcher")
        self._started: tuple[K, Future[T]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def take(self, item: K, following: K | None = None) -> T:
        """An item, read ahead or now, while reading of the following one starts."""
        started, self._started = self._started, None
        found = started[1].result() if started and started[0] == item else self._read(item)
        if following is not None:
            try:
                self._started = following, self._thread.submit(self._read, following)
            except RuntimeError:  # no memory for a thread: it is read when it is needed
                log.info("nothing is read ahead", exc_info=True)
        return found
