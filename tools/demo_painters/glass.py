"""A stained-glass window: a rose sun, hills, a river and lilies in jewel colours and lead."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from tools.demo_painters.brush import NOMINAL, shrink
from tools.demo_painters.noise import Floats, colors, fractal_noise, smooth_noise, smoothstep

SUPERSAMPLE = 2

GOLD = colors("#f7b516", "#f6931d", "#fbd34a", "#ee6f1c", "#fbe27e")
RUBY = colors("#b3122a", "#d2233a", "#8c0f34", "#e0432f", "#c21b5a")
SKY = colors("#123a9c", "#1c56c4", "#2a78d6", "#0f2c78", "#3f9be0", "#4a2fa0", "#6a3cb4", "#1f8fc4")
DAWN = colors("#7a3cc0", "#a24cc4", "#d0568f", "#ef7f6a", "#f6a25a", "#5a4fd0")
HEAVEN = colors(
    "#fbd98a",
    "#f9b05a",
    "#f48a62",
    "#e0648a",
    "#b45ac0",
    "#8a5ad8",
    "#5a78e4",
    "#3fa2ea",
    "#2a7ae0",
    "#1f5ccc",
    "#2a86d0",
    "#1746b0",
    "#12388c",
)
"""The sky from the sun outwards."""
IRIS = colors("#3a2aa0", "#5a3ac4", "#7f5ae0", "#b49af0")
LEAVES = colors(
    "#0c6a3a", "#2a9a3c", "#7fbf2f", "#c4d838", "#f2c02a", "#14804f", "#e88a1f", "#4fae3c"
)
HILL = colors("#0f7a3c", "#1f9a48", "#4fb43c", "#8cc43a", "#0c5c46", "#2a8f6a", "#c8d23c")
RIVER = colors("#0fa0b4", "#2fc0c4", "#7fdcd2", "#0f78a8", "#bdeee0", "#2a94d0")
EARTH = colors("#8a3f1a", "#b05a1f", "#6a2a2a", "#c97a2a", "#7a1f3a")
LEAD = colors("#15161b")

Ints = NDArray[np.int64]


@dataclass
class Window:
    """Which pane every pixel belongs to, and each pane's colour.

    Attributes:
        panes: (H, W) numbers of panes.
        tints: one colour for each pane, in the order of the numbers.
    """

    panes: Ints
    tints: list[Floats] = field(default_factory=list)

    def cut(
        self,
        rng: np.random.Generator,
        where: NDArray[np.bool_],
        cells: Ints,
        palette: Floats,
        *,
        stray: float = 0.0,
    ) -> None:
        """Replace the glass ``where`` by panes, one for each value of ``cells`` there.

        Args:
            rng: chooses the colours.
            where: (H, W) mask of what is cut anew.
            cells: (H, W) numbers; pixels of one number become one pane.
            palette: (N, 3) colours the panes take.
            stray: deviation of each pane's own shift of hue.
        """
        inside = cells[where]
        if inside.size == 0:
            return
        inside = inside - inside.min()
        count = int(inside.max()) + 1
        self.panes[where] = len(self.tints) + inside
        pick = rng.permutation(len(palette))[np.arange(count) % len(palette)]
        moved = rng.random(count) < 0.45  # else the palette would repeat in order
        pick[moved] = rng.integers(0, len(palette), int(moved.sum()))
        shift = rng.normal(0, 1, (count, 3)) * stray
        self.tints.extend(np.clip(palette[pick] + shift, 0.01, 1).astype(np.float32))


def paint_glass(width: int, height: int, seed: int) -> Floats:
    """Paint a leaded window lit from behind.

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
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    x, y = (x + 0.5) / scale, (y + 0.5) / scale
    wide, high = shape[1] / scale, shape[0] / scale
    # Glass is cut by hand: no line is quite straight, no circle quite round.
    x = x + 1.6 * fractal_noise(rng, shape, (8, 10), octaves=3)
    y = y + 1.6 * fractal_noise(rng, shape, (8, 10), octaves=3)
    window = Window(np.zeros(shape, np.int64))
    _cut_sky(window, rng, x, y, wide, high)
    _cut_land(window, rng, x, y, wide, high)
    _cut_tree(window, rng, x, y, wide, high)
    _cut_flowers(window, rng, x, y, wide, high)
    _cut_border(window, rng, x, y, wide, high)
    return shrink(_shine(window, rng, scale), SUPERSAMPLE)


