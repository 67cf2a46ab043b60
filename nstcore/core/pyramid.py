"""The size of a cell's image and the levels of its pyramid, without torch."""

from __future__ import annotations

from nstcore.core.settings import Settings
from nstcore.images import fit_size

Size = tuple[int, int]
"""Width and height in pixels."""


def image_size(native: Size, settings: Settings) -> Size:
    """Width and height of a cell's image, from the size of its content's file."""
    return fit_size(native, settings.size, settings.size_by)


def levels(settings: Settings, size: Size) -> list[tuple[Size, int]]:
    """Size and iterations of every level of an image, coarse to fine; the last one has its full size.

    Coarse levels that are too small for the encoder, such as those of a panorama, are left out.
    """
    all_levels = [
        (fit_size(size, wanted, settings.size_by), iterations)
        for wanted, iterations in zip(
            settings.level_sizes(), settings.level_iterations(), strict=True
        )
    ]
    # By area, a fitted image fitted again may become a pixel wider.
    all_levels[-1] = (size, all_levels[-1][1])
    smallest = settings.encoder_spec.stride(*settings.layers)
    return [level for level in all_levels if min(level[0]) >= smallest] or all_levels[-1:]


def area(size: Size) -> int:
    """Number of pixels."""
    return size[0] * size[1]
