"""A VGG-shaped network that yields the activations of chosen layers.

Simonyan & Zisserman, *Very Deep Convolutional Networks for Large-Scale Image Recognition*, 2015.
Gatys et al. (arXiv 1508.06576, section 2) take the activations of VGG-19 and suggest average
pooling in place of maximum pooling.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nstcore.core.encoders.layers import (
    LAYERS,
    VGG19_WIDTHS,
    channels,
    deepest,
    stage,
    torchvision_index,
)
from nstcore.errors import ImageTooSmall

Pooling = Literal["max", "avg", "l2"]
Padding = Literal["zeros", "replicate", "reflect"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# L2 pooling gives larger activations than the maximum that the weights were trained with; the
# factor brings them back to about the same range (K. Crowson, style-transfer-pytorch).  The average
# stays a plain one, as in the article.
_L2_SCALE = 0.78


def pool(features: Tensor, pooling: Pooling) -> Tensor:
    """Halve the resolution of ``features`` (N, C, H, W); an odd last row or column is dropped.

    Args:
        features: activations (N, C, H, W), H and W at least 2.
        pooling: ``max``; ``avg``, the mean (Gatys et al. 2015, section 2); ``l2``, the root of the
            window's sum of squares, times 0.78.
    """
    if pooling == "max":
        return F.max_pool2d(features, 2)
    if pooling == "avg":
        return F.avg_pool2d(features, 2)
    # The root has no finite slope at 0, where rectified activations often are.
    squares = F.avg_pool2d(features.square(), 2) * 4
    return (squares + 1e-8).sqrt() * _L2_SCALE


def pad(x: Tensor, padding: Padding) -> Tensor:
    """Extend (N, C, H, W) by one pixel on each side: the nearest pixel, or the mirrored next one.

    Built from slices, because the backward passes of torch's own padding layers are not
    deterministic on CUDA.
    """
    inner = 0 if padding == "replicate" or min(x.shape[-2:]) < 2 else 1
    last = -1 - inner
    width = x.shape[-1]
    x = torch.cat([x[..., inner : inner + 1], x, x[..., width + last : width + last + 1]], dim=-1)
    height = x.shape[-2]
    return torch.cat(
        [x[..., inner : inner + 1, :], x, x[..., height + last : height + last + 1, :]], dim=-2
    )


class VGG(nn.Module):
    """Convolutions of a VGG-shaped network, frozen, up to the deepest layer in use.

    Args:
        widths: channels of the five stages; (64, 128, 256, 512, 512) is VGG-19.
        depth: the deepest layer that will be asked for; the rest is not built.
        pooling: how the resolution is halved between stages.
        padding: how a picture is continued at its border, before every convolution.

    Example:
        >>> encoder = VGG(depth="relu2_1")
        >>> features = encoder(torch.rand(1, 3, 32, 48), ["relu1_1", "relu2_1"])
        >>> tuple(features["relu2_1"].shape)
        (1, 128, 16, 24)
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        widths: tuple[int, ...] = VGG19_WIDTHS,
        *,
        depth: str = "relu5_4",
        pooling: Pooling = "max",
        padding: Padding = "zeros",
    ) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.layers: tuple[str, ...] = LAYERS[: LAYERS.index(depth) + 1]
        self.pooling: Pooling = pooling
        self.padding: Padding = padding
        # Convolutions in bfloat16, activations given out in float32: losses are differences of large
        # sums, which bfloat16 is too coarse for.
        self.half_precision = False
        self.convolutions = nn.ModuleDict()
        incoming = 3
        for layer in self.layers:
            outgoing = channels(layer, self.widths)
            # The border is made by pad(); nn.Conv2d's own zero padding costs nothing.
            border = 1 if padding == "zeros" else 0
            self.convolutions[layer] = nn.Conv2d(incoming, outgoing, 3, padding=border)
            incoming = outgoing
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        # Layer -> (A, b), for encoders whose losses are taken of A F + b in place of F.
        self.adapters: dict[str, tuple[Tensor, Tensor]] = {}
        self.requires_grad_(False)

    def __call__(self, image: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        """See :meth:`forward`."""
        features: dict[str, Tensor] = super().__call__(image, layers)
        return features

    def forward(self, image: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        """Activations of the chosen layers.

        Args:
            image: (N, 3, H, W), sRGB in [0, 1]; values outside are allowed (the optimizer makes them).
            layers: names such as ``relu4_2``, none deeper than ``depth``.

        Returns:
            name -> (N, C, ceil or floor of H / 2**(stage-1), ...) activations, none negative.

        Raises:
            ValueError: if a layer is unknown or was not built, or the picture is smaller than the
                deepest layer's stride.
        """
        wanted = set(layers)
        unknown = wanted - set(self.layers)
        if unknown:
            raise ValueError(f"layer {min(unknown)!r} is not among those built: {self.layers}")
        last = deepest(wanted)
        smallest = 2 ** (stage(last) - 1)
        if min(image.shape[-2:]) < smallest:
            raise ImageTooSmall(
                f"a picture of {image.shape[-1]} x {image.shape[-2]} px is too small for {last}: "
                f"each side must have at least {smallest} px"
            )
        x = (image - self.mean) / self.std
        if not self.half_precision:
            return self._features(x, wanted, last)
        with torch.autocast(x.device.type, torch.bfloat16):
            found = self._features(x, wanted, last)
        return {layer: features.float() for layer, features in found.items()}

    def _features(self, x: Tensor, wanted: set[str], last: str) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        current_stage = 1
        for layer in self.layers:
            if stage(layer) != current_stage:
                x = pool(x, self.pooling)
                current_stage = stage(layer)
            if self.padding != "zeros":
                x = pad(x, self.padding)
            x = F.relu(self.convolutions[layer](x), inplace=True)
            if layer in wanted:
                found[layer] = x
            if layer == last:
                break
        return found

    def load_torchvision(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights from a state dict with torchvision's ``features.N.weight`` keys.

        Raises:
            KeyError: naming the first key that is missing.
            ValueError: naming the first key whose shape is not the one expected.
        """
        with torch.no_grad():
            for layer in self.layers:
                convolution = self.convolutions[layer]
                for part in ("weight", "bias"):
                    key = f"features.{torchvision_index(layer)}.{part}"
                    if key not in state:
                        raise KeyError(key)
                    target = getattr(convolution, part)
                    if state[key].shape != target.shape:
                        raise ValueError(
                            f"{key} has shape {tuple(state[key].shape)} instead of {tuple(target.shape)}"
                        )
                    target.copy_(state[key])
