"""What the parts of ``gpu.py`` share: sizes, and pictures for the engine with weights and targets."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _common import make_encoder, picture, synchronize
from safetensors.torch import save_file

from nstcore.core.encoders import COMPACT_FILE, torchvision_index
from nstcore.core.losses.base import Losses
from nstcore.core.settings import Settings
from nstcore.core.stylize import StylizeTask
from nstcore.images.masks import Regions
from nstcore.jobs.engine import Engine, StylizeRequest, StylizeResult


@dataclass(frozen=True)
class Scale:
    """How large everything is.

    Attributes:
        size: long side of the pictures in pixels (4:3).
        together: pictures that the engine makes at a time.
        alone: pictures that it makes one at a time, for comparison.
        processes: of one picture each.
        iterations: of a whole descent.
        timed: iterations of a short one; the first ten are not timed.
        encoders: to be compared.
        models: sizes and numbers of pictures for the memory model.
        matrix: side of the matrices whose product gives the bf16 peak.
        check: long side of the pictures of the checks.
    """

    size: int = 512
    together: int = 64
    alone: int = 4
    processes: int = 2
    iterations: int = 100
    timed: int = 30
    encoders: tuple[str, ...] = ("vgg19", "compact")
    models: tuple[tuple[int, int], ...] = ((256, 1), (256, 64), (512, 8), (512, 64), (1024, 8))
    matrix: int = 8192
    check: int = 96


QUICK = Scale(
    size=48,
    together=3,
    alone=1,
    processes=1,
    iterations=20,
    timed=20,
    encoders=("compact",),
    models=((48, 2),),
    matrix=256,
    check=32,
)


@dataclass
class Studio:
    """Makes requests for the engine from nothing.

    Attributes:
        folder: where weights and style targets lie; what is there is used again.
        device: where everything is computed.
    """

    folder: Path
    device: str
    engines: dict[tuple[Any, ...], Engine] = field(default_factory=dict)

    def engine(self, batch: int | None = None, precision: str = "auto", **switches: Any) -> Engine:
        """The engine of this process with such options."""
        key = (batch, precision, *sorted(switches.items()))
        if key not in self.engines:
            self.engines[key] = Engine(self.device, None, batch, precision=precision, **switches)
        return self.engines[key]

    def weights(self, encoder: str) -> Path:
        """An encoder's weights; those of VGG-19 are random, which takes as long."""
        if encoder == "compact":
            return COMPACT_FILE
        path = self.folder / f"{encoder}.safetensors"
        if not path.is_file():
            made = make_encoder(encoder, None, "relu5_1", "cpu")
            state = {
                f"features.{torchvision_index(layer)}.{part}": getattr(one, part).detach()
                for layer, one in made.convolutions.items()
                for part in ("weight", "bias")
            }
            save_file({key: value.contiguous() for key, value in state.items()}, path)
        return path

    def content(self, number: int, width: int, height: int) -> Path:
        """A file with a picture, which is read as fast as those of a run."""
        path = self.folder / f"{number}-{width}-{height}.npy"
        if not path.is_file():
            np.save(path, picture(height, width, seed=10 + number))
        return path

    def settings(self, encoder: str, size: int, iterations: int, **other: Any) -> Settings:
        """Settings of one level, at which no picture leaves its batch early."""
        values = {"encoder": encoder, "size": size, "pyramid_start": size, "iterations": iterations}
        return Settings(**{**values, "tolerance": 0, **other})

    def target(self, settings: Settings, regions: Regions | None = None) -> Path:
        """A style target."""
        name = f"{settings.encoder}-{settings.size}-{settings.pooling}-{regions is not None}"
        path = self.folder / f"{name}.safetensors"
        if not path.is_file():
            height, width = settings.size * 3 // 4, settings.size
            layers = tuple(settings.style_layers)
            style = picture(height, width, seed=1)
            self.engine().style_target(
                path,
                style,
                settings.size,
                settings,
                layers,
                self.weights(settings.encoder),
                {},
                regions,
            )
        return path

    def requests(
        self, settings: Settings, count: int, regions: Regions | None = None
    ) -> list[StylizeRequest]:
        """Pictures with a content each, as in a grid batched by style: little can be shared."""
        weights, target = self.weights(settings.encoder), self.target(settings, regions)
        width, height = settings.size, settings.size * 3 // 4

        def request(number: int) -> StylizeRequest:
            path = self.content(number, width, height)

            def read() -> StylizeTask:
                return StylizeTask(np.load(path), (), settings, number, regions=regions)

            names = () if regions is None else regions.names
            return StylizeRequest(
                f"picture {number}",
                settings,
                (width, height),
                [target],
                weights,
                read,
                region_names=names,
            )

        return [request(number) for number in range(count)]


@dataclass(frozen=True)
class Made:
    """What an engine made.

    Attributes:
        results: one for each picture.
        seconds: from the call to the last result.
        per_iteration: seconds of an iteration of the first picture's batch, from the first look at its
            losses (ten iterations) to the last; 0 where there is one look only.
    """

    results: list[StylizeResult]
    seconds: float
    per_iteration: float

    @property
    def batch(self) -> int:
        """How many pictures were made together with the first."""
        return int(self.results[0].metadata["batch_size"])

    @property
    def images(self) -> list[np.ndarray]:
        """The pictures, (H, W, 3) each."""
        return [one.result.image for one in self.results]


def make(engine: Engine, requests: Sequence[StylizeRequest]) -> Made:
    """Have the engine make pictures.

    Raises:
        RuntimeError: if one of them cannot be made, or has no finite loss.
    """
    seen: dict[tuple[str, ...], list[tuple[int, float]]] = {}

    def watch(labels: Sequence[str], done: int, _total: int, _losses: Losses) -> None:
        synchronize(engine.device.type)
        seen.setdefault(tuple(labels), []).append((done, time.perf_counter()))

    began = time.perf_counter()
    found = dict(engine.make(requests, watch))
    synchronize(engine.device.type)
    seconds = time.perf_counter() - began
    results = [found[index] for index in range(len(requests))]
    for one in results:
        if one.reason is not None:
            raise RuntimeError(one.reason)
    # Those of the first picture: a batch that was too large may have begun before it.
    looks = seen[tuple(requests[index].label for index in results[0].members)]
    (first, start), (last, end) = looks[0], looks[-1]
    return Made(results, seconds, (end - start) / max(1, last - first))
