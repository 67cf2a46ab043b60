"""An encoder of another architecture takes an entry of the registry and a module."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from nstcore.config.loader import resolve_settings
from nstcore.core.batched import to_tensor
from nstcore.core.encoders import ENCODERS, EncoderSpec, Layer, fetch, locate
from nstcore.core.encoders.base import Encoder, load_encoder
from nstcore.core.image_similarity import StyleImage
from nstcore.core.metrics import MetricTargets, evaluate
from nstcore.core.moments import style_moments
from nstcore.core.settings import Settings
from nstcore.core.stylize import StylizeTask, stylize
from nstcore.core.targets import image_moments
from nstcore.errors import ConfigError
from nstcore.plan.cost_model import cell_flops
from nstcore.resources.memory_model import peak_bytes

Waves = Callable[..., NDArray[np.float32]]


class TinyEncoder(Encoder):
    """Two 3 x 3 convolutions with a pooling between them."""

    def __init__(self, *, depth: str | None = None, **geometry: Any) -> None:
        super().__init__(ENCODERS["tiny"], depth=depth, **geometry)
        self.stages = nn.ModuleDict(
            {
                layer.name: nn.Conv2d(layer.inputs, layer.channels, 3, padding=1)
                for layer in self.spec.up_to(self.layers)
            }
        )
        self.requires_grad_(False)

    def _features(self, x: Tensor, wanted: set[str], last: str) -> dict[str, Tensor]:
        found = {}
        for name, convolution in self.stages.items():
            x = F.relu(convolution(x if name == "conv_a" else F.max_pool2d(x, 2)))
            found[name] = x
            if name == last:
                break
        return {name: found[name] for name in wanted}


def _load(path: Path, **geometry: Any) -> TinyEncoder:
    encoder = TinyEncoder(**geometry)
    encoder.stages.load_state_dict(torch.load(path, weights_only=True), strict=False)
    return encoder


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> EncoderSpec:
    """Register the encoder, with random weights in a file."""
    module = ModuleType("tiny_encoder")
    file = tmp_path / "tiny.pth"
    vars(module).update(
        build=TinyEncoder,
        load=_load,
        download=lambda: file,
        prepare=lambda path, destination: destination.write_bytes(path.read_bytes()),
    )
    monkeypatch.setitem(sys.modules, "tiny_encoder", module)
    spec = EncoderSpec(
        name="tiny",
        label="tiny",
        layers=(
            Layer("conv_a", 8, 1, 3, 9 * 3 * 8, 9 * 3 * 8),
            Layer("conv_b", 12, 2, 8, 9 * 8 * 12, 9 * 8 * 12),
        ),
        module="tiny_encoder",
        source="nowhere",
        find=lambda: file,
        file_bytes=10_000,
        content_layers={"conv_b": 1.0},
        style_layers={"conv_a": 1.0, "conv_b": 1.0},
        evaluation_content="conv_b",
        evaluation_style=("conv_a", "conv_b"),
    )
    monkeypatch.setitem(ENCODERS, "tiny", spec)
    torch.manual_seed(0)
    network = TinyEncoder(pooling="max", padding="zeros")
    torch.save(network.stages.state_dict(), file)
    return spec


def test_an_image_is_optimized_with_it(tiny: EncoderSpec, tmp_path: Path, waves: Waves) -> None:
    settings = resolve_settings(
        {"encoder": "tiny", "size": 48, "iterations": 2, "pyramid_start": 48}
    )
    assert (settings.layers, settings.content_layers) == (("conv_a", "conv_b"), {"conv_b": 1.0})
    file = tmp_path / "run" / "tiny.pth"
    facts = fetch("tiny", None, file, file.with_suffix(".json"))
    assert facts["source"] == "nowhere"
    assert locate("tiny", None) == tmp_path / "tiny.pth"
    encoder = load_encoder(settings, file, settings.layers)
    content, style = waves(36, 48, 0), waves(40, 40, 1)
    moments = image_moments(encoder, style, 48, settings.layers)
    (result,), (tiled,) = (
        stylize(encoder, [StylizeTask(content, [moments], settings)], tile=tile)
        for tile in (None, 16)
    )
    assert result.status == tiled.status == "ok"
    assert result.image is not None
    assert tiled.image is not None
    assert np.abs(result.image - content).max() > 1e-3
    np.testing.assert_allclose(tiled.image, result.image, atol=1e-4)
    metrics = _metrics(encoder, content, style, result.image)
    assert metrics["content_loss"] > 0
    assert metrics["style_loss"] > 0


def _metrics(
    encoder: Encoder, content: NDArray[np.float32], style: NDArray[np.float32], image: Any
) -> dict[str, float]:
    spec = encoder.spec
    features = encoder(to_tensor(content), [spec.evaluation_content])[spec.evaluation_content]
    moments = style_moments(encoder, to_tensor(style), spec.evaluation_moments)
    targets = MetricTargets(content, features, (StyleImage(style, 1.0),), moments)
    return evaluate(encoder, image, targets)


def test_its_memory_and_its_cost_are_estimated(tiny: EncoderSpec) -> None:
    settings = Settings(encoder="tiny")
    assert 0 < peak_bytes(settings, 256, 256, 1) < peak_bytes(Settings(), 256, 256, 1)
    assert peak_bytes(settings, 2048, 2048, 1, tile=256) < peak_bytes(settings, 2048, 2048, 1)
    assert 0 < cell_flops(settings) < cell_flops(Settings())
    per_pixel = 2 * (9 * 3 * 8 + 9 * 8 * 12 / 4)
    assert tiny.convolution_flops("conv_b", 64, 32) == per_pixel * 64 * 32
    assert tiny.margin(["conv_a"]) == 1
    assert tiny.margin(["conv_a", "conv_b"]) == 4  # (1 / 2, rounded up, + 1) positions of 2 px


def test_layers_are_those_of_the_chosen_encoder(tiny: EncoderSpec) -> None:
    with pytest.raises(ConfigError, match=r"ends at conv_b and has no relu4_2.*`encoder: compact`"):
        resolve_settings({"encoder": "tiny", "content_layers": "relu4_2"})
    with pytest.raises(ConfigError, match=r"ends at relu5_1 and has no conv_a.*`encoder: tiny`"):
        resolve_settings({"style_layers": ["conv_a"]})
    with pytest.raises(ConfigError, match="unknown layer 'conv_c'"):
        resolve_settings({"encoder": "tiny", "style_layers": ["conv_c"]})


def test_an_unknown_encoder_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValidationError, match="Input should be 'compact' or 'vgg19'"):
        Settings(encoder="vgg18")


def test_the_registry_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from nstcore.core.encoders import ENCODERS, fetch, locate"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
