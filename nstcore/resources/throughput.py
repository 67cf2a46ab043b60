"""How fast a machine is: the numbers from which the time of a run is estimated.

:mod:`nstcore.resources.microbenchmark` measures them; nothing here needs torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from nstcore.core.encoders.registry import ENCODERS
from nstcore.core.settings import EFFECTS, Settings
from nstcore.store.files import digest


@dataclass(frozen=True)
class IterationTime:
    """Seconds of one iteration of N pictures of M pixels: ``fixed + N * (picture + pixel * M)``.

    Attributes:
        fixed: for each iteration, whatever is in it: calls, kernels' starts.
        picture: for each picture, whatever its size: Gram matrices and what is computed from them.
        pixel: for each pixel of each picture.
    """

    fixed: float
    picture: float
    pixel: float

    def seconds(self, pixels: float, count: int = 1) -> float:
        """Of one iteration of some pictures of some pixels each."""
        return self.fixed + count * (self.picture + self.pixel * pixels)

    @classmethod
    def fit(cls, measured: Sequence[tuple[float, int, float]]) -> IterationTime:
        """The speed that explains measurements best, with no part below zero.

        Relative errors count: a small picture's time is as good a measurement as a large one's.

        Args:
            measured: pixels of a picture, pictures and seconds of one iteration each.
        """
        from scipy.optimize import nnls  # slow to import, and seldom needed

        rows = [[1.0, count, count * pixels] for pixels, count, _ in measured]
        seconds = np.array([time for _, _, time in measured])
        table = np.array(rows) / seconds[:, None]
        # Columns of one magnitude: pixels are tens of thousands, the constant is one.
        scale = table.max(axis=0)
        parts, _ = nnls(table / scale, np.ones(len(rows)))
        fixed, picture, pixel = (float(part) for part in parts / scale)
        return cls(fixed, picture, pixel)


@dataclass
class Throughput:
    """What was measured of a machine.

    Attributes:
        device: its name.
        start: seconds until a job that computes has imported what it needs.
        light_start: the same for a job that only handles files.
        process_bytes: memory of a job that computes, before its first picture.
        save: seconds to write a pixel of a picture.
        load: seconds to read a pixel of a picture.
        iterations: :func:`iteration_key` -> speed of the descent's iterations.
        judges: :func:`evaluation_key_of_encoder` -> seconds to measure a pixel of a finished picture.
    """

    device: str
    start: float
    light_start: float
    process_bytes: float
    save: float
    load: float
    iterations: dict[str, IterationTime] = field(default_factory=dict)
    judges: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Throughput:
        """From what :meth:`to_json` gave.

        Raises:
            KeyError, TypeError: if it is something else.
        """
        iterations = {key: IterationTime(**speed) for key, speed in value["iterations"].items()}
        return cls(**{**value, "iterations": iterations})


def iteration_key(settings: Settings, precision: str) -> str:
    """Equal for settings whose iterations take equally long at equal sizes."""
    values: dict[str, Any] = {"precision": precision}
    for name, effects in EFFECTS.items():
        if effects.time is not False and effects.used(settings):
            values[name] = (
                getattr(settings, name) if effects.time is True else effects.time(settings)
            )
    return digest(values)


def evaluation_key_of_encoder(encoder: str, weights: str | None) -> str:
    """Equal for encoders that judge equally fast."""
    return json.dumps([encoder, weights if ENCODERS[encoder].packaged else None])
