"""Relative errors and total variation against closed forms."""

from __future__ import annotations

import pytest
import torch

from nstcore.losses.functional import relative_error, total_variation


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
    torch.testing.assert_close(relative_error(value, target, energy), expected)


def test_a_target_of_zeros_gives_a_finite_loss_and_gradient():
    value = torch.randn(2, 6, requires_grad=True)
    loss = relative_error(value, torch.zeros(2, 6))
    assert torch.isfinite(loss).all()
    (gradient,) = torch.autograd.grad(loss.sum(), value)
    assert torch.isfinite(gradient).all()
    nothing = relative_error(torch.zeros(2, 6), torch.zeros(2, 6))
    torch.testing.assert_close(nothing, torch.zeros(2))
