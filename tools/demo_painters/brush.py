"""A canvas that takes brush strokes with bristles and thickness.

Lengths are in *nominal units*: the long side of every picture is :data:`NOMINAL` of them, whatever
its size in pixels.  Colours are sRGB in [0, 1].  A stroke is a ribbon about a path; it is sampled
densely in (along, across) and the samples are written to the canvas in order, later ones on top,
which paints many thousand strokes a second without a loop over them.  Paint is opaque; soft edges
come from painting larger than asked and averaging at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tools.demo_painters.noise import Floats, fractal_noise

NOMINAL = 640.0
"""Length of the long side of any canvas in nominal units."""

SPACING = 0.72
"""Distance of a stroke's samples in pixels; above 1 / sqrt(2) turned strokes would show holes."""

CHUNK = 60_000
"""Samples painted at once; small enough to stay in a processor's cache."""

Field = Callable[[Floats, Floats], tuple[Floats, Floats]]
"""(x, y) in nominal units -> direction (dx, dy); need not be normalized."""


@dataclass(frozen=True)
class Bristles:
    """How a brush leaves its paint.

    Attributes:
        count: bristles (streaks) across the brush.
        streak: how much the lightness of the streaks differs.
        blend: how far streaks wander from the first to the second colour of a stroke, 0 to 1.
        ragged: how unevenly bristles touch down and lift off, as a part of the length.
        dry: part of the stroke's second half where paint runs out, 0 to 1.
        thickness: height of the paint.
        ridge: paint pushed to the edges of the stroke, relative to ``thickness``.
        taper: exponent of the outline; 2 is an ellipse, 6 nearly a rectangle.
    """

    count: int = 9
    streak: float = 0.05
    blend: float = 0.6
    ragged: float = 0.12
    dry: float = 0.25
    thickness: float = 1.0
    ridge: float = 0.35
    taper: float = 4.0


