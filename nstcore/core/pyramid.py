"""How large a cell's picture is, and the levels of its pyramid; no torch and no file."""

from __future__ import annotations

from collections.abc import Iterable

from nstcore.core.encoders.layers import deepest, stage
from nstcore.core.settings import Settings
from nstcore.images import fit_size

Size = tuple[int, int]
"""Width and height in pixels."""


def image_size(native: Size, settings: Settings) -> Size:
    """Width and height of a cell's picture, of a content of some native size."""
    return fit_size(native, settings.size, settings.size_by)


def levels(settings: Settings, size: Size) -> list[tuple[Size, int]]:
    """Size and iterations of every level of a picture, coarse to fine, as ``stylize`` goes through them.

    Args:
        settings: of the picture.
        size: of the finished picture.
    """
    all_levels = [
        (fit_size(size, wanted, settings.size_by), iterations)
        for wanted, iterations in zip(
            settings.level_sizes(), settings.level_iterations(), strict=True
        )
    ]
    smallest = smallest_side(settings.layers)
    return [level for level in all_levels if min(level[0]) >= smallest] or all_levels[-1:]


def smallest_side(layers: Iterable[str]) -> int:
    """Pixels that the short side of a picture needs to get through the encoder's poolings."""
    return 1 << (stage(deepest(layers)) - 1)


def area(size: Size) -> int:
    """Pixels of a picture."""
    return size[0] * size[1]
