"""Gradients of every loss against finite differences in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from nstcore.core.losses.base import relative_error
from nstcore.core.losses.gatys import ContentLoss, GramLoss
from nstcore.core.losses.total_variation import total_variation
from nstcore.core.moments import (
    LossSpace,
    channel_mean,
    gram_matrix,
    layer_moments,
    lift_gram,
)
from nstcore.core.settings import Settings

SHAPE = (2, 3, 4, 5)
KINDS = [("relative", "gram"), ("relative", "w2"), ("gatys", "gram")]


def _random(*shape: int, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=random, dtype=torch.float64)


def _lifted(features: Tensor) -> Tensor:
    weight, bias = _random(6, 3, seed=8), _random(6, seed=9)
    return lift_gram(gram_matrix(features), channel_mean(features), weight, bias)


def _content_gatys(target: Tensor) -> Callable[[Tensor], Tensor]:
    loss = ContentLoss(target, LossSpace(), GATYS)
    return lambda x: loss(loss.squares(x))


def _style_gatys(space: LossSpace) -> Callable[[Tensor], Tensor]:
    loss = GramLoss(layer_moments(TARGET), space, GATYS)
    return lambda x: loss(layer_moments(x))


GATYS = Settings.model_construct(normalization="gatys")
TARGET = _random(*SHAPE, seed=1)
LOSSES = {
    "content relative": lambda x: relative_error(x, TARGET),
    "content gatys": _content_gatys(TARGET),
    "content gatys, one target": _content_gatys(TARGET[:1]),
    "style relative": lambda x: relative_error(gram_matrix(x), gram_matrix(TARGET)),
    "style gatys": _style_gatys(LossSpace()),
    "style relative, lifted": lambda x: relative_error(_lifted(x), _lifted(TARGET)),
    "style gatys, lifted": _style_gatys(LossSpace(_random(6, 3, seed=8), _random(6, seed=9))),
    "total variation": total_variation,
    "total variation, absolute": lambda x: total_variation(x, "absolute"),
    "total variation, isotropic": lambda x: total_variation(x, "isotropic"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_loss(name):
    assert LOSSES[name](_random(*SHAPE)).shape == (2,)
    assert gradcheck(LOSSES[name], _random(*SHAPE).requires_grad_())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gram_matrix_in_both_layouts(layout):
    features = _random(*SHAPE).contiguous(memory_format=layout).requires_grad_()
    assert gradcheck(gram_matrix, features)


def _central(total, picture: Tensor, direction: Tensor, step: float = 1e-6) -> Tensor:
    return (total(picture + step * direction) - total(picture - step * direction)) / (2 * step)


@pytest.mark.parametrize("adapted", [None, 3], ids=["plain", "adapted"])
@pytest.mark.parametrize(("normalization", "statistic"), KINDS)
def test_whole_objective(make_objective, pictures, normalization, statistic, adapted):
    objective = make_objective(normalization, statistic=statistic, adapted=adapted)
    picture = pictures(3, 3)
    leaf = picture.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(objective(leaf).total.sum(), leaf)

    def total(image: Tensor) -> Tensor:
        return objective(image).total

    directions = [_random(*picture.shape, seed=seed) for seed in range(5)]
    for place in [(0, 0, 0), (1, 8, 11), (2, 17, 20), (0, 17, 0)]:
        single = torch.zeros_like(picture)
        single[:, place[0], place[1], place[2]] = 1
        directions.append(single)
    for direction in directions:
        # Each picture's own loss changes by its own part of the gradient of the sum.
        expected = (gradient * direction).flatten(1).sum(1)
        torch.testing.assert_close(
            _central(total, picture, direction), expected, rtol=2e-5, atol=1e-7
        )


@pytest.mark.parametrize(("normalization", "statistic"), KINDS)
def test_gradient_of_the_sum_is_each_pictures_own(
    make_objective, pictures, normalization, statistic
):
    objective = make_objective(normalization, statistic=statistic)
    leaf = pictures(3, 3).requires_grad_()
    losses = objective(leaf)
    (together,) = torch.autograd.grad(losses.total.sum(), leaf, retain_graph=True)
    for i in range(3):
        (own,) = torch.autograd.grad(losses.total[i], leaf, retain_graph=True)
        torch.testing.assert_close(own[i], together[i])
        assert own[torch.arange(3) != i].abs().max() == 0
