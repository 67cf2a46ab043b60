"""One level of the pyramid: descend an objective for N pictures in lockstep, each guarded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nstcore.losses.objective import Losses
from nstcore.optimize.adam import BatchedAdam
from nstcore.optimize.lbfgs import BatchedLBFGS

EXPLODED = 10.0
"""A loss this many times the best one so far counts as exploded."""

ROLLBACKS = 3
"""How often a picture may go back to its best state before L-BFGS is given up for Adam."""

FIRST_STEP = 1e-3
"""Mean change of a pixel value in the first step of L-BFGS, times the learning rate."""

Evaluate = Callable[[Tensor], tuple[Losses, Tensor]]
"""Maps (N, 3, H, W) to the losses of each picture and the gradient of each one's own total."""

Watch = Callable[[int, Losses], None]
"""Called with the iterations done and the losses at points of the trace."""


@dataclass
class Trace:
    """Losses on the way, one entry a recorded iteration; tensors are (N,)."""

    iterations: list[int] = field(default_factory=list)
    losses: list[Losses] = field(default_factory=list)


@dataclass
class Descent:
    """What a level ends with.

    Attributes:
        images: (N, 3, H, W), each picture's best state (L-BFGS) or average (Adam), not clamped.
        adam: the optimizer, to be carried over to the next level, when Adam was used throughout.
        trace: the losses on the way.
        rollbacks: (N,), how often each picture went back.
        failed: (N,), pictures that had no finite loss at all.
    """

    images: Tensor
    adam: BatchedAdam | None
    trace: Trace
    rollbacks: Tensor
    failed: Tensor


def descend_lbfgs(
    evaluate: Evaluate,
    images: Tensor,
    iterations: int,
    *,
    learning_rate: Tensor,
    history: int,
    record_every: int = 10,
    watch: Watch | None = None,
) -> Descent:
    """Descend with L-BFGS, no clamp and no line search, and return each picture's best iterate.

    A picture whose loss is not finite or more than ``EXPLODED`` times its best goes back to its best
    state, forgets its history and halves its step.  After ``ROLLBACKS`` times it goes on with Adam,
    from the next entry of the trace.

    Args:
        evaluate: maps (N, 3, H, W) to the losses and the gradient of each picture.
        images: the start.
        iterations: evaluations.
        learning_rate: (N,).
        history: curvature pairs.
        record_every: iterations between entries of the trace.
        watch: called at every entry of the trace.
    """
    shape = images.shape
    x = images.detach().clone()
    solver = BatchedLBFGS(
        shape[0],
        x[0].numel(),
        history=min(history, iterations),
        learning_rate=learning_rate,
        device=x.device,
        dtype=x.dtype,
        # The gradient of a relative loss shrinks with the number of pixels: no absolute threshold
        # can be right for all sizes.
        first_step=FIRST_STEP,
        minimum_curvature=0.0,
        relative_curvature=1e-8,
        tolerance_grad=0.0,
        tolerance_change=0.0,
    )
    fallback: BatchedAdam | None = None
    best = x.clone()
    best_loss = torch.full_like(learning_rate, torch.inf, dtype=x.dtype)
    best_gradient = torch.zeros_like(x)
    rollbacks = torch.zeros(shape[0], dtype=torch.long, device=x.device)
    trace = Trace()
    for iteration in range(1, iterations + 1):
        losses, gradient = evaluate(x)
        total = losses.total
        finite = torch.isfinite(total) & torch.isfinite(gradient.flatten(1).sum(1))
        better = finite & (total < best_loss)
        _keep(best, x, better)
        _keep(best_gradient, gradient, better)
        best_loss = torch.where(better, total, best_loss)
        lost = ~finite | (total > EXPLODED * best_loss)
        # torch.where and not an if: asking the device would stall it at every iteration.
        x = torch.where(_wide(lost), best, x)
        gradient = torch.where(_wide(lost), best_gradient, gradient)
        rollbacks += lost
        solver.reset(lost)
        solver.learning_rate = torch.where(lost, solver.learning_rate / 2, solver.learning_rate)
        step = solver.direction(gradient.flatten(1)).view(shape)
        record = iteration % record_every == 0 or iteration == iterations
        if record and fallback is None and bool((rollbacks >= ROLLBACKS).any()):
            fallback = BatchedAdam(x, learning_rate=0.01, averaging=0)
        if fallback is not None:
            step = torch.where(_wide(rollbacks >= ROLLBACKS), fallback.direction(gradient), step)
        if record:
            _record(trace, iteration, losses, watch)
        if iteration < iterations:
            x = x + step
    return Descent(best, None, trace, rollbacks, ~torch.isfinite(best_loss))


def descend_adam(
    evaluate: Evaluate,
    images: Tensor,
    iterations: int,
    *,
    optimizer: BatchedAdam,
    record_every: int = 10,
    watch: Watch | None = None,
) -> Descent:
    """Descend with Adam, clamped to [0, 1], and return the average of the iterates.

    Args:
        evaluate: maps (N, 3, H, W) to the losses and the gradient of each picture.
        images: the start.
        iterations: evaluations.
        optimizer: with the moments of a coarser level, or fresh.
        record_every: iterations between entries of the trace.
        watch: called at every entry of the trace.
    """
    x = images.detach().clone()
    rollbacks = torch.zeros(x.shape[0], dtype=torch.long, device=x.device)
    failed = torch.ones_like(rollbacks, dtype=torch.bool)
    trace = Trace()
    for iteration in range(1, iterations + 1):
        losses, gradient = evaluate(x)
        finite = torch.isfinite(losses.total) & torch.isfinite(gradient.flatten(1).sum(1))
        failed &= ~finite
        rollbacks += ~finite
        # One bad gradient would poison the moments for good.
        gradient = torch.where(_wide(finite), gradient, torch.zeros_like(gradient))
        x = (x + optimizer.direction(gradient)).clamp_(0, 1)
        optimizer.record(x)
        if iteration % record_every == 0 or iteration == iterations:
            _record(trace, iteration, losses, watch)
    return Descent(optimizer.average(), optimizer, trace, rollbacks, failed)


def _record(trace: Trace, iteration: int, losses: Losses, watch: Watch | None) -> None:
    trace.iterations.append(iteration)
    trace.losses.append(losses)
    if watch is not None:
        watch(iteration, losses)


def _wide(flags: Tensor) -> Tensor:
    return flags.view(-1, 1, 1, 1)


def _keep(store: Tensor, new: Tensor, which: Tensor) -> None:
    """Overwrite the rows of ``store`` where ``which`` is true."""
    torch.where(_wide(which), new, store, out=store)
