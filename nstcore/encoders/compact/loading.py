"""The packaged weights of the compact encoder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nstcore.encoders.compact.architecture import COMPACT_DEPTH, CompactEncoder
from nstcore.encoders.vgg import Padding, Pooling
from nstcore.encoders.weights import WEIGHTS_PATH
from nstcore.errors import WeightsError

COMPACT_SHA256 = "56e9d56dffcfe84886e6aa65a546a98c95d2c94db01f17ff01bf6066a2db223c"
"""sha256 of the packaged weights; a damaged or exchanged file is not loaded."""


def compact_sha256(path: Path | str = WEIGHTS_PATH) -> str:
    """sha256 of a weights file, as hexadecimal digits.

    Raises:
        WeightsError: if there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; the compact encoder's weights are missing")
    return _digest(path, path.stat().st_mtime_ns)


@cache
def _digest(path: Path, _modified: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_compact(path: Path | str = WEIGHTS_PATH) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by key and the metadata of a weights file.

    Raises:
        WeightsError: if the file is missing or not one that the distillation wrote.
    """
    path = Path(path)
    found = compact_sha256(path)
    if path == WEIGHTS_PATH and found != COMPACT_SHA256:
        raise WeightsError(f"{path}: damaged (sha256 {found}, not {COMPACT_SHA256}); install again")
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
    path: Path | str = WEIGHTS_PATH,
    *,
    depth: str = COMPACT_DEPTH,
    pooling: Pooling = "max",
    padding: Padding = "zeros",
) -> CompactEncoder:
    """The compact encoder with trained weights, frozen, in float32 on the CPU.

    Args:
        path: a file that the distillation wrote (default: the packaged one).
        depth: the deepest layer that will be asked for; the rest is not built.
        pooling: how the resolution is halved; trained with ``max``.
        padding: how a picture is continued at its border; trained with ``zeros`` and ``replicate``.

    Raises:
        WeightsError: if the file is missing or does not fit.
    """
    tensors, metadata = read_compact(path)
    encoder = CompactEncoder(
        tuple(json.loads(metadata["widths"])), depth=depth, pooling=pooling, padding=padding
    )
    fill(encoder, tensors, str(path))
    return encoder


@torch.no_grad()
def fill(encoder: CompactEncoder, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy a file's tensors into an encoder.

    Raises:
        WeightsError: naming the first key that is missing or has another shape.
    """
    for layer in encoder.layers:
        for module, prefix in (
            (encoder.convolutions[layer], layer),
            (encoder.lift(layer), f"adapter.{layer}"),
        ):
            for part, target in module.named_parameters():
                found = tensors.get(f"{prefix}.{part}")
                if found is None or found.shape != target.shape:
                    shape = None if found is None else tuple(found.shape)
                    raise WeightsError(
                        f"{source}: {prefix}.{part} has shape {shape}, not {tuple(target.shape)}"
                    )
                target.copy_(found)
