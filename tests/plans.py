"""Plans of tiny pictures for the tests of what is told before a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nstcore.config.loader import parse_config
from nstcore.plan.plan import Plan


def save(path: Path, size: tuple[int, int], seed: int = 0) -> str:
    """A picture of noise of some width and height."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return str(path)


def make_plan(folder: Path, size: tuple[int, int] = (40, 30), **values: Any) -> Plan:
    """The plan of one content of some size and one style."""
    raw = {
        "contents": {"photo": save(folder / "photo.png", size)},
        "styles": {"paint": save(folder / "paint.png", (40, 40), 1)},
        "results": str(folder / "results"),
        "device": "cpu",
        **values,
    }
    return Plan(parse_config(raw))
