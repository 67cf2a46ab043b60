"""A breaking sea as a colour woodcut: a few inks, bold contours, carved lines, claws of foam."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.interpolate import CubicSpline

from tools.demo_painters.brush import NOMINAL, shrink
from tools.demo_painters.noise import Floats, colors, fractal_noise, ramp, smooth_noise

SUPERSAMPLE = 3

INKS = colors(
    "#e9dcbc", "#f4ecd6", "#16294f", "#2b4f82", "#6f97b0", "#b3c8c4", "#c9a25c", "#8e8a7e"
)
PAPER, FOAM, INDIGO, PRUSSIAN, PALE, MIST, OCHRE, GREY = range(8)
KEY = colors("#101a33")[0]
SKY = colors("#5f6f80", "#a3a595", "#d8c9a0", "#ead9b0", "#efe2c2")

BACK = ((-70, 500), (-62, 330), (-8, 196), (84, 96), (178, 56), (262, 70), (322, 122), (342, 186))
"""Outer line of a breaker from its foot to its tip, on a sheet of 640 x 480."""
FACE = (
    (470, 500),
    (352, 410),
    (262, 352),
    (212, 282),
    (210, 214),
    (246, 170),
    (300, 158),
    (342, 186),
)
"""Inner line, along the hollow of the wave."""

Points = NDArray[np.float64]


@dataclass
class Sheet:
    """The blocks of a print, drawn larger than the print.

    Attributes:
        inks: number of the ink at every place.
        key: the block of dark contours, 255 where it prints.
        scale: pixels in a nominal unit.
    """

    inks: Image.Image
    key: Image.Image
    scale: float

    def fill(self, points: Points, ink: int) -> None:
        """Print a polygon (N, 2) in one ink; what lies below vanishes, contours too."""
        corners = [(float(x), float(y)) for x, y in points * self.scale]
        ImageDraw.Draw(self.inks).polygon(corners, fill=ink)
        ImageDraw.Draw(self.key).polygon(corners, fill=0)

    def line(self, points: Points, breadth: float | Points, ink: int | None = None) -> None:
        """Print a line that swells and thins (``breadth`` at each point); no ink: a contour."""
        ribbon = [(float(x), float(y)) for x, y in _ribbon(points, breadth) * self.scale]
        if ink is None:
            ImageDraw.Draw(self.key).polygon(ribbon, fill=255)
        else:
            ImageDraw.Draw(self.inks).polygon(ribbon, fill=ink)


def paint_wave(width: int, height: int, seed: int) -> Floats:
    """Print a stormy sea from carved blocks.

    Args:
        width: of the picture in pixels.
        height: of the picture in pixels.
        seed: of every random choice.

    Returns:
        (height, width, 3) float32 sRGB in [0, 1].
    """
    rng = np.random.default_rng(seed)
    size = (width * SUPERSAMPLE, height * SUPERSAMPLE)
    sheet = Sheet(Image.new("L", size, PAPER), Image.new("L", size, 0), max(size) / NOMINAL)
    wide, high = size[0] / sheet.scale, size[1] / sheet.scale
    stretch = np.array([wide / 640, high / 480])
    _carve_sky(sheet, rng, stretch)
    _carve_mountain(sheet, rng, stretch)
    for x, y, size_x, size_y in (
        (455, 232, 0.36, 0.36),
        (150, 268, 0.42, 0.34),
        (330, 262, 0.52, 0.42),
        (-14, -4, 1.0, 1.0),
        (395, 222, 0.66, 0.62),
        (150, 330, 0.62, 0.46),
        (-150, 350, 0.66, 0.5),
        (430, 372, 0.7, 0.5),
        (-10, 424, 0.6, 0.5),
        (270, 432, 0.66, 0.5),
    ):
        place = (np.array([x, y]), np.array([size_x, size_y]))
        _carve_breaker(sheet, rng, place, stretch)
    return shrink(_print(sheet, rng), SUPERSAMPLE)


def _curve(points: object, count: int = 120) -> Points:
    """A smooth line through points, evenly sampled along their chords: (count, 2)."""
    knots = np.asarray(points, dtype=np.float64)
    chords = np.r_[0, np.cumsum(np.hypot(*np.diff(knots, axis=0).T))]
    spline = CubicSpline(chords / chords[-1], knots)
    return np.asarray(spline(np.linspace(0, 1, count)), dtype=np.float64)


def _normals(points: Points) -> Points:
    """Unit normals (N, 2) of a line, to the left of its direction on the sheet."""
    normals = np.empty_like(points)
    normals[1:-1, 0] = points[2:, 1] - points[:-2, 1]
    normals[1:-1, 1] = points[:-2, 0] - points[2:, 0]
    normals[0] = points[1, 1] - points[0, 1], points[0, 0] - points[1, 0]
    normals[-1] = points[-1, 1] - points[-2, 1], points[-2, 0] - points[-1, 0]
    return normals / np.maximum(np.hypot(normals[:, 0], normals[:, 1])[:, None], 1e-9)


def _ribbon(points: Points, breadth: float | Points) -> Points:
    """Outline of a line with a breadth: there on one side, back on the other."""
    half = _normals(points) * (np.reshape(breadth, (-1, 1)) / 2)
    return np.concatenate([points + half, (points - half)[::-1]])


def _swell(count: int, breadth: float) -> Points:
    """Breadths of a carved line: pointed ends, full middle."""
    return breadth * np.sin(np.pi * np.linspace(0.02, 0.98, count)) ** 0.6


def _carve_sky(sheet: Sheet, rng: np.random.Generator, stretch: Points) -> None:
    """A sun, drifting bars of cloud and rows of fine wind lines."""
    turn = np.linspace(0, 2 * np.pi, 90)
    disc = np.array([452.0, 92.0]) + 43 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    sheet.fill(disc * stretch, OCHRE)
    sheet.line(disc * stretch, 1.6)
    for y in np.arange(4, 400, 5.2):
        x = -40.0
        while x < 660:
            length = rng.uniform(30, 150)
            t = np.linspace(0, 1, 40)
            px = x + length * t
            bend = 5.5 * np.sin(px / 58 + y / 23) + 2.5 * np.sin(px / 23 + y / 9)
            push = 14 * np.exp(-((px - 452) ** 2 + (y - 92) ** 2) / 2600) * np.sign(y - 92)
            line = np.stack([px, y + bend + push], axis=1) * stretch
            ink = GREY if rng.random() < 0.75 else OCHRE
            sheet.line(line, _swell(40, rng.uniform(0.9, 2.2)), ink)
            x += length + rng.uniform(2, 26)
    for cx, cy, length in (
        (560, 60, 190),
        (350, 36, 150),
        (600, 150, 150),
        (400, 150, 120),
        (90, 30, 170),
    ):
        for row in range(4):
            middle = cx + rng.uniform(-30, 30)
            t = np.linspace(-1, 1, 50)
            half = length / 2 * rng.uniform(0.55, 1)
            px, py = middle + half * t, cy + 8.2 * row + 3 * np.sin(2.4 * t + row + cx)
            bar = _ribbon(np.stack([px, py], axis=1), 9.5 * (1 - t**4) ** 0.5)
            sheet.fill(bar * stretch, FOAM if row % 2 else MIST)
            sheet.line(np.concatenate([bar, bar[:1]]) * stretch, 1.0)


def _carve_mountain(sheet: Sheet, rng: np.random.Generator, stretch: Points) -> None:
    """A snow-capped cone far off, hatched down its flanks."""
    crest = _curve(
        (
            (372, 300),
            (440, 262),
            (490, 216),
            (516, 190),
            (532, 190),
            (560, 220),
            (612, 264),
            (690, 300),
        )
    )
    sheet.fill(crest * stretch, PRUSSIAN)
    top = np.array([524.0, 186.0])
    for _ in range(90):
        foot = np.array([rng.uniform(380, 680), 304.0])
        start = top + (foot - top) * rng.uniform(0.3, 0.75)
        line = start + (foot - start) * np.linspace(0, 1, 20)[:, None]
        sheet.line(
            line * stretch,
            _swell(20, rng.uniform(0.8, 2.0)),
            PALE if rng.random() < 0.7 else INDIGO,
        )
    cap = crest[(crest[:, 1] < 232)]
    teeth = np.linspace(cap[-1, 0], cap[0, 0], 15)
    drip = 226 + 13 * (np.arange(15) % 2) - 16 * np.exp(-(((teeth - 524) / 22) ** 2))
    sheet.fill(np.concatenate([cap, np.stack([teeth, drip], axis=1)]) * stretch, FOAM)
    sheet.line(crest * stretch, 2.0)


def _carve_breaker(
    sheet: Sheet, rng: np.random.Generator, place: tuple[Points, Points], stretch: Points
) -> None:
    """One wave: streams of water that rise from its foot and curl over, contours, foam."""
    shift, size = place
    wobble = rng.normal(0, 5, (2, len(BACK), 2)) * (size.mean() < 0.9)
    wobble[:, -1] = wobble[0, -1]
    back = (_curve(np.asarray(BACK) + wobble[0]) * size + shift) * stretch
    face = (_curve(np.asarray(FACE) + wobble[1]) * size + shift) * stretch

    def stream(part: float) -> Points:
        return back + (face - back) * part

    bold = 1.2 + 1.6 * float(size.mean())
    sheet.fill(np.concatenate([back, face[::-1]]), PRUSSIAN)
    streams = 9 if size.mean() > 0.55 else 6
    edges = np.linspace(0, 1, 2 * streams + 1) + rng.normal(0, 0.008, 2 * streams + 1)
    edges[0], edges[-1] = 0, 1
    order = (PRUSSIAN, PALE, INDIGO, MIST)
    for number in range(2 * streams):
        low, high = stream(edges[number]), stream(edges[number + 1])
        sheet.fill(np.concatenate([low, high[::-1]]), order[number % 4])
    for number in range(1, 2 * streams):
        sheet.line(stream(edges[number]), _taper(bold * 0.62))
    for _ in range(int(26 * streams * size.mean()) + 20):
        part = rng.uniform(0.01, 0.99)
        ink = order[int(np.searchsorted(edges, part) - 1) % 4]
        start = int(rng.integers(0, 84))
        stretch_of = slice(start, start + int(rng.integers(12, 36)))
        line = stream(part)[stretch_of]
        carved = {PRUSSIAN: PALE, INDIGO: PALE, PALE: PRUSSIAN, MIST: PRUSSIAN}[ink]
        sheet.line(line, _swell(len(line), rng.uniform(0.7, 1.7)), carved)
    sheet.line(back, _taper(bold * 1.25))
    sheet.line(face, _taper(bold * 1.25))
    _carve_foam(sheet, rng, back, face, float(size.mean()))


def _taper(breadth: float) -> Points:
    """Breadths of a contour (120,) that thins towards the tip of the wave."""
    return breadth * np.linspace(1.0, 0.5, 120)


def _carve_foam(
    sheet: Sheet, rng: np.random.Generator, back: Points, face: Points, size: float
) -> None:
    """Foam over the crest: lobes along the lip that end in claws, a shaded side, flung drops."""
    grow = max(size, 0.42)
    lip = np.concatenate([back[58:], face[:84:-1]])
    outward = np.concatenate([_normals(back)[58:], -_normals(face)[:84:-1]])
    fingers: list[tuple[Points, Points]] = []
    spots = np.linspace(0, len(lip) - 1, int(26 + 18 * size)).astype(int)
    for spot in spots:
        progress = spot / len(lip)
        base = lip[spot] - 5 * grow * outward[spot]
        lean = outward[spot] * rng.uniform(0.3, 1.0) + np.array([0.85, 0.3]) * (0.4 + progress)
        lean = lean + rng.normal(0, 0.22, 2)
        length = grow * rng.uniform(10, 29) * (0.55 + 0.75 * np.sin(np.pi * progress) ** 0.7)
        _grow_finger(fingers, rng, base, lean, length, grow * rng.uniform(7, 13), 2)
    _print_foam(sheet, fingers, grow)
    for _ in range(int(34 * size)):
        spot = int(rng.integers(len(lip) // 3, len(lip)))
        away = np.array([rng.uniform(8, 62), rng.uniform(-22, 34)]) * grow
        turn = np.linspace(0, 2 * np.pi, 14)
        drop = (
            lip[spot]
            + away
            + rng.uniform(1.0, 2.9) * np.stack([np.cos(turn), np.sin(turn)], axis=1)
        )
        sheet.fill(drop, FOAM)
        sheet.line(drop, 0.8)


def _grow_finger(
    fingers: list[tuple[Points, Points]],
    rng: np.random.Generator,
    base: Points,
    lean: Points,
    length: float,
    breadth: float,
    forks: int,
) -> None:
    """Add a hooked finger of foam and, at its end, the smaller ones it parts into."""
    turn = np.arctan2(lean[1], lean[0])
    hook = rng.uniform(0.5, 1.5)
    angles = turn + hook * np.linspace(-0.25, 1, 9)
    steps = np.stack([np.cos(angles), np.sin(angles)], axis=1) * (length / 9)
    path = base + np.concatenate([[[0, 0]], np.cumsum(steps, axis=0)])
    fingers.append((path, breadth * np.linspace(1, 0.42 if forks else 0.12, len(path))))
    if forks:
        for spread in rng.permutation((-0.75, 0.05, 0.8))[: 2 + (rng.random() < 0.5)]:
            way = angles[-3] + spread + rng.normal(0, 0.15)
            tip = path[-2] if spread else path[-1]
            ahead = np.array([np.cos(way), np.sin(way)])
            part = length * rng.uniform(0.42, 0.66)
            _grow_finger(fingers, rng, tip, ahead, part, breadth * 0.52, forks - 1)


def _print_foam(sheet: Sheet, fingers: list[tuple[Points, Points]], grow: float) -> None:
    """Print the fingers as one body: contour about them all, a pale shadow, the white."""
    rim = 1.7 * min(grow, 0.8) + 0.5
    shadow = np.array([0.9, 1.5]) * grow
    reach = np.concatenate([path for path, _ in fingers])
    corner = np.maximum(np.floor((reach.min(axis=0) - 12) * sheet.scale), 0)
    extent = np.minimum(np.ceil((reach.max(axis=0) + 12) * sheet.scale), sheet.inks.size) - corner
    if extent.min() < 1:
        return
    size = (int(extent[0]), int(extent[1]))
    outline, body, white = (Image.new("L", size, 0) for _ in range(3))
    draws = [ImageDraw.Draw(image) for image in (outline, body, white)]
    for path, breadth in fingers:
        thin = np.maximum(breadth * 0.62, 0.7)
        shapes = ((path, breadth + 2 * rim), (path, breadth), (path - shadow, thin))
        for draw, (line, thick) in zip(draws, shapes, strict=True):
            ribbon = _ribbon(line, thick) * sheet.scale - corner
            draw.polygon([(x, y) for x, y in ribbon.tolist()], fill=255)
            radii = (thick * sheet.scale / 2).tolist()
            joints = (line * sheet.scale - corner).tolist()
            for (x, y), radius in zip(joints[::3], radii[::3], strict=True):
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    at = (int(corner[0]), int(corner[1]))
    sheet.key.paste(255, at, mask=outline)
    sheet.key.paste(0, at, mask=body)
    sheet.inks.paste(MIST, at, mask=body)
    sheet.inks.paste(FOAM, at, mask=white)


def _print(sheet: Sheet, rng: np.random.Generator) -> Floats:
    """Ink the blocks and print them: grain, wiped shades, ragged edges, a slipped key block.

    Returns:
        (H, W, 3) float32 in [0, 1] at the sheet's size.
    """
    columns, rows = sheet.inks.size
    shape = (rows, columns)
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    tremor = 0.38 * sheet.scale
    wander_x = tremor * fractal_noise(rng, shape, (48, 64), octaves=2)
    wander_y = tremor * fractal_noise(rng, shape, (48, 64), octaves=2)
    at = np.stack([y + wander_y, x + wander_x])
    inks = ndimage.map_coordinates(np.asarray(sheet.inks), at, order=0, mode="nearest")
    at += np.array([-0.45, 0.55], np.float32)[:, None, None] * sheet.scale
    key = ndimage.map_coordinates(np.asarray(sheet.key), at, order=1, mode="nearest") / np.float32(
        255
    )

    fall = y / rows
    rings = fractal_noise(rng, shape, (5, 1.5), octaves=2)
    grain = np.sin(2 * np.pi * (30 * fall + 3.4 * rings)) * 0.5
    grain += 0.7 * smooth_noise(rng, shape, (190, 14))
    mottle = fractal_noise(rng, shape, (30, 40), octaves=4, gain=0.8)
    fibre = smooth_noise(rng, shape, (26, 200)) * smooth_noise(rng, shape, (200, 26))

    printed = INKS[inks]
    wiped = ramp(1.55 * fall[:, :1], SKY)
    printed += (wiped - INKS[PAPER]) * (inks == PAPER)[..., None]
    blank = np.isin(inks, (FOAM, PAPER))
    strength = np.where(blank, 0.018, 0.05).astype(np.float32)
    printed *= (1 + strength * grain + 0.7 * strength * mottle + 0.02 * fibre)[..., None]
    worn = np.clip(mottle + 0.5 * grain - 1.25, 0, 1) * ~blank
    printed += (INKS[FOAM] - printed) * (0.4 * worn)[..., None]
    pressed = key * np.clip(1.0 - 0.5 * np.clip(mottle - 1.0, 0, 1), 0, 1)
    printed += (KEY - printed) * (0.94 * pressed)[..., None]
    return np.asarray(np.clip(printed, 0, 1), np.float32)
