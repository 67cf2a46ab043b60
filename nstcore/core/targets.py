"""Style targets: the moments of a style, computed once for each size and encoder, and saved."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nstcore.core.batched import to_tensor
from nstcore.core.encoders.base import Encoder
from nstcore.core.guidance import Propagation, layer_guides
from nstcore.core.moments import Moments
from nstcore.core.tiling import tiled_moments
from nstcore.errors import ConfigError, StoreError
from nstcore.images import fit_size, resize
from nstcore.images.masks import Regions
from nstcore.images.resize import SizeBy
from nstcore.store.files import atomic_path

SMALLEST_STYLE = 16
"""Short side below which a style cannot pass the encoder's four poolings."""


def style_size(width: int, height: int, size: int, by: SizeBy = "long") -> tuple[int, int]:
    """Width and height to which a style is resized: the given size, but never enlarged.

    A style so narrow that its short side would vanish in the encoder is kept a little larger.

    Args:
        width, height: its own, in pixels.
        size, by: the wanted size; see ``fit_size``.
    """
    fitted = fit_size((width, height), size, by)
    if fitted[0] > width or fitted[1] > height:
        return width, height
    return max(fitted[0], min(width, SMALLEST_STYLE)), max(fitted[1], min(height, SMALLEST_STYLE))


def image_moments(
    encoder: Encoder,
    pixels: NDArray[np.float32],
    size: int,
    layers: Sequence[str],
    device: torch.device | str = "cpu",
    tile: int | None = None,
    by: SizeBy = "long",
    regions: Regions | None = None,
    propagation: Propagation = "simple",
) -> dict[str, Moments]:
    """Moments of one style image at one size.

    Args:
        encoder: on ``device``.
        pixels: (H, W, 3) in [0, 1], at the image's own size.
        size, by: to which it is resized; see :func:`style_size`.
        layers: whose moments are taken.
        device: where the encoder is.
        tile: side of the tiles in px in which a large style is computed; None for the whole at once.
        regions: of the image, whose moments are added.
        propagation: how the regions reach the layers; see :func:`~nstcore.core.guidance.propagate`.

    Returns:
        Layer -> moments with N = 1, on the CPU; ``layer/region`` -> those of a region, all 0 where it is
        too small at the layer.
    """
    height, width = pixels.shape[:2]
    tensor = to_tensor(resize(pixels, style_size(width, height, size, by)), device)
    found = tiled_moments(encoder, tensor, list(layers), tile)
    if regions is not None:
        masks = torch.from_numpy(regions.scaled((tensor.shape[3], tensor.shape[2]))).to(device)
        guides = layer_guides(encoder.spec, masks, layers, propagation, regions.names)
        for layer, moments in tiled_moments(encoder, tensor, list(layers), tile, guides).items():
            for index, region in enumerate(regions.names):
                found[f"{layer}/{region}"] = moments.region(index)
    return {name: Moments(m.gram.float().cpu(), m.mean.float().cpu()) for name, m in found.items()}


def regional_target(parts: Mapping[str, Mapping[str, Moments]]) -> dict[str, Moments]:
    """One target from a style for each region, by region.

    Where a style's image has a guide, its region of the same name is taken.
    """
    return {
        f"{layer}/{region}": _of_regions(moments, layer, [region])[0]
        for region, moments in parts.items()
        for layer in moments
        if "/" not in layer
    }


def _of_regions(target: Mapping[str, Moments], layer: str, names: Sequence[str]) -> list[Moments]:
    """The moments of each region at one layer; a target without regions is the same for all."""
    known = sorted({name.partition("/")[2] for name in target} - {""})
    missing = [name for name in names if name not in known]
    if known and missing:
        raise ConfigError(
            [f"the style has no region {', '.join(missing)}; it has: {', '.join(known)}"]
        )
    return [target[f"{layer}/{name}" if known else layer] for name in names]


def regional_moments(
    target: Mapping[str, Moments], layers: Sequence[str], names: Sequence[str]
) -> tuple[dict[str, Moments], dict[str, Tensor]]:
    """The target of every region of a content; a style without regions is the target of all.

    Args:
        target: from :func:`load_moments` or :func:`image_moments`.
        layers: whose moments are wanted.
        names: of the content's R regions.

    Returns:
        Layer -> moments (1, R, ...), and layer -> (R,): 0 for regions that are too small in the style
        to be compared at the layer, else 1.

    Raises:
        ConfigError: if the target has regions, but not those of the content.
    """
    moments: dict[str, Moments] = {}
    present: dict[str, Tensor] = {}
    for layer in layers:
        own = _of_regions(target, layer, names)
        gram = torch.stack([one.gram for one in own], 1)
        found = gram.flatten(2).abs().sum(2)[0] > 0
        # A missing region gets a target with a finite loss, whose share is 0.
        eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
        gram = torch.where(found[:, None, None], gram, eye)
        moments[layer] = Moments(gram, torch.stack([one.mean for one in own], 1))
        present[layer] = found.to(gram.dtype)
    return moments, present


def blend(parts: Sequence[Mapping[str, Moments]], weights: Sequence[float]) -> dict[str, Moments]:
    """Moments of several styles as if they were one image.

    First and second moments are averages over positions, so those of images laid side by side are the
    mean of the images' own, weighted by their areas; here weights that add up to 1 take that place.
    """
    if len(parts) == 1:
        return dict(parts[0])

    def mean(values: Iterable[Tensor]) -> Tensor:
        weighted = (weight * value for weight, value in zip(weights, values, strict=True))
        return sum(weighted, torch.zeros(()))

    return {
        layer: Moments(mean(p[layer].gram for p in parts), mean(p[layer].mean for p in parts))
        for layer in parts[0]
    }


def save_moments(
    path: Path | str, moments: Mapping[str, Moments], metadata: Mapping[str, Any]
) -> None:
    """Write moments atomically as ``.safetensors``, with metadata for JSON."""
    tensors = {f"{layer}.gram": value.gram.contiguous() for layer, value in moments.items()}
    tensors |= {f"{layer}.mean": value.mean.contiguous() for layer, value in moments.items()}
    # safetensors keeps no order among its metadata keys; one JSON text makes the file reproducible.
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"facts": json.dumps(metadata, sort_keys=True)})


def load_moments(path: Path | str) -> tuple[dict[str, Moments], dict[str, Any]]:
    """Read moments and their metadata.

    Raises:
        StoreError: if the file is missing or damaged.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            names = sorted({key.rpartition(".")[0] for key in file.keys()})  # noqa: SIM118
            moments = {
                name: Moments(file.get_tensor(f"{name}.gram"), file.get_tensor(f"{name}.mean"))
                for name in names
            }
            metadata = json.loads((file.metadata() or {})["facts"])
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise StoreError(
            f"{path}: is not a style target ({error}); delete it and run again"
        ) from None
    return moments, metadata
