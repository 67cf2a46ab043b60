"""Small pictures for the tests of nstcore.images."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture
def ramp8() -> NDArray[np.uint8]:
    """16 x 24 pixels in colour, every row and column different."""
    y, x = np.mgrid[0:16, 0:24]
    return np.stack([x * 10, y * 15, (x + y) * 6], axis=-1).astype(np.uint8)


@pytest.fixture
def ramp16() -> NDArray[np.uint16]:
    """32 x 64 pixels of 16 bits with low bytes that matter."""
    y, x = np.mgrid[0:32, 0:64]
    return np.stack([x * 1021 + y, y * 2017 + x, (x + y) * 687], axis=-1).astype(np.uint16)


@pytest.fixture
def noise() -> NDArray[np.float32]:
    """20 x 30 pixels of float noise in [0, 1]."""
    return np.random.default_rng(7).random((20, 30, 3), dtype=np.float32)
