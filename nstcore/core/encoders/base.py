"""What all encoders share: a fixed network that yields the activations of chosen layers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nstcore.core.encoders import ENCODERS, EncoderSpec
from nstcore.errors import ImageTooSmall

Pooling = Literal["max", "avg", "l2"]
Padding = Literal["zeros", "replicate", "reflect"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Encoder(nn.Module):
    """A network up to the deepest layer in use; a subclass builds it and computes its activations.

    Args:
        spec: what is known of it.
        depth: the deepest layer that will be asked for; None for the last one.
        pooling: how the resolution is reduced.
        padding: how an image is continued at its border, before every convolution.

    Attributes:
        layers: names of the layers that are built.
        half_precision: whether it computes and gives out activations in bfloat16; see `halve`.
        adapters: layer -> (A, b), for encoders whose losses are taken of A F + b in place of F.

    Raises:
        ValueError: if the encoder has no layer ``depth``.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, spec: EncoderSpec, *, depth: str | None, pooling: Pooling, padding: Padding
    ) -> None:
        super().__init__()
        last = spec.names[-1] if depth is None else spec[depth].name
        self.spec = spec
        self.layers: tuple[str, ...] = tuple(layer.name for layer in spec.up_to([last]))
        self.pooling: Pooling = pooling
        self.padding: Padding = padding
        self.half_precision = False
        self.adapters: dict[str, tuple[Tensor, Tensor]] = {}
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def __call__(self, image: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        """See `forward`."""
        features: dict[str, Tensor] = super().__call__(image, layers)
        return features

    def forward(self, image: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        """Activations of the chosen layers.

        Args:
            image: (N, 3, H, W), sRGB in [0, 1]; values outside are allowed (the optimizer makes them).
            layers: names such as ``relu4_2``, none deeper than ``depth``.

        Returns:
            Layer -> (N, C, H // stride, W // stride).

        Raises:
            ValueError: if a layer is unknown or was not built.
            ImageTooSmall: if the image is smaller than the deepest layer's stride.
        """
        wanted = set(layers)
        if unknown := wanted - set(self.layers):
            raise ValueError(f"layer {min(unknown)!r} is not among those built: {self.layers}")
        last = self.spec.deepest(wanted)
        smallest = self.spec.stride(last)
        if min(image.shape[-2:]) < smallest:
            raise ImageTooSmall(
                f"an image of {image.shape[-1]} x {image.shape[-2]} px is too small for {last}: "
                f"each side must have at least {smallest} px"
            )
        x = (image - self.mean) / self.std
        return self._features(x.bfloat16() if self.half_precision else x, wanted, last)

    @abstractmethod
    def _features(self, x: Tensor, wanted: set[str], last: str) -> dict[str, Tensor]:
        """Activations of a normalized image, (N, 3, H, W), at some layers; ``last`` is the deepest.

        They are in the image's type, as the weights are: float32, or bfloat16.
        """

    def halve(self) -> None:
        """Compute in bfloat16 from now on, with weights that are converted here once.

        Losses are differences of large sums, which bfloat16 is too coarse for: they sum in float32, and
        adapters stay in it.
        """
        self.half_precision = True
        adapters = {id(tensor) for pair in self.adapters.values() for tensor in pair}
        for parameter in self.parameters():
            if id(parameter) not in adapters:
                parameter.data = parameter.data.bfloat16()


def load_encoder(
    settings: Any,
    weights: Path,
    layers: Iterable[str],
    *,
    device: torch.device | str = "cpu",
    half: bool = False,
) -> Encoder:
    """Build the encoder that some settings ask for, no deeper than the layers in use.

    Args:
        settings: a ``Settings``, of which ``encoder``, ``pooling`` and ``padding`` are read.
        weights: file with the weights.
        layers: every layer that will be asked for.
        device: where it computes.
        half: compute in bfloat16; see `Encoder.halve`.

    Raises:
        WeightsError: if the file lacks a layer that is used.
    """
    spec = ENCODERS[settings.encoder]
    encoder: Encoder = spec.load_module().load(
        weights, depth=spec.deepest(layers), pooling=settings.pooling, padding=settings.padding
    )
    if half:
        encoder.halve()
    return encoder.to(device).to(memory_format=torch.channels_last)
