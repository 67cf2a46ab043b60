"""An encoder, ready to be used, from the weights file of a run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from nstcore.core.encoders.compact import load_compact
from nstcore.core.encoders.layers import deepest
from nstcore.core.encoders.vgg import VGG
from nstcore.core.encoders.weights import read_state
from nstcore.core.settings import Settings
from nstcore.errors import WeightsError


def load_encoder(
    settings: Settings,
    weights: Path,
    layers: Iterable[str],
    *,
    device: torch.device | str = "cpu",
    half: bool = False,
) -> VGG:
    """Build the encoder that some settings ask for, no deeper than the layers in use.

    Args:
        settings: whose ``encoder``, ``pooling`` and ``padding`` count.
        weights: file with the weights.
        layers: every layer that will be asked for.
        device: where it shall compute.
        half: convolve in bfloat16.

    Raises:
        WeightsError: if the file lacks a layer that is used.
    """
    depth = deepest(layers)
    encoder: VGG
    if settings.encoder == "compact":
        encoder = load_compact(
            weights, depth=depth, pooling=settings.pooling, padding=settings.padding
        )
    else:
        encoder = VGG(depth=depth, pooling=settings.pooling, padding=settings.padding)
        _fill(encoder, weights)
    encoder.half_precision = half
    encoder.to(device)
    encoder.to(memory_format=torch.channels_last)
    return encoder


def _fill(encoder: VGG, weights: Path) -> None:
    try:
        encoder.load_torchvision(read_state(weights))
    except KeyError as error:
        raise WeightsError(
            f"{weights}: has no {error}, which {encoder.layers[-1]} needs; choose a shallower layer or "
            "complete weights"
        ) from None
    except ValueError as error:
        raise WeightsError(f"{weights}: is damaged ({error}); delete it and run again") from None
