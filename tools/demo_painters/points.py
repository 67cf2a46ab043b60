"""A river bank in summer, dotted with pure colours that mix in the eye."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from tools.demo_painters.brush import Bristles, Canvas, scatter
from tools.demo_painters.noise import (
    Floats,
    colors,
    fractal_noise,
    ramp,
    sample,
    smooth_noise,
    smoothstep,
)

PIGMENTS = colors(
    "#fbf6e6",
    "#f8e9b0",
    "#f6d64a",
    "#f2b02c",
    "#ee8630",
    "#e2572f",
    "#c93a3c",
    "#e79a9a",
    "#f3c9b8",
    "#b64a78",
    "#7d4a94",
    "#a98cc4",
    "#4a3f8f",
    "#2c3f94",
    "#3b6cc0",
    "#6fa3dc",
    "#b3d2ee",
    "#dcebf0",
    "#1f7f8c",
    "#4fb0a5",
    "#1c5a45",
    "#2f8a4a",
    "#6db54a",
    "#a8cf4e",
    "#d9e27c",
    "#20283f",
    "#4a2f3a",
    "#7a4a34",
    "#b98a58",
)
"""What is on the palette; nothing else touches the canvas."""

CANVAS = colors("#efe6cf")


def paint_points(width: int, height: int, seed: int) -> Floats:
    """Paint a sunlit river bank in dots of unmixed pigment.

    Args:
        width: of the picture in pixels.
        height: of the picture in pixels.
        seed: of every random choice.

    Returns:
        (height, width, 3) float32 sRGB in [0, 1].
    """
    rng = np.random.default_rng(seed)
    canvas = Canvas(width, height, CANVAS)
    scene, lean = _scene(rng)
    tree = cKDTree(PIGMENTS)
    coats = ((14000, 7.4, 0.08, 1.0), (21000, 5.0, 0.13, 1.0), (30000, 3.5, 0.13, 0.9))
    for count, size, stray, share in coats:
        starts = scatter(rng, count, canvas.width_units, canvas.height_units, margin=6)
        starts = starts[rng.random(len(starts)) < share]
        total = len(starts)
        x = starts[:, 0] / canvas.width_units * scene.shape[1]
        y = starts[:, 1] / canvas.height_units * scene.shape[0]
        wanted = sample(scene, x, y, 1.0)
        strays = rng.normal(0, stray, (total, 3)) * (1.0, 0.75, 1.1)
        _, nearest = tree.query(_vivid(wanted) + strays)
        first = PIGMENTS[nearest]
        angle = sample(lean, x, y, 1.0) + rng.normal(0, 0.35, total)
        widths = (size * rng.uniform(0.8, 1.2, total)).astype(np.float32)
        reach = widths * rng.uniform(1.0, 1.45, total)
        step = np.linspace(-0.5, 0.5, 3)[None, :] * reach[:, None]
        paths = np.stack(
            [
                starts[:, 0, None] + step * np.cos(angle)[:, None],
                starts[:, 1, None] + step * np.sin(angle)[:, None],
            ],
            axis=2,
        ).astype(np.float32)
        bristles = Bristles(
            count=4, streak=0.035, blend=0.0, ragged=0.08, dry=0.0, thickness=0.9, taper=2.4
        )
        canvas.paint(paths, widths, first, first, rng, bristles)
    return canvas.finish(relief=0.13, gloss=0.03, weave=0.1, rng=rng)


def _scene(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """The view: colours (384, 480, 3) and the lean of its dots (384, 480) in radians."""
    shape = (384, 480)
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    x, y = (x + 0.5) / shape[1], (y + 0.5) / shape[0]
    fine = fractal_noise(rng, shape, (12, 14), octaves=4, gain=0.6)
    broad = fractal_noise(rng, shape, (4, 5), octaves=3)
    streak = fractal_noise(rng, shape, (46, 7), octaves=3)
    lean = 1.2 * smooth_noise(rng, shape, (5, 6))

    clouds = smoothstep(0.15, 1.5, broad + 0.55 * fine)
    scene = ramp(y / 0.42, colors("#3f78c8", "#6fa3e0", "#a5c8e6", "#f0d8b8", "#f4b890"))
    scene = _over(
        scene, 0.85 * clouds, ramp(1.4 * y + 0.2 * fine, colors("#fdf3dc", "#f6d0b8", "#f3b89a"))
    )

    bank = 0.395 + 0.02 * np.sin(11 * x + 1) + 0.018 * fine + 0.02 * np.sin(29 * x)
    far = ramp(
        0.5 + 0.5 * fine + 3 * (0.44 - y), colors("#39508c", "#4b7f86", "#7fae72", "#cfc97c")
    )
    scene = _over(scene, (y > bank) & (y < 0.475), far)

    ripple = 0.5 + 0.34 * streak + 0.16 * broad
    water = ramp(ripple, colors("#2f5fae", "#4d86c8", "#86b6dc", "#cfe0e2", "#f8ecc8"))
    water = _over(
        water, np.exp(-(((y - 0.49) / 0.03) ** 2)) * (0.65 + 0.2 * streak), colors("#4f8579")
    )
    in_river = (y >= 0.475) & (y < _edge(x) + 0.006 * fine)
    scene = _over(scene, in_river, water)
    lean = np.where(in_river, 0.15 * lean, lean)

    for cx, foot, size, name in (
        (0.2, 0.55, 0.2, "#fff4dc"),
        (0.37, 0.505, 0.11, "#fbdcb8"),
        (0.545, 0.525, 0.14, "#fdeecb"),
    ):
        scene = _boat(scene, x, y, cx, foot, size, colors(name)[0], streak)

    lawn = ramp(
        0.5 + 0.35 * fine + 0.25 * broad, colors("#4f9438", "#8cb83e", "#c4cf4c", "#f0d860")
    )
    shade = smoothstep(-0.25, 0.35, np.sin(10.5 * y + 3.2 * x + 1.6 * broad - 1.9) + 0.45 * fine)
    dark = ramp(0.5 + 0.45 * fine, colors("#25406f", "#2c6a62", "#3d8a52", "#6f7fae"))
    lawn = _over(lawn, 0.88 * shade * smoothstep(0.66, 0.78, y + 0.12 * x), dark)
    on_lawn = y >= _edge(x) + 0.006 * fine
    scene = _over(scene, on_lawn, lawn)
    rim = np.exp(-(((y - _edge(x)) / 0.012) ** 2))
    scene = _over(scene, 0.8 * rim, ramp(0.5 + 0.5 * fine, colors("#2f5a4a", "#6a7f3f")))

    for cx, foot, size, skirt, shelter in (
        (0.31, 0.9, 0.31, "#3a2a6a", "#e8572f"),
        (0.475, 0.86, 0.25, "#b8304f", "#f6d04a"),
        (0.085, 0.815, 0.18, "#27407f", "#f0e6d8"),
    ):
        scene = _stroller(scene, x, y, cx, foot, size, colors(skirt)[0], colors(shelter)[0])
    scene, lean = _trees(scene, lean, x, y, fine, broad)
    return np.asarray(scene, np.float32), np.asarray(lean, np.float32)


def _vivid(wanted: Floats) -> Floats:
    """Push colours (N, 3) away from grey: a mixture of dots is duller than its dots."""
    grey = wanted.mean(axis=-1, keepdims=True)
    return np.asarray(grey + 1.3 * (wanted - grey) - 0.02, np.float32)


def _over(below: Floats, cover: Floats | np.ndarray, above: Floats) -> Floats:
    """Lay colours over others; ``cover`` (H, W) in [0, 1] or bool."""
    part = np.asarray(cover, np.float32)[..., None]
    return np.asarray(below * (1 - part) + above * part, np.float32)


def _edge(x: Floats) -> Floats:
    """Where the lawn begins, in parts of the height."""
    return np.asarray(0.69 - 0.1 * x**2 + 0.03 * np.sin(6 * x + 0.5), np.float32)


def _boat(
    scene: Floats,
    x: Floats,
    y: Floats,
    cx: float,
    foot: float,
    size: float,
    sail: Floats,
    streak: Floats,
) -> Floats:
    """A sail, its hull and both their reflections."""
    up = (foot - y) / size
    belly = 0.3 * size * np.clip(1 - up, 0, 1) ** 0.85
    main = (up > 0.06) & (up < 1) & (x > cx) & (x < cx + belly)
    jib = (up > 0.1) & (up < 0.85) & (x < cx - 0.006) & (x > cx - 0.62 * belly)
    mirror = np.exp(-(((x - cx - 0.02) / (0.17 * size)) ** 2)) * smoothstep(0.9, 0.0, -up)
    scene = _over(scene, (up < -0.08) * mirror * (0.55 + 0.35 * streak).clip(0, 1), sail)
    scene = _over(scene, main, sail * (0.86 + 0.14 * np.clip((x - cx) / 0.05, 0, 1))[..., None])
    scene = _over(scene, jib, colors("#f3c9a0")[0])
    hull = (np.abs(up) < 0.07) & (np.abs(x - cx) < 0.26 * size * (1 + 1.2 * up))
    return _over(scene, hull, colors("#5a2f3f")[0])


def _stroller(
    scene: Floats,
    x: Floats,
    y: Floats,
    cx: float,
    foot: float,
    size: float,
    skirt: Floats,
    shelter: Floats,
) -> Floats:
    """A lady with a parasol and her long shadow."""
    up = (foot - y) / size
    dx = (x - cx) / size * 1.25
    shadow = np.exp(-(((dx - 0.6) / 0.5) ** 2) - ((up + 0.03 + 0.06 * dx) / 0.05) ** 2)
    scene = _over(scene, 0.95 * shadow, colors("#2c3f7a")[0])
    gown = (up > 0) & (up < 0.47) & (np.abs(dx) < 0.2 - 0.27 * up + 0.07 * (dx > 0) * (up < 0.4))
    lit = np.clip(0.8 - 2.2 * dx, 0.6, 1.6)[..., None]
    scene = _over(scene, gown, np.clip(skirt * lit + 0.05, 0, 1))
    bust = (up >= 0.43) & (up < 0.68) & (np.abs(dx) < 0.07 + 0.045 * np.sin(11 * (up - 0.43)))
    scene = _over(scene, bust, np.clip(skirt * lit + 0.14, 0, 1))
    handle = (np.abs(dx + 0.1 + 0.25 * (0.86 - up)) < 0.016) & (up > 0.5) & (up < 0.9)
    scene = _over(scene, handle, colors("#7a4a34")[0])
    scene = _over(scene, np.hypot(dx, up - 0.75) < 0.07, colors("#5a2f30")[0])
    scene = _over(scene, np.hypot(dx + 0.03, up - 0.735) < 0.048, colors("#f3b98a")[0])
    dome = np.hypot((dx + 0.1) / 0.3, (up - 0.86) / 0.2)
    cover = (dome < 1) & (up > 0.86 - 0.02 * np.cos(31 * dx))
    glow = np.clip(1.05 - 1.2 * (dx + 0.1) - 0.4 * dome, 0.5, 1.3)[..., None]
    return _over(scene, cover, np.clip(shelter * glow, 0, 1))


def _trees(
    scene: Floats, lean: Floats, x: Floats, y: Floats, fine: Floats, broad: Floats
) -> tuple[Floats, Floats]:
    """A great tree at the right whose crown fills the corner, a slim one behind it."""
    leaves = colors("#1d2f5c", "#1f5a4f", "#2f7f45", "#6fae45", "#c6d458", "#f8dc6a")
    for cx, width, top, low in ((0.845, 0.042, 0.2, 0.83), (0.64, 0.016, 0.25, 0.665)):
        bend = cx + 0.02 * np.sin(5 * y + cx)
        flare = width * (0.55 + 0.5 * np.clip((y - top) / (low - top), 0, 1) ** 6 * 1.6 + 0.12)
        side = (x - bend) / flare
        trunk = (np.abs(side) < 0.5) & (y > top) & (y < low)
        bark = ramp(
            0.5 - 0.8 * side + 0.3 * fine, colors("#2b2148", "#5a3a4f", "#a8684a", "#f0b060")
        )
        scene = _over(scene, trunk, bark)
        lean = np.where(trunk, np.pi / 2, lean)
    crowns = ((0.86, 0.13, 0.27, 0.2), (0.98, 0.3, 0.15, 0.13), (0.645, 0.19, 0.085, 0.13))
    for cx, cy, rx, ry in crowns:
        reach = np.hypot((x - cx) / rx, (y - cy) / ry) + 0.2 * fine + 0.16 * broad
        crown = reach < 1
        light = 0.46 + 0.3 * fine - 0.42 * (y - cy) / ry - 0.26 * (x - cx) / rx
        scene = _over(scene, crown, ramp(light.astype(np.float32), leaves))
        lean = np.where(crown, lean + 0.7, lean)
    return scene, np.asarray(lean, np.float32)
