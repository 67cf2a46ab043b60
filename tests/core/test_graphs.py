"""Iterations as graphs: what was recorded does the same as what is called."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nstcore.core.graphs import CALLS_BEFORE, Replay
from nstcore.core.losses.base import Losses
from nstcore.core.minimize import MinimizeResult, Problem
from nstcore.core.optimizers import OPTIMIZERS
from nstcore.core.settings import Settings


class Recorder(TorchDispatchMode):
    """Notes every operation with its tensors; `replay` does them again, in the same memory."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        for func, args, kwargs, result in self.operations:
            if func.is_view:
                continue
            again = func(*args, **kwargs)
            if not func._schema.is_mutable:
                for old, new in zip(_tensors(result), _tensors(again), strict=True):
                    old.copy_(new)


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


class Graphs:
    """In place of CUDA's: records on the CPU, and undoes what recording has done."""

    def __init__(self) -> None:
        self.recorded = self.replays = 0

    def __call__(self, function: Any) -> tuple[Callable[[], None], Any]:
        minimizer = function.__self__
        owners = [minimizer, minimizer.optimizer, minimizer.evaluate]
        owners.append(getattr(minimizer, "fallback", None))
        kept = [v for one in owners if one for v in vars(one).values() if isinstance(v, Tensor)]
        before = [value.clone() for value in kept]
        with Recorder() as recorder:
            result = function()
        for value, old in zip(kept, before, strict=True):
            value.copy_(old)
        self.recorded += 1

        def replay() -> None:
            self.replays += 1
            with torch.no_grad():
                recorder.replay()

        return replay, result


class Valley:
    """A curved valley for each image; the loss of wild ones grows with every evaluation."""

    def __init__(self, steepness: Tensor, wild: Tensor) -> None:
        self.steepness, self.wild = steepness, wild
        self.count = torch.zeros(len(wild))

    def __call__(self, images: Tensor) -> tuple[Losses, Tensor]:
        self.count.add_(1)
        leaf = images.detach().requires_grad_()
        red, green, blue = leaf[:, 0], leaf[:, 1], leaf[:, 2]
        valley = (1 - red) ** 2 + 9 * (green - red**2) ** 2 + (blue - 0.3) ** 2
        growth = torch.where(self.wild, 1000.0**self.count, 1.0)
        total = (self.steepness * valley.mean((1, 2)) + 0.1) * growth
        (gradient,) = torch.autograd.grad(total.sum(), leaf)
        none = torch.zeros_like(total)
        return Losses(total, total, none, none, {}).detach(), gradient


def minimize(
    optimizer: str, capture: Any, *, wild: bool = False, tolerance: float = 0.0
) -> MinimizeResult:
    steepness = torch.tensor([0.1, 1.0, 3.0])
    flags = torch.tensor([False, wild, False])
    images = torch.rand(3, 3, 5, 4, generator=torch.Generator().manual_seed(3))
    problem = Problem(
        Valley(steepness, flags),
        images,
        60,
        tolerance=tolerance,
        select=lambda rows: Valley(steepness[rows], flags[rows]),
        capture=capture,
    )
    settings = Settings(optimizer=optimizer, history=5)
    return OPTIMIZERS[optimizer](problem, settings, torch.full((3,), 0.5)).run()


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
@pytest.mark.parametrize(
    ("options", "recorded"),
    [({}, 1), ({"wild": True}, 2), ({"tolerance": 0.3}, 2)],
    ids=["plain", "one goes back again and again", "images leave"],
)
def test_a_recorded_iteration_does_what_a_called_one_does(
    optimizer: str, options: dict[str, Any], recorded: int
) -> None:
    graphs = Graphs()
    plain, replayed = (minimize(optimizer, one, **options) for one in (None, graphs))
    assert torch.equal(plain.images, replayed.images)
    assert torch.equal(plain.iterations, replayed.iterations)
    assert torch.equal(plain.rollbacks, replayed.rollbacks)
    for own, other in zip(plain.trace.tables(3), replayed.trace.tables(3), strict=True):
        assert torch.equal(own.nan_to_num(-1), other.nan_to_num(-1))
    if optimizer == "lbfgs" or "wild" not in options:
        assert graphs.recorded >= recorded
    assert graphs.replays >= 15


def test_what_cannot_be_recorded_is_called(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(function: object) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    calls: list[int] = []
    replay: Replay[None] = Replay(refuse)
    with caplog.at_level(logging.INFO):
        for _ in range(9):
            replay(lambda: calls.append(1))
    assert len(calls) == 9
    [line] = [one.getMessage() for one in caplog.records]
    assert line.endswith("operation not permitted when stream is capturing")


def test_nothing_is_recorded_before_libraries_have_chosen_their_kernels() -> None:
    done: list[str] = []

    def capture(function: Callable[[], None]) -> tuple[Callable[[], None], None]:
        done.append("recorded")
        return lambda: done.append("replayed"), None

    replay: Replay[None] = Replay(capture)
    for _ in range(CALLS_BEFORE + 2):
        replay(lambda: done.append("called"))
    assert done == ["called"] * CALLS_BEFORE + ["recorded", "replayed", "replayed"]
    replay.forget()
    replay(lambda: done.append("called"))
    assert done[-1] == "called"
