"""Pen and brown ink over a wash: hatched hills one behind the other, a curling sky, an old tree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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

PAPER = colors("#f1e7d0")
WASH = colors("#f6efdd", "#e6d3ae", "#c9a877", "#94704a", "#5a4030")
INKS = colors("#1d130e", "#33211a", "#4d3223", "#6e4a30")

MAP = (320, 400)
"""Rows and columns of the drawing's maps."""

PEN = Bristles(
    count=3, streak=0.12, blend=0.5, ragged=0.04, dry=0.12, thickness=0.3, ridge=0.0, taper=2.2
)


@dataclass
class Drawing:
    """What the pen has to tell.

    Attributes:
        tone: (H, W) darkness wanted, 0 to 1.
        turn: (H, W) direction of the first hatching in radians.
        near: (H, W) nearness, 0 to 1: far lines are finer and browner.
    """

    tone: Floats
    turn: Floats
    near: Floats


def paint_ink(width: int, height: int, seed: int) -> Floats:
    """Draw hills under a curling sky with a pen.

    Args:
        width: of the picture in pixels.
        height: of the picture in pixels.
        seed: of every random choice.

    Returns:
        (height, width, 3) float32 sRGB in [0, 1].
    """
    rng = np.random.default_rng(seed)
    canvas = Canvas(width, height, PAPER, supersample=3)
    drawing, crests = _compose(rng, canvas.width_units / canvas.height_units)
    _wash(canvas, rng, drawing)
    _hatch(canvas, rng, drawing)
    _contours(canvas, rng, crests)
    _draw_woods(canvas, rng, crests)
    _draw_tree(canvas, rng)
    return canvas.finish(relief=0.05, gloss=0.0, weave=0.25, rng=rng)


def _compose(rng: np.random.Generator, aspect: float) -> tuple[Drawing, Floats]:
    """Tones and directions of sky and hills, and the crests (6, columns) in parts of the height."""
    y, x = np.mgrid[0 : MAP[0], 0 : MAP[1]].astype(np.float32)
    x, y = (x + 0.5) / MAP[1] * aspect, (y + 0.5) / MAP[0]
    # The sky: contour lines of a bulging map make curls; the map's relief makes the clouds' tone.
    swell = fractal_noise(rng, MAP, (3, 4), octaves=3, gain=0.45) + 1.6 * y
    down, right = np.gradient(swell * 30)
    turn = np.arctan2(-right, down + 0.25)
    tone = 0.33 + 0.24 * np.tanh(1.3 * (right - 0.6 * down)) - 0.6 * y
    nearness = np.full(MAP, 0.25, np.float32)
    cx, cy = 0.68 * aspect, 0.2
    halo = np.hypot(x - cx, y - cy)
    tone = tone * (1 - 0.75 * np.exp(-((halo / 0.15) ** 2)))
    round_it = np.exp(-((halo / 0.14) ** 4))
    turn = np.where(round_it > 0.5, np.arctan2(x - cx, cy - y), turn)
    tone = np.where(halo < 0.052, 0.0, tone)
    crests = []
    for number in range(6):
        near = number / 5
        ridge = fractal_noise(rng, (8, MAP[1]), (1, 2.5 + 1.5 * number % 3), octaves=5, gain=0.48)[
            4
        ]
        level = 0.42 + 0.105 * number + (0.085 - 0.04 * near) * ridge
        level = level - 0.13 * (number == 1) * np.exp(-(((x[0] - 0.45 * aspect) / 0.18) ** 2))
        crests.append(level.astype(np.float32))
        below = y > level[None, :]
        rise = (y - level[None, :]).clip(0)
        folds = fractal_noise(rng, MAP, (4, 9), octaves=4, gain=0.55)
        leaning = np.gradient(folds, axis=1) * 22 / (1 + 0.4 * number)
        mist = smoothstep(0.0, 0.19 - 0.02 * number, rise)
        shade = (0.23 + 0.38 * near + 0.2 * np.tanh(leaning)) * (1 - 0.7 * mist)
        slope = np.gradient(level) * MAP[1] / aspect
        way = np.arctan2(1.0, 0.9 * np.tanh(leaning)) * (1 - 0.55 * near) + 0.55 * near * np.arctan(
            slope
        )
        tone = np.where(below, shade, tone)
        turn = np.where(below, way, turn)
        nearness = np.where(below, near, nearness)
    maps = (np.asarray(part, np.float32) for part in (tone, turn, nearness))
    return Drawing(*maps), np.stack(crests)


