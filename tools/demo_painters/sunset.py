"""A burning sky over a fjord: long wavering strokes of thin paint, in echoing bands."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tools.demo_painters.brush import Bristles, Canvas, Field, contours, scatter, trace, vary
from tools.demo_painters.noise import Floats, colors, ramp, sample, smooth_noise

Region = Callable[[Floats, Floats], NDArray[np.bool_]]

SKY = colors(
    "#7c1f22",
    "#c8321f",
    "#e8551f",
    "#f3892b",
    "#86a8a0",
    "#f9bb45",
    "#d23b23",
    "#f6dc8a",
    "#e9772a",
    "#b52a2a",
    "#f2a136",
    "#f7cf62",
    "#dd4a22",
    "#f9bb45",
)
"""Bands of the sky from the top down."""
WATER = colors(
    "#c9a85a",
    "#4c938c",
    "#1f4a66",
    "#7fae96",
    "#23395f",
    "#2f6f7c",
    "#16263f",
    "#4c938c",
    "#1f4a66",
    "#b9b98a",
    "#16263f",
    "#2f6f7c",
)
SHORE = colors(
    "#1c2030", "#7a3b22", "#2f3a2a", "#a35a2a", "#4a2b22", "#6b7035", "#2a1c1c", "#c07a33"
)
LAND = colors("#5b3b63", "#3f3a6e", "#2b2f63", "#1b1c3f")
SUN = colors("#fff6d0", "#fdea9c", "#fbd060", "#f6a83a", "#ee7a2a", "#dd4a22")
BOARD = colors("#b98652")

SUN_AT = (0.655, 0.33, 0.062)
"""The sun: x, y (of the width and height) and radius (of the width)."""


def paint_sunset(width: int, height: int, seed: int) -> Floats:
    """Paint a sunset in long wavering bands.

    Args:
        width: of the picture in pixels.
        height: of the picture in pixels.
        seed: of every random choice.

    Returns:
        (height, width, 3) float32 sRGB in [0, 1].
    """
    rng = np.random.default_rng(seed)
    canvas = Canvas(width, height, BOARD)
    wide, high = canvas.width_units, canvas.height_units
    sky, water, shore = _maps(rng, wide, high)
    _paint_bands(canvas, rng, sky, SKY, (-0.06, 0.56), _in_sky)
    _paint_sun(canvas, rng)
    _paint_bands(canvas, rng, water, WATER, (0.47, 1.06), _below_horizon)
    _paint_glitter(canvas, rng, contours(water, wide, high))
    _paint_land(canvas, rng)
    _paint_bands(canvas, rng, shore, SHORE, (0.0, 0.42), _on_shore)
    return canvas.finish(relief=0.2, gloss=0.05, weave=0.1, rng=rng)


def _maps(rng: np.random.Generator, wide: float, high: float) -> tuple[Floats, Floats, Floats]:
    """Maps (240, 300), contours of which are the strokes of sky, water and shore."""
    shape = (240, 300)
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    x, y = (x + 0.5) / shape[1], (y + 0.5) / shape[0]
    slow, quick = smooth_noise(rng, shape, (3, 3)), smooth_noise(rng, shape, (7, 6))
    sway = np.sin(9 * x + 5 * y + 1.2 * slow) * 0.032 + 0.035 * slow + 0.011 * quick
    cx, cy, radius = SUN_AT
    dx, dy = (x - cx) * wide / high, y - cy
    around = np.exp(-((np.hypot(dx, dy) / (2.1 * radius)) ** 2)) * np.tanh(dy / 0.03)
    sky = y + sway * (1.25 - y) + 0.075 * around
    slow, quick = smooth_noise(rng, shape, (4, 3)), smooth_noise(rng, shape, (9, 6))
    depth = np.clip((y - 0.46) * 2, 0, 1)
    eddy = np.exp(-(((x - 0.36) / 0.2) ** 2) - ((y - 0.8) / 0.12) ** 2)
    water = y + depth * (0.075 * slow + 0.02 * quick) + 0.13 * eddy
    shore = y - _shoreline(x) + 0.05 * np.sin(7 * x + 3 * slow) * (y - 0.5) + 0.03 * slow
    return sky, np.asarray(water, np.float32), np.asarray(shore, np.float32)


def _shoreline(x: Floats) -> Floats:
    """Edge of the near bank at x, both in parts of the picture's sides."""
    return np.asarray(
        1.0 - 0.5 * np.clip(x - 0.3, 0, 1) ** 1.35 + 0.02 * np.sin(13 * x), np.float32
    )


