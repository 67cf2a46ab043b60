"""How fast a machine is: the numbers from which the time of a run is estimated, and their measurement.

Measuring takes a few seconds and no download: the real loop is timed on images of noise, and VGG-19 has
random weights, which take as long.  Only measuring imports torch.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

import nstcore
from nstcore.core.encoders import ENCODERS
from nstcore.core.lazy import lazy_import
from nstcore.core.metrics import MetricTargets, evaluate
from nstcore.core.minimize import Minimizer, Problem
from nstcore.core.optimizers import OPTIMIZERS
from nstcore.core.settings import EFFECTS, Settings
from nstcore.images import load_float, write_image
from nstcore.resources.device import bind_threads, describe
from nstcore.store.cells import Store
from nstcore.store.files import digest

if TYPE_CHECKING:
    import torch

    from nstcore.core.encoders.base import Encoder
else:
    torch = lazy_import("torch")

log = logging.getLogger(__name__)

BUDGET = 3.0
"""Seconds that are spent on the iterations of each encoder, where the least number leaves any."""

SIZES: dict[str, tuple[int, int]] = {"cpu": (128, 256), "mps": (128, 512), "cuda": (256, 1024)}
"""Sides in pixels of the images that are timed: a GPU is not even busy with small ones."""

SEVERAL = 3
"""Images in the batch that tells what an image costs beyond its pixels."""

LEAST = 2
"""Iterations that are timed at least, after one that is not."""

KEPT_SECONDS = 24 * 3600.0
"""How long a measurement stays good: another day the machine may be as busy as today or not."""

_KIND = "probes"
"""In the store."""

_HEAVY = """
import torch, nstcore.jobs.stylize, nstcore.jobs.engine
torch.zeros(1, device="{kind}")  # a GPU takes its time to wake up
from nstcore.resources.device_memory import process_peak_bytes
print(process_peak_bytes())
"""
_LIGHT = "import nstcore.jobs.job, nstcore.jobs.prepare"


@dataclass(frozen=True)
class IterationTime:
    """Seconds of one iteration of N images of M pixels: ``fixed + N * (picture + pixel * M)``.

    Attributes:
        fixed: for each iteration, whatever is in it: calls, kernels' starts.
        picture: for each image, whatever its size: Gram matrices and what is computed from them.
        pixel: for each pixel of each image.
    """

    fixed: float
    picture: float
    pixel: float

    def seconds(self, pixels: float, count: int = 1) -> float:
        """Of one iteration of some images of some pixels each."""
        return self.fixed + count * (self.picture + self.pixel * pixels)

    @classmethod
    def fit(cls, measured: Sequence[tuple[float, int, float]]) -> IterationTime:
        """The speed that explains measurements best, with no part below zero.

        Relative errors count: a small picture's time is as good a measurement as a large one's.

        Args:
            measured: pixels of an image, pictures and seconds of one iteration each.
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
        save: seconds to write a pixel of an image.
        load: seconds to read a pixel of an image.
        iterations: :func:`iteration_key` -> speed of the descent's iterations.
        judges: :func:`evaluation_key_of_encoder` -> seconds to measure a pixel of a finished image.
    """

    device: str
    start: float
    light_start: float
    process_bytes: float
    save: float
    load: float
    iterations: dict[str, IterationTime] = field(default_factory=dict)
    judges: dict[str, float] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Throughput:
        """From what `asdict` gave.

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


# --- Measuring. ---


def measure_throughput(
    settings: Sequence[Settings],
    evaluation: Settings,
    device: torch.device | str,
    *,
    half: bool = False,
    threads: int | None = None,
    store: Store | None = None,
) -> Throughput:
    """The speed of this machine for everything that some cells need.

    Args:
        settings: of the cells.
        evaluation: names the encoder that evaluates finished images.
        device: where they are optimized.
        half: whether the encoder convolves in bfloat16.
        threads: how many a job is granted; None for all.
        store: whose measurements of the last day are taken, and where new ones are kept; only one
            that exists already, since looking at a plan leaves nothing.
    """
    device = torch.device(device)
    bind_threads(threads)
    key = _machine(device)
    known = _kept(store, key)
    rates = known
    if rates is None:
        start, said = start_up(_HEAVY.format(kind=device.type))
        light, _ = start_up(_LIGHT)
        rates = Throughput(describe(device), start, light, float(said), *file_speed())
    precision = "bfloat16" if half else "float32"
    wanted = {iteration_key(one, precision): one for one in settings}
    missing = {name: one for name, one in wanted.items() if name not in rates.iterations}
    for name, one in missing.items():
        share = BUDGET / sum(other.encoder == one.encoder for other in missing.values())
        rates.iterations[name] = iteration_speed(one, device, half=half, seconds=share)
    judge = evaluation_key_of_encoder(evaluation.encoder, evaluation.weights)
    changed = known is None or bool(missing) or judge not in rates.judges
    if judge not in rates.judges:
        rates.judges[judge] = evaluation_speed(evaluation, device)
    if changed and store is not None and store.root.is_dir():
        store.write(_KIND, key, {"measured": time.time(), "rates": asdict(rates)})
    return rates


