"""The guard: what happens to a picture whose loss explodes, and what does not happen to others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from nstcore.core.losses.base import Losses
from nstcore.core.minimize import Problem
from nstcore.core.objective import Objective
from nstcore.core.optimizers import OPTIMIZERS
from nstcore.core.optimizers.adam import AdamMinimizer
from nstcore.core.optimizers.lbfgs import FIRST_STEP, LBFGSMinimizer
from nstcore.core.settings import Settings

SHAPE = (3, 3, 5, 6)
ROWS = torch.arange(SHAPE[0])


class Bowl:
    """A smooth objective with another minimum for every picture, spoiled where it is told to be.

    Args:
        spoil: call (from 1) -> (row, factor on that row's loss).
        only: the rows that are there.
    """

    def __init__(self, spoil: dict[int, tuple[int, float]] | None = None, only: Tensor = ROWS):
        random = torch.Generator().manual_seed(0)
        self.target = torch.rand(SHAPE, generator=random)[only]
        self.stiffness = torch.logspace(0, 1.5, 90).view(1, *SHAPE[1:]).roll(7, -1)
        self.spoil = spoil or {}
        self.seen: list[Tensor] = []

    def __call__(self, image: Tensor) -> Losses:
        self.seen.append(image.detach().clone())
        error = (image - self.target).square() * self.stiffness
        loss = (error + error.square()).mean(dim=(1, 2, 3))
        factor = torch.ones(len(loss))
        row, value = self.spoil.get(len(self.seen), (0, 1.0))
        factor[row] = value
        loss = loss * factor
        nothing = torch.zeros_like(loss)
        return Losses(loss, loss, nothing, nothing, {})

    def evaluate(self, image: Tensor) -> tuple[Losses, Tensor]:
        return Objective.evaluate(self, image)


def _start(only: Tensor = ROWS) -> Tensor:
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(5))[only]


def _lbfgs(objective, start, iterations=30, **options):
    rate = torch.ones(start.shape[0])
    problem = Problem(objective.evaluate, start, iterations, **options)
    return LBFGSMinimizer(problem, Settings(history=8), rate).run()


def _loss(images: Tensor) -> Tensor:
    return Bowl()(images).total


def test_it_descends_to_the_minimum():
    descent = _lbfgs(Bowl(), _start(), 45)
    torch.testing.assert_close(descent.images, Bowl().target, atol=0.02, rtol=0)
    assert descent.rollbacks.tolist() == [0, 0, 0]
    assert not descent.failed.any()
    assert (_loss(descent.images) < 1e-3 * _loss(_start())).all()


def test_the_scale_of_a_loss_does_not_matter():
    """Relative losses shrink with the number of pixels; the path must not depend on that."""

    class Scaled(Bowl):
        factor = 1.0

        def __call__(self, image: Tensor) -> Losses:
            losses = super().__call__(image)
            return Losses(losses.total * self.factor, *(losses.content,) * 3, {})

    plain, tiny = Scaled(), Scaled()
    tiny.factor = 2.0**-30
    expected, descent = _lbfgs(plain, _start(), 40), _lbfgs(tiny, _start(), 40)
    torch.testing.assert_close(descent.images, expected.images, atol=1e-4, rtol=0)
    first = (plain.seen[1] - plain.seen[0]).abs().mean(dim=(1, 2, 3))
    torch.testing.assert_close(first, torch.full_like(first, FIRST_STEP))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf, 1e6])
@pytest.mark.parametrize("call", [2, 7])
def test_a_bad_loss_costs_one_row_one_rollback(bad, call):
    good, spoiled = Bowl(), Bowl({call: (1, bad)})
    expected, descent = _lbfgs(good, _start()), _lbfgs(spoiled, _start())
    assert descent.rollbacks.tolist() == [0, 1, 0]
    # The others are the same to the last bit.
    assert torch.equal(descent.images[[0, 2]], expected.images[[0, 2]])
    for one, other in zip(good.seen, spoiled.seen, strict=True):
        assert torch.equal(one[[0, 2]], other[[0, 2]])
    # The next picture of the bad row is one first step, of half the rate, from its best state.
    best = spoiled.seen[call - 2][1]
    leaf = best.clone().requires_grad_()
    padded = torch.stack([_start()[0], leaf, _start()[2]])
    (gradient,) = torch.autograd.grad(Bowl()(padded).total[1], leaf)
    step = -0.5 * FIRST_STEP * gradient / gradient.abs().mean()
    torch.testing.assert_close(spoiled.seen[call][1], best + step)
    # It goes on to descend and nothing of the bad state is kept.
    assert torch.isfinite(descent.images).all()
    assert _loss(descent.images)[1] < 0.1 * _loss(_start())[1]


def test_others_are_the_same_without_the_bad_row():
    only = torch.tensor([0, 2])
    descent = _lbfgs(Bowl({4: (1, torch.nan), 9: (1, 1e9)}), _start())
    without = _lbfgs(Bowl(only=only), _start(only))
    # Sums over a smaller batch may be taken in another order, which is all that may differ.
    torch.testing.assert_close(descent.images[only], without.images, rtol=1e-5, atol=1e-5)


def test_a_row_that_is_never_finite_has_failed_and_stays_at_its_start():
    spoil = dict.fromkeys(range(1, 31), (1, torch.nan))
    descent = _lbfgs(Bowl(spoil), _start())
    assert descent.failed.tolist() == [False, True, False]
    assert torch.equal(descent.images[1], _start()[1])
    expected = _lbfgs(Bowl(), _start())
    assert torch.equal(descent.images[[0, 2]], expected.images[[0, 2]])


def test_after_three_rollbacks_it_goes_on_with_adam():
    spoil = dict.fromkeys((2, 3, 4), (1, torch.nan))
    spoiled = Bowl(spoil)
    descent = _lbfgs(spoiled, _start(), 40, record_every=5)
    assert descent.rollbacks.tolist() == [0, 3, 0]
    # Adam's first step has one length for every pixel.
    move = (spoiled.seen[6][1] - spoiled.seen[5][1]).abs()
    torch.testing.assert_close(move, torch.full_like(move, 0.01), rtol=1e-3, atol=0)
    assert _loss(descent.images)[1] < 0.3 * _loss(_start())[1]
    expected = _lbfgs(Bowl(), _start(), 40, record_every=5)
    assert torch.equal(descent.images[[0, 2]], expected.images[[0, 2]])


def test_the_best_state_is_returned_not_the_last():
    bowl = Bowl()
    spoiled = Bowl({30: (1, 5.0)})  # worse, but no explosion
    expected, descent = _lbfgs(bowl, _start(), 29), _lbfgs(spoiled, _start(), 30)
    torch.testing.assert_close(descent.images[1], expected.images[1])
    assert descent.rollbacks.tolist() == [0, 0, 0]


def test_the_objective_is_evaluated_once_an_iteration_and_the_trace_tells():
    bowl, watched = Bowl(), []
    descent = _lbfgs(
        bowl, _start(), 23, record_every=10, callback=lambda i, losses: watched.append((i, losses))
    )
    assert len(bowl.seen) == 23
    assert descent.trace.iterations == [10, 20, 23] == [i for i, _ in watched]
    for (iteration, losses), kept in zip(watched, descent.trace.losses, strict=True):
        assert losses is kept
        assert not losses.total.requires_grad
        torch.testing.assert_close(losses.total, _loss(bowl.seen[iteration - 1]))


def test_the_start_is_not_changed():
    start = _start()
    _lbfgs(Bowl(), start, 3)
    AdamMinimizer(Problem(Bowl().evaluate, start, 3), Settings(), torch.tensor(0.02)).run()
    assert torch.equal(start, _start())


@pytest.mark.parametrize(("factor", "rollbacks"), [(90.0, 0), (110.0, 1)])
def test_an_explosion_is_a_hundred_times_a_rows_own_best(factor, rollbacks):
    class Flat(Bowl):
        def __call__(self, image: Tensor) -> Losses:
            losses = super().__call__(image)
            # A loss that hardly falls: the factor alone decides.
            row, value = self.spoil.get(len(self.seen), (0, 1.0))
            slow = 1e-9 * losses.total + torch.where(row == ROWS, value, 1.0) * (1 + 100.0 * ROWS)
            return Losses(slow, slow, losses.style, losses.tv, {})

    descent = _lbfgs(Flat({3: (1, factor)}), _start(), 5)
    assert descent.rollbacks.tolist() == [0, rollbacks, 0]


def _adam(objective, start, iterations=200, averaging=0.9):
    problem = Problem(objective.evaluate, start, iterations)
    return AdamMinimizer(problem, Settings(averaging=averaging), torch.tensor(0.02)).run()


def test_adam_descends_within_the_range_of_pixels():
    bowl = Bowl()
    bowl.target = bowl.target * 2 - 0.5  # partly out of reach
    descent = _adam(bowl, _start(), 500)
    assert all(float(x.min()) >= 0 and float(x.max()) <= 1 for x in bowl.seen)
    torch.testing.assert_close(descent.images, bowl.target.clamp(0, 1), atol=0.02, rtol=0)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_bad_loss_under_adam_costs_one_row_one_step(bad):
    good, spoiled = Bowl(), Bowl({5: (1, bad)})
    expected, descent = _adam(good, _start()), _adam(spoiled, _start())
    assert descent.rollbacks.tolist() == [0, 1, 0]
    assert torch.equal(descent.images[[0, 2]], expected.images[[0, 2]])
    assert torch.isfinite(descent.images).all()
    assert _loss(descent.images)[1] < 0.05 * _loss(_start())[1]
    assert not descent.failed.any()


def test_a_row_that_is_never_finite_under_adam_has_failed():
    descent = _adam(Bowl(dict.fromkeys(range(1, 21), (1, torch.nan))), _start(), 20)
    assert descent.failed.tolist() == [False, True, False]
    torch.testing.assert_close(descent.images[1], _start()[1])


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_a_picture_that_has_converged_leaves_and_is_what_it_is_alone(optimizer):
    class Floored(Bowl):
        """With a loss that cannot fall to nothing, earlier felt by one row than by another."""

        def __call__(self, image: Tensor) -> Losses:
            losses = super().__call__(image)
            return replace(losses, total=losses.total + self.floor)

    start = _start()

    def run(only: Tensor, tolerance: float):
        evaluated: list[int] = []

        def narrow(rows: Tensor) -> Any:
            bowl = Floored(only=only[rows])
            bowl.floor = torch.tensor([1e-4, 30.0, 1.0])[only[rows]]

            def evaluate(image: Tensor) -> tuple[Losses, Tensor]:
                evaluated.append(len(image))
                return bowl.evaluate(image)

            return evaluate

        images = start[only]
        options = {"tolerance": tolerance, "select": narrow}
        problem = Problem(narrow(torch.arange(len(only))), images, 60, **options)
        settings = Settings(history=8, averaging=0.5)
        rate = torch.full((len(only),), OPTIMIZERS[optimizer].default_learning_rate)
        return OPTIMIZERS[optimizer](problem, settings, rate).run(), evaluated

    tolerance = 0.01
    together, evaluated = run(ROWS, tolerance)
    assert evaluated[0] == 3 > evaluated[-1]
    assert len(set(together.iterations.tolist())) > 1
    assert sum(evaluated) == int(together.iterations.sum())
    for row in ROWS.tolist():
        alone, _ = run(torch.tensor([row]), tolerance)
        assert alone.iterations[0] == together.iterations[row]
        torch.testing.assert_close(alone.images[0], together.images[row], rtol=1e-4, atol=1e-4)
        table, other = together.trace.tables(3)[row], alone.trace.tables(1)[0]
        assert table.shape == other.shape
        assert table[:, 0].tolist() == other[:, 0].tolist()
    _, all_the_way = run(ROWS, 0.0)
    assert all_the_way == [3] * 60
