"""A descent that is interrupted anywhere and goes on from its state is the uninterrupted one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from nstcore.core.history import OptimizerState, Result
from nstcore.core.losses.base import Losses
from nstcore.core.objective import Objective
from nstcore.core.settings import Settings
from nstcore.core.stylize import StylizeTask, stylize
from nstcore.core.targets import image_moments

OPTIONS: dict[str, Any] = {
    "size": 64,
    "pyramid_start": 32,
    "pyramid_factor": 2.0,
    "iterations": [15, 17],
    "style_weight": 10.0,
    "tv_weight": 1.0,
    "history": 6,
    "style_layers": ["relu1_1", "relu3_1"],
    "content_layers": ["relu3_2"],
    "tolerance": 0.0,
}


class Killed(Exception):
    """Ends a descent in a test."""


class Killing:
    """Saves the state after some iterations, and ends the descent there."""

    def __init__(self, at: int, saved: OptimizerState | None = None) -> None:
        self.at, self.saved, self.asked = at, saved, 0

    def load(self) -> OptimizerState | None:
        return self.saved

    def due(self) -> bool:
        self.asked += 1
        return self.asked == self.at

    def save(self, saved: OptimizerState) -> None:
        # What a file would hold: copies, which later iterations cannot change.
        rows = [{k: v.detach().clone() for k, v in row.items()} for row in saved.images]
        self.saved = replace(saved, images=rows)
        raise Killed


@pytest.fixture
def tasks(random_vgg, waves) -> Callable[..., list[StylizeTask]]:
    def make(weights: Sequence[float] = (10.0, 100.0), **options: Any) -> list[StylizeTask]:
        settings = Settings(**{**OPTIONS, **options})
        moments = [
            image_moments(random_vgg(), waves(40, 56, 3), size, settings.layers)
            for size in settings.level_sizes()
        ]
        return [
            StylizeTask(
                waves(48, 64, 7),
                moments,
                settings.model_copy(update={"style_weight": weight}),
                seed=index,
            )
            for index, weight in enumerate(weights)
        ]

    return make


def _interrupted(encoder: Any, tasks: list[StylizeTask], lives: Sequence[int]) -> list[Result]:
    saved = None
    for iterations in lives:
        keeper = Killing(iterations, saved)
        with pytest.raises(Killed):
            stylize(encoder, tasks, checkpointer=keeper)
        saved = keeper.saved
        assert saved is not None
    return stylize(encoder, tasks, checkpointer=Killing(0, saved))


def _same(results: Sequence[Result], others: Sequence[Result]) -> None:
    for one, other in zip(results, others, strict=True):
        assert np.array_equal(one.image, other.image)
        assert one.trace == other.trace
        assert one.rollbacks == other.rollbacks
        assert [(v.width, v.height, v.iterations) for v in one.levels] == [
            (v.width, v.height, v.iterations) for v in other.levels
        ]


@pytest.mark.parametrize("lives", [[1], [14], [16], [7, 6, 8], [30]])
@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_bitwise_the_same(random_vgg, tasks, optimizer, lives):
    batch = tasks(optimizer=optimizer, init="noise")
    expected = stylize(random_vgg(), batch)
    _same(_interrupted(random_vgg(), batch, lives), expected)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_with_pictures_that_converged_before(random_vgg, tasks, optimizer):
    # The style weight of nothing leaves the content itself, which has converged at once.
    batch = tasks(
        (0.0, 100.0), optimizer=optimizer, tolerance=1e-3, iterations=[30, 21], tv_weight=0.0
    )
    expected = stylize(random_vgg(), batch)
    assert expected[0].levels[0].iterations < 30 == expected[1].levels[0].iterations
    for lives in ([25], [35], [24, 20]):
        _same(_interrupted(random_vgg(), batch, lives), expected)


def test_after_rollbacks_and_the_change_to_adam(random_vgg, tasks, monkeypatch):
    original = Objective.evaluate

    def spoiled(self: Objective, image: torch.Tensor) -> tuple[Losses, torch.Tensor]:
        losses, gradient = original(self, image)
        calls[0] += 1
        if calls[0] in (3, 4, 6):  # within one descent; resumed ones must count on
            total = losses.total.clone()
            total[1] = torch.nan
            losses = replace(losses, total=total)
        return losses, gradient

    monkeypatch.setattr(Objective, "evaluate", spoiled)
    calls = [0]
    expected = stylize(random_vgg(), tasks())
    assert expected[1].rollbacks == 3
    calls = [0]
    _same(_interrupted(random_vgg(), tasks(), [5, 10, 9]), expected)


def test_with_weights_by_gradients(random_vgg, tasks):
    batch = tasks(normalization="gradient")
    expected = stylize(random_vgg(), batch)
    _same(_interrupted(random_vgg(), batch, [7, 15]), expected)
    plain = stylize(random_vgg(), tasks())
    assert not np.array_equal(plain[0].image, expected[0].image)
