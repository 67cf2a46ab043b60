"""Measuring how fast this machine is, in a few seconds and without any download.

The real loop is timed on pictures of noise.  VGG-19's weights need not be there: random ones
take as long.
"""

from __future__ import annotations

import logging
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import nn

import nstcore
from nstcore.core.encoders.base import Encoder
from nstcore.core.encoders.weights import load_encoder
from nstcore.core.image_similarity import StyleImage
from nstcore.core.metrics import MetricTargets, evaluate
from nstcore.core.minimize import Minimizer, Problem
from nstcore.core.moments import style_moments
from nstcore.core.objective import build_objective
from nstcore.core.optimizers import OPTIMIZERS
from nstcore.core.settings import Settings
from nstcore.core.stylize import to_tensor
from nstcore.core.tiling import TiledObjective
from nstcore.images import load_float, write_image
from nstcore.resources.device import bind_threads, describe
from nstcore.resources.throughput import (
    IterationTime,
    Throughput,
    evaluation_key_of_encoder,
    iteration_key,
)
from nstcore.store.cells import Store
from nstcore.store.files import digest

log = logging.getLogger(__name__)

BUDGET = 3.0
"""Seconds that are spent on the iterations of each encoder, where the least number leaves any."""

SIZES: dict[str, tuple[int, int]] = {"cpu": (128, 256), "mps": (128, 512), "cuda": (256, 1024)}
"""Sides in pixels of the pictures that are timed: a GPU is not even busy with small ones."""

SEVERAL = 3
"""Pictures in the batch that tells what a picture costs beyond its pixels."""

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


def measure_throughput(
    settings: Sequence[Settings],
    judges: Sequence[Settings],
    device: torch.device | str,
    *,
    half: bool = False,
    threads: int | None = None,
    store: Store | None = None,
) -> Throughput:
    """The speed of this machine for everything that some cells need.

    Args:
        settings: of the cells.
        judges: of the encoders that measure finished pictures.
        device: where they are optimized.
        half: whether the encoder convolves in bfloat16.
        threads: how many a job is granted; None for all.
        store: whose measurements of the last day are taken, and where new ones are kept; only one
            that exists already, since looking at a plan leaves nothing.
    """
    bind_threads(threads)
    precision = "bfloat16" if half else "float32"
    wanted = {iteration_key(one, precision): one for one in settings}
    judging = {evaluation_key_of_encoder(one.encoder, one.weights): one for one in judges}
    device = torch.device(device)
    key = _machine(device, threads)
    rates = _kept(store, key)
    known = rates is not None
    if rates is None:
        start, said = start_up(_HEAVY.format(kind=device.type))
        light, _ = start_up(_LIGHT)
        rates = Throughput(describe(device), start, light, float(said), *file_speed())
    missing = {name: one for name, one in wanted.items() if name not in rates.iterations}
    for name, one in missing.items():
        share = BUDGET / sum(other.encoder == one.encoder for other in missing.values())
        rates.iterations[name] = iteration_speed(one, device, half=half, seconds=share)
    unjudged = {name: one for name, one in judging.items() if name not in rates.judges}
    for name, one in unjudged.items():
        rates.judges[name] = evaluation_speed(one, device)
    if store is not None and store.root.is_dir() and (missing or unjudged or not known):
        store.write(_KIND, key, {"measured": time.time(), "rates": rates.to_json()})
    return rates


def _machine(device: torch.device, threads: int | None) -> str:
    """What a measurement is of: this machine, this device, these versions."""
    return digest(
        {
            "node": platform.node(),
            "processor": [platform.machine(), platform.processor(), os.cpu_count()],
            "device": describe(device),
            "threads": threads or torch.get_num_threads(),
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
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return time.perf_counter() - started, done.stdout


def file_speed(side: int = 512) -> tuple[float, float]:
    """Seconds to write and to read a pixel of a picture."""
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
    """The speed of a descent's iterations, timed at two sizes and with several pictures.

    Args:
        settings: what shapes the iterations counts; their number and the size do not.
        device: where they run.
        half: whether the encoder convolves in bfloat16.
        seconds: to spend beyond the least number of iterations.
    """
    encoder = _encoder(settings, settings.layers, device, half)
    small, large = SIZES[device.type]
    measured = []
    for side, count in ((small, 1), (small, SEVERAL), (large, 1)):
        descent = _descent(settings, encoder, side, count, device)
        taken = _timed(descent.advance, device, seconds / 3)
        measured.append((float(side * side), count, taken))
        log.info("%s, %d of %d px: %.4f s", settings.encoder, count, side, taken)
    return IterationTime.fit(measured)


def evaluation_speed(settings: Settings, device: torch.device, side: int = 256) -> float:
    """Seconds to measure a pixel of a finished picture; ``settings`` name the encoder."""
    encoder = _encoder(settings, settings.encoder_spec.evaluation_layers, device, False)
    content, style, picture = (_noise(side, seed) for seed in range(3))
    targets = MetricTargets.of(encoder, content, [StyleImage(style, 1.0)])
    return _timed(lambda: evaluate(encoder, picture, targets), device, 0.0) / side**2


def _timed(once: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Median time of a call."""
    once()
    _wait(device)
    taken: list[float] = []
    while len(taken) < LEAST or sum(taken) < seconds:
        started = time.perf_counter()
        once()
        _wait(device)
        taken.append(time.perf_counter() - started)
    return median(taken)


def _wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _descent(
    settings: Settings, encoder: Encoder, side: int, count: int, device: torch.device
) -> Minimizer:
    """A descent as ``stylize`` would start it, from noise."""
    content, style = (to_tensor(_noise(side, seed), device) for seed in (1, 2))
    with torch.no_grad():
        layers = [layer for layer, weight in settings.content_layers.items() if weight > 0]
        objective = build_objective(
            encoder,
            settings,
            content=encoder(content, layers),
            style=style_moments(encoder, style, list(settings.style_layers)),
            images=count,
        )
    evaluate = TiledObjective(objective, None).evaluate
    images = content.repeat(count, 1, 1, 1)
    endless = 1_000_000
    rate = torch.full((count,), settings.step_length, device=device)
    problem = Problem(evaluate, images, endless)
    return OPTIMIZERS[settings.optimizer](problem, settings, rate)


def _encoder(
    settings: Settings, layers: Sequence[str], device: torch.device, half: bool
) -> Encoder:
    """An encoder of the real shape: with its packaged weights, or with random ones."""
    spec = settings.encoder_spec
    if spec.packaged:
        path = Path(settings.weights) if settings.weights else spec.find()
        return load_encoder(settings, path, layers, device=device, half=half)
    encoder: Encoder = spec.load_module().build(
        depth=spec.deepest(layers), pooling=settings.pooling, padding=settings.padding
    )
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            # He et al. 2015, eq. 10: activations neither vanish nor explode.
            nn.init.kaiming_normal_(module.weight)
    encoder.half_precision = half
    return encoder.to(device).to(memory_format=torch.channels_last)


def _noise(side: int, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """(side, side, 3) float32 in [0, 1]: white noise, the slowest to write."""
    return np.random.default_rng(seed).random((side, side, 3), dtype=np.float32)
