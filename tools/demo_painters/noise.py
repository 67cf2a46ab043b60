"""Smooth random fields and colour ramps: what the painters draw their variety from.

Every field is fixed by its generator and by the number of its cells, never by the number of pixels,
so that a picture painted small is the same picture as one painted large.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], cells: tuple[float, float]
) -> Floats:
    """Cubic interpolation of a grid of normal deviates.

    Args:
        rng: source of the grid.
        shape: (H, W) of the field in pixels.
        cells: how many grid cells span the height and the width.

    Returns:
        (H, W) float32, mean about 0, standard deviation about 0.7.
    """
    rows, columns = (max(1, round(count)) for count in cells)
    grid = rng.standard_normal((rows + 4, columns + 4))
    y = np.linspace(0.5, shape[0] - 0.5, shape[0]) / shape[0] * rows + 1.5
    x = np.linspace(0.5, shape[1] - 0.5, shape[1]) / shape[1] * columns + 1.5
    spline = ndimage.spline_filter(grid, order=3, mode="mirror").astype(np.float32)
    across = _cubic_weights(x, columns + 4)
    down = _cubic_weights(y, rows + 4)
    return np.asarray(down @ spline @ across.T, dtype=np.float32)


def _cubic_weights(positions: NDArray[np.float64], count: int) -> Floats:
    """Cubic B-spline basis: (P,) positions on a grid of ``count`` knots -> (P, count)."""
    weights = np.zeros((len(positions), count), np.float32)
    first = np.floor(positions).astype(np.int64) - 1
    rows = np.arange(len(positions))
    for tap in range(4):
        knot = first + tap
        distance = np.abs(positions - knot)
        near = 2 / 3 - distance**2 + distance**3 / 2
        far = np.clip(2 - distance, 0, None) ** 3 / 6
        weights[rows, knot] = np.where(distance < 1, near, far)
    return weights


def fractal_noise(
    rng: np.random.Generator,
    shape: tuple[int, int],
    cells: tuple[float, float],
    octaves: int = 4,
    gain: float = 0.5,
) -> Floats:
    """A sum of :func:`smooth_noise`, each octave twice as fine and ``gain`` times as strong.

    Returns:
        (H, W) float32 with mean about 0 and standard deviation about 0.7.
    """
    total = np.zeros(shape, np.float32)
    power = 0.0
    for octave in range(octaves):
        factor = 2.0**octave
        total += gain**octave * smooth_noise(rng, shape, (cells[0] * factor, cells[1] * factor))
        power += gain ** (2 * octave)
    return np.asarray(total / np.sqrt(power), dtype=np.float32)


def colors(*names: str) -> Floats:
    """Hexadecimal colours ``"#rrggbb"`` as (N, 3) float32 in [0, 1]."""
    rows = [[int(name[i : i + 2], 16) / 255 for i in (1, 3, 5)] for name in names]
    return np.asarray(rows, dtype=np.float32)


def ramp(values: Floats, stops: Floats, positions: Sequence[float] | None = None) -> Floats:
    """Piecewise linear colour scale.

    Args:
        values: any shape, in [0, 1] (what lies outside takes the end's colour).
        stops: (N, 3) colours in [0, 1].
        positions: N rising positions of the stops in [0, 1]; evenly spaced by default.

    Returns:
        ``values.shape + (3,)`` float32.
    """
    where = np.linspace(0, 1, len(stops)) if positions is None else np.asarray(positions)
    channels = [np.interp(values, where, stops[:, c]) for c in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def sample(field: Floats, x: Floats, y: Floats, scale: float) -> Floats:
    """Look ``field`` up at nominal positions (nearest pixel, clamped to the border).

    Args:
        field: (H, W) or (H, W, C).
        x: any shape, in nominal units from the left.
        y: like ``x``, from the top.
        scale: pixels in a nominal unit.
    """
    column = np.clip((x * scale).astype(np.int64), 0, field.shape[1] - 1)
    row = np.clip((y * scale).astype(np.int64), 0, field.shape[0] - 1)
    return np.asarray(field[row, column])


def smoothstep(low: float, high: float, values: Floats) -> Floats:
    """Rise from 0 at ``low`` to 1 at ``high`` with level ends (``low`` may exceed ``high``)."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)
