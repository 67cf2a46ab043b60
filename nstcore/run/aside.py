"""Work on files beside the work on the device."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Aside:
    """Runs one piece of work after another in a thread, and what follows from each in the caller's.

    Leaving the context waits for everything that was begun, whatever the reason for leaving, so that
    nothing finished is lost.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "aside")
        self._under_way: deque[tuple[Future[Any], Callable[[Any], None]]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._wait(0)
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
        self._wait(behind)

    def _wait(self, behind: int) -> None:
        """Follow up what is done, and wait until no more than so much is under way."""
        while self._under_way and (len(self._under_way) > behind or self._under_way[0][0].done()):
            future, then = self._under_way.popleft()
            then(future.result())
