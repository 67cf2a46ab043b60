"""A VGG-shaped network, and VGG-19's weights.

Simonyan & Zisserman, *Very Deep Convolutional Networks for Large-Scale Image Recognition*, 2015.
Gatys et al. (arXiv 1508.06576, section 2) take the activations of VGG-19 and suggest average
pooling in place of maximum pooling.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from nstcore.core.encoders import (
    LAYERS,
    VGG19,
    VGG19_WIDTHS,
    EncoderSpec,
    torchvision_cache,
    torchvision_index,
    vgg_layers,
)
from nstcore.core.encoders.base import Encoder, Padding, Pooling
from nstcore.errors import WeightsError, first_line

log = logging.getLogger(__name__)

# L2 pooling gives larger activations than the maximum that the weights were trained with; the
# factor brings them back to about the same range (K. Crowson, style-transfer-pytorch).  The average
# stays a plain one, as in the article.
_L2_SCALE = 0.78


def pool(features: Tensor, pooling: Pooling) -> Tensor:
    """Halve the resolution of (N, C, H, W) activations; an odd last row or column is dropped.

    By the maximum, the mean (Gatys et al. 2015, section 2), or the root of the window's sum of squares,
    times 0.78.
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
    for dim in (-1, -2):
        first, last = (x.narrow(dim, at, 1) for at in (inner, x.shape[dim] - 1 - inner))
        x = torch.cat([first, x, last], dim=dim)
    return x


