"""Starts: reproducible noise, the style's colours, and the way from one size to the next."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nstcore.core.batched import add_noise, generator, resample, style_noise, white_noise


def test_a_seed_gives_the_same_noise_and_another_seed_another():
    first, again = (white_noise(9, 7, generator(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, white_noise(9, 7, generator(4)))
    style = torch.rand(3, 5, 5)
    assert torch.equal(*(style_noise(9, 7, style, generator(3)) for _ in range(2)))


def test_drawing_does_not_touch_the_global_random_numbers():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    white_noise(4, 4, generator(0))
    add_noise(torch.zeros(3, 4, 4), 0.1, generator(0))
    assert torch.equal(torch.rand(3), expected)


def test_white_noise_has_its_mean_and_deviation():
    noise = white_noise(200, 300, generator(0))
    assert noise.shape == (3, 200, 300)
    assert float(noise.min()) >= 0
    assert float(noise.max()) <= 1
    inner = noise[(noise > 0) & (noise < 1)]
    # A normal distribution cut at 2 standard deviations keeps its mean and 0.8796 of its deviation.
    assert float(inner.mean()) == pytest.approx(0.5, abs=2e-3)
    assert float(inner.std()) == pytest.approx(0.25 * 0.8796, rel=0.01)
    assert len(inner) / noise.numel() == pytest.approx(0.9545, abs=2e-3)


def test_style_noise_has_the_styles_mean_and_covariance():
    random = np.random.default_rng(0)
    # Narrow enough around the middle that nothing is clamped.
    mixing = np.array([[0.06, 0.0, 0.0], [0.04, 0.03, 0.0], [-0.03, 0.02, 0.01]])
    pixels = np.array([0.5, 0.45, 0.55]) + np.clip(random.normal(size=(2000, 3)), -3, 3) @ mixing.T
    style = torch.from_numpy(pixels.T.reshape(3, 40, 50)).float()
    noise = style_noise(300, 400, style, generator(1)).flatten(1).numpy()
    assert noise.min() > 0
    assert noise.max() < 1
    np.testing.assert_allclose(noise.mean(1), pixels.mean(0), atol=1e-3)
    np.testing.assert_allclose(np.cov(noise), np.cov(pixels.T), atol=3e-5)


@pytest.mark.parametrize("kind", ["grey", "flat", "two colours"])
def test_styles_with_a_singular_covariance_are_fine(kind):
    style = {
        "grey": torch.rand(1, 20, 20).expand(3, 20, 20) * 0.2 + 0.4,
        "flat": torch.tensor([0.2, 0.5, 0.7]).view(3, 1, 1).expand(3, 20, 20),
        "two colours": torch.where(torch.rand(1, 20, 20) < 0.5, 0.4, 0.6)
        * torch.tensor([1.0, 0.9, 0.5]).view(3, 1, 1),
    }[kind]
    noise = style_noise(60, 60, style, generator(0))
    assert torch.isfinite(noise).all()
    torch.testing.assert_close(noise.mean((1, 2)), style.mean((1, 2)), atol=0.01, rtol=0)
    if kind == "grey":
        torch.testing.assert_close(noise[0], noise[1], atol=1e-4, rtol=0)
    if kind == "flat":
        torch.testing.assert_close(noise, style[:, :1, :1].expand_as(noise), atol=1e-4, rtol=0)


def test_added_noise_has_its_deviation_and_none_is_free():
    picture = torch.rand(3, 100, 100)
    noisy = add_noise(picture, 0.1, generator(0))
    assert float((noisy - picture).std()) == pytest.approx(0.1, rel=0.02)
    assert add_noise(picture, 0, generator(0)) is picture


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("size", [(16, 24), (8, 12), (33, 47)])
def test_resampling_keeps_flat_pictures_and_ramps(smooth, size):
    flat = torch.full((2, 3, 16, 24), 0.3)
    torch.testing.assert_close(resample(flat, *size, smooth=smooth), torch.full((2, 3, *size), 0.3))
    ramp = ((torch.arange(24) + 0.5) / 24).expand(1, 3, 16, 24)
    expected = ((torch.arange(size[1]) + 0.5) / size[1]).expand(1, 3, *size)
    inner = slice(4, -4)
    torch.testing.assert_close(
        resample(ramp, *size, smooth=smooth)[..., inner], expected[..., inner], atol=3e-3, rtol=0
    )


def test_optimizer_state_does_not_overshoot():
    state = (torch.rand(1, 3, 10, 10) > 0.5).float()
    larger = resample(state, 23, 27, smooth=False)
    assert float(larger.min()) >= 0
    assert float(larger.max()) <= 1


def test_nothing_happens_at_the_same_size():
    picture = torch.rand(1, 3, 5, 6)
    assert resample(picture, 5, 6) is picture
