"""Matched colours have the target's moments, luminance has its own chroma, grey pictures are safe."""

from __future__ import annotations

import colorsys
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import cholesky, sqrtm
from scipy.stats import wasserstein_distance
from skimage.color import deltaE_ciede2000, lab2rgb, rgb2lab, rgb2yiq
from skimage.exposure import match_histograms

from nstcore.images.color_transfer import (
    LEAST_VARIANCE,
    color_moments,
    grey,
    linear_map,
    luminance,
    match_colors,
    match_luminance,
    with_luminance,
)

Pixels = NDArray[np.float32]
LINEAR = ["cholesky", "pca", "symmetric"]
METHODS = [*LINEAR, "histogram"]
SPACES = ["yiq", "lab"]


def picture(seed: int, height: int = 40, width: int = 50) -> Pixels:
    """Colours that correlate, spread unlike another seed's."""
    random = np.random.default_rng(seed)
    mixing = random.normal(size=(3, 3)) * random.uniform(0.05, 0.2, 3)
    colors = random.uniform(0.3, 0.7, 3) + random.normal(size=(height, width, 3)) @ mixing.T
    return np.clip(colors, 0, 1).astype(np.float32)


GREY = np.repeat(np.random.default_rng(9).random((20, 30, 1), dtype=np.float32), 3, axis=2)
PLAIN = np.full((20, 30, 3), (0.2, 0.5, 0.7), np.float32)
THIN = np.random.default_rng(9).random((40, 1, 3), dtype=np.float32)
PIXEL = np.full((1, 1, 3), 0.25, np.float32)
ODD = {"grey": GREY, "plain": PLAIN, "one wide": THIN, "one pixel": PIXEL, "black": 0 * PLAIN}


# --- moments ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", LINEAR)
@pytest.mark.parametrize("seed", range(4))
def test_matched_colours_have_the_targets_mean_and_covariance(method, seed):
    target = picture(seed + 10)
    matched = match_colors(picture(seed), target, method)
    found, wanted = (p.reshape(-1, 3).astype(np.float64) for p in (matched, target))
    np.testing.assert_allclose(found.mean(0), wanted.mean(0), atol=1e-6)
    np.testing.assert_allclose(
        np.cov(found.T, bias=True), np.cov(wanted.T, bias=True), atol=1e-6, rtol=1e-4
    )


def test_moments_are_those_of_numpy_however_large_the_picture(monkeypatch):
    monkeypatch.setattr("nstcore.images.color_transfer._BAND", 7)
    one = picture(3)
    mean, covariance = color_moments(one)
    flat = one.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(mean, flat.mean(0), rtol=1e-12)
    np.testing.assert_allclose(covariance, np.cov(flat.T, bias=True), rtol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_a_picture_matched_to_itself_stays(method):
    one = picture(5)
    np.testing.assert_allclose(match_colors(one, one, method), one, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_the_size_of_the_target_does_not_matter(method):
    one, target = picture(1), picture(2)
    larger = target.repeat(3, axis=0).repeat(2, axis=1)
    tolerance = 1e-5 if method != "histogram" else 1e-2
    np.testing.assert_allclose(
        match_colors(one, target, method), match_colors(one, larger, method), atol=tolerance
    )


def covariance(seed: int) -> NDArray[np.float64]:
    root = np.random.default_rng(seed).normal(size=(3, 3)) * 0.3
    return root @ root.T + LEAST_VARIANCE * np.eye(3)


def test_linear_maps_are_the_articles():
    sigma, wanted = covariance(0), covariance(1)
    by_cholesky = cholesky(wanted, lower=True) @ np.linalg.inv(cholesky(sigma, lower=True))
    np.testing.assert_allclose(linear_map(sigma, wanted, "cholesky"), by_cholesky, atol=1e-9)
    by_roots = sqrtm(wanted) @ np.linalg.inv(sqrtm(sigma))
    np.testing.assert_allclose(linear_map(sigma, wanted, "pca"), by_roots.real, atol=1e-9)
    root, inverse = sqrtm(sigma).real, np.linalg.inv(sqrtm(sigma).real)
    monge = inverse @ sqrtm(root @ wanted @ root).real @ inverse
    np.testing.assert_allclose(linear_map(sigma, wanted, "symmetric"), monge, atol=1e-9)


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=50)
def test_the_symmetric_map_moves_colours_least(seed):
    """E|Ax - x|² = tr Σ + tr Σ' - 2 tr(A Σ), of all A with A Σ Aᵀ = Σ'."""
    sigma, wanted = covariance(seed), covariance(seed + 1)
    moved = {m: np.trace(linear_map(sigma, wanted, m) @ sigma) for m in LINEAR}
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    other = np.trace(sqrtm(wanted).real @ rotation @ np.linalg.inv(sqrtm(sigma).real) @ sigma)
    assert moved["symmetric"] >= max(*moved.values(), other) - 1e-9
    matrix = linear_map(sigma, wanted, "symmetric")
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-9)
    assert np.linalg.eigvalsh(matrix).min() > 0