class VGG(Encoder):
    """Convolutions of a VGG-shaped network, frozen, up to the deepest layer in use.

    Args:
        widths: channels of the five stages; (64, 128, 256, 512, 512) is VGG-19.
        depth: the deepest layer that will be asked for; the rest is not built.
        pooling, padding: see `Encoder`.
        spec: the encoder, whose layers get these widths.

    Example:
        >>> encoder = VGG(depth="relu2_1")
        >>> features = encoder(torch.rand(1, 3, 32, 48), ["relu1_1", "relu2_1"])
        >>> tuple(features["relu2_1"].shape)
        (1, 128, 16, 24)
    """

    def __init__(
        self,
        widths: tuple[int, ...] = VGG19_WIDTHS,
        *,
        depth: str | None = None,
        pooling: Pooling = "max",
        padding: Padding = "zeros",
        spec: EncoderSpec = VGG19,
    ) -> None:
        spec = replace(spec, layers=vgg_layers(widths, spec.names[-1]))
        super().__init__(spec, depth=depth, pooling=pooling, padding=padding)
        self.widths = tuple(widths)
        self.convolutions = nn.ModuleDict()
        for name in self.layers:
            layer = spec[name]
            # The border is made by pad(); nn.Conv2d's own zero padding costs nothing.
            border = 1 if padding == "zeros" else 0
            self.convolutions[name] = nn.Conv2d(layer.inputs, layer.channels, 3, padding=border)
        self.requires_grad_(False)

    def _features(self, x: Tensor, wanted: set[str], last: str) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        stride = 1
        for layer in self.spec.up_to([last]):
            if layer.stride != stride:
                x = pool(x, self.pooling)
                stride = layer.stride
            if self.padding != "zeros":
                x = pad(x, self.padding)
            x = F.relu(self.convolutions[layer.name](x), inplace=True)
            if layer.name in wanted:
                found[layer.name] = x
        return found

    def load_torchvision(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights from a state dict with torchvision's ``features.N.weight`` keys.

        For what it raises see :func:`fill`.
        """
        index = torchvision_index
        fill({f"features.{index(layer)}": self.convolutions[layer] for layer in self.layers}, state)


@torch.no_grad()
def fill(modules: Mapping[str, nn.Module], tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors into the parameters of modules, by the names ``<module>.<parameter>``.

    Raises:
        KeyError: naming the first key that is missing.
        ValueError: naming the first key whose shape is not the one expected.
    """
    for prefix, module in modules.items():
        for part, target in module.named_parameters():
            key = f"{prefix}.{part}"
            shape, wanted = tuple(tensors[key].shape), tuple(target.shape)
            if shape != wanted:
                raise ValueError(f"{key} has shape {shape} instead of {wanted}")
            target.copy_(tensors[key])


# --- VGG-19, as the registry asks for it. ---

build = VGG


def load(path: Path, *, depth: str, pooling: Pooling = "max", padding: Padding = "zeros") -> VGG:
    """VGG-19 with weights from a file.

    Raises:
        WeightsError: if the file lacks a layer that is used, or is damaged.
    """
    encoder = VGG(depth=depth, pooling=pooling, padding=padding)
    _fill(
        encoder,
        read_state(path),
        missing=f"{path}: has no {{}}, which {depth} needs; choose a shallower layer or complete weights",
        wrong=f"{path}: is damaged ({{}}); delete it and run again",
    )
    return encoder


def _fill(encoder: VGG, state: Mapping[str, Tensor], *, missing: str, wrong: str) -> None:
    """Load a state, with the reasons for which it is refused."""
    try:
        encoder.load_torchvision(state)
    except (KeyError, ValueError) as error:
        message = missing if isinstance(error, KeyError) else wrong
        raise WeightsError(message.format(error)) from None


def prepare(path: Path, destination: Path) -> None:
    """Write what losses can need of VGG-19's weights, checked, in single precision.

    Raises:
        WeightsError: if the file does not have VGG-19's weights.
    """
    state = read_state(path)
    for key in required_keys("relu5_1"):
        if key not in state:
            raise WeightsError(
                f"{path}: has no `{key}`; give a state dict of torchvision's VGG-19 "
                "(`features.0.weight` and so on)"
            )
    for key, value in state.items():
        if key in required_keys() and not isinstance(value, torch.Tensor):
            raise WeightsError(f"{path}: `{key}` is a {type(value).__name__}; a tensor is needed")
    # The layers after relu5_1 are seldom used and seldom shipped: kept where they are there.
    kept = {key: state[key].float().contiguous() for key in required_keys() if key in state}
    depth = next(
        layer for layer in reversed(LAYERS) if f"features.{torchvision_index(layer)}.bias" in kept
    )
    _fill(
        VGG(depth=depth),
        kept,
        missing=f"{path}: has no {{}} although it goes down to {depth}; complete it, or leave out "
        "everything after relu5_1",
        wrong=f"{path}: is not VGG-19: {{}}",
    )
    save_file(kept, destination)


def required_keys(depth: str = LAYERS[-1]) -> list[str]:
    """Torchvision's names of the tensors of VGG-19 up to a layer."""
    return [
        f"features.{torchvision_index(layer)}.{part}"
        for layer in LAYERS[: LAYERS.index(depth) + 1]
        for part in ("weight", "bias")
    ]


def read_state(path: Path) -> Mapping[str, Any]:
    """The tensors in a ``.pth`` (never unpickling code) or ``.safetensors`` file.

    Raises:
        WeightsError: if there is no such file or it is neither.
    """
    if not path.is_file():
        raise WeightsError(f"weights: there is no file {path} (paths start from {Path.cwd()})")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise WeightsError(f"{path}: is no safetensors file ({error})") from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything at all
        if isinstance(error, MemoryError) or "memory" in str(error):
            raise MemoryError(f"{path}: there is not enough memory to load it ({error})") from None
        log.info("%s cannot be loaded", path, exc_info=True)
        raise WeightsError(
            f"{path}: is no state dict that can be loaded safely; save it with "
            "torch.save(model.state_dict(), …)"
        ) from None
    if not isinstance(state, Mapping):
        raise WeightsError(f"{path}: holds a {type(state).__name__}; a state dict is needed")
    return state


def download() -> Path:
    """Torchvision's VGG-19, downloaded on first use and checked against the hash in its name.

    Raises:
        WeightsError: if it is not here and cannot be downloaded.
    """
    path = torchvision_cache()
    if path.is_file():
        return path
    from torchvision.models import VGG19_Weights

    log.info("downloading VGG-19 (548 MB) to %s", path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        url = VGG19_Weights.IMAGENET1K_V1.url
        # torch's convention: the file's name ends in the beginning of its sha256.
        prefix = Path(url).stem.rpartition("-")[2]
        torch.hub.download_url_to_file(url, str(path), hash_prefix=prefix, progress=False)
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"vgg19: the weights could not be downloaded ({first_line(error)}). Three ways to get "
            "them: run once where there is internet; or copy vgg19-dcbb9e9d.pth to "
            f"{path.parent}; or set `weights:` to a .pth or .safetensors file with torchvision's VGG-19"
        ) from None
    return path
