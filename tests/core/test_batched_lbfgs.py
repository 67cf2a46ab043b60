"""Batched L-BFGS against torch.optim.LBFGS run one by one, step by step, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nstcore.core.optimizers.lbfgs import BatchedLBFGS

D = 12


STEEP = 1e6
"""Factor on a loss with which no y.s of a test falls below 1e-10: what is less, torch leaves out."""


def _quadratics(rows: int, factor: float = 1.0) -> list:
    """x -> ½ (x - c)ᵀ A (x - c) with different spectra, scales and centres c, row + 1 everywhere."""
    functions = []
    for row in range(rows):
        random = torch.Generator().manual_seed(row)
        basis, _ = torch.linalg.qr(torch.randn(D, D, generator=random, dtype=torch.float64))
        spectrum = torch.logspace(-row / 2, 0.5, D, dtype=torch.float64)
        matrix = factor * basis * spectrum @ basis.T
        functions.append(lambda x, a=matrix, c=row + 1.0: 0.5 * (x - c) @ a @ (x - c))
    return functions


def _rosenbrocks(rows: int) -> list:
    """Chained Rosenbrock valleys of different steepness (More, Garbow & Hillstrom 1981, no. 21)."""
    return [
        lambda x, k=10.0 * (row + 1): (
            (k * (x[1:] - x[:-1] ** 2).square().sum() + (1 - x[:-1]).square().sum()) / 100
        )
        for row in range(rows)
    ]


def _wells(rows: int) -> list:
    """Double wells, concave around 0."""
    return [
        lambda x, k=row + 1.0: (x**2 - 1).square().sum() / 4 + 0.1 * (k * x).sin().sum()
        for row in range(rows)
    ]


def _start(rows: int, scale: float = 1.0) -> Tensor:
    random = torch.Generator().manual_seed(99)
    return scale * torch.randn(rows, D, generator=random, dtype=torch.float64)


def _gradient(functions: list, x: Tensor) -> Tensor:
    leaf = x.detach().requires_grad_()
    total = sum(function(row) for function, row in zip(functions, leaf, strict=True))
    (gradient,) = torch.autograd.grad(total, leaf)
    return gradient


def _batched(functions, start, steps, *, solver=None, **options) -> Tensor:
    """The path (steps + 1, N, D)."""
    options = {"dtype": start.dtype, **options}
    solver = solver or BatchedLBFGS(*start.shape, **options)
    path = [start]
    for _ in range(steps):
        path.append(path[-1] + solver.direction(_gradient(functions, path[-1])))
    return torch.stack(path)


def _one_by_one(functions, start, steps, *, history, rates) -> Tensor:
    """The paths that torch's own optimizer takes, one function after the other."""
    paths = []
    for function, x0, rate in zip(functions, start, rates, strict=True):
        x = x0.clone().requires_grad_()
        peer = torch.optim.LBFGS(
            [x],
            lr=rate,
            max_iter=1,
            history_size=history,
            tolerance_grad=0,
            tolerance_change=0,
        )

        def closure(x=x, function=function, peer=peer):
            peer.zero_grad()
            loss = function(x)
            loss.backward()
            return loss

        path = [x0.clone()]
        for _ in range(steps):
            peer.step(closure)
            path.append(x.detach().clone())
        paths.append(torch.stack(path))
    return torch.stack(paths, dim=1)


@pytest.mark.parametrize(("history", "steps"), [(1, 25), (3, 60), (20, 60), (100, 25)])
def test_quadratics_step_by_step(history, steps):
    functions, start = _quadratics(5, STEEP), _start(5)
    found = _batched(functions, start, steps, history=history)
    expected = _one_by_one(functions, start, steps, history=history, rates=[1.0] * 5)
    assert torch.isfinite(expected).all()
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found[:15], expected[:15], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("history", [3, 20])
def test_rosenbrock_step_by_step(history):
    # The paths are chaotic: rounding grows with every step, so late steps are not comparable.
    functions, start = _rosenbrocks(4), _start(4, 0.5)
    found = _batched(functions, start, 40, history=history)
    expected = _one_by_one(functions, start, 40, history=history, rates=[1.0] * 4)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found[:15], expected[:15], rtol=1e-9, atol=1e-9)


def test_every_row_has_its_own_rate():
    functions, start = _quadratics(4, STEEP), _start(4)
    rates = [1.0, 0.3, 0.7, 0.05]
    found = _batched(
        functions,
        start,
        40,
        history=5,
        learning_rate=torch.tensor(rates, dtype=torch.float64),
    )
    expected = _one_by_one(functions, start, 40, history=5, rates=rates)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