def _look(values: Floats, points: Floats, canvas: Canvas) -> Floats:
    """Values of a map that spans the picture at nominal points (N, 2)."""
    rows, columns = values.shape
    x = points[:, 0] / canvas.width_units * columns
    return sample(values, x, points[:, 1] / canvas.height_units * rows, 1.0)


def _wash(canvas: Canvas, rng: np.random.Generator, drawing: Drawing) -> None:
    """Tint the paper with thinned ink that pools at the edges of its tones."""
    factor = canvas.supersample
    shape = (canvas.shape[0] // factor, canvas.shape[1] // factor)
    blot = fractal_noise(rng, shape, (9, 11), octaves=5, gain=0.6)
    fine = smooth_noise(rng, shape, (170, 210))
    rows = np.arange(shape[0])[:, None] * MAP[0] // shape[0]
    columns = np.arange(shape[1])[None, :] * MAP[1] // shape[1]
    level = drawing.tone[rows, columns] + 0.09 * blot
    steps = level * 4.0
    pooled = (np.floor(steps) + 0.5 * (steps % 1) ** 6) / 4.0
    value = 0.8 * np.clip(0.5 * level + 0.5 * pooled, 0, 1) + 0.05 * blot + 0.02 * fine + 0.05
    washed = ramp(value.astype(np.float32), WASH)
    canvas.color[:] = washed.repeat(factor, axis=0).repeat(factor, axis=1)


def _hatch(canvas: Canvas, rng: np.random.Generator, drawing: Drawing) -> None:
    """Six layers of pen strokes; each darker tone takes one more, turned against the last."""
    layers = (
        (-0.02, 0.0, 8600, 24.0, 0.62),
        (0.14, 0.12, 8600, 22.0, 0.8),
        (0.27, -0.5, 8600, 16.0, 0.85),
        (0.40, 0.75, 8600, 12.0, 0.95),
        (0.54, -1.1, 8600, 10.0, 1.05),
        (0.66, 0.2, 7000, 12.0, 1.25),
    )
    for threshold, angle, count, length, breadth in layers:
        starts = scatter(rng, count, canvas.width_units, canvas.height_units)
        tone = _look(drawing.tone, starts, canvas)
        keep = tone + rng.normal(0, 0.035, len(starts)) > threshold
        starts, tone = starts[keep], tone[keep]
        total = len(starts)
        field = _turned(drawing.turn, canvas, angle)
        lengths = (length * rng.uniform(0.6, 1.4, total)).astype(np.float32)
        paths = trace(field, starts, lengths, points=7)
        paths += rng.normal(0, 0.5, (total, 1, 2)).astype(np.float32)
        near = _look(drawing.near, starts, canvas)
        pressure = (0.72 + 0.5 * near) * (0.85 + 0.7 * np.clip(tone - threshold, 0, 0.5))
        widths = (breadth * pressure * rng.uniform(0.8, 1.3, total)).astype(np.float32)
        dark = np.clip(3.6 - 2.0 * near - 3.0 * tone + rng.normal(0, 0.6, total), 0, 3).astype(int)
        first = vary(rng, INKS[dark], 0.01, 0.02)
        canvas.paint(paths, widths, first, INKS[np.minimum(dark + 1, 3)], rng, PEN)


def _turned(turn: Floats, canvas: Canvas, angle: float) -> Field:
    """Directions of a map of angles, turned by ``angle``."""

    def field(x: Floats, y: Floats) -> tuple[Floats, Floats]:
        way = _look(turn, np.stack([x, y], axis=1), canvas) + np.float32(angle)
        return np.cos(way), np.sin(way)

    return field


def _contours(canvas: Canvas, rng: np.random.Generator, crests: Floats) -> None:
    """Draw each crest twice with a free hand."""
    for number, crest in enumerate(crests):
        for _ in range(2):
            count = 46
            starts = np.linspace(-0.02, 0.98, count) + rng.normal(0, 0.008, count)
            span = np.linspace(0, 1, 9)[None, :] * rng.uniform(0.03, 0.06, (count, 1))
            part = starts[:, None] + span
            column = np.clip(part * MAP[1], 0, MAP[1] - 1).astype(int)
            y = crest[column] * canvas.height_units + rng.normal(0, 0.5, part.shape)
            paths = np.stack([part * canvas.width_units, y], axis=2).astype(np.float32)
            widths = (rng.uniform(0.7, 1.3, count) * (0.7 + 0.14 * number)).astype(np.float32)
            first = vary(rng, np.repeat(INKS[:1], count, axis=0), 0.01, 0.02)
            canvas.paint(paths, widths, first, first, rng, PEN)


def _draw_woods(canvas: Canvas, rng: np.random.Generator, crests: Floats) -> None:
    """Clumps of trees on the nearer crests: scribbled loops, dense on the shaded side."""
    for number in range(1, 6):
        for _ in range(15):
            at = rng.uniform(0, 1)
            size = (3.0 + 2.4 * number) * rng.uniform(0.6, 1.3)
            x = at * canvas.width_units
            y = (
                crests[number][int(at * MAP[1])] * canvas.height_units
                + rng.uniform(-0.2, 2.2) * size
            )
            count = int(14 + 7 * size)
            reach = size * np.sqrt(rng.random(count))
            angle = rng.uniform(0, 2 * np.pi, count)
            middle = np.stack([x + reach * np.cos(angle), y - 0.9 * reach * np.sin(angle)], axis=1)
            light = (np.cos(angle) + np.sin(angle)) * reach / size
            keep = rng.random(count) > 0.3 + 0.5 * light
            loop = rng.uniform(0, 6.28, (count, 1)) + np.linspace(0, 4.2, 9)[None, :]
            curl = rng.uniform(0.9, 1.2 + 0.11 * size, (count, 1))
            paths = middle[:, None, :] + np.stack(
                [curl * np.cos(loop), 0.8 * curl * np.sin(loop)], axis=2
            )
            widths = rng.uniform(0.8, 1.4, count).astype(np.float32)
            first = INKS[rng.integers(0, 3, count)]
            canvas.paint(
                paths[keep].astype(np.float32), widths[keep], first[keep], first[keep], rng, PEN
            )


def _draw_tree(canvas: Canvas, rng: np.random.Generator) -> None:
    """A bare old tree at the left: limbs that fork, modelled by lines along and across them."""
    limbs: list[tuple[Floats, Floats]] = []
    root = np.array([0.25 * canvas.width_units, 1.04 * canvas.height_units])
    _grow(limbs, rng, root, -1.5, 0.25 * canvas.height_units, 25.0, 7)
    for path, girth in limbs:
        _draw_limb(canvas, rng, path, girth)


def _grow(
    limbs: list[tuple[Floats, Floats]],
    rng: np.random.Generator,
    start: Floats,
    way: float,
    length: float,
    girth: float,
    forks: int,
) -> None:
    """Add a limb (path (13, 2), girth (13,)) and those that spring from it."""
    bends = way + np.cumsum(rng.normal(0, 0.13, 12))
    steps = np.stack([np.cos(bends), np.sin(bends)], axis=1) * (length / 12)
    path = start + np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
    taper = girth * np.linspace(1, 0.66, 13)
    limbs.append((path.astype(np.float32), taper.astype(np.float32)))
    if forks == 0:
        return
    spreads = (-0.5, 0.42) if forks % 3 else (-0.65, 0.02, 0.6)
    for spread in spreads:
        turn = bends[-1] + spread + rng.normal(0, 0.16)
        turn = turn - 0.22 * np.cos(turn)  # limbs seek the light
        share = rng.uniform(0.55, 0.7)
        _grow(
            limbs, rng, path[-1], turn, length * rng.uniform(0.66, 0.86), girth * share, forks - 1
        )


def _draw_limb(canvas: Canvas, rng: np.random.Generator, path: Floats, girth: Floats) -> None:
    """A limb: ground tone, lines along the bark, short curved lines across the shaded side."""
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-6
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    if girth[0] < 2.2:
        ink = INKS[:1]
        canvas.paint(path[None], np.maximum(girth[:1], 1.0), ink, INKS[1:2], rng, PEN)
        return
    lines = int(4 + girth[0] * 1.3)
    side = np.linspace(-0.5, 0.5, lines)
    paths = path[None] + (side[:, None, None] * girth[None, :, None]) * across[None]
    paths = paths + rng.normal(0, 0.25, paths.shape)
    body = np.full(lines, 1.35 * girth[0] / lines + 0.6, np.float32)
    tint = np.clip(0.62 - 0.9 * side + rng.normal(0, 0.14, lines), 0, 1).astype(np.float32)
    tones = ramp(tint, np.concatenate([INKS[:3], WASH[3:4], WASH[2:3]]))
    canvas.paint(paths.astype(np.float32), body, tones, tones, rng, PEN)
    thin = np.full(lines, 0.95, np.float32)
    ink = INKS[rng.integers(0, 2, lines)]
    shift = rng.normal(0, 0.5, (lines, 1, 2))
    canvas.paint((paths + shift).astype(np.float32), thin, ink, ink, rng, PEN)
    edge = path[None] + np.array([-0.5, 0.5])[:, None, None] * girth[None, :, None] * across[None]
    canvas.paint(
        edge.astype(np.float32), np.full(2, 1.4, np.float32), INKS[[0, 0]], INKS[[0, 1]], rng, PEN
    )