class Canvas:
    """Colour and height of the paint, ``supersample`` times as large as the picture.

    Attributes:
        color: (H, W, 3) float32.
        height: (H, W) float32, thickness of the paint.
        scale: canvas pixels in a nominal unit.
        width_units: width of the picture in nominal units.
        height_units: height of the picture in nominal units.
    """

    def __init__(self, width: int, height: int, ground: Floats, supersample: int = 2) -> None:
        if width < 8 or height < 8:
            raise ValueError(f"a picture of {width} x {height} pixels is too small to paint")
        self.supersample = supersample
        shape = (height * supersample, width * supersample)
        self.scale = max(shape) / NOMINAL
        self.width_units = shape[1] / self.scale
        self.height_units = shape[0] / self.scale
        self.color = np.empty((*shape, 3), np.float32)
        self.color[:] = ground
        self.height = np.zeros(shape, np.float32)
        self._owner = np.zeros(shape[0] * shape[1], np.int32)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the canvas in its own pixels."""
        return self.height.shape[0], self.height.shape[1]

    def grid(self) -> tuple[Floats, Floats]:
        """Nominal x (1, W) and y (H, 1) of the pixel centres."""
        rows, columns = self.shape
        x = (np.arange(columns, dtype=np.float32) + 0.5) / np.float32(self.scale)
        y = (np.arange(rows, dtype=np.float32) + 0.5) / np.float32(self.scale)
        return x[None, :], y[:, None]

    def paint(
        self,
        paths: Floats,
        widths: Floats,
        first: Floats,
        second: Floats,
        rng: np.random.Generator,
        bristles: Bristles,
    ) -> None:
        """Lay strokes on the canvas, in order.

        Args:
            paths: (N, K, 2) nominal points (x, y) of the centre lines.
            widths: (N,) nominal widths.
            first: (N, 3) main colour of each stroke.
            second: (N, 3) colour that some of its bristles carry as well.
            rng: source of the bristles' variety.
            bristles: the brush.
        """
        if len(paths) == 0:
            return
        steps = np.linalg.norm(np.diff(paths, axis=1), axis=2).sum(axis=1)
        along = int(np.ceil(np.quantile(steps, 0.9) * self.scale / SPACING)) + 2
        across = int(np.ceil(np.max(widths) * self.scale / SPACING)) + 2
        tables = rng.standard_normal((len(paths), 5, bristles.count)).astype(np.float32)
        ends = rng.random((len(paths), 2, bristles.count), dtype=np.float32)
        chunk = max(1, CHUNK // (along * across))
        for start in range(0, len(paths), chunk):
            part = slice(start, start + chunk)
            self._lay(
                paths[part], widths[part], first[part], second[part],
                tables[part], ends[part], bristles, (along, across),
            )  # fmt: skip

    def _lay(
        self,
        paths: Floats,
        widths: Floats,
        first: Floats,
        second: Floats,
        tables: Floats,
        ends: Floats,
        bristles: Bristles,
        counts: tuple[int, int],
    ) -> None:
        """Write one chunk of strokes; ``counts`` is the number of samples (along, across)."""
        along, across = counts
        u = np.linspace(0, 1, along, dtype=np.float32)
        v = np.linspace(-1, 1, across, dtype=np.float32)
        center = _weights(u, paths.shape[1]) @ paths  # (U, K) @ (N, K, 2) -> (N, U, 2)
        tangent = np.gradient(center, axis=1)
        tangent /= np.maximum(np.linalg.norm(tangent, axis=2, keepdims=True), 1e-6)
        outline = (1 - np.abs(2 * u - 1) ** bristles.taper) ** (1 / bristles.taper)
        half = widths[:, None] / 2 * np.maximum(outline, 0.15)[None, :]  # (N, U)
        offset = half[:, :, None] * v[None, None, :]  # (N, U, V)
        x = center[:, :, 0, None] - tangent[:, :, 1, None] * offset
        y = center[:, :, 1, None] + tangent[:, :, 0, None] * offset

        hair = _weights((v + np.float32(1)) / np.float32(2), bristles.count)  # (V, B)
        streaks = (_weights(u, tables.shape[1]) @ tables) @ hair.T  # (N, U, V)
        lift = ends @ hair.T  # (N, 2, V)
        touched = u[None, :, None] >= bristles.ragged * lift[:, None, 0, :]
        touched &= u[None, :, None] <= 1 - bristles.ragged * lift[:, None, 1, :]
        if bristles.dry > 0:
            emptied = 1.6 - 3.0 * bristles.dry * np.clip(2 * u - 0.7, 0, None)
            touched &= streaks < emptied[None, :, None]

        column = np.floor(x * self.scale).astype(np.int32)
        row = np.floor(y * self.scale).astype(np.int32)
        rows, columns = self.shape
        touched &= (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
        sample = np.flatnonzero(touched).astype(np.int32)
        pixel = (row * columns + column).reshape(-1)[sample]
        # Many samples fall on one pixel and only the last of them shows.  Numpy promises that of
        # repeated indices the last assignment stays.
        self._owner[pixel] = sample
        last = self._owner[pixel] == sample
        sample, pixel = sample[last], pixel[last]

        stroke, within = np.divmod(sample, along * across)
        at_u, at_v = np.divmod(within, across)
        streak = streaks.reshape(-1)[sample]
        mix = np.clip(bristles.blend * (0.5 + 0.6 * streak), 0, 1)[:, None]
        light = 1 + bristles.streak * np.roll(streaks, across // 3, axis=2).reshape(-1)[sample]
        change = second - first
        self.color.reshape(-1, 3)[pixel] = (first[stroke] + change[stroke] * mix) * light[:, None]
        edge = np.exp(-(((np.abs(v) - 0.8) / 0.18) ** 2))
        body = np.sqrt(np.clip(1 - v * v, 0.05, 1)) + bristles.ridge * edge
        push = 0.85 + 0.3 * u
        height = body[at_v] * push[at_u] + 0.28 * streak
        self.height.reshape(-1)[pixel] = bristles.thickness * height

    def finish(
        self,
        *,
        relief: float = 0.35,
        gloss: float = 0.12,
        weave: float = 0.0,
        rng: np.random.Generator | None = None,
        light: tuple[float, float] = (-0.6, -0.8),
    ) -> Floats:
        """Light the paint from one side and average down to the size asked for.

        Args:
            relief: strength of light and shadow on the slopes of the paint.
            gloss: strength of the highlights.
            weave: strength of the canvas showing through thin paint; needs ``rng``.
            rng: source of the weave's unevenness.
            light: direction (x, y) towards the light, about of length 1.

        Returns:
            (height, width, 3) float32 in [0, 1].
        """
        height = self.height
        if weave > 0 and rng is not None:
            height = height + weave * self._cloth(rng)
        height = ndimage.gaussian_filter(height, 0.45 * self.scale)
        dy, dx = np.gradient(height)
        slope = -(dx * light[0] + dy * light[1]) * self.scale
        shade = np.tanh(slope * 1.6)
        lit = self.color * (1 + relief * shade[..., None])
        lit += gloss * (np.clip(shade - 0.25, 0, None) ** 2)[..., None]
        return shrink(np.clip(lit, 0, 1), self.supersample)

    def _cloth(self, rng: np.random.Generator) -> Floats:
        """Height of a plain weave of threads, (H, W), about -1 to 1."""
        x, y = self.grid()
        wander = fractal_noise(rng, self.shape, (9, 11), octaves=2)
        pitch = 2 * np.pi / 3.4
        warp = np.sin(x * pitch + wander) * np.sign(np.sin(y * pitch / 2 + 1.7 * wander))
        weft = np.sin(y * pitch + 1.3 * wander)
        return np.asarray((warp + weft) / 2, dtype=np.float32)


def shrink(pixels: Floats, factor: int) -> Floats:
    """Average ``factor`` x ``factor`` blocks: (f*H, f*W, 3) -> (H, W, 3)."""
    rows, columns, channels = pixels.shape
    blocks = pixels.reshape(rows // factor, factor, columns // factor, factor, channels)
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float32)


def _weights(positions: Floats, count: int) -> Floats:
    """Matrix of linear interpolation at ``positions`` in [0, 1] among ``count`` even knots."""
    where = positions[:, None] * (count - 1)
    knots = np.arange(count, dtype=np.float32)[None, :]
    return np.asarray(np.clip(1 - np.abs(where - knots), 0, None), dtype=np.float32)


def trace(field: Field, starts: Floats, lengths: Floats, points: int = 7) -> Floats:
    """Follow a direction field both ways from the middle of each stroke.

    Args:
        field: the directions.
        starts: (N, 2) nominal middles.
        lengths: (N,) nominal lengths.
        points: odd number of points on each path.

    Returns:
        (N, points, 2) nominal paths.
    """
    middle = points // 2
    paths = np.empty((len(starts), points, 2), np.float32)
    paths[:, middle] = starts
    step = (lengths / (points - 1)).astype(np.float32)
    for sign in (1, -1):
        for i in range(1, middle + 1):
            here = paths[:, middle + sign * (i - 1)]
            dx, dy = field(here[:, 0], here[:, 1])
            norm = np.maximum(np.hypot(dx, dy), 1e-6)
            paths[:, middle + sign * i, 0] = here[:, 0] + sign * step * dx / norm
            paths[:, middle + sign * i, 1] = here[:, 1] + sign * step * dy / norm
    return paths


def scatter(
    rng: np.random.Generator, count: int, width: float, height: float, margin: float = 12
) -> Floats:
    """Points (N, 2) spread evenly but irregularly over the picture, in random order.

    A jittered grid covers better than independent points: no holes, no clumps.
    """
    wide, high = width + 2 * margin, height + 2 * margin
    columns = max(1, round(np.sqrt(count * wide / high)))
    rows = max(1, round(count / columns))
    row, column = np.divmod(np.arange(rows * columns), columns)
    jitter = rng.random((rows * columns, 2))
    x = (column + jitter[:, 0]) / columns * wide - margin
    y = (row + jitter[:, 1]) / rows * high - margin
    points = np.stack([x, y], axis=1).astype(np.float32)
    return np.asarray(rng.permutation(points), dtype=np.float32)


def vary(
    rng: np.random.Generator, base: NDArray[np.float32], hue: float, value: float
) -> NDArray[np.float32]:
    """Give each colour (N, 3) its own small shift of hue and of lightness."""
    shift = rng.normal(0, hue, base.shape) + rng.normal(0, value, (len(base), 1))
    return np.clip(base + shift, 0, 1).astype(np.float32)


def contours(height: Floats, wide: float, high: float) -> Field:
    """Directions along the contour lines of a map that spans the picture.

    Args:
        height: (H, W) map; its contours are the lines to follow.
        wide: width of the picture in nominal units.
        high: height of the picture in nominal units.
    """
    rows, columns = height.shape
    down, right = np.gradient(height)
    down, right = down * (rows / high), right * (columns / wide)

    def field(x: Floats, y: Floats) -> tuple[Floats, Floats]:
        column = np.clip(x / wide * columns, 0, columns - 1).astype(np.int32)
        row = np.clip(y / high * rows, 0, rows - 1).astype(np.int32)
        return down[row, column], -right[row, column]

    return field
