"""Whose turn it is to make a cell, where several jobs want the same at the same time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from nstcore.store.claims import Claims

log = logging.getLogger(__name__)

Waits = Callable[[str], None]
"""Called with who makes what a job waits for, in words."""


class Turns:
    """What a job makes now, and what it asks for again when everything else is made.

    Args:
        claims: of this job.
        made: links a cell, by its key, if another job has made it since this one began; whether it has.
        waits: told for whom nothing can be done, at every question.
    """

    def __init__(
        self, claims: Claims, made: Callable[[str], bool], waits: Waits | None = None
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