def _paint_bands(
    canvas: Canvas,
    rng: np.random.Generator,
    level: Floats,
    palette: Floats,
    span: tuple[float, float],
    region: Region,
) -> None:
    """Fill a region with three coats of long strokes along the contours of ``level``.

    Args:
        canvas: where to.
        rng: source of variety.
        level: (H, W) map; its contours steer, its values choose the colour.
        palette: (N, 3) colours from ``span[0]`` to ``span[1]``.
        span: the levels between which the palette runs.
        region: tells which points (parts of the sides) a stroke may start from.
    """
    wide, high = canvas.width_units, canvas.height_units
    field = contours(level, wide, high)
    drift = smooth_noise(rng, level.shape, (5, 4))
    coats = (
        (620, 15.0, 120.0, 0.25, Bristles(count=13, streak=0.1, blend=0.5, dry=0.1, thickness=0.6)),
        (2100, 7.5, 150.0, 0.45, Bristles(count=9, streak=0.11, blend=0.8, dry=0.42, ragged=0.2)),
        (1300, 4.2, 105.0, 0.95, Bristles(count=6, streak=0.1, dry=0.5, ragged=0.25, ridge=0.5)),
    )
    for count, breadth, length, stray, bristles in coats:
        starts = scatter(rng, count, wide, high, margin=30)
        starts = starts[region(starts[:, 0] / wide, starts[:, 1] / high)]
        total = len(starts)
        at = _look(level, starts, wide, high)
        band = (at - span[0]) / (span[1] - span[0]) * len(palette)
        band = band + 0.55 * _look(drift, starts, wide, high)
        number = np.floor(band + rng.normal(0, stray, total)).astype(int)
        other = np.floor(band + rng.normal(0.5, 1.2, total)).astype(int)
        first = palette[np.clip(number, 0, len(palette) - 1)]
        second = palette[np.clip(other, 0, len(palette) - 1)]
        lengths = (length * rng.uniform(0.6, 1.35, total)).astype(np.float32)
        paths = trace(field, starts, lengths, points=15)
        widths = (breadth * rng.uniform(0.65, 1.3, total)).astype(np.float32)
        canvas.paint(paths, widths, vary(rng, first, 0.02, 0.03), second, rng, bristles)


def _look(level: Floats, points: Floats, wide: float, high: float) -> Floats:
    """Values of a map that spans the picture at nominal points (N, 2)."""
    rows, columns = level.shape
    return sample(level, points[:, 0] / wide * columns, points[:, 1] / high * rows, 1.0)


def _paint_sun(canvas: Canvas, rng: np.random.Generator) -> None:
    """A disc of arcs, white hot in the middle, in a halo of broken rings."""
    x, y, size = SUN_AT
    cx, cy, radius = x * canvas.width_units, y * canvas.height_units, size * canvas.width_units
    for part in np.linspace(2.1, 0.0, 19):
        count = 5 + int(part * radius * 0.27)
        middle = np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.uniform(0, 6)
        middle += rng.normal(0, 0.5 / count + 0.25 * (part > 0.9), count)
        reach = part * radius * (1 + rng.normal(0, 0.04, (count, 1)))
        turn = middle[:, None] + np.linspace(-0.5, 0.5, 9) * np.minimum(40 / (reach + 6), 1.6)
        bow = reach + 2.5 * np.sin(3 * turn + 2 * part)
        paths = np.stack([cx + bow * np.cos(turn), cy + 0.96 * bow * np.sin(turn)], axis=2)
        level = (part / 2.3 + rng.normal(0, 0.09, count)).astype(np.float32)
        first = vary(rng, ramp(level, SUN), 0.015, 0.02)
        keep = rng.random(count) > 0.6 * (part - 0.7)
        bristles = Bristles(
            count=7, streak=0.06, dry=0.3 * (part > 0.7), ragged=0.15, thickness=1.2
        )
        widths = (rng.uniform(5.0, 8.0, count) * (1.05 - 0.3 * part)).astype(np.float32)
        second = ramp(level + 0.2, SUN)
        paths = paths[keep].astype(np.float32)
        canvas.paint(paths, widths[keep], first[keep], second[keep], rng, bristles)


