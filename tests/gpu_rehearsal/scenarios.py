"""Runs of the engine on the pretended device: two small levels of ten iterations each."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_rehearsal.pretended import PretendedDevice
from numpy.typing import NDArray
from safetensors.torch import save_file

from nstcore.core.encoders import COMPACT_FILE, torchvision_index
from nstcore.core.encoders.vgg import VGG
from nstcore.core.image_similarity import StyleImage
from nstcore.core.settings import PRESETS, Settings
from nstcore.core.stylize import StylizeTask
from nstcore.images.masks import Regions
from nstcore.jobs.engine import Engine, StylizeRequest

SMALL: dict[str, Any] = {"size": 48, "pyramid_start": 32, "pyramid_factor": 1.5, "iterations": 10}


SHALLOW = {
    **{"size": 96, "pyramid_start": 96},
    "content_layers": {"relu2_1": 1.0},
    "style_layers": {"relu1_1": 1.0, "relu2_1": 1.0},
}
"""Layers that see little around a position, so that an image has several tiles."""


@dataclass(frozen=True)
class Scenario:
    """One run.

    Attributes:
        settings: beside the small ones.
        count: of images, each of a content of its own.
        size: width and height of the images in pixels.
        regions: of the contents, vertical stripes; 0 for none.
        engine: options of the engine.
        measured: whether the images are measured at the end.
        values: see `PretendedDevice`.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    count: int = 3
    size: tuple[int, int] = (48, 40)
    regions: int = 0
    engine: dict[str, Any] = field(default_factory=dict)
    measured: bool = False
    values: bool = True

    def run(self, kind: str, folder: Path, vgg: Path) -> PretendedDevice:
        """Make the images on a device of a kind, ``cuda`` or ``mps``; see :func:`random_vgg`.

        Raises:
            RuntimeError: an image was not made.
        """
        device = PretendedDevice(kind, self.values)
        settings = Settings(**{**SMALL, **self.settings})
        weights = vgg if settings.encoder == "vgg19" else COMPACT_FILE
        style, *contents = smooth_images(1 + self.count, *self.size)
        regions = stripes(self.regions, *self.size) if self.regions else None
        with device.present():
            engine = Engine(kind, 1, self.count, **self.engine)
            layers, targets = tuple(settings.style_layers), []
            for size in settings.level_sizes():
                targets.append(folder / f"{size}.safetensors")
                engine.style_target(targets[-1], style, size, settings, layers, weights, {})
            requests = [
                StylizeRequest(
                    label=f"image {number}",
                    settings=settings,
                    size=self.size,
                    targets=targets,
                    weights=weights,
                    read=lambda content=content: StylizeTask(  # type: ignore[misc]
                        content, (), settings, style_image=style, regions=regions
                    ),
                    region_names=() if regions is None else regions.names,
                )
                for number, content in enumerate(contents)
            ]
            for _, made in engine.make(requests):
                if made.result is None:
                    raise RuntimeError(made.reason)
            if self.measured:
                spec = settings.encoder_spec
                own, target = settings.model_copy(update={"size": self.size[0]}), folder / "metrics"
                engine.style_target(
                    target, style, self.size[0], own, spec.evaluation_moments, weights, {}
                )
                styles = [StyleImage(style, 1.0)]
                engine.evaluation(own, weights, contents[0], styles, target)(contents[0])
        return device


SCENARIOS = {
    "compact": Scenario(measured=True),
    "one image": Scenario(count=1),
    "adam": Scenario({"optimizer": "adam"}),
    "w2": Scenario({"statistic": "w2"}),
    "gatys": Scenario({**PRESETS["gatys"], **SMALL, "encoder": "compact", "history": 10}),
    "balanced gradients": Scenario({"normalization": "gradient"}),
    "two regions": Scenario(regions=2),
    "two regions, w2": Scenario({"statistic": "w2"}, regions=2),
    "tiles": Scenario(SHALLOW, size=(96, 80), engine={"tile": 32}, count=1),
    "luminance, l2, reflect": Scenario(
        {"color": "luminance", "pooling": "l2", "padding": "reflect"}
    ),
    "float32": Scenario(engine={"precision": "float32"}),
    "images leave early": Scenario({"tolerance": 0.2, "iterations": 30}),
    "vgg19": Scenario({"encoder": "vgg19"}, values=False),
    "vgg19, adam, w2": Scenario(
        {"encoder": "vgg19", "optimizer": "adam", "statistic": "w2"}, values=False
    ),
}


def smooth_images(count: int, width: int, height: int) -> list[NDArray[np.float32]]:
    """Images (H, W, 3) of waves with a little noise."""
    random = np.random.default_rng(5)
    y, x = np.mgrid[:height, :width] / max(width, height)
    found = []
    for _ in range(count):
        waves = [0.5 + 0.3 * np.sin(a * x + b * y) for a, b in random.uniform(3, 14, (3, 2))]
        noise = 0.1 * random.standard_normal((height, width, 3))
        found.append((np.stack(waves, -1) + noise).clip(0, 1).astype(np.float32))
    return found


def stripes(count: int, width: int, height: int) -> Regions:
    """Regions beside each other."""
    masks = np.zeros((count, height, width), np.uint8)
    for number, columns in enumerate(np.array_split(np.arange(width), count)):
        masks[number][:, columns] = 255
    return Regions(tuple(f"stripe {number}" for number in range(count)), masks)


def random_vgg(folder: Path) -> Path:
    """A file with VGG-19 of random weights, in a folder."""
    random, state = torch.Generator().manual_seed(0), {}
    for layer, convolution in VGG(depth="relu5_1").convolutions.items():
        weight: torch.Tensor = convolution.weight  # type: ignore[assignment]
        deviation = (2 / weight[0].numel()) ** 0.5  # activations neither vanish nor explode
        name = f"features.{torchvision_index(layer)}"
        state[f"{name}.weight"] = torch.randn(weight.shape, generator=random) * deviation
        state[f"{name}.bias"] = torch.zeros(len(weight))
    path = folder / "vgg19.safetensors"
    save_file(state, path)
    return path