def _cut_sky(
    window: Window, rng: np.random.Generator, x: Floats, y: Floats, wide: float, high: float
) -> None:
    """A rose of petals about the sun; rings of rays about it, from dawn to deep blue."""
    cx, cy = 0.6 * wide, 0.36 * high
    reach = np.hypot(x - cx, y - cy)
    turn = np.arctan2(y - cy, x - cx) / (2 * np.pi) + 0.5
    swirl = turn + 0.0005 * reach
    rings = np.array([126, 150, 182, 222, 270, 326, 390, 460, 540])
    ring = np.digitize(reach + 6 * np.sin(2 * np.pi * (swirl * 12 + 0.2)), rings)
    for number in range(len(rings) + 1):
        count = (24, 24, 24, 36, 36, 36, 48, 48, 48, 48)[number]
        ray = np.floor((swirl + 0.5 * (number % 2) / count) % 1 * count).astype(np.int64)
        palette = HEAVEN[number : number + 4]
        window.cut(rng, ring == number, ray, palette, stray=0.025)
    petals = (
        (116, 24, 10.0, 0.5, RUBY),
        (92, 12, 20.0, 0.0, GOLD),
        (60, 12, 8.0, 0.5, RUBY),
        (44, 8, 5.0, 0.0, GOLD),
    )
    for radius, count, bulge, shift, palette in petals:
        lobe = np.abs(np.sin(np.pi * (turn * count + shift)))
        inside = reach < radius - bulge + bulge * np.sqrt(lobe)
        number = np.floor((turn * count + shift) % count).astype(np.int64)
        window.cut(rng, inside, number, palette, stray=0.03)
    window.cut(rng, reach < 20, np.zeros(x.shape, np.int64), colors("#fdeb9a"))


def _cut_land(
    window: Window, rng: np.random.Generator, x: Floats, y: Floats, wide: float, high: float
) -> None:
    """Rolling hills in bands, a river winding down between them, a ploughed foreground."""
    t = x / wide
    crests = (
        (0.60, 0.055, 5.2, 0.4, SKY[4:]),
        (0.66, 0.05, 4.1, 2.6, HILL),
        (0.73, 0.045, 6.3, 4.6, HILL),
        (0.80, 0.04, 4.6, 0.9, HILL),
        (0.88, 0.035, 5.6, 3.0, np.concatenate([EARTH, GOLD[:2]])),
        (0.95, 0.03, 4.2, 5.2, EARTH),
    )
    for number, (level, rise, pitch, phase, palette) in enumerate(crests):
        crest = high * (
            level - rise * np.sin(pitch * t + phase) - 0.4 * rise * np.sin(2.3 * pitch * t)
        )
        slant = x / (34 + 5 * number) + (y - crest) / (52 if number % 2 else -46)
        slant = slant + 0.35 * np.sin(x / 60 + number)
        window.cut(rng, y > crest, np.floor(slant).astype(np.int64) + 50, palette)
    depth = np.clip((y / high - 0.615) / 0.385, 0, 1)
    middle = wide * (0.5 + 0.13 * np.sin(6.4 * depth**0.8 + 0.5) * (0.35 + depth) - 0.12 * depth)
    girth = 9 + 62 * depth**1.3
    bank = np.abs(x - middle) < girth
    wave = np.floor(9.5 * depth**0.7 + 0.5 * np.sin((x - middle) / girth * 2.4)).astype(np.int64)
    half = (x > middle + 0.35 * girth * np.sin(13 * depth)).astype(np.int64)
    window.cut(rng, bank & (y > 0.615 * high), 2 * wave + half * (depth > 0.2), RIVER)


def _cut_tree(
    window: Window, rng: np.random.Generator, x: Floats, y: Floats, wide: float, high: float
) -> None:
    """A tree at the left: a bent trunk with two boughs, a crown of many small leaves."""
    rise = np.clip((0.93 * high - y) / (0.6 * high), -0.2, 1)
    trunk = wide * (0.13 + 0.035 * np.sin(4.2 * rise))
    girth = 11.5 - 6.5 * rise + 13 * np.exp(-9 * rise.clip(0))
    bark = (np.abs(x - trunk) < girth) & (rise > -0.03) & (rise < 0.98)
    window.cut(
        rng, bark, np.floor(y / 58 + 0.4 * np.sin(x / 5)).astype(np.int64), EARTH, stray=0.02
    )
    for side, start in ((1, 0.46), (-1, 0.62)):
        along = side * (x - trunk) / 90
        bough = wide * 0 + high * (0.93 - 0.6 * start) - 78 * np.sqrt(along.clip(0))
        limb = (along > 0) & (along < 1) & (np.abs(y - bough) < 6.5 - 3.5 * along)
        window.cut(rng, limb, np.floor(along * 2.4).astype(np.int64), EARTH, stray=0.02)
    crowns = np.array(
        [[0.11, 0.16, 78], [0.235, 0.21, 66], [0.04, 0.31, 60], [0.17, 0.335, 50], [0.3, 0.29, 38]],
        np.float32,
    )
    leaves = rng.uniform((-0.05, -0.05), (0.42, 0.5), (560, 2)) * (wide, high)
    size = np.full(len(leaves), -1.0)
    for fx, fy, radius in crowns:
        size = np.maximum(
            size, 1 - np.hypot(leaves[:, 0] - fx * wide, leaves[:, 1] - fy * high) / radius
        )
    leaves = leaves[size > 0]
    _, number = cKDTree(leaves).query(np.stack([x, y], axis=-1).reshape(-1, 2), workers=1)
    number = number.reshape(x.shape)
    gap = np.hypot(x - leaves[number, 0], y - leaves[number, 1])
    window.cut(rng, gap < 12.5, number, LEAVES, stray=0.035)


