"""Batched Adam against torch.optim.Adam, and its average against a closed form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nstcore.core.optimizers.adam import BatchedAdam

SHAPE = (3, 3, 4, 5)


def _gradients(steps: int, shape: tuple[int, ...] = SHAPE) -> list[Tensor]:
    random = torch.Generator().manual_seed(1)
    return [
        torch.randn(shape, generator=random, dtype=torch.float64) * 10.0 ** (k % 4 - 2)
        for k in range(steps)
    ]


@pytest.mark.parametrize("betas", [(0.9, 0.99), (0.9, 0.999), (0.0, 0.5)])
@pytest.mark.parametrize("epsilon", [1e-8, 1e-2])
def test_equals_torch_step_by_step(betas, epsilon):
    rates = [0.02, 0.5, 1e-3]
    start = torch.randn(SHAPE, dtype=torch.float64)
    own = BatchedAdam(
        start,
        learning_rate=torch.tensor(rates, dtype=torch.float64),
        betas=betas,
        epsilon=epsilon,
    )
    rows = [row.clone().requires_grad_() for row in start]
    peers = [
        torch.optim.Adam([row], lr=rate, betas=betas, eps=epsilon)
        for row, rate in zip(rows, rates, strict=True)
    ]
    x = start
    for gradient in _gradients(30):
        x = x + own.direction(gradient)
        for row, peer, part in zip(rows, peers, gradient, strict=True):
            row.grad = part.clone()
            peer.step()
        expected = torch.stack([row.detach() for row in rows])
        torch.testing.assert_close(x, expected, rtol=1e-12, atol=1e-12)


def test_direction_leaves_the_gradient_as_it_is():
    own = BatchedAdam(torch.zeros(SHAPE, dtype=torch.float64))
    (gradient,) = _gradients(1)
    before = gradient.clone()
    own.direction(gradient)
    assert torch.equal(gradient, before)


def test_first_step_has_the_length_of_the_rate():
    own = BatchedAdam(torch.zeros(SHAPE, dtype=torch.float64), learning_rate=0.02, epsilon=0.0)
    (gradient,) = _gradients(1)
    torch.testing.assert_close(own.direction(gradient), -0.02 * gradient.sign())


@pytest.mark.parametrize("averaging", [0.0, 0.5, 0.99])
def test_average_is_the_normalized_exponential_mean(averaging):
    iterates = _gradients(12)
    own = BatchedAdam(iterates[0], averaging=averaging)
    for count, iterate in enumerate(iterates, start=1):
        own.record(iterate)
        weights = torch.tensor([averaging**age for age in range(count)][::-1]).double()
        expected = torch.einsum(
            "k,knchw->nchw", weights / weights.sum(), torch.stack(iterates[:count])
        )
        torch.testing.assert_close(own.mean(), expected)


def test_average_of_equal_iterates_is_that_iterate_from_the_first_on():
    picture = torch.rand(SHAPE)
    own = BatchedAdam(picture, averaging=0.99)
    for _ in range(5):
        own.record(picture)
        torch.testing.assert_close(own.mean(), picture)


def test_there_is_no_average_of_nothing():
    with pytest.raises(RuntimeError, match="no iterate"):
        BatchedAdam(torch.zeros(SHAPE)).mean()


def test_resized_goes_on_with_the_moments():
    rates = torch.tensor([0.02, 0.5, 1e-3], dtype=torch.float64)
    start = torch.zeros(SHAPE, dtype=torch.float64)
    own = BatchedAdam(start, learning_rate=rates, betas=(0.8, 0.95), epsilon=1e-3, averaging=0.7)
    for gradient in _gradients(7):
        own.direction(gradient)
        own.record(gradient)

    def enlarge(state: Tensor) -> Tensor:
        return state.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    large = own.resized(enlarge)
    with pytest.raises(RuntimeError, match="no iterate"):
        large.mean()
    for gradient in _gradients(3):
        # Every pixel became four equal ones; each must go on as if nothing had happened.
        expected = own.direction(gradient)
        torch.testing.assert_close(large.direction(enlarge(gradient)), enlarge(expected))
    picture = enlarge(start) + 1
    large.record(picture)
    large.record(0 * picture)
    torch.testing.assert_close(large.mean(), picture * 0.7 / 1.7)


def test_a_resize_that_overshoots_leaves_no_negative_second_moment():
    own = BatchedAdam(torch.zeros(SHAPE, dtype=torch.float64))
    for gradient in _gradients(3):
        own.direction(gradient)
    other = own.resized(lambda state: state - 1e3)
    assert torch.isfinite(other.direction(torch.zeros(SHAPE, dtype=torch.float64))).all()
