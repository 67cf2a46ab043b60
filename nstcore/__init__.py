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

# Threads that wait for others give their core away: spinning, a run beside another program takes many
# times as long.  The OpenMP of torch reads this once, when it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def __getattr__(name: str) -> Any:
    """Import the library when something of it is asked for: the jobs of a workflow need none."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import nstcore.library

    return getattr(nstcore.library, name)
