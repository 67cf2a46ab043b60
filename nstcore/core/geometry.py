"""The sizes at which an image is computed: its own, its pyramid's levels and its tiles; without torch."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from nstcore.core.settings import Settings
from nstcore.images import fit_size

Size = tuple[int, int]
"""Width and height in pixels."""

Window = tuple[slice, ...]
"""Rows and columns."""


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


# --- Tiles: parts of an image, and how far from a cut activations change ---


@dataclass(frozen=True)
class Tile:
    """One part of an image, in pixels of the image.

    Attributes:
        outer: the rows and columns that are computed.
        core: the rows and columns that the tile stands for, inside ``outer``.
    """

    outer: Window
    core: Window

    def at(self, stride: int) -> Window:
        """The core in the activations of the whole image at a layer with this stride."""
        return tuple(slice(span.start // stride, span.stop // stride) for span in self.core)

    def within(self, stride: int) -> Window:
        """The core in the activations of the outer window at a layer with this stride."""
        return tuple(
            slice((core.start - outer.start) // stride, (core.stop - outer.start) // stride)
            for core, outer in zip(self.core, self.outer, strict=True)
        )


def tile_grid(height: int, width: int, tile: int, halo: int, stride: int) -> list[Tile]:
    """Cut an image into tiles whose cores partition it.

    A tile at the image's border has no halo on that side; its core is larger by that much, so that
    all outer windows are about equal and none is larger than ``tile + 2 * halo`` px.

    Args:
        height, width: of the image in px.
        tile: greatest side of a core inside the image in px; what exceeds a multiple of
            ``stride`` is not used.
        halo: px that an outer window extends beyond its core, a multiple of ``stride``.
        stride: where cores and outer windows may start: at its multiples.

    Returns:
        Tiles row by row.

    Raises:
        ValueError: if the tile is smaller than two strides, or the halo not a multiple of the stride.
    """
    # With one stride only, the rest at the end of the image would fit nowhere.
    if tile < 2 * stride:
        raise ValueError(
            f"a tile of {tile} px is too small: its side must be at least {2 * stride} px"
        )
    if halo < 0 or halo % stride:
        raise ValueError(f"a halo of {halo} px is not a multiple of {stride} px")
    rows, columns = (_cut(length, tile, halo, stride) for length in (height, width))
    return [Tile((row[0], column[0]), (row[1], column[1])) for row in rows for column in columns]


def _cut(length: int, tile: int, halo: int, stride: int) -> list[tuple[slice, slice]]:
    """Cut one side of an image into pairs of outer window and core.

    The first and the last core reach to the image's border in place of a halo: that much of the side is
    reserved for them and the rest divided evenly.  Odd strides go to the first tiles, and what is
    left of a stride at the end, which poolings may drop, to the last.
    """
    rest = length - 2 * halo
    count = max(-(-rest // (tile // stride * stride)), 1)
    starts = [halo + stride * -(-i * (rest // stride) // count) for i in range(1, count)]
    return [
        (slice(max(start - halo, 0), min(stop + halo, length)), slice(start, stop))
        for start, stop in pairwise([0, *starts, length])
    ]
