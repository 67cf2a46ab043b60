"""The brush, the noise and the directions, against geometry."""

from __future__ import annotations

import numpy as np
import pytest

from tools.demo_painters.brush import NOMINAL, Bristles, Canvas, contours, scatter, shrink, trace
from tools.demo_painters.noise import colors, fractal_noise, ramp, smooth_noise, smoothstep

PLAIN = Bristles(streak=0, blend=0, ragged=0, dry=0, taper=60)
WHITE, RED, BLUE = colors("#ffffff", "#ff0000", "#0000ff")[:, None]


def paint(canvas, paths, width, color):
    paths = np.asarray(paths, np.float32)
    widths = np.full(len(paths), width, np.float32)
    tint = np.repeat(color, len(paths), axis=0)
    canvas.paint(paths, widths, tint, tint, np.random.default_rng(0), PLAIN)


def test_a_stroke_covers_its_length_times_its_width():
    canvas = Canvas(320, 200, WHITE)
    paint(canvas, [[[100, 200], [200, 200], [300, 200]]], 40.0, RED)
    painted = np.all(canvas.color == RED[0], axis=-1)
    rows, columns = (np.flatnonzero(painted.any(axis=axis)) / canvas.scale for axis in (1, 0))
    assert painted.sum() / canvas.scale**2 == pytest.approx(200 * 40, rel=0.05)
    assert (rows.min(), rows.max()) == pytest.approx((180, 220), abs=1.5)
    assert (columns.min(), columns.max()) == pytest.approx((100, 300), abs=1.5)


@pytest.mark.parametrize("angle", np.linspace(0, np.pi, 7))
def test_a_stroke_has_no_holes_whatever_its_direction(angle):
    canvas = Canvas(160, 160, WHITE)
    way = np.array([np.cos(angle), np.sin(angle)])
    paint(canvas, [320 + way * np.linspace(-200, 200, 5)[:, None]], 60.0, BLUE)
    y, x = np.mgrid[0:320, 0:320] / canvas.scale - 320
    along, across = x * way[0] + y * way[1], y * way[0] - x * way[1]
    inside = (np.abs(along) < 190) & (np.abs(across) < 25)
    assert np.all(canvas.color[inside] == BLUE[0])


def test_later_strokes_lie_on_top():
    canvas = Canvas(64, 64, WHITE)
    line = [[100.0, 320.0], [540.0, 320.0]]
    paths = np.asarray([line] * 40, np.float32)
    tint = np.repeat(RED, 40, axis=0)
    tint[-1] = BLUE
    canvas.paint(paths, np.full(40, 30, np.float32), tint, tint, np.random.default_rng(0), PLAIN)
    assert not np.any(np.all(canvas.color == RED[0], axis=-1))


def test_strokes_beyond_the_edge_are_cut_off():
    canvas = Canvas(64, 48, WHITE)
    paint(
        canvas, [[[-500.0, -500.0], [-300.0, -400.0]], [[600.0, 460.0], [900.0, 700.0]]], 50.0, RED
    )
    painted = np.all(canvas.color == RED[0], axis=-1)
    assert 0 < painted.sum() < painted.size / 20


def test_light_comes_from_the_upper_left():
    """A raised stroke is bright on the side of the light and dark on the other."""
    canvas = Canvas(200, 200, np.float32([0.5, 0.5, 0.5]))
    paint(canvas, [[[100.0, 320.0], [540.0, 320.0]]], 80.0, np.float32([[0.5, 0.5, 0.5]]))
    lit = canvas.finish(relief=0.5, gloss=0.0)[:, 60:140].mean(axis=(1, 2))
    assert lit[85:90].max() > 0.53
    assert lit[108:114].min() < 0.48


def test_tracing_a_whirl_stays_on_its_circle():
    starts = np.float32([[10, 0], [0, 25], [-40, 0]])
    paths = trace(lambda x, y: (-y, x), starts, np.full(3, 8, np.float32), points=33)
    radii = np.linalg.norm(paths, axis=2)
    np.testing.assert_allclose(radii, np.repeat([[10], [25], [40]], 33, axis=1), rtol=0.05)
    lengths = np.linalg.norm(np.diff(paths, axis=1), axis=2).sum(axis=1)
    np.testing.assert_allclose(lengths, 8, rtol=1e-3)


def test_contours_run_at_right_angles_to_the_slope():
    y, x = np.mgrid[0:100, 0:200] / 100
    field = contours((2 * x + y).astype(np.float32), 640, 320)
    dx, dy = field(np.float32([100, 500]), np.float32([50, 300]))
    np.testing.assert_allclose(2 * dx + dy, 0, atol=1e-5)
    assert np.all(np.hypot(dx, dy) > 0)


def test_scattered_points_leave_no_hole():
    points = scatter(np.random.default_rng(0), 4000, 640, 480, margin=0)
    assert len(points) == pytest.approx(4000, rel=0.03)
    counts, _, _ = np.histogram2d(*points.T, bins=(16, 12), range=((0, 640), (0, 480)))
    assert counts.min() > 10
    assert counts.max() < 32


def test_noise_is_the_same_field_at_any_resolution():
    fine, coarse = (
        fractal_noise(np.random.default_rng(5), shape, (3, 4), octaves=3)
        for shape in ((240, 320), (60, 80))
    )
    averaged = shrink(fine[..., None], 4)[..., 0]
    np.testing.assert_allclose(averaged, coarse, atol=0.05)


def test_noise_is_centred_and_not_flat():
    noise = smooth_noise(np.random.default_rng(1), (200, 200), (40, 40))
    assert abs(noise.mean()) < 0.05
    assert 0.5 < noise.std() < 1.0


def test_a_ramp_passes_through_its_stops():
    stops = colors("#000000", "#ff0000", "#ffff00")
    values = np.float32([-1, 0, 0.5, 0.75, 1, 2])
    expected = [[0, 0, 0], [0, 0, 0], [1, 0, 0], [1, 0.5, 0], [1, 1, 0], [1, 1, 0]]
    np.testing.assert_allclose(ramp(values, stops), expected, atol=1e-6)


def test_smoothstep_has_level_ends_and_may_fall():
    values = np.float32([-1, 0, 0.5, 1, 2])
    np.testing.assert_allclose(smoothstep(0, 1, values), [0, 0, 0.5, 1, 1])
    np.testing.assert_allclose(smoothstep(1, 0, values), [1, 1, 0.5, 0, 0])


def test_the_long_side_is_the_nominal_length_whatever_the_pixels():
    for size in ((640, 512), (64, 51), (51, 64)):
        canvas = Canvas(*size, WHITE)
        assert max(canvas.width_units, canvas.height_units) == pytest.approx(NOMINAL)