def _machine(device: torch.device) -> str:
    """What a measurement is of: this machine, this device, these versions."""
    return digest(
        {
            "node": platform.node(),
            "processor": [platform.machine(), platform.processor(), os.cpu_count()],
            "device": describe(device),
            "threads": torch.get_num_threads(),
            "versions": [nstcore.__version__, torch.__version__, platform.python_version()],
        }
    )


def _kept(store: Store | None, key: str) -> Throughput | None:
    found = None if store is None else store.read(_KIND, key)
    try:
        if found is None or not 0 <= time.time() - found["measured"] < KEPT_SECONDS:
            return None
        return Throughput.from_json(found["rates"])
    except (KeyError, TypeError, AttributeError):
        return None  # of another version of this program


def start_up(program: str) -> tuple[float, str]:
    """Seconds that a process takes for a program that only imports, and what it said."""
    package = str(Path(nstcore.__file__).resolve().parents[1])
    known = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(known)}
    started = time.perf_counter()
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return time.perf_counter() - started, done.stdout


def file_speed(side: int = 512) -> tuple[float, float]:
    """Seconds to write and to read a pixel of an image."""
    pixels = _noise(side)
    with tempfile.TemporaryDirectory(prefix="nst-probe-") as folder:
        path = Path(folder) / "picture.png"
        started = time.perf_counter()
        write_image(path, pixels)
        written = time.perf_counter()
        load_float(path)
        read = time.perf_counter()
    return (written - started) / side**2, (read - written) / side**2


def iteration_speed(
    settings: Settings, device: torch.device, *, half: bool = False, seconds: float = BUDGET
) -> IterationTime:
    """Time an optimization's iterations at two sizes and with several images.

    Args:
        settings: what shapes the iterations counts; their number and the size do not.
        device, half: see `measure_throughput`.
        seconds: to spend beyond the least number of iterations.
    """
    encoder = _encoder(settings, settings.layers, device, half)
    small, large = SIZES[device.type]
    measured = []
    for side, count in ((small, 1), (small, SEVERAL), (large, 1)):
        minimizer = _minimizer(settings, encoder, side, count, device)
        taken = _timed(minimizer.advance, device, seconds / 3)
        measured.append((float(side * side), count, taken))
        log.info("%s, %d of %d px: %.4f s", settings.encoder, count, side, taken)
    return IterationTime.fit(measured)


def evaluation_speed(settings: Settings, device: torch.device, side: int = 256) -> float:
    """Seconds to evaluate a pixel of a finished image; ``settings`` name the encoder."""
    from nstcore.core.image_similarity import StyleImage

    encoder = _encoder(settings, settings.encoder_spec.evaluation_layers, device, False)
    content, style, picture = (_noise(side, seed) for seed in range(3))
    targets = MetricTargets.of(encoder, content, [StyleImage(style, 1.0)])
    return _timed(lambda: evaluate(encoder, picture, targets), device, 0.0) / side**2


def _timed(once: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Median time of a call; that of the first does not count."""
    taken: list[float] = []
    while len(taken) <= LEAST or sum(taken[1:]) < seconds:
        started = time.perf_counter()
        once()
        _wait(device)
        taken.append(time.perf_counter() - started)
    return median(taken[1:])


def _wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _minimizer(
    settings: Settings, encoder: Encoder, side: int, count: int, device: torch.device
) -> Minimizer:
    """A minimizer as ``stylize`` would start it, of images of noise."""
    from nstcore.core.batched import to_tensor
    from nstcore.core.moments import style_moments
    from nstcore.core.objective import build_objective
    from nstcore.core.tiling import TiledObjective

    content, style = (to_tensor(_noise(side, seed), device) for seed in (1, 2))
    with torch.no_grad():
        objective = build_objective(
            encoder,
            settings,
            content=encoder(content, settings.used_content_layers),
            style=style_moments(encoder, style, list(settings.style_layers)),
            images=count,
        )
    endless = 1_000_000
    images = content.repeat(count, 1, 1, 1)
    problem = Problem(TiledObjective(objective, None).evaluate, images, endless)
    rate = torch.full((count,), settings.step_length, device=device)
    return OPTIMIZERS[settings.optimizer](problem, settings, rate)


def _encoder(
    settings: Settings, layers: Sequence[str], device: torch.device, half: bool
) -> Encoder:
    """An encoder of the real shape: with its packaged weights, or with random ones."""
    from nstcore.core.encoders.base import load_encoder

    spec = settings.encoder_spec
    if spec.packaged:
        path = Path(settings.weights) if settings.weights else spec.find()
        return load_encoder(settings, path, layers, device=device, half=half)
    encoder: Encoder = spec.load_module().build(
        depth=spec.deepest(layers), pooling=settings.pooling, padding=settings.padding
    )
    for module in encoder.modules():
        if isinstance(module, torch.nn.Conv2d):
            # He et al. 2015, eq. 10: activations neither vanish nor explode.
            torch.nn.init.kaiming_normal_(module.weight)
    if half:
        encoder.halve()
    return encoder.to(device).to(memory_format=torch.channels_last)


def _noise(side: int, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """(side, side, 3) float32 in [0, 1]: white noise, the slowest to write."""
    return np.random.default_rng(seed).random((side, side, 3), dtype=np.float32)