def _cut_flowers(
    window: Window, rng: np.random.Generator, x: Floats, y: Floats, wide: float, high: float
) -> None:
    """Lilies along the foreground: blades of leaves, bent stems, two rows of pointed petals."""
    scale = x.shape[1] / wide
    for root in np.linspace(0.05, 0.96, 10) + rng.normal(0, 0.015, 10):
        tall, bow = rng.uniform(0.14, 0.25), rng.choice((-1, 1)) * rng.uniform(0.02, 0.06)
        part, px, py = _crop(window, x, y, scale, (root * wide, 0.86 * high, 60, 90))
        rise = (high - py) / (tall * high)
        spine = wide * (root + bow * rise.clip(0) ** 2)
        blade = np.abs(px - spine) < 11 * np.sqrt((1 - rise).clip(0)) * (0.5 + rise.clip(0, 1))
        half = (px > spine).astype(np.int64)
        part.cut(rng, blade & (rise > 0) & (rise < 1), half, HILL[:6], stray=0.03)
    plants = (
        (0.27, 0.655, 39, 0.03, RUBY),
        (0.40, 0.81, 31, -0.03, DAWN[2:5]),
        (0.66, 0.765, 34, 0.03, RUBY),
        (0.80, 0.615, 42, -0.035, IRIS),
        (0.93, 0.75, 35, 0.02, DAWN[2:5]),
        (0.06, 0.73, 34, 0.02, IRIS),
    )
    for root, top, size, lean, palette in plants:
        stalk, px, py = _crop(window, x, y, scale, (root * wide, 0.8 * high, 60, 0.28 * high))
        rise = np.clip((high - py) / (high * (1 - top)), 0, 1)
        in_stem = (np.abs(px - wide * (root + lean * np.sin(2.6 * rise))) < 3.6) & (py > top * high)
        stalk.cut(rng, in_stem, np.floor(py / 74).astype(np.int64), HILL[:3])
        cx, cy = wide * (root + lean * np.sin(2.6)), top * high
        bloom, px, py = _crop(window, x, y, scale, (cx, cy, 1.4 * size, 1.4 * size))
        start = rng.uniform(0, 1)
        for row, (length, breadth) in enumerate(((1.15, 0.42), (0.74, 0.3))):
            for number in range(6):
                angle = 2 * np.pi * (number + 0.5 * row + start) / 6
                u = ((px - cx) * np.cos(angle) + (py - cy) * np.sin(angle)) / (length * size)
                v = (-(px - cx) * np.sin(angle) + (py - cy) * np.cos(angle)) / (breadth * size)
                v = v - 0.4 * u * u
                petal = (u > 0) & (u < 1) & (np.abs(v) < np.sin(np.pi * u.clip(0, 1) ** 0.8))
                tints = palette if row == 0 else np.concatenate([palette[-1:], GOLD[:3]])
                bloom.cut(rng, petal, np.zeros(px.shape, np.int64), tints, stray=0.04)
        eye = np.hypot(px - cx, py - cy) < 0.22 * size
        bloom.cut(rng, eye, np.zeros(px.shape, np.int64), GOLD[4:])


def _crop(
    window: Window, x: Floats, y: Floats, scale: float, box: tuple[float, float, float, float]
) -> tuple[Window, Floats, Floats]:
    """The part of a window within ``box`` (nominal centre and half sides), sharing its panes."""
    cx, cy, across, down = box
    rows = slice(max(0, int((cy - down) * scale)), max(0, int((cy + down) * scale)))
    columns = slice(max(0, int((cx - across) * scale)), max(0, int((cx + across) * scale)))
    part = Window(window.panes[rows, columns], window.tints)
    return part, x[rows, columns], y[rows, columns]


