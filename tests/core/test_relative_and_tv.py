"""Relative errors and total variation against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from nstcore.core.losses.base import over_energy, relative_error
from nstcore.core.losses.total_variation import TV_EPSILON, total_variation


def test_checkerboard_has_the_largest_variation():
    rows, columns = torch.meshgrid(torch.arange(6), torch.arange(9), indexing="ij")
    board = ((rows + columns) % 2).double().expand(1, 3, 6, 9)
    # Every neighbour differs by 1: mean 1 across, mean 1 down.
    torch.testing.assert_close(total_variation(board), torch.tensor([2.0]).double())


@pytest.mark.parametrize(("across", "down"), [(0.1, 0.0), (0.0, 0.03), (0.02, 0.05)])
def test_ramp_has_the_sum_of_its_squared_slopes(across, down):
    x = torch.arange(8, dtype=torch.float64) * across
    y = torch.arange(5, dtype=torch.float64).unsqueeze(1) * down
    ramp = (x + y).expand(1, 3, 5, 8)
    expected = torch.tensor([across**2 + down**2]).double()
    torch.testing.assert_close(total_variation(ramp), expected)


def test_flat_pictures_have_none_and_pictures_of_a_batch_have_their_own():
    flat = torch.full((1, 3, 4, 4), 0.3)
    stripes = torch.zeros(1, 3, 4, 4)
    stripes[..., ::2] = 1
    torch.testing.assert_close(
        total_variation(torch.cat([flat, stripes])), torch.tensor([0.0, 1.0])
    )


def test_total_variation_does_not_depend_on_how_often_a_texture_repeats():
    tile = torch.zeros(1, 3, 2, 2)
    tile[..., 0, 0] = tile[..., 1, 1] = 1
    torch.testing.assert_close(
        total_variation(tile.tile(1, 1, 3, 3)), total_variation(tile.tile(1, 1, 20, 30))
    )


# --- other forms -----------------------------------------------------------------------------


def test_forms_of_total_variation_are_explicit_sums():
    image = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    x = image.numpy()
    across, down = np.diff(x, axis=3), np.diff(x, axis=2)
    absolute = np.abs(across).mean((1, 2, 3)) + np.abs(down).mean((1, 2, 3))
    np.testing.assert_allclose(total_variation(image, "absolute"), absolute)
    isotropic = np.zeros(2)
    for n, c, i, j in np.ndindex(x.shape):
        right = x[n, c, i, j + 1] - x[n, c, i, j] if j + 1 < 6 else 0.0
        below = x[n, c, i + 1, j] - x[n, c, i, j] if i + 1 < 5 else 0.0
        isotropic[n] += math.hypot(right, below, TV_EPSILON) - TV_EPSILON
    np.testing.assert_allclose(total_variation(image, "isotropic"), isotropic / (3 * 5 * 6))


@pytest.mark.parametrize("form", ["squared", "absolute", "isotropic"])
def test_flat_pictures_have_no_variation_and_no_slope(form):
    flat = torch.full((2, 3, 4, 4), 0.3, requires_grad=True)
    value = total_variation(flat, form)
    assert value.tolist() == [0, 0]
    (gradient,) = torch.autograd.grad(value.sum(), flat)
    assert gradient.abs().max() == 0


def _edge(degrees: float, size: int = 400) -> torch.Tensor:
    """A soft edge through the middle of a disc, from 0 to 1 across it."""
    y, x = (np.mgrid[0:size, 0:size] - size / 2 + 0.5) / size
    angle = math.radians(degrees)
    step = 1 / (1 + np.exp(-80 * (x * math.cos(angle) + y * math.sin(angle))))
    # Its ends fade out before the border, so that nothing but its direction differs.
    window = 1 / (1 + np.exp(-80 * (0.4 - np.hypot(x, y))))
    return torch.from_numpy(0.5 + (step - 0.5) * window).expand(1, 3, -1, -1)


def test_isotropic_variation_is_the_same_for_edges_of_all_directions():
    found = {
        form: [float(total_variation(_edge(degrees), form)) for degrees in (0, 30, 45)]
        for form in ("absolute", "isotropic")
    }
    level, _, diagonal = found["absolute"]
    assert diagonal > 1.1 * level, "the anisotropic form prefers level edges"
    assert max(found["isotropic"]) < 1.01 * min(found["isotropic"])


def test_one_large_step_is_cheap_for_the_absolute_and_dear_for_the_squared_form():
    """Ten small steps to the same height: equal for the first, a tenth for the second."""
    step, ramp = torch.zeros(1, 3, 2, 21), torch.zeros(1, 3, 2, 21)
    step[..., 10:] = 1
    ramp[..., :] = ((torch.arange(21) - 5) / 10).clamp(0, 1)
    torch.testing.assert_close(total_variation(step, "absolute"), total_variation(ramp, "absolute"))
    torch.testing.assert_close(total_variation(step), 10 * total_variation(ramp))


# --- relative errors ---------------------------------------------------------------------------


def test_relative_error_is_0_for_equality_and_1_for_zero():
    target = torch.randn(2, 4, 5)
    torch.testing.assert_close(relative_error(target, target), torch.zeros(2))
    torch.testing.assert_close(relative_error(torch.zeros(2, 4, 5), target), torch.ones(2))


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e4])
def test_relative_error_has_no_unit(factor):
    value, target = torch.randn(3, 7), torch.randn(3, 7)
    torch.testing.assert_close(
        relative_error(factor * value, factor * target), relative_error(value, target)
    )


def test_one_target_serves_all_pictures_and_known_energy_gives_the_same():
    value, target = torch.randn(3, 2, 5), torch.randn(1, 2, 5)
    expected = torch.stack(
        [(row - target[0]).square().sum() / target.square().sum() for row in value]
    )
    torch.testing.assert_close(relative_error(value, target), expected)
    energy = target.square().sum().view(1)
    squares = (value - target).flatten(1).square().sum(1)
    torch.testing.assert_close(over_energy(squares, energy), expected)


def test_a_target_of_zeros_gives_a_finite_loss_and_gradient():
    value = torch.randn(2, 6, requires_grad=True)
    loss = relative_error(value, torch.zeros(2, 6))
    assert torch.isfinite(loss).all()
    (gradient,) = torch.autograd.grad(loss.sum(), value)
    assert torch.isfinite(gradient).all()
    nothing = relative_error(torch.zeros(2, 6), torch.zeros(2, 6))
    torch.testing.assert_close(nothing, torch.zeros(2))
