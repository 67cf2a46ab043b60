"""Guides: which pixels of an image belong to which region.

A guide is an image in flat colours, one for each region, which gives its name (``#rrggbb``); or a
greyscale image for each region, white where the region is, with names of one's own.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nstcore.errors import ImageError, StoreError
from nstcore.images.image import quantize, to_float
from nstcore.images.reading import decode
from nstcore.images.resize import fit_size
from nstcore.store.files import write_bytes

MOST_REGIONS = 32
"""More colours than this are taken for a photograph or for smoothed edges."""

NEAR = 32
"""Two colours that differ less than this in every channel (of 255) are meant to be one."""


@dataclass(frozen=True, eq=False)
class Regions:
    """The regions of one image.

    Attributes:
        names: sorted.
        masks: (R, H, W) uint8, 255 where a pixel belongs to the region wholly.
    """

    names: tuple[str, ...]
    masks: NDArray[np.uint8]

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.masks.shape[2])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.masks.shape[1])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of names, size and masks, as 64 hex digits."""
        digest = hashlib.sha256(f"{self.names}:{self.masks.shape}:".encode())
        digest.update(np.ascontiguousarray(self.masks).data)
        return digest.hexdigest()

    @property
    def areas(self) -> dict[str, float]:
        """Name -> share of the image."""
        shares = self.masks.mean((1, 2), dtype=np.float64) / 255
        return dict(zip(self.names, shares.tolist(), strict=True))

    def scaled(self, size_wh: tuple[int, int]) -> NDArray[np.float32]:
        """Masks (R, H', W') in [0, 1] at another size: what share of a pixel is in the region."""
        planes = [Image.fromarray(mask.astype(np.float32) / np.float32(255)) for mask in self.masks]
        if size_wh != (self.width, self.height):
            planes = [plane.resize(size_wh, Image.Resampling.BOX) for plane in planes]
        return np.stack([np.asarray(plane) for plane in planes])

    def at(self, size_wh: tuple[int, int]) -> Regions:
        """The same at another size, to 8 bits."""
        return Regions(self.names, np.rint(self.scaled(size_wh) * 255).astype(np.uint8))


def read_guide(guide: str | Mapping[str, str]) -> Regions:
    """Read a guide: a file in flat colours, or region -> greyscale file.

    Raises:
        ImageError: a file cannot be read, its colours are not flat, or masks differ in size.
    """
    if isinstance(guide, str):
        return _from_colors(Path(guide))
    names = tuple(sorted(guide))
    masks = [_mask(Path(guide[name]), name) for name in names]
    for name, mask in zip(names, masks, strict=True):
        if mask.shape != masks[0].shape:
            sizes = [f"{m.shape[1]} x {m.shape[0]}" for m in (mask, masks[0])]
            raise ImageError(
                f"{guide[name]}: has {sizes[0]} px, {guide[names[0]]} has {sizes[1]}; all masks of a "
                "guide must have one size"
            )
    return Regions(names, np.stack(masks))


def check_proportions(regions: Regions, where: str, width: int, height: int) -> None:
    """Raise ImageError, naming the guide ``where``, unless it has the proportions of its image."""
    # At the smaller of both sizes a pixel of rounding is allowed.
    side = min(max(regions.width, regions.height), max(width, height))
    own = fit_size((regions.width, regions.height), side)
    wanted = fit_size((width, height), side)
    if max(abs(a - b) for a, b in zip(own, wanted, strict=True)) > 1:
        raise ImageError(
            f"{where}: has {regions.width} x {regions.height} px, its image {width} x {height}; a "
            "guide needs the proportions of its image"
        )


def save_regions(path: Path, regions: Regions) -> None:
    """Write prepared regions, atomically and always to the same bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, names=np.array(regions.names), masks=regions.masks)
    write_bytes(path, buffer.getvalue())


def load_regions(path: Path) -> Regions:
    """Read prepared regions.

    Raises:
        StoreError: if the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Regions(tuple(str(name) for name in arrays["names"]), arrays["masks"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise StoreError(
            f"{path}: is no prepared guide ({error}); delete it and run again"
        ) from None


def _from_colors(path: Path) -> Regions:
    pixels = _eight_bits(path).astype(np.uint32)
    codes = (pixels[..., 0] << 16) | (pixels[..., 1] << 8) | pixels[..., 2]
    colors, counts = np.unique(codes, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    if len(colors) > MOST_REGIONS:
        frequent = ", ".join(
            f"{_name(colors[i])} ({counts[i] / codes.size:.0%})" for i in order[:4]
        )
        raise ImageError(
            f"{path}: has {len(colors)} colours ({frequent}, …); a guide has one flat colour for each "
            f"region, at most {MOST_REGIONS}: paint it without smoothing and save it as PNG"
        )
    strays: dict[int, str] = {}
    for rank, i in enumerate(order):
        near = [j for j in order[:rank] if _distance(colors[i], colors[j]) < NEAR]
        if near:
            strays[i] = f"{_name(colors[i])} ({counts[i]}, near {_name(colors[near[0]])})"
    if strays:
        raise ImageError(
            f"{path}: {counts[list(strays)].sum()} pixels are almost of a region's colour: "
            f"{', '.join(strays.values())}; "
            "paint each region in one flat colour, without smoothing, and save it as PNG"
        )
    masks = np.where(codes[None] == colors[:, None, None], np.uint8(255), np.uint8(0))
    return Regions(tuple(_name(color) for color in colors), masks)


def _mask(path: Path, name: str) -> NDArray[np.uint8]:
    pixels = _eight_bits(path)
    if (pixels != pixels[..., :1]).any():
        raise ImageError(
            f"{path}: is coloured; the mask of region {name} is a greyscale image, white where the "
            "region is (or give one image in flat colours in place of a map)"
        )
    if not pixels.any():
        raise ImageError(f"{path}: is black everywhere; make it white where region {name} is")
    return np.ascontiguousarray(pixels[..., 0])


def _eight_bits(path: Path) -> NDArray[np.uint8]:
    pixels = decode(path, background="#000000").pixels
    if pixels.dtype != np.uint8:
        pixels = quantize(to_float(pixels), 8)
    return pixels.astype(np.uint8, copy=False)


def _name(color: np.uint32) -> str:
    return f"#{int(color):06x}"


def _distance(one: np.uint32, other: np.uint32) -> int:
    """Largest difference of a channel."""
    return max(abs((int(one) >> shift & 255) - (int(other) >> shift & 255)) for shift in (16, 8, 0))