def _cut_border(
    window: Window, rng: np.random.Generator, x: Floats, y: Floats, wide: float, high: float
) -> None:
    """A frame of deep bars with small gold squares between them."""
    band, pitch = 13.0, 46.0
    for low, far, along in ((y, high - y, x), (x, wide - x, y)):
        near = np.minimum(low, far) < band
        side = (low < far).astype(np.int64)
        bar = 2 * np.floor(along / pitch).astype(np.int64) + side
        window.cut(rng, near, bar, np.concatenate([RUBY[:3], IRIS[:2]]), stray=0.02)
        window.cut(rng, near & ((along / pitch) % 1 < 0.27), bar, GOLD[:3], stray=0.02)
    corner = (np.minimum(x, wide - x) < 1.4 * band) & (np.minimum(y, high - y) < 1.4 * band)
    window.cut(rng, corner, 2 * (x < wide / 2) + (y < high / 2).astype(np.int64), GOLD[:2])


def _shine(window: Window, rng: np.random.Generator, scale: float) -> Floats:
    """Light through the panes: glow, streaks, hammered glass, lead between them.

    Returns:
        (H, W, 3) float32 in [0, 1], at the window's own size.
    """
    panes = window.panes
    shape = (panes.shape[0], panes.shape[1])
    seam = np.zeros(shape, bool)
    seam[:, 1:] |= panes[:, 1:] != panes[:, :-1]
    seam[1:] |= panes[1:] != panes[:-1]
    distance = np.asarray(ndimage.distance_transform_edt(~seam), np.float32) / np.float32(scale)
    tints = np.stack(window.tints)
    depth = np.asarray(ndimage.maximum(distance, panes, np.arange(len(tints))), np.float32)
    glow = distance / np.maximum(depth, 2.0)[panes]

    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32) / np.float32(scale)
    angle = rng.uniform(0, 2 * np.pi, len(tints)).astype(np.float32)
    tilt = np.cos(angle)[panes] * np.sin(x / 33) + np.sin(angle)[panes] * np.sin(y / 33)
    streaks = np.stack(
        [
            fractal_noise(rng, shape, (34, 6), octaves=3),
            fractal_noise(rng, shape, (7, 42), octaves=3),
            fractal_noise(rng, shape, (14, 17), octaves=3),
        ]
    )
    kind = rng.integers(0, 3, len(tints))[panes]
    streak = np.take_along_axis(streaks, kind[None], axis=0)[0]
    hammer = fractal_noise(rng, shape, (110, 138), octaves=2)
    fine = smooth_noise(rng, shape, (150, 190))
    relief = (np.gradient(hammer, axis=0) - np.gradient(hammer, axis=1)) * scale

    level = 0.50 + 0.36 * glow**0.7 + 0.10 * tilt + 0.12 * streak + 0.035 * fine + 0.05 * relief
    level = level + rng.normal(0, 0.04, len(tints)).astype(np.float32)[panes]
    glass = _tinted(tints[panes], level)

    lead = 1.45 + 0.3 * smooth_noise(rng, shape, (30, 36))
    metal = smoothstep(0.35, -0.35, distance - lead)
    round_off = np.sqrt(np.clip(1 - (distance / np.maximum(lead, 0.5)) ** 2, 0, 1))
    slope = np.gradient(ndimage.gaussian_filter(round_off, 0.5 * scale), axis=0) * scale
    shade = 0.55 + 0.35 * round_off + 0.9 * np.clip(slope, 0, 1) + 0.16 * fine
    halo = np.exp(-(((distance - lead) / 1.1).clip(0) ** 2))[..., None]
    glass = glass * (1 - 0.4 * halo)
    came = np.clip(LEAD * 1.7 * shade[..., None], 0, 1)
    lit = glass * (1 - metal[..., None]) + came * metal[..., None]
    bleed = np.stack(
        [ndimage.gaussian_filter(lit[..., c] ** 2, 2.6 * scale, truncate=2.5) for c in range(3)],
        axis=2,
    )
    return np.asarray(np.clip(1 - (1 - lit) * (1 - 0.16 * bleed), 0, 1), np.float32)


def _tinted(tint: Floats, level: Floats) -> Floats:
    """Glass of a colour (H, W, 3) at a brightness: deep and saturated below 0.6, pale above."""
    level = np.clip(level, 0.05, 1.25)[..., None]
    tint = tint**1.18
    shade = (0.62 - level).clip(0)
    deep = tint ** (1 + 2.4 * shade) * (1 - 0.9 * shade)
    pale = (level - 0.62).clip(0) / 0.63
    return np.asarray(deep + (1 - deep) * 0.6 * pale**1.2, np.float32)
