"""The published package neural-style (neural-style-pt): how it is started, and what it minimizes.

Its network takes what Caffe's did: BGR, pixel values times 256, less the mean; its weights file is a
state dict for that.  Its loss, in its own code's terms, with F the activations (C, M) of a layer:

    content_weight * mean((F - P)^2)  +  style_weight * sum over layers of mean((G - A)^2),
    G = F F^T / (C M)

and a total variation, which at its default weight is some ten-thousandth of the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nstcore.core.batched import to_tensor
from nstcore.core.encoders import EVAL_CONTENT_LAYER, EVAL_STYLE_LAYERS
from nstcore.core.encoders.base import IMAGENET_MEAN, IMAGENET_STD
from nstcore.core.encoders.vgg import VGG
from nstcore.core.moments import gram_matrix

Pixels = NDArray[np.float32]

CAFFE_MEAN = (123.68, 116.779, 103.939)
"""Of red, green and blue, as neural-style subtracts it."""

PIXEL_SCALE = 256 / 255
"""neural-style multiplies pixels in [0, 1] by 256, Caffe's weights are for 255."""

CONTENT_WEIGHT = 5.0
"""Its default."""

WEIGHTS_FILE = "vgg19-caffe.pth"
"""It tells the architecture by the file's path: ``vgg`` and ``19`` must stand in it."""


def caffe_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict for torchvision's input as one for Caffe's.

    Only the first convolution sees the difference.  With x in [0, 1] torchvision's network gets
    (x - m) / s and Caffe's z = 255 x - c in reverse order of channels, so that
    (x - m) / s = z / (255 s) + (c / 255 - m) / s.  (At the border both pad with zeros, which stand for
    slightly different greys.)

    Args:
        state: with torchvision's keys ``features.N.weight`` and ``features.N.bias``.
    """
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    offset = (torch.tensor(CAFFE_MEAN) / 255 - mean) / std
    converted = {key: value.float() for key, value in state.items() if key.startswith("features.")}
    weight = converted["features.0.weight"]  # (64, 3, 3, 3)
    scaled = weight / (255 * std.view(1, 3, 1, 1))
    converted["features.0.weight"] = scaled.flip(1).contiguous()
    converted["features.0.bias"] = converted["features.0.bias"] + weight.sum((2, 3)) @ offset
    return converted


@dataclass(frozen=True)
class Picture:
    """One call of the package: files relative to the folder where it runs."""

    content: str
    style: str
    style_weight: float
    size: int
    iterations: int
    output: str


def command(python: Path, picture: Picture, device: str) -> list[str]:
    """The words of its command line, from the virtual environment of an interpreter."""
    script = python.parent / "neural-style"
    program = (
        [str(script)] if script.is_file() else [str(python), "-m", "neural_style.neural_style"]
    )
    where = (
        ["-gpu", "c", "-backend", "mkl"] if device == "cpu" else ["-gpu", "0", "-backend", "cudnn"]
    )
    return [
        *program,
        *where,
        *("-disable_check", "-model_file", WEIGHTS_FILE),
        *("-content_image", picture.content, "-style_image", picture.style),
        *("-image_size", str(picture.size), "-num_iterations", str(picture.iterations)),
        *("-style_weight", f"{picture.style_weight:g}", "-init", "image"),
        *("-print_iter", str(picture.iterations), "-save_iter", "0"),
        *("-output_image", picture.output),
    ]


def printed_loss(output: str) -> float | None:
    """The last total loss that it printed."""
    found = [line.rpartition(":")[2] for line in output.splitlines() if "Total loss" in line]
    return float(found[-1]) if found else None


class PeerLoss:
    """neural-style's own loss of pictures of one pair, under a given network; without total variation.

    Args:
        encoder: VGG-19.
        content: (H, W, 3) in [0, 1].
        style: (H', W', 3).
        scale: of the pixels.
    """

    def __init__(
        self, encoder: VGG, content: Pixels, style: Pixels, scale: float = PIXEL_SCALE
    ) -> None:
        self.encoder, self.scale = encoder, scale
        self.content = self._features(content)[EVAL_CONTENT_LAYER]
        self.grams = self._grams(self._features(style))

    @torch.no_grad()
    def _features(self, picture: Pixels) -> dict[str, Tensor]:
        device = next(self.encoder.parameters()).device
        image = to_tensor(picture, device) * self.scale
        return self.encoder(image, [*EVAL_STYLE_LAYERS, EVAL_CONTENT_LAYER])

    @staticmethod
    def _grams(features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            layer: gram_matrix(features[layer]) / features[layer].shape[1]
            for layer in EVAL_STYLE_LAYERS
        }

    def terms(self, picture: Pixels) -> tuple[float, float]:
        """Content and style loss of a picture (H, W, 3), unweighted."""
        features = self._features(picture)
        content = (features[EVAL_CONTENT_LAYER] - self.content).square().mean()
        grams = self._grams(features)
        style = sum(
            (grams[layer] - self.grams[layer]).square().mean() for layer in EVAL_STYLE_LAYERS
        )
        return float(content), float(style)

    def total(self, picture: Pixels, style_weight: float) -> float:
        """The weighted loss of a picture (H, W, 3)."""
        content, style = self.terms(picture)
        return CONTENT_WEIGHT * content + style_weight * style

    def relative(self, style_weight: float) -> tuple[float, dict[str, float]]:
        """The same loss in relative terms: a ``style_weight`` and weights of the style layers.

        A relative loss is a squared error over the target's energy; what the peer multiplies a
        squared error by, times that energy, is therefore its weight.  With ``content_weight: 1`` the
        two losses differ by a factor only.
        """
        content = CONTENT_WEIGHT * float(self.content.square().mean())
        style = {
            layer: style_weight * float(gram.square().mean()) for layer, gram in self.grams.items()
        }
        total = sum(style.values())
        return total / content, {layer: weight / total for layer, weight in style.items()}