def test_pairs_with_negative_curvature_are_left_out_as_torch_does():
    functions, start = _wells(4), _start(4, 0.05)
    found = _batched(functions, start, 30, history=4, learning_rate=0.4)
    expected = _one_by_one(functions, start, 30, history=4, rates=[0.4] * 4)
    gradients = torch.stack([_gradient(functions, x) for x in found])
    curvature = ((found[1:] - found[:-1]) * (gradients[1:] - gradients[:-1])).sum(-1)
    assert (curvature < 0).any(0).all(), "every row should meet negative curvature"
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


def test_it_solves_what_it_descends():
    functions = _quadratics(5)
    last = _batched(functions, _start(5), 70, history=12)[-1]
    assert _gradient(functions, last).abs().max() < 1e-6
    torch.testing.assert_close(last[0], torch.ones(D, dtype=torch.float64))


def test_first_step_is_the_scaled_gradient():
    gradient = torch.tensor([[3.0, -4.0], [0.1, 0.2]])
    step = BatchedLBFGS(2, 2, learning_rate=0.5).direction(gradient)
    # min(1, 1 / |g|_1) times the rate: 1/7 for the first row, 1 for the second.
    torch.testing.assert_close(step, -0.5 * gradient * torch.tensor([[1 / 7], [1.0]]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_row_does_not_depend_on_the_others(dtype):
    functions, start = _rosenbrocks(4), _start(4, 0.5).to(dtype)
    steps = 30 if dtype == torch.float64 else 10
    together = _batched(functions, start, steps, history=6, learning_rate=0.5)
    tolerance = {"rtol": 1e-9, "atol": 1e-9} if dtype == torch.float64 else {}
    for row in range(4):
        one = slice(row, row + 1)
        alone = _batched(functions[one], start[one], steps, history=6, learning_rate=0.5)
        torch.testing.assert_close(alone[:, 0], together[:, row], **tolerance)
    order = [2, 0, 3, 1]
    moved = _batched(
        [functions[i] for i in order], start[order], steps, history=6, learning_rate=0.5
    )
    torch.testing.assert_close(moved, together[:, order], **tolerance)


def test_reset_of_one_row_leaves_the_others_alone():
    functions, start = _quadratics(3), _start(3)
    solver = BatchedLBFGS(3, D, history=5, dtype=torch.float64)
    before = _batched(functions, start, 8, solver=solver)
    solver.reset(torch.tensor([False, True, False]))
    after = _batched(functions, before[-1], 12, solver=solver)
    undisturbed = _batched(functions, start, 20, history=5)[8:]
    assert torch.equal(after[:, [0, 2]], undisturbed[:, [0, 2]])
    # The row that was reset goes on as a new problem started where it stands.
    afresh = _batched(functions[1:2], before[-1][1:2], 12, history=5)
    torch.testing.assert_close(after[:, 1], afresh[:, 0], rtol=1e-9, atol=1e-9)
    assert not torch.allclose(after[1, 1], undisturbed[1, 1])


def test_rows_that_have_converged_stay_while_others_move():
    functions, start = _quadratics(3), _start(3)
    solver = BatchedLBFGS(3, D, history=8, dtype=torch.float64)
    start[0] = 1.0  # the first function's minimum
    path = _batched(functions, start, 6, solver=solver)
    assert torch.equal(path[:, 0], start[0].expand(7, D))
    assert solver.converged.tolist() == [True, False, False]
    assert (path[1:, 1:] != path[:-1, 1:]).any(-1).all()


def test_a_row_that_converges_later_stays_for_good():
    functions, start = _quadratics(2), _start(2)
    solver = BatchedLBFGS(2, D, history=12, dtype=torch.float64)
    path = _batched(functions, start, 60, solver=solver)
    assert solver.converged.all()
    assert torch.equal(path[-1], path[-2])
    solver.reset(torch.tensor([True, False]))
    assert solver.converged.tolist() == [False, True]


def test_float32_pictures_reach_the_minimum():
    functions, start = _quadratics(2), _start(2).float()
    functions = [lambda x, f=f: f(x.double()) for f in functions]
    path = _batched(functions, start, 50, history=10)
    assert path.dtype == torch.float32
    assert _gradient(functions, path[-1]).abs().max() < 1e-3


def test_a_gradient_that_is_not_finite_spoils_its_own_row_only():
    functions, start = _quadratics(3), _start(3)
    solver = BatchedLBFGS(3, D, history=5, dtype=torch.float64)
    path = _batched(functions, start, 5, solver=solver)
    gradient = _gradient(functions, path[-1])
    gradient[1] = torch.nan
    step = solver.direction(gradient)
    expected = _batched(functions, start, 6, history=5)
    assert torch.equal(path[-1][[0, 2]] + step[[0, 2]], expected[-1][[0, 2]])
    assert not solver.converged[1]


def test_history_must_hold_a_pair():
    with pytest.raises(ValueError, match="at least 1"):
        BatchedLBFGS(1, 2, history=0)
