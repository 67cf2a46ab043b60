"""Sizes are exact, resampling is antialiased and keeps what it should."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from nstcore.images import fit_size, resize

sides = st.integers(1, 30_000)


@given(width=sides, height=sides, size=sides)
def test_long_and_short_sides_are_exact(width: int, height: int, size: int) -> None:
    for by, pick in (("long", max), ("short", min)):
        fitted = fit_size((width, height), size, by=by)
        assert pick(fitted) == size
        scale = Fraction(size, pick(width, height))
        for new, old in zip(fitted, (width, height), strict=True):
            assert new >= 1
            assert new == 1 or abs(new - old * scale) <= Fraction(1, 2)
            if (old * scale).denominator == 2 and old * scale >= 1:
                assert new > old * scale, "halves go up"


@given(width=sides, height=sides, size=sides)
def test_area_is_that_of_the_square(width: int, height: int, size: int) -> None:
    new_width, new_height = fit_size((width, height), size, by="area")
    assert min(new_width, new_height) >= 1
    if min(new_width, new_height) > 1:
        # Each side within half a pixel, hence the area within half of each side and a quarter.
        assert abs(new_width * new_height - size**2) <= (new_width + new_height) / 2 + 1
        assert (new_width >= new_height) == (width >= height) or new_width == new_height


@given(width=sides, height=sides, size=sides)
def test_turning_the_picture_turns_the_size(width: int, height: int, size: int) -> None:
    for by in ("long", "short", "area"):
        assert (
            fit_size((width, height), size, by=by) == fit_size((height, width), size, by=by)[::-1]
        )


def test_known_sizes() -> None:
    assert fit_size((4032, 3024), 512) == (512, 384)
    assert fit_size((3024, 4032), 512) == (384, 512)
    assert fit_size((4032, 3024), 512, by="short") == (683, 512)
    assert fit_size((1600, 900), 300, by="area") == (400, 225)
    assert fit_size((10_000, 1), 100) == (100, 1)
    # 2.5 and 3.5: round() would give 2 and 4.
    assert fit_size((10, 5), 5) == (5, 3)
    assert fit_size((10, 5), 7) == (7, 4)


@pytest.mark.parametrize("bad", [((0, 5), 5, "long"), ((5, 5), 0, "long"), ((5, 5), 5, "width")])
def test_senseless_sizes(bad: tuple[tuple[int, int], int, str]) -> None:
    size_wh, size, by = bad
    with pytest.raises(ValueError, match=r"at least 1|expected"):
        fit_size(size_wh, size, by=by)  # type: ignore[arg-type]


def test_own_size_is_the_same_array(noise: NDArray[np.float32]) -> None:
    assert resize(noise, (30, 20)) is noise


@pytest.mark.parametrize("size_wh", [(1, 1), (7, 5), (30, 1), (61, 43), (300, 200)])
def test_shape_type_and_range(noise: NDArray[np.float32], size_wh: tuple[int, int]) -> None:
    hard = np.rint(noise)  # black beside white, where Lanczos overshoots most
    resized = resize(hard, size_wh)
    assert resized.shape == (size_wh[1], size_wh[0], 3)
    assert resized.dtype == np.float32
    assert resized.min() >= 0
    assert resized.max() <= 1


@pytest.mark.parametrize("value", [0.0, 0.2, 1.0])
def test_a_plain_picture_stays_plain(value: float) -> None:
    plain = np.full((33, 47, 3), value, dtype=np.float32)
    for size_wh in ((10, 7), (100, 80)):
        np.testing.assert_allclose(resize(plain, size_wh), value, atol=1e-6)


def test_no_aliasing() -> None:
    """Lines of one pixel, far above what the small size can show, become grey, not stripes."""
    lines = np.zeros((128, 128, 3), dtype=np.float32)
    lines[:, ::2] = 1
    small = resize(lines, (30, 30))
    np.testing.assert_allclose(small[4:-4, 4:-4], 0.5, atol=0.03)


def test_a_smooth_picture_survives_there_and_back() -> None:
    y, x = np.mgrid[0:60, 0:80]
    smooth = np.stack([0.5 + 0.4 * np.sin(x / 11), 0.5 + 0.4 * np.cos(y / 9), (x + y) / 140], -1)
    there = resize(smooth.astype(np.float32), (160, 120))
    back = resize(there, (80, 60))
    np.testing.assert_allclose(back[4:-4, 4:-4], smooth[4:-4, 4:-4], atol=2e-3)


def test_finer_than_8_bits() -> None:
    """Lanczos on 8-bit images would give steps of 1/255."""
    ramp = np.linspace(0.4, 0.41, 200, dtype=np.float32)
    picture = np.broadcast_to(ramp[None, :, None], (4, 200, 3))
    small = resize(picture, (50, 4))
    assert len(np.unique(small[0, :, 0])) == 50


def test_against_pillow_in_8_bits(ramp8: NDArray[np.uint8]) -> None:
    by_pillow = Image.fromarray(ramp8).resize((11, 9), Image.Resampling.LANCZOS)
    ours = resize(ramp8.astype(np.float32) / 255, (11, 9)) * 255
    assert np.abs(ours - np.asarray(by_pillow)).max() <= 1.0


def test_wrong_shapes(noise: NDArray[np.float32]) -> None:
    with pytest.raises(ValueError, match="shape"):
        resize(noise[..., 0], (5, 5))
    with pytest.raises(ValueError, match="at least 1"):
        resize(noise, (0, 5))
