"""The network that is imitated: VGG-19 with every layer brought to unit energy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from nstcore.core.encoders.base import Padding
from nstcore.core.encoders.compact import COMPACT_DEPTH
from nstcore.core.encoders.vgg import VGG
from nstcore.errors import WeightsError


class Teacher(nn.Module):
    """VGG-19 whose activations are divided by one number a layer.

    VGG-19's layers differ in magnitude by a factor of 20 (root mean square about 48 at ``relu1_1``
    and 1071 at ``relu4_1``).  Without this scale Adam spends its steps on learning it.
    """

    def __init__(self, network: VGG, sha256: str) -> None:
        super().__init__()
        self.network = network
        self.sha256 = sha256
        self.scale: dict[str, float] = dict.fromkeys(network.layers, 1.0)

    @torch.no_grad()
    def forward(self, image: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        """Activations (N, C, H', W') of the chosen layers over the layer's scale."""
        features = self.network(image, layers)
        return {layer: value / self.scale[layer] for layer, value in features.items()}


def load_teacher(path: Path | str) -> Teacher:
    """Load VGG-19 from a state dict with torchvision's ``features.N.*`` keys.

    Args:
        path: a ``.pth`` (read with ``weights_only=True``) or ``.safetensors`` file.

    Raises:
        WeightsError: if the file is missing, unreadable or not a VGG-19.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; the teacher is a VGG-19 state dict")
    state = _read_state(path)
    network = VGG(depth=COMPACT_DEPTH)
    try:
        network.load_torchvision(state)
    except (KeyError, ValueError) as error:
        raise WeightsError(f"{path}: not VGG-19 in torchvision's layout ({error})") from error
    return Teacher(network, hashlib.sha256(path.read_bytes()).hexdigest())


def _read_state(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for a file that is no archive
        raise WeightsError(f"{path}: cannot be read as weights ({error})") from error
    if not isinstance(state, Mapping):
        raise WeightsError(f"{path}: holds {type(state).__name__}, not a state dict")
    return state


def set_padding(network: VGG, padding: Padding) -> None:
    """Change how an existing network continues an image at its border."""
    network.padding = padding
    border = 1 if padding == "zeros" else 0
    for convolution in network.convolutions.values():
        assert isinstance(convolution, nn.Conv2d)
        convolution.padding = (border, border)