def _paint_glitter(canvas: Canvas, rng: np.random.Generator, field: Field) -> None:
    """The sun's broken reflection on the water."""
    wide, high = canvas.width_units, canvas.height_units
    count = 330
    fall = rng.random(count) ** 0.8
    x = SUN_AT[0] * wide + rng.normal(0, 1, count) * (14 + 46 * fall)
    y = high * (0.5 + 0.46 * fall)
    starts = np.stack([x, y], axis=1).astype(np.float32)
    level = (0.2 + 0.8 * rng.random(count)).astype(np.float32)
    lengths = (rng.uniform(14, 34, count) * (0.6 + 0.8 * fall)).astype(np.float32)
    widths = rng.uniform(3.2, 5.6, count).astype(np.float32)
    paths = trace(field, starts, lengths)
    bristles = Bristles(count=5, streak=0.07, dry=0.4, ragged=0.2, thickness=1.3)
    first = vary(rng, ramp(level, SUN), 0.02, 0.03)
    canvas.paint(paths, widths, first, ramp(level + 0.3, SUN), rng, bristles)


def _paint_land(canvas: Canvas, rng: np.random.Generator) -> None:
    """Three headlands that enter from both sides, each darker than the one behind."""
    wide, high = canvas.width_units, canvas.height_units
    bristles = Bristles(count=8, streak=0.12, dry=0.3, ragged=0.2)
    heads = ((0.0, 1.15, 0.075, 0.47), (1.02, -0.5, 0.115, 0.485), (-0.02, 0.42, 0.15, 0.5))
    for number, (root, reach, rise, base) in enumerate(heads):
        for part in np.linspace(1.0, -0.12, 17):
            count = 26
            t = np.sort(rng.random(count)) * 1.05
            middle = root + reach * t
            span = np.linspace(-0.5, 0.5, 11)[None, :] * rng.uniform(0.06, 0.16, (count, 1))
            x = middle[:, None] + span
            along = np.clip((x - root) / reach, 0, 1.2)
            crest = np.clip(1 - along, 0, 1) ** 0.7 * (0.8 + 0.2 * np.sin(23 * x + 2 * number))
            y = base - rise * part * crest + 0.006 * np.sin(31 * x + 9 * part)
            shade = number + 1.1 * (0.5 - part) + rng.normal(0, 0.5, count)
            first = LAND[np.clip(np.round(shade), 0, 3).astype(int)]
            warm = rng.random(count) < 0.13 * (part > 0.2)
            first[warm] = colors("#b4534a")
            second = LAND[np.clip(np.round(shade - 1.0), 0, 3).astype(int)]
            paths = np.stack([x * wide, y * high], axis=2).astype(np.float32)
            widths = rng.uniform(4.5, 7.5, count).astype(np.float32)
            canvas.paint(paths, widths, vary(rng, first, 0.02, 0.03), second, rng, bristles)


def _in_sky(x: Floats, y: Floats) -> NDArray[np.bool_]:
    return y < 0.56


def _below_horizon(x: Floats, y: Floats) -> NDArray[np.bool_]:
    return y > 0.49


def _on_shore(x: Floats, y: Floats) -> NDArray[np.bool_]:
    return y > _shoreline(x)
