"""Work on files beside the work on the device."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, Self, TypeVar

log = logging.getLogger(__name__)

K = TypeVar("K")
T = TypeVar("T")


class BackgroundWriter:
    """Runs one piece of work after another in a thread, and what follows from each in the caller's.

    Leaving the context waits for everything that was begun, whatever the reason for leaving, so that
    nothing finished is lost.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "aside")
        self._under_way: deque[tuple[Future[Any], Callable[[Any], None]]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.follow_up(0)
        finally:
            self._thread.shutdown()

    def work(self, begin: Callable[[], T], then: Callable[[T], None], *, behind: int = 0) -> None:
        """Begin something.

        Args:
            begin: runs in the thread.
            then: is called in this thread with what ``begin`` returned: at a later call, or at the end.
            behind: how many pieces of work, this one included, may be under way on return.

        Raises:
            Exception: whatever an earlier piece of work, or this one, raised.
        """
        self._under_way.append((self._thread.submit(begin), then))
        self.follow_up(behind)

    def follow_up(self, behind: int) -> None:
        """Follow up what is done, and wait until no more than so much is under way.

        Raises:
            Exception: whatever a piece of work raised.
        """
        while self._under_way and (len(self._under_way) > behind or self._under_way[0][0].done()):
            future, then = self._under_way.popleft()
            then(future.result())


class Prefetcher(Generic[K, T]):
    """Reads in a thread what will be wanted next.

    Args:
        read: what it reads, by its name; called in either thread, perhaps in both at once.
    """

    def __init__(self, read: Callable[[K], T]) -> None:
        self._read = read
        self._thread = ThreadPoolExecutor(1, "ahead")
        self._begun: tuple[K, Future[T]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def take(self, wanted: K, following: K | None = None) -> T:
        """What was begun before, or else is read now.

        Args:
            wanted: its name.
            following: the name of what to begin on; None for nothing.

        Raises:
            Exception: whatever reading raised.
        """
        begun, self._begun = self._begun, None
        found = begun[1].result() if begun and begun[0] == wanted else self._read(wanted)
        if following is not None:
            try:
                self._begun = following, self._thread.submit(self._read, following)
            except RuntimeError:  # no memory for a thread: it is read when its turn comes
                log.info("nothing is read ahead", exc_info=True)
        return found
