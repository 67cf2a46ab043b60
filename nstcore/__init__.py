"""Neural style transfer by optimization, for grids of images.

Gatys, Ecker & Bethge, *A Neural Algorithm of Artistic Style*, arXiv 1508.06576.

The library in one line: ``save_image(stylize(load_image("a.jpg"), load_image("b.jpg")), "c.png")``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nstcore.core.settings import Settings
    from nstcore.library import load_encoder, load_image, open_run, save_image, stylize

__all__ = ["Settings", "load_encoder", "load_image", "open_run", "save_image", "stylize"]

__version__ = "0.1.0"


def _limit_spinning() -> None:
    """Have threads that wait for others spin for a little while, or not at all where cores are wanted.

    By default they spin so long that a run beside other programs takes many times as long; without any,
    a run by itself is slower by half (``benchmarks/threads.py``).  The OpenMP of torch reads this once,
    when it is loaded.  What the user has set stands.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
        busy = _runnable() - 1 >= (os.cpu_count() or 1) / 2
        os.environ["OMP_WAIT_POLICY" if busy else "GOMP_SPINCOUNT"] = "PASSIVE" if busy else "30000"


def _runnable() -> int:
    """How many threads of this machine want a core just now, this one included; 0 if unknown."""
    try:
        with open("/proc/loadavg", encoding="ascii") as file:
            return int(file.read().split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        return 0


_limit_spinning()


def __getattr__(name: str) -> Any:
    """Import the library when something of it is asked for: the jobs of a workflow need none."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import nstcore.library

    return getattr(nstcore.library, name)
