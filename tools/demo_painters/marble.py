"""Marbled paper: inks dropped on water, drawn through with combs, lifted off with a sheet.

Every act on the bath is an exact map of the plane (Lu, Jaffer, Jin, Zhao and Mao, *Mathematical
Marbling*, IEEE Computer Graphics and Applications 32(6), 2012); the picture is made by running the
maps backwards from each pixel until the drop is found whose ink lies there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tools.demo_painters.brush import NOMINAL, shrink
from tools.demo_painters.noise import Floats, colors, fractal_noise, smooth_noise

SUPERSAMPLE = 3

INKS = colors(
    "#0f2a3f",
    "#f3e6c8",
    "#8f1d2c",
    "#1f6f78",
    "#e0a030",
    "#f3e6c8",
    "#16405c",
    "#c8502a",
    "#7fb0a4",
)
"""In the order of dropping."""

DROPS = 340
CHUNK = 30_000
"""Places traced back at once; small enough to stay in a processor's cache."""


def paint_marble(width: int, height: int, seed: int) -> Floats:
    """Make a sheet of combed marbled paper.

    Args:
        width: of the picture in pixels.
        height: of the picture in pixels.
        seed: of every random choice.

    Returns:
        (height, width, 3) float32 sRGB in [0, 1].
    """
    rng = np.random.default_rng(seed)
    shape = (height * SUPERSAMPLE, width * SUPERSAMPLE)
    scale = max(shape) / NOMINAL
    wide, high = shape[1] / scale, shape[0] / scale
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    x, y = (x + 0.5) / scale, (y + 0.5) / scale
    # The bath is never quite still.
    x = x + 1.2 * fractal_noise(rng, shape, (10, 12), octaves=2)
    y = y + 1.2 * fractal_noise(rng, shape, (10, 12), octaves=2)
    for cx, cy, turn, reach in (
        (0.24 * wide, 0.3 * high, 1.5, 70.0),
        (0.74 * wide, 0.68 * high, -1.7, 78.0),
        (0.67 * wide, 0.18 * high, 1.1, 48.0),
        (0.17 * wide, 0.82 * high, -1.2, 52.0),
    ):
        x, y = _stir(x, y, cx, cy, turn, reach)
    x = x + 9.0 * np.sin(2 * np.pi * y / 118 + 0.4)
    y = _comb(y, x, pitch=46.0, pull=26.0, sharp=4.2, swap=False)
    x = _comb(x, y, pitch=17.0, pull=30.0, sharp=2.6, swap=True)
    y = _comb(y, x, pitch=64.0, pull=70.0, sharp=7.0, swap=True)
    ink, edge = _lift(rng, x, y, wide, high)
    return shrink(_dry(rng, ink, edge, scale), SUPERSAMPLE)


def _stir(
    x: Floats, y: Floats, cx: float, cy: float, turn: float, reach: float
) -> tuple[Floats, Floats]:
    """Undo a twirl of ``turn`` radians about a point, fading over ``reach``."""
    dx, dy = x - cx, y - cy
    angle = turn * np.exp(-(((dx * dx + dy * dy) / reach**2) ** 0.9)) * 2.2
    cos, sin = np.cos(angle), np.sin(angle)
    return cx + cos * dx - sin * dy, cy + sin * dx + cos * dy


def _comb(
    along: Floats, across: Floats, *, pitch: float, pull: float, sharp: float, swap: bool
) -> Floats:
    """Undo a comb whose teeth, ``pitch`` apart, dragged the ink by ``pull`` along their way.

    Args:
        along: coordinate in the direction of the teeth's way.
        across: the other coordinate.
        pitch: distance of the teeth.
        pull: how far ink on a tooth's track was carried.
        sharp: distance at which the drag has fallen to 1/e.
        swap: let every second tooth go the other way.

    Returns:
        ``along`` before the comb.
    """
    tooth = np.round(across / pitch)
    distance = np.abs(across - pitch * tooth)
    sense = np.where(tooth % 2 == 0, 1.0, -1.0) if swap else 1.0
    drag = np.exp(-distance / sharp) + 0.25 * np.cos(2 * np.pi * (across / pitch))
    return np.asarray(along - pull * sense * drag, np.float32)


def _lift(
    rng: np.random.Generator, x: Floats, y: Floats, wide: float, high: float
) -> tuple[Floats, Floats]:
    """Find the ink at each place by undoing the drops, the last one first.

    Returns:
        Numbers of inks (H, W) and how near each place is to the rim of its drop, 0 to 1 (H, W).
    """
    margin = 120.0
    spread = rng.uniform((-margin, -margin), (wide + margin, high + margin), (DROPS, 2))
    size = rng.uniform(15, 42, DROPS) * np.where(np.arange(DROPS) > 0.7 * DROPS, 0.62, 1.0)
    rows = np.concatenate([spread, size[:, None]], axis=1).astype(np.float32).tolist()
    ink = np.zeros(x.size, np.int16)
    rim = np.zeros(x.size, np.float32)
    for start in range(0, x.size, CHUNK):
        part = slice(start, start + CHUNK)
        _undo_drops(rows, x.ravel()[part], y.ravel()[part], ink[part], rim[part])
    return ink.reshape(x.shape).astype(np.float32), rim.reshape(x.shape)


def _undo_drops(
    drops: list[list[float]], x: Floats, y: Floats, ink: NDArray[np.int16], rim: Floats
) -> None:
    """Fill ``ink`` and ``rim`` (P,) for places x, y (P,); ``drops`` are [x, y, radius], first to last.

    A drop of radius r carries what was at distance d from its centre to sqrt(d^2 + r^2).
    """
    left = np.arange(x.size)
    for number in range(len(drops) - 1, -1, -1):
        cx, cy, radius = drops[number]
        dx, dy = x - cx, y - cy
        part = radius**2 / (dx * dx + dy * dy + 1e-6)
        inside = part > 1
        if inside.any():
            ink[left[inside]] = number % len(INKS)
            rim[left[inside]] = 1 / part[inside]
            out = ~inside
            left, dx, dy, part = left[out], dx[out], dy[out], part[out]
        shrunk = np.sqrt(1 - part)
        x, y = cx + dx * shrunk, cy + dy * shrunk


def _dry(rng: np.random.Generator, ink: Floats, edge: Floats, scale: float) -> Floats:
    """Ink on paper: darker rims, uneven strength, pinholes, fibres.

    Returns:
        (H, W, 3) float32 in [0, 1] at the bath's size.
    """
    shape = (ink.shape[0], ink.shape[1])
    cloudy = fractal_noise(rng, shape, (7, 9), octaves=5, gain=0.65)
    fine = fractal_noise(rng, shape, (130, 160), octaves=2)
    fibre = smooth_noise(rng, shape, (24, 240)) * smooth_noise(rng, shape, (210, 26))
    sheet = INKS[ink.astype(np.int64)]
    strength = 0.86 + 0.09 * cloudy + 0.05 * fine + 0.16 * edge**5
    paper = colors("#efe3c8")
    printed = paper + (sheet - paper) * np.clip(strength, 0.4, 1.0)[..., None]
    printed *= (1 - 0.16 * edge**6 + 0.03 * cloudy + 0.035 * fibre)[..., None]
    holes = np.clip(smooth_noise(rng, shape, (120, 150)) - 1.75, 0, 0.5) * 2
    printed += (paper - printed) * (0.8 * holes)[..., None]
    return np.asarray(np.clip(printed, 0, 1), np.float32)
