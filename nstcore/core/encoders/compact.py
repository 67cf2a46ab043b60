"""The compact encoder: a narrow VGG-19 with linear adapters into VGG-19's own feature space.

The network has the layers, strides and names of VGG-19 up to ``relu5_1`` with fewer channels.  For
every layer an adapter ``F' = A F + b`` (a 1 x 1 convolution) leads from its c channels to VGG-19's
C.  Losses are taken in VGG-19's space without ever building F' at full resolution, because a Gram
matrix transforms by small matrices (``nstcore.core.moments.lift_gram``), and a difference of
activations F - P becomes A (F - P).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from nstcore.core.encoders import (
    COMPACT,
    COMPACT_FILE,
    COMPACT_WIDTHS,
    VGG19_WIDTHS,
    channels,
    packaged_sha256,
)
from nstcore.core.encoders.base import Padding, Pooling
from nstcore.core.encoders.vgg import VGG, fill
from nstcore.errors import WeightsError

COMPACT_DEPTH = COMPACT.names[-1]


class Adapter(nn.Module):
    """The affine map from one compact layer to the same layer of VGG-19.

    Args:
        incoming: channels c of the compact layer.
        outgoing: channels C of VGG-19's layer.
    """

    def __init__(self, incoming: int, outgoing: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outgoing, incoming))
        self.bias = nn.Parameter(torch.zeros(outgoing))

    def forward(self, features: Tensor) -> Tensor:
        """Activations in VGG-19's channels: (N, c, H, W) -> (N, C, H, W)."""
        return nn.functional.conv2d(features, self.weight[:, :, None, None], self.bias)


class CompactEncoder(VGG):
    """A narrow VGG-19 up to ``relu5_1`` with its adapters.

    Args:
        widths, depth, pooling, padding: see `VGG`.

    Raises:
        ValueError: if ``depth`` is deeper than ``relu5_1``.

    Example:
        >>> encoder = CompactEncoder(depth="relu2_1")
        >>> features = encoder(torch.rand(1, 3, 32, 48), ["relu2_1"])
        >>> tuple(features["relu2_1"].shape)
        (1, 32, 16, 24)
        >>> tuple(encoder.lift("relu2_1")(features["relu2_1"]).shape)
        (1, 128, 16, 24)
    """

    def __init__(
        self,
        widths: tuple[int, ...] = COMPACT_WIDTHS,
        *,
        depth: str = COMPACT_DEPTH,
        pooling: Pooling = "max",
        padding: Padding = "zeros",
    ) -> None:
        super().__init__(widths, depth=depth, pooling=pooling, padding=padding, spec=COMPACT)
        self.lifts = nn.ModuleDict(
            {
                layer: Adapter(channels(layer, widths), channels(layer, VGG19_WIDTHS))
                for layer in self.layers
            }
        )
        self.requires_grad_(False)

    @property
    def adapters(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Layer -> (A, b) of shapes (C, c) and (C,), on the encoder's device."""
        return {layer: (self.lift(layer).weight, self.lift(layer).bias) for layer in self.layers}

    @adapters.setter
    def adapters(self, value: dict[str, tuple[Tensor, Tensor]]) -> None:
        """Ignore the empty mapping of the base class; they are in ``lifts``."""

    def lift(self, layer: str) -> Adapter:
        """The adapter of a layer.

        Raises:
            ValueError: if the layer was not built.
        """
        if layer not in self.lifts:
            raise ValueError(f"layer {layer!r} is not among those built: {self.layers}")
        found = self.lifts[layer]
        assert isinstance(found, Adapter)
        return found


# --- Files of weights. ---


def read_compact(path: Path | str = COMPACT_FILE) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by key and the metadata of a weights file.

    Raises:
        WeightsError: if the file is missing or not one that the distillation wrote.
    """
    path = Path(path)
    if path == COMPACT_FILE:
        packaged_sha256(COMPACT)
    elif not path.is_file():
        raise WeightsError(f"{path}: no such file; the compact encoder's weights are missing")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: cannot be read as safetensors ({error})") from error
    if metadata.get("name") != "compact" or "widths" not in metadata:
        raise WeightsError(f"{path}: not the weights of a compact encoder")
    return tensors, metadata


def load_compact(
    path: Path | str = COMPACT_FILE,
    *,
    depth: str = COMPACT_DEPTH,
    pooling: Pooling = "max",
    padding: Padding = "zeros",
) -> CompactEncoder:
    """The compact encoder with trained weights, frozen, in float32 on the CPU.

    It was trained with ``max`` as pooling, and ``zeros`` and ``replicate`` as padding.

    Raises:
        WeightsError: if the file is missing or does not fit.
    """
    tensors, metadata = read_compact(path)
    widths = tuple(json.loads(metadata["widths"]))
    encoder = CompactEncoder(widths, depth=depth, pooling=pooling, padding=padding)
    fill_compact(encoder, tensors, str(path))
    return encoder


def fill_compact(encoder: CompactEncoder, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy a file's tensors into an encoder.

    Raises:
        WeightsError: naming the first key that is missing or has another shape.
    """
    modules: dict[str, nn.Module] = {layer: encoder.convolutions[layer] for layer in encoder.layers}
    modules |= {f"adapter.{layer}": encoder.lift(layer) for layer in encoder.layers}
    try:
        fill(modules, tensors)
    except KeyError as error:
        raise WeightsError(f"{source}: has no {error}") from None
    except ValueError as error:
        raise WeightsError(f"{source}: {error}") from None


# --- As the registry asks for it. ---

build = CompactEncoder
load = load_compact


def download() -> Path:
    """The packaged weights."""
    return COMPACT_FILE


def prepare(path: Path, destination: Path) -> None:
    """Copy a file of weights that can be loaded.

    Raises:
        WeightsError: if it is not one.
    """
    try:
        load_compact(path)
    except WeightsError as error:
        raise WeightsError(
            f"{error}; for VGG-19's weights set `encoder: vgg19`, or name both: "
            "`weights: {vgg19: …, compact: …}`"
        ) from None
    shutil.copyfile(path, destination)
