"""A night sky in oil: short curved strokes that follow whirls, stars with halos, a dark tree."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.demo_painters.brush import Bristles, Canvas, Field, scatter, trace, vary
from tools.demo_painters.noise import (
    Floats,
    colors,
    fractal_noise,
    ramp,
    sample,
    smooth_noise,
    smoothstep,
)

SKY = colors("#0b1640", "#14286b", "#1f429a", "#2f68b8", "#5a9acb", "#9cc6d6", "#e4e9cf")
HALO = colors("#fffbe0", "#fdf0a0", "#f7d451", "#e8b93a", "#a9bd7c", "#6fa7b4", "#2c5aa6")
HILLS = colors("#0a1230", "#10224f", "#1c3a74", "#2f5d8f", "#4f8a96", "#87b29b")
BUSH = colors("#07121c", "#0e2430", "#1a3f42", "#2f6350", "#6f9158", "#b7b467")
TREE = colors("#06090f", "#0d1a1c", "#16302a", "#274a32", "#4d5c2c", "#7a5a2a")

WHIRLS = ((0.44, 0.335, 0.185, 1.0), (0.665, 0.475, 0.115, -1.0), (0.175, 0.14, 0.085, 1.0))
"""Great whirls of the sky: x, y, radius (of the width and height), sense of turning."""

STARS = (
    (0.325, 0.5, 0.03),
    (0.245, 0.285, 0.034),
    (0.315, 0.085, 0.05),
    (0.47, 0.07, 0.036),
    (0.6, 0.135, 0.052),
    (0.725, 0.245, 0.04),
    (0.935, 0.4, 0.043),
    (0.835, 0.53, 0.034),
    (0.39, 0.585, 0.03),
    (0.06, 0.08, 0.03),
    (0.53, 0.6, 0.026),
)
"""Stars: x, y, radius of the halo (of the width)."""

MOON = (0.872, 0.15, 0.088)


def paint_night(width: int, height: int, seed: int) -> Floats:
    """Paint a whirling night sky over hills.

    Args:
        width: of the picture in pixels.
        height: of the picture in pixels.
        seed: of every random choice.

    Returns:
        (height, width, 3) float32 sRGB in [0, 1].
    """
    rng = np.random.default_rng(seed)
    canvas = Canvas(width, height, colors("#101d4d"))
    wide, high = canvas.width_units, canvas.height_units
    lights = [(x * wide, y * high, r * wide) for x, y, r in (*STARS, MOON)]
    sky = _sky_field(rng, wide, high, lights)
    tone = _streamed_tone(rng, canvas, sky)
    _paint_sky(canvas, rng, sky, tone, lights)
    _paint_lights(canvas, rng, sky, lights)
    _paint_hills(canvas, rng)
    _paint_bushes(canvas, rng)
    _paint_tree(canvas, rng)
    return canvas.finish(relief=0.34, gloss=0.16, weave=0.12, rng=rng)


def _sky_field(
    rng: np.random.Generator, wide: float, high: float, lights: list[tuple[float, float, float]]
) -> Field:
    """Wind that blows to the right in waves and turns about whirls and lights."""
    turns = [(x * wide, y * high, r * wide, s) for x, y, r, s in WHIRLS]
    turns += [(x, y, 0.95 * r, 1.0 if i % 2 else -1.0) for i, (x, y, r) in enumerate(lights)]
    phase = rng.uniform(0, 6.28, 2).tolist()

    def field(x: Floats, y: Floats) -> tuple[Floats, Floats]:
        angle = 0.5 * np.sin(x / 62 + phase[0] + y / 95) + 0.35 * np.sin(
            y / 33 + phase[1] - x / 140
        )
        dx, dy = np.cos(angle), np.sin(angle)
        for cx, cy, radius, sense in turns:
            rx, ry = x - cx, y - cy
            distance = np.hypot(rx, ry) + 1e-3
            weight = np.exp(-((distance / (1.15 * radius)) ** 4))
            inward = 0.16 if radius > 60 else 0.0
            tx = sense * -ry / distance - inward * rx / distance
            ty = sense * rx / distance - inward * ry / distance
            dx = dx * (1 - weight) + tx * weight
            dy = dy * (1 - weight) + ty * weight
        return dx.astype(np.float32), dy.astype(np.float32)

    return field


def _streamed_tone(rng: np.random.Generator, canvas: Canvas, field: Field) -> Floats:
    """Noise smeared along the wind (a line integral convolution): the bands of the sky.

    Returns:
        (192, 240) float32 of ranks, spread evenly over [0, 1].
    """
    shape = (192, 240)
    noise = smooth_noise(rng, shape, (52, 64))
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    x = (x.ravel() + 0.5) / shape[1] * canvas.width_units
    y = (y.ravel() + 0.5) / shape[0] * canvas.height_units
    total = np.zeros(x.size, np.float32)
    for sign in (1.0, -1.0):
        px, py = x.copy(), y.copy()
        for _ in range(18):
            column = np.clip(px / canvas.width_units * shape[1], 0, shape[1] - 1).astype(int)
            row = np.clip(py / canvas.height_units * shape[0], 0, shape[0] - 1).astype(int)
            total += noise[row, column]
            dx, dy = field(px, py)
            norm = np.hypot(dx, dy) + 1e-6
            px, py = px + sign * 5 * dx / norm, py + sign * 5 * dy / norm
    ranks = np.empty(total.size, np.float32)
    ranks[np.argsort(total, kind="stable")] = np.linspace(0, 1, total.size, dtype=np.float32)
    return ranks.reshape(shape)


def _look(canvas: Canvas, tone: Floats, points: Floats) -> Floats:
    """Values of a coarse ``tone`` map that spans the canvas at nominal points (N, 2)."""
    x = points[:, 0] / canvas.width_units * tone.shape[1]
    y = points[:, 1] / canvas.height_units * tone.shape[0]
    return sample(tone, x, y, 1.0)


def _paint_sky(
    canvas: Canvas,
    rng: np.random.Generator,
    field: Field,
    tone: Floats,
    lights: list[tuple[float, float, float]],
) -> None:
    """Three coats: broad and dark, then the bands, then thin light strokes on their crests."""
    wide, high = canvas.width_units, canvas.height_units
    coats = (
        (900, 17.0, 62.0, 0.0, Bristles(count=11, streak=0.08, dry=0.1)),
        (5200, 7.0, 44.0, 0.0, Bristles(count=7, streak=0.08, thickness=1.1, ridge=0.5)),
        (3600, 4.6, 34.0, 0.28, Bristles(count=5, streak=0.07, thickness=1.3, ridge=0.6)),
    )
    whirls = [(x * wide, y * high, r * wide) for x, y, r, _ in WHIRLS]
    for number, (count, breadth, length, floor, bristles) in enumerate(coats):
        starts = scatter(rng, count, wide, high * 0.8)
        value = _look(canvas, tone, starts)
        glow = np.zeros(len(starts), np.float32)
        for cx, cy, radius in whirls:
            distance = np.hypot(starts[:, 0] - cx, starts[:, 1] - cy)
            glow += np.exp(-((distance / radius) ** 2))
        for cx, cy, radius in lights:
            distance = np.hypot(starts[:, 0] - cx, starts[:, 1] - cy)
            glow += 0.5 * np.exp(-((distance / (1.6 * radius)) ** 2))
        horizon = smoothstep(0.45, 0.72, starts[:, 1] / high)
        level = 0.74 * value**1.7 + 0.17 * glow + 0.14 * horizon
        level = level - 0.02 + rng.normal(0, 0.05, len(starts))
        keep = value + 0.3 * glow > floor + 0.25 * (number == 2)
        starts, level = starts[keep], level[keep].astype(np.float32)
        first = ramp(level + 0.05 * number, SKY)
        second = ramp(level + 0.16, SKY)
        odd = rng.random(len(starts))
        first[odd < 0.045] = colors("#3f8f8a")
        first[odd > 0.965] = colors("#5b4f9e")
        if number == 2:
            first[(odd > 0.5) & (odd < 0.535)] = colors("#e2c76a")
        lengths = length * rng.uniform(0.7, 1.3, len(starts))
        widths = (breadth * rng.uniform(0.75, 1.25, len(starts))).astype(np.float32)
        paths = trace(field, starts, lengths.astype(np.float32), points=9)
        canvas.paint(paths, widths, vary(rng, first, 0.018, 0.03), second, rng, bristles)


def _paint_lights(
    canvas: Canvas, rng: np.random.Generator, field: Field, lights: list[tuple[float, float, float]]
) -> None:
    """Rings of short strokes about every star and the moon, brightest last."""
    bristles = Bristles(count=5, streak=0.05, thickness=1.5, ridge=0.6, ragged=0.1, dry=0.15)
    for index, (cx, cy, radius) in enumerate(lights):
        moon = index == len(lights) - 1
        cool = index % 4 == 2
        core = rng.uniform(0.16, 0.34)
        for part in np.linspace(1.45, 0.08, 14 if moon else 8 + index % 3):
            ring = part * radius
            count = max(4, int(2 * np.pi * ring / 8.5))
            angle = np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.uniform(0, 6)
            angle += rng.normal(0, 0.8 / count, count)
            reach = ring * (1 + rng.normal(0, 0.05, count))
            starts = np.stack([cx + reach * np.cos(angle), cy + reach * np.sin(angle)], axis=1)
            level = 0.1 + 0.9 * np.clip(part - core, 0, 1.2) / 1.05 + rng.normal(0, 0.06, count)
            level = (level + 0.16 * cool * (part > core)).astype(np.float32)
            first = vary(rng, ramp(level, HALO), 0.015, 0.03)
            second = ramp(level + 0.15, HALO)
            lengths = np.minimum(23.0, 1.5 * ring + 7) * rng.uniform(0.7, 1.25, count)
            keep = rng.random(count) > 0.75 * smoothstep(0.65, 1.4, np.full(count, part))
            paths = trace(field, starts.astype(np.float32), lengths.astype(np.float32))
            widths = (rng.uniform(4.0, 6.2, count) * (1 - 0.25 * (part > 1))).astype(np.float32)
            canvas.paint(paths[keep], widths[keep], first[keep], second[keep], rng, bristles)
        if moon:
            _paint_crescent(canvas, rng, cx, cy, 0.5 * radius)


def _paint_crescent(
    canvas: Canvas, rng: np.random.Generator, cx: float, cy: float, radius: float
) -> None:
    """A crescent of orange and yellow arcs, open to the upper left."""
    bristles = Bristles(count=5, streak=0.05, thickness=1.9, ridge=0.6, ragged=0.08, dry=0.0)
    for part in np.linspace(1.0, 0.0, 6):
        count = 8
        middle = np.linspace(-1.55, 1.55, count) + rng.normal(0, 0.05, count)
        turn = np.linspace(-0.32, 0.32, 7)[None, :] + middle[:, None]
        reach = radius * (1 - 0.55 * part * np.clip(np.cos(0.88 * turn), 0, 1))
        paths = np.stack([cx + reach * np.cos(turn + 0.5), cy + reach * np.sin(turn + 0.5)], axis=2)
        base = ramp(np.full(count, part, np.float32), colors("#d9791c", "#f09a26", "#f7b83c"))
        widths = rng.uniform(4.0, 5.2, count).astype(np.float32)
        first = vary(rng, base, 0.02, 0.03)
        canvas.paint(paths.astype(np.float32), widths, first, base, rng, bristles)


def _ridge(part: float, x: NDArray[np.floating[Any]], wide: float, high: float) -> Floats:
    """Height of the skyline of the hill number ``part`` (0 far, 1 near) at nominal x."""
    t = x / wide
    far = (
        0.735
        - 0.075 * np.sin(2.4 * t + 0.4)
        - 0.045 * np.sin(6.3 * t + 1.3)
        + 0.02 * np.sin(13 * t)
    )
    near = 0.97 - 0.05 * np.sin(3.1 * t + 2.4) - 0.02 * np.sin(9 * t)
    return np.asarray(high * ((1 - part) * far + part * near), dtype=np.float32)


def _paint_hills(canvas: Canvas, rng: np.random.Generator) -> None:
    """Rows of strokes that run along the hills, from the far ridge to the ground."""
    wide, high = canvas.width_units, canvas.height_units
    bristles = Bristles(count=6, streak=0.08, thickness=1.2, ridge=0.5)
    tone = fractal_noise(rng, (64, 160), (7, 9), octaves=3)
    for part in np.linspace(0, 1.25, 34):
        count = 56
        x = np.linspace(-10, wide + 10, count) + rng.normal(0, 5, count)
        x = rng.permutation(x).astype(np.float32)
        y = _ridge(part, x, wide, high) + rng.normal(0, 1.5, count)
        span = np.linspace(-0.5, 0.5, 7, dtype=np.float32) * rng.uniform(24, 44, (count, 1))
        px = x[:, None] + span
        swell = 5 * np.sin(px / 21 + 9 * part) * (0.3 + part)
        py = _ridge(part, px, wide, high) + (y - _ridge(part, x, wide, high))[:, None] + swell
        row = np.clip(y / high * 64, 0, 63).astype(int)
        column = np.clip(x / wide * 160, 0, 159).astype(int)
        level = 0.42 + 0.3 * tone[row, column] + 0.25 * np.sin(20 * part + x / 47)
        level -= 0.45 * (part < 0.04)
        first = ramp(level.astype(np.float32), HILLS)
        second = ramp((level + 0.2).astype(np.float32), HILLS)
        odd = rng.random(count)
        first[odd < 0.05] = colors("#c9b458")
        first[odd > 0.94] = colors("#27497a")
        widths = rng.uniform(5.5, 8.5, count).astype(np.float32)
        paths = np.stack([px, py], axis=2).astype(np.float32)
        canvas.paint(paths, widths, vary(rng, first, 0.015, 0.03), second, rng, bristles)


def _paint_bushes(canvas: Canvas, rng: np.random.Generator) -> None:
    """Round dark trees on the slopes, each a nest of short arcs, and lit windows between them."""
    wide, high = canvas.width_units, canvas.height_units
    leaf = Bristles(count=5, streak=0.1, thickness=1.4, ridge=0.6, ragged=0.12)
    for depth in np.linspace(0.16, 0.95, 9):
        for _ in range(6):
            x = rng.uniform(0.2, 1.02) * wide
            y = float(_ridge(depth, np.array([x], np.float32), wide, high)[0])
            radius = (9 + 12 * depth) * rng.uniform(0.7, 1.3)
            count = int(1.6 * radius) + 8
            reach = radius * np.sqrt(np.sort(rng.random(count))[::-1])
            angle = rng.uniform(0, 2 * np.pi, count)
            turn = (
                angle[:, None]
                + np.linspace(-0.5, 0.5, 7) * np.minimum(9 / (reach + 3), 1.5)[:, None]
            )
            px = x + reach[:, None] * np.cos(turn)
            py = y + 0.78 * reach[:, None] * np.sin(turn)
            facing = -(np.cos(angle) * 0.5 + np.sin(angle)) * reach / radius
            level = (0.34 + 0.3 * facing + rng.normal(0, 0.08, count)).astype(np.float32)
            first = vary(rng, ramp(level, BUSH), 0.012, 0.02)
            paths = np.stack([px, py], axis=2).astype(np.float32)
            widths = rng.uniform(3.4, 5.4, count).astype(np.float32)
            canvas.paint(paths, widths, first, ramp(level + 0.2, BUSH), rng, leaf)
        lamps = 3
        lamp_x = rng.uniform(0.25, 0.98, (lamps, 1)) * wide
        lamp_y = _ridge(depth, lamp_x, wide, high) + rng.uniform(-9, 9, (lamps, 1))
        span = np.linspace(-0.5, 0.5, 5) * rng.uniform(5, 11, (lamps, 1))
        paths = np.stack([lamp_x + 0.25 * span, lamp_y + span], axis=2).astype(np.float32)
        shine = ramp(rng.random(lamps).astype(np.float32), colors("#e8912d", "#f7cf52", "#fdf0a8"))
        widths = rng.uniform(3.6, 5.2, lamps).astype(np.float32)
        canvas.paint(paths, widths, shine, vary(rng, shine, 0.03, 0.06), rng, leaf)


def _paint_tree(canvas: Canvas, rng: np.random.Generator) -> None:
    """Two dark trees like flames at the left, of upright waving strokes."""
    wide, high = canvas.width_units, canvas.height_units
    bristles = Bristles(count=6, streak=0.16, thickness=1.5, ridge=0.7, ragged=0.15)
    for center, top, girth, count in ((0.225, 0.47, 27.0, 330), (0.12, 0.1, 50.0, 760)):
        foot = 1.06
        rise = rng.permutation(np.linspace(-0.03, 0.985, count))  # 0 at the foot, 1 at the top
        side = np.clip(rng.normal(0, 0.55, count), -1.1, 1.1)
        reach = rng.uniform(0.07, 0.15, (count, 1))
        t = np.linspace(-0.4, 0.6, 9)[None, :] * reach + rise[:, None]
        body = np.clip(1 - t, 0, 1) ** 0.75 * (1.15 - 0.5 * np.exp(-(((t + 0.02) / 0.16) ** 2)))
        licks = 0.16 * np.sin(17 * t + 3.1 * side[:, None]) + 0.1 * np.sin(
            31 * t - 2 * side[:, None]
        )
        flare = 1 + 0.45 * np.linspace(-0.3, 0.7, 9)[None, :]
        px = center * wide + girth * body * (side[:, None] * flare + licks)
        px += 6 * np.sin(6.5 * t + girth)
        py = high * (foot + (top - foot) * t)
        lit = 0.16 * (rng.random(count) < 0.16)
        level = 0.2 + 0.26 * rng.random(count) + 2 * lit - 0.08 * np.abs(side)
        first = ramp(level.astype(np.float32), TREE)
        second = ramp((level + 0.24).astype(np.float32), TREE)
        widths = (rng.uniform(4.5, 8.5, count) * (1.05 - 0.45 * np.clip(rise, 0, 1))).astype(
            np.float32
        )
        paths = np.stack([px, py], axis=2).astype(np.float32)
        canvas.paint(paths, widths, vary(rng, first, 0.012, 0.02), second, rng, bristles)
