"""Reading what another machine has just written to a shared file system.

NFS shows a new file late, and calls a file stale that was replaced while it was open.  Either passes
within seconds.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

WAITS = (0.1, 0.5, 2.0, 5.0)
"""Seconds before each further try."""


def patiently(read: Callable[[], T], *, awaited: bool = False) -> T:
    """The result of a function that reads files, called again where a shared file system needs time.

    Args:
        read: the function.
        awaited: whether the files are known to be there, so that one that is missing will appear.

    Raises:
        OSError: that of the last try, or at once one that time does not mend.
    """
    passing = {errno.ESTALE, errno.ENOENT} if awaited else {errno.ESTALE}
    for wait in WAITS:
        try:
            return read()
        except OSError as error:
            if error.errno not in passing:
                raise
        time.sleep(wait)
    return read()
