"""A child process that makes an image and reports how much memory it allocated; see test_memory.py.

Its address space is measured, which grows by what is allocated: what of it is resident, a kernel that is
short of memory may take back."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nstcore.core.batched import to_tensor
from nstcore.core.encoders.compact import CompactEncoder
from nstcore.core.encoders.vgg import VGG
from nstcore.core.moments import style_moments
from nstcore.core.optimizers.lbfgs import BatchedLBFGS
from nstcore.core.settings import Settings
from nstcore.core.stylize import StylizeTask, stylize
from nstcore.images.masks import Regions


def address_space(name: str) -> int:
    """Bytes of address space: ``VmSize`` now, ``VmPeak`` at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def fill_history(history: int) -> None:
    """Have L-BFGS allocate its whole history, however few the iterations."""
    original: Callable[..., None] = BatchedLBFGS.__init__

    def filled(self: BatchedLBFGS, *args: Any, **options: Any) -> None:
        original(self, *args, **{**options, "history": history})

    BatchedLBFGS.__init__ = filled  # type: ignore[method-assign]


def descend(encoder: VGG, settings: Settings, side: int, batch: int, regions: int) -> None:
    random = np.random.default_rng(0)
    style = to_tensor(random.random((64, 64, 3), dtype=np.float32))
    moments = style_moments(encoder, style, list(settings.style_layers))
    guide = None
    if regions:
        masks = random.integers(0, 256, (regions, side, side), dtype=np.uint8)
        guide = Regions(tuple(f"region{i}" for i in range(regions)), masks)
    tasks = [
        StylizeTask(
            random.random((side, side, 3), dtype=np.float32), [moments], settings, regions=guide
        )
        for _ in range(batch)
    ]
    assert all(result.status == "ok" for result in stylize(encoder, tasks))


def main(side: int, batch: int, given: dict[str, Any], regions: int) -> None:
    torch.set_num_threads(1)
    settings = Settings(**{**given, "size": side, "pyramid_start": side, "iterations": 3})
    fill_history(settings.history)
    geometry: Any = {
        "depth": settings.layers[-1],
        "pooling": settings.pooling,
        "padding": settings.padding,
    }
    encoder = CompactEncoder(**geometry) if settings.encoder == "compact" else VGG(**geometry)
    encoder.to(memory_format=torch.channels_last)
    # What is loaded at first use is no part of the descent.
    small = Settings(**{**given, "size": 32, "pyramid_start": 32, "iterations": 3})
    descend(encoder, small, 32, 1, regions)
    before = address_space("VmSize")
    descend(encoder, settings, side, batch, regions)
    sys.stdout.write(json.dumps({"measured": address_space("VmPeak") - before}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]), int(sys.argv[4]))