def test_histograms_along_the_targets_axes_are_the_targets():
    one, target = picture(1), picture(2)
    matched = match_colors(one, target, "histogram")
    _, axes = np.linalg.eigh(np.cov(target.reshape(-1, 3).T))
    for axis in axes.T:
        values, wanted = matched @ axis, target @ axis
        assert wasserstein_distance(values.ravel(), wanted.ravel()) < 1e-3
        # Ranks are those of the linear map: what had more of a colour has no less.
        order = np.argsort((match_colors(one, target, "symmetric") @ axis).ravel())
        assert (np.diff(values.ravel()[order]) >= -1e-5).all()
    # As scikit-image does it, up to where within a level's share a quantile is taken.
    near = match_colors(one, target, "symmetric")
    reference = match_histograms(near @ axes, target @ axes, channel_axis=-1) @ axes.T
    assert np.abs(matched - reference).mean() < 2e-3


# --- grey, plain, thin -------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("source", "target"), list(itertools.product(ODD, ODD)))
def test_odd_pictures_give_finite_colours(method, source, target):
    matched = match_colors(ODD[source], ODD[target], method)
    assert matched.shape == ODD[source].shape
    assert np.isfinite(matched).all()
    assert np.abs(matched).max() < 20
    mean = ODD[target].mean((0, 1))
    if method != "histogram":
        np.testing.assert_allclose(matched.mean((0, 1)), mean, atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_with_a_grey_target_a_picture_becomes_grey(method):
    matched = match_colors(picture(4), GREY, method)
    assert np.ptp(matched, axis=-1).max() < 1e-4
    assert matched.std() == pytest.approx(GREY.std(), rel=0.01)


@pytest.mark.parametrize("method", LINEAR)
def test_the_faint_chroma_of_a_grey_scan_is_not_blown_up(method):
    random = np.random.default_rng(0)
    scan = np.rint((GREY + random.normal(0, 0.002, GREY.shape)) * 255) / 255
    colourful = picture(6)
    matched = match_colors(scan.astype(np.float32), colourful, method)
    chroma = matched - matched.mean(-1, keepdims=True)
    shift = chroma - chroma.mean((0, 1))
    own = colourful - colourful.mean(-1, keepdims=True)
    slope = np.cov(matched.mean(-1).ravel(), shift[..., 0].ravel())
    along = slope[0, 1] / slope[0, 0] * (matched.mean(-1) - matched.mean())
    noise = (shift[..., 0] - along).std()
    assert noise < 0.5 * (own - own.mean((0, 1)))[..., 0].std()


# --- luminance ---------------------------------------------------------------------------------


def test_luminance_is_that_of_other_libraries():
    one = picture(1)
    np.testing.assert_allclose(luminance(one, "yiq"), rgb2yiq(one)[..., 0], atol=1e-4)
    np.testing.assert_allclose(luminance(one, "lab"), rgb2lab(one)[..., 0] / 100, atol=1e-4)
    y = colorsys.rgb_to_yiq(*one[3, 4])[0]
    assert luminance(one, "yiq")[3, 4] == pytest.approx(y, abs=6e-3)  # it has two digits only


def test_matched_luminance_has_the_targets_mean_and_deviation():
    values, target = luminance(picture(1), "yiq"), luminance(picture(2), "yiq")
    inside = 0.5 + 0.4 * (target - 0.5)  # what stays in [0, 1]
    matched = match_luminance(values, inside)
    assert matched.mean() == pytest.approx(inside.mean(), abs=1e-4)
    assert matched.std() == pytest.approx(inside.std(), abs=1e-4)


@pytest.mark.parametrize("name", ODD)
def test_luminance_of_odd_pictures(name):
    for space in SPACES:
        values = luminance(ODD[name], space)
        assert ((values >= -1e-6) & (values <= 1 + 1e-6)).all()
        plain = match_luminance(values, luminance(picture(1), space))
        assert np.isfinite(plain).all()
        result = with_luminance(ODD[name], values, space)
        np.testing.assert_allclose(result, ODD[name], atol=2e-3)


@pytest.mark.parametrize("space", SPACES)
def test_a_picture_with_its_own_luminance_is_itself(space):
    one = picture(7)
    np.testing.assert_allclose(with_luminance(one, luminance(one, space), space), one, atol=2e-3)


@pytest.mark.parametrize("space", SPACES)
def test_luminance_is_exchanged_and_hue_is_kept(space):
    one = picture(7)
    new = np.random.default_rng(3).random(one.shape[:2]).astype(np.float32)
    result = with_luminance(one, new, space)
    assert result.min() >= 0
    assert result.max() <= 1
    np.testing.assert_allclose(luminance(result, space), new, atol=5e-3)
    to_space = rgb2yiq if space == "yiq" else rgb2lab
    before, after = to_space(one)[..., 1:], to_space(result)[..., 1:]
    scale = 1 if space == "yiq" else 100
    # The same direction, and never more of it.
    cross = before[..., 0] * after[..., 1] - before[..., 1] * after[..., 0]
    assert np.abs(cross).max() < 2e-3 * scale**2
    lengths = np.hypot(*np.moveaxis(before, -1, 0)), np.hypot(*np.moveaxis(after, -1, 0))
    assert (lengths[1] <= lengths[0] + 2e-3 * scale).all()


@pytest.mark.parametrize("space", SPACES)
def test_what_is_in_gamut_keeps_all_of_its_chroma(space):
    one = (0.4 + 0.2 * picture(8)).astype(np.float32)
    new = (luminance(one, space) + 0.05).astype(np.float32)
    result = with_luminance(one, new, space)
    if space == "yiq":
        # Equal steps of all channels are a step of Y alone.
        np.testing.assert_allclose(result, one + 0.05, atol=1e-4)
    else:
        lab = rgb2lab(one)
        lab[..., 0] += 5
        assert deltaE_ciede2000(rgb2lab(result), rgb2lab(lab2rgb(lab))).max() < 0.05


def test_black_and_white_have_no_chroma():
    one = picture(8)
    for space, value in itertools.product(SPACES, (0.0, 1.0)):
        plain = np.full(one.shape[:2], value, np.float32)
        np.testing.assert_allclose(with_luminance(one, plain, space), value, atol=2e-3)


def test_grey_has_three_equal_channels():
    values = luminance(picture(1), "yiq")
    assert np.array_equal(grey(values), np.stack([values] * 3, axis=-1))


def test_bands_do_not_show(monkeypatch):
    one, other = picture(1), picture(2)
    whole = [match_colors(one, other, "symmetric"), luminance(one, "lab")]
    whole.append(with_luminance(one, luminance(other, "lab"), "lab"))
    monkeypatch.setattr("nstcore.images.color_transfer._BAND", 130)
    banded = [match_colors(one, other, "symmetric"), luminance(one, "lab")]
    banded.append(with_luminance(one, luminance(other, "lab"), "lab"))
    for a, b in zip(whole, banded, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
