"""The encoders and style targets on a device, and what is computed with an encoder alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nstcore.core.encoders.base import Encoder, load_encoder
from nstcore.core.guidance import layer_guides
from nstcore.core.image_similarity import StyleImage
from nstcore.core.metrics import MetricTargets, evaluate
from nstcore.core.moments import Moments
from nstcore.core.settings import Settings
from nstcore.core.targets import image_moments, load_moments, regional_moments, save_moments
from nstcore.images import resize
from nstcore.images.masks import Regions

Pixels = NDArray[np.float32]

STYLE_TILE = 1024
"""Side of the tiles in pixels in which the statistics of large styles are computed."""

TARGETS_KEPT = 64
"""Style targets that stay on the device: those of VGG-19 have 2.5 MB each."""


class DeviceModels:
    """What is loaded onto a device.

    Attributes:
        target_threads: style target that was loaded -> with how many threads it was computed.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.target_threads: dict[Path, frozenset[int]] = {}
        self.moments = lru_cache(TARGETS_KEPT)(self._load_moments)
        self._encoders: dict[tuple[str, ...], Encoder] = {}

    def encoder(
        self, settings: Settings, weights: Path, layers: Sequence[str], *, half: bool = False
    ) -> Encoder:
        """The encoder that some settings ask for, loaded once."""
        key = (str(weights), settings.pooling, settings.padding, str(half), *sorted(layers))
        if key not in self._encoders:
            self._encoders[key] = load_encoder(
                settings, weights, layers, device=self.device, half=half
            )
        return self._encoders[key]

    def _load_moments(self, path: Path) -> dict[str, Moments]:
        """A style target, on the device."""
        loaded, metadata = load_moments(path)
        self.target_threads[path] = frozenset(_thread_counts(metadata))
        return {
            layer: Moments(value.gram.to(self.device), value.mean.to(self.device))
            for layer, value in loaded.items()
        }

    def style_target(
        self,
        file: Path,
        pixels: Pixels,
        size: int,
        settings: Settings,
        layers: tuple[str, ...],
        weights: Path,
        metadata: dict[str, Any],
        regions: Regions | None = None,
    ) -> None:
        """Compute the moments of one style image at one size, and of its regions, and write them."""
        # Tiles are exact, and a style that fits into one is not cut.
        found = image_moments(
            self.encoder(settings, weights, layers),
            pixels,
            size,
            layers,
            self.device,
            STYLE_TILE,
            settings.size_by,
            regions,
            settings.guide_propagation,
        )
        save_moments(file, found, {**metadata, "threads": torch.get_num_threads()})

    def evaluation(
        self,
        settings: Settings,
        weights: Path,
        content: Pixels,
        styles: Sequence[StyleImage],
        target: Path,
        regions: Regions | None = None,
    ) -> Callable[[Pixels], dict[str, float]]:
        """A function that measures finished images of one content and one style.

        Content, target and regions have the size of the settings, which are the evaluation's.
        """
        spec = settings.encoder_spec
        encoder = self.encoder(settings, weights, spec.evaluation_layers)
        layers = spec.evaluation_moments
        size = (content.shape[1], content.shape[0])
        moments, guides = self.moments(target), None
        if regions is not None:
            masks = torch.from_numpy(regions.scaled(size)).to(self.device)
            guides = layer_guides(spec, masks, layers, settings.guide_propagation, regions.names)
            moments, present = regional_moments(moments, layers, regions.names)
            guides = {name: guides[name].scaled(present[name]) for name in layers}
        resized = [style.resized(settings.size) for style in styles]
        targets = MetricTargets.of(encoder, content, resized, moments, guides, regions)
        return lambda image: evaluate(encoder, resize(image, size), targets)


def _thread_counts(metadata: Mapping[str, Any]) -> Iterator[int]:
    """Every number of threads in the metadata of a style target or of its parts."""
    if "threads" in metadata:
        yield metadata["threads"]
    for part in (*metadata.get("blend", ()), *metadata.get("regions", ())):
        yield from _thread_counts(part)
