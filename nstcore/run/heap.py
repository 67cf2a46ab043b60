"""Memory that the process has freed stays with it and is used again.

By default glibc gives every block above some megabytes back to the system when it is freed, and
gets fresh pages for the next one, which the system has to fill with zeros first.  A descent asks for
the same blocks at every iteration: with its pages kept an evaluation takes up to a quarter less time
(``benchmarks/results/evaluation.md``).

A picture so large that it is computed in tiles has few blocks that are larger than all others: its own
copies.  They come and go between smaller ones, and a heap that keeps everything is full of holes into
which none of them fits.  There, large blocks are the system's again.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_THRESHOLD = -3
_M_MMAP_MAX = -4
_LARGEST_INT = 2**31 - 1
_STEP = 64 << 20
"""Bytes by which the heap grows: the fewer calls of the system the better."""

_LARGE = 32 << 20
"""Bytes of a large block: the most that glibc takes for its threshold."""

_MANY = 1 << 16
"""Blocks that may stand outside of the heap: glibc's own default."""


@cache
def _libc() -> Any:
    """The C library, if it is glibc."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None


def keep_freed_memory(*, large: bool = True) -> bool:
    """Have the C library keep what is freed from now on; returns whether it can.

    Called before the first large tensor: blocks that it got before are given back as they were.

    Args:
        large: keep blocks of 32 MB and more, too.
    """
    library = _libc()
    if library is None:
        return False
    options = {
        _M_MMAP_MAX: 0 if large else _MANY,
        _M_TRIM_THRESHOLD: _LARGEST_INT,
        _M_TOP_PAD: _STEP,
    }
    if not large:
        options[_M_MMAP_THRESHOLD] = _LARGE
    done = [library.mallopt(option, value) for option, value in options.items()]
    return all(done)


def give_back_freed_memory() -> None:
    """Return to the system what is free now: before other pictures, or where memory ran out."""
    library = _libc()
    if library is not None:
        library.malloc_trim(0)
