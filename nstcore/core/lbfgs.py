"""L-BFGS on a batch of independent problems, in lockstep, with history and step for each.

The update is that of Nocedal & Wright, *Numerical Optimization* (2nd ed.), algorithm 7.4, with the
conventions of ``torch.optim.LBFGS`` without line search: the first step is scaled by
``min(1, 1 / |g|_1)``, pairs with too little curvature are left out, the initial Hessian is
``y.s / y.y`` of the newest pair.

The two loops are not run at all: their result in closed form (Byrd, Nocedal & Schnabel,
*Representations of quasi-Newton matrices and their use in limited memory methods*, Mathematical
Programming 63, 1994, eq. 3.1) takes two small triangular systems. One iteration reads the history
twice, in two matrix products, instead of four times in 4 m small kernels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Unpack

import torch
from torch import Tensor

from nstcore.core.adam import BatchedAdam
from nstcore.core.minimize import Evaluate, Minimizer, Options, Row, wide
from nstcore.core.objective import Losses


class BatchedLBFGS:
    """N independent L-BFGS minimizations over vectors of D values.

    Each row keeps its own history, step length and state of convergence; a row's path does not
    depend on the other rows.  There is no clamping: it would falsify the curvature pairs.

    Args:
        rows: N, the number of problems.
        size: D, the number of unknowns of each.
        history: how many curvature pairs are kept for each row; memory is 2 * history * N * D values.
        learning_rate: step length along the quasi-Newton direction, one number or (N,).
        device, dtype: of the history.
        first_step: mean absolute change of a row's values in its first step; None for torch's
            convention, a step whose absolute values add up to 1 at most, which the size of a
            picture makes ever smaller.
        minimum_curvature: pairs with y.s at most this are left out.
        relative_curvature: so are pairs with y.s at most this share of |y| |s|, whatever the
            scale of the problem.
        tolerance_grad: a row whose largest gradient component is at most this has converged.
        tolerance_change: a row has converged when its step or the slope along it is at most this.
    """

    def __init__(
        self,
        rows: int,
        size: int,
        *,
        history: int = 20,
        learning_rate: float | Tensor = 1.0,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        first_step: float | None = None,
        minimum_curvature: float = 1e-10,
        relative_curvature: float = 0.0,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
    ) -> None:
        if history < 1:
            raise ValueError(f"history must be at least 1, not {history}")
        self.rows, self.size, self.history = rows, size, history
        self.first_step = first_step
        self.minimum_curvature = minimum_curvature
        self.relative_curvature = relative_curvature
        self.tolerance_grad = tolerance_grad
        self.tolerance_change = tolerance_change
        rate = torch.as_tensor(learning_rate, device=device, dtype=dtype)
        self.learning_rate = rate.expand(rows).clone()
        # The basis of one row: its steps s in the first half, its gradient differences y in the second.
        self._basis = rate.new_zeros(rows, 2 * history, size)
        self._products = rate.new_zeros(rows, 2 * history, 2 * history)
        self._count = torch.zeros(rows, dtype=torch.long, device=device)
        self._scale = rate.new_ones(rows)
        self._steps_taken = torch.zeros(rows, dtype=torch.long, device=device)
        self._previous_gradient = rate.new_zeros(rows, size)
        self._previous_step = rate.new_zeros(rows, size)
        self.converged = torch.zeros(rows, dtype=torch.bool, device=device)

    def reset(self, which: Tensor) -> None:
        """Forget the history of the rows where ``which`` (N,) is true; their next step is a first one."""
        self._count.masked_fill_(which, 0)
        self._steps_taken.masked_fill_(which, 0)
        self._scale.masked_fill_(which, 1.0)
        self.converged.masked_fill_(which, False)

    @torch.no_grad()
    def direction(self, gradient: Tensor) -> Tensor:
        """Take in the gradient at the current point and return the step to add to it.

        Args:
            gradient: (N, D), of every row's own loss.

        Returns:
            (N, D); zero for rows that have converged.
        """
        fresh = self._steps_taken == 0  # no step was taken yet, so there is no pair to learn from
        difference = gradient - self._previous_gradient
        moved = ~fresh & ~self.converged
        with_gradient = self._remember(self._previous_step, difference, moved, gradient)
        coefficients, own = self._coefficients(with_gradient)
        # (N, 1, 2m) @ (N, 2m, D) -> (N, D)
        step = torch.baddbmm(
            (gradient * own.unsqueeze(1)).unsqueeze(1), coefficients.unsqueeze(1), self._basis
        ).squeeze(1)
        slope = (step * gradient).sum(1)
        size = gradient.abs().sum(1)
        if self.first_step is None:
            first_length = (1.0 / size).clamp(max=1.0) * self.learning_rate
        else:
            floor = torch.finfo(size.dtype).tiny
            first_length = self.first_step * self.size / size.clamp_min(floor) * self.learning_rate
        length = torch.where(fresh, first_length, self.learning_rate)
        flat = gradient.abs().amax(1) <= self.tolerance_grad
        # Not "slope > -tolerance": a NaN slope must not count as converged, the guard looks at it.
        self.converged |= flat | (slope > -self.tolerance_change)
        step.mul_(length.unsqueeze(1)).masked_fill_(self.converged.unsqueeze(1), 0.0)
        # As in torch.optim.LBFGS, a step that hardly moves is still taken, but it is the last.
        self.converged |= step.abs().amax(1) <= self.tolerance_change
        self._previous_gradient.copy_(gradient)
        self._previous_step.copy_(step)
        self._steps_taken += 1
        return step

    def _remember(
        self, step: Tensor, difference: Tensor, moved: Tensor, gradient: Tensor
    ) -> Tensor:
        """Store the pair (s, y) of the rows that moved and whose curvature y.s is large enough.

        Returns:
            (N, 2m), the gradient's products with the basis, which are read off in the same pass.
        """
        curvature = (step * difference).sum(1)
        squared = (difference * difference).sum(1)
        least = self.relative_curvature * (squared * (step * step).sum(1)).sqrt()
        accepted = moved & (curvature > self.minimum_curvature) & (curvature > least)
        index = torch.arange(self.rows, device=step.device)
        slot = self._count % self.history
        mask = accepted.unsqueeze(1)
        for offset, vector in ((0, step), (self.history, difference)):
            place = slot + offset
            self._basis[index, place] = torch.where(mask, vector, self._basis[index, place])
        newest = (self._basis[index, slot], self._basis[index, slot + self.history], gradient)
        # (N, 2m, D) @ (N, D, 3) -> (N, 2m, 3): one reading of the basis for all three, each of them
        # contiguous, which a CPU multiplies three times as fast.
        products = torch.bmm(self._basis, torch.stack(newest, 1).mT)
        for column, offset in ((0, 0), (1, self.history)):
            place = slot + offset
            self._products[index, place] = products[..., column]
            self._products[index, :, place] = products[..., column]
        self._scale = torch.where(accepted, curvature / squared, self._scale)
        self._count += accepted
        return products[..., 2]

    def _coefficients(self, with_gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The direction as a combination: (N, 2m) for the basis, (N,) for the gradient.

        Byrd, Nocedal & Schnabel, eq. 3.1: with R the upper triangle of S^T Y in the order of time,
        D its diagonal and gamma the initial scale,

            H g = gamma g + S R^-T ((D + gamma Y^T Y) R^-1 S^T g - gamma Y^T g) - gamma Y R^-1 S^T g
        """
        m = self.history
        # Small matrices in double precision cost nothing; MPS has none.
        small = torch.float32 if with_gradient.device.type == "mps" else torch.float64
        # Position k in time, oldest first, is slot (count + k) % m; of a history that is not full the
        # first positions are slots that were never used.
        order = (self._count.unsqueeze(1) + torch.arange(m, device=with_gradient.device)) % m
        used = torch.arange(m, device=with_gradient.device) >= m - self._count.unsqueeze(
            1
        )  # (N, m)
        both = used.unsqueeze(2) & used.unsqueeze(1)
        products = self._products.to(small)
        rows, columns = order.unsqueeze(2), order.unsqueeze(1)
        index = torch.arange(self.rows, device=order.device).view(-1, 1, 1)
        nothing = products.new_zeros(())
        sy = torch.where(both, products[index, rows, columns + m], nothing)  # S^T Y
        yy = torch.where(both, products[index, rows + m, columns + m], nothing)  # Y^T Y
        sg = torch.where(used, with_gradient.to(small).gather(1, order), nothing).unsqueeze(2)
        yg = torch.where(used, with_gradient.to(small).gather(1, order + m), nothing).unsqueeze(2)
        gamma = self._scale.to(small).view(-1, 1, 1)
        diagonal = sy.diagonal(dim1=1, dim2=2)
        # An unused position gets the equation x = 0.
        upper = sy.triu() + torch.diag_embed((~used).to(small))
        a = torch.linalg.solve_triangular(upper, sg, upper=True)
        inner = diagonal.unsqueeze(2) * a + gamma * (yy @ a - yg)
        b = torch.linalg.solve_triangular(upper.mT, inner, upper=False)
        coefficients = torch.zeros_like(with_gradient)
        coefficients.scatter_(1, order, -b.squeeze(2).to(with_gradient.dtype))
        coefficients.scatter_(1, order + m, (gamma * a).squeeze(2).to(with_gradient.dtype))
        return coefficients, -self._scale

    def state(self) -> dict[str, Tensor]:
        """Everything that the next steps depend on; the tensors are the solver's own."""
        return {
            "basis": self._basis,
            "products": self._products,
            "count": self._count,
            "scale": self._scale,
            "steps_taken": self._steps_taken,
            "previous_gradient": self._previous_gradient,
            "previous_step": self._previous_step,
            "converged": self.converged,
            "learning_rate": self.learning_rate,
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over what :meth:`state` of a solver of the same shape gave."""
        for name, own in self.state().items():
            own.copy_(state[name])

    def keep_rows(self, rows: Tensor) -> None:
        """Go on with some of the rows only, an index (N',)."""
        self.rows = len(rows)
        self._basis = self._basis[rows]
        self._products = self._products[rows]
        self._count = self._count[rows]
        self._scale = self._scale[rows]
        self._steps_taken = self._steps_taken[rows]
        self._previous_gradient = self._previous_gradient[rows]
        self._previous_step = self._previous_step[rows]
        self.converged = self.converged[rows]
        self.learning_rate = self.learning_rate[rows]


# --- The descent by L-BFGS: unclamped, guarded, ending in each picture's best iterate. ---

EXPLODED = 100.0
"""A loss this many times the best one so far counts as exploded.

The second step of L-BFGS, the first with a guess of the curvature, often overshoots by some tens and
comes back by itself, faster than from a rollback; what explodes goes on to thousands."""

ROLLBACKS = 3
"""How often a picture may go back to its best state before L-BFGS is given up for Adam."""

FIRST_STEP = 1e-3
"""Mean change of a pixel value in the first step of L-BFGS, times the learning rate."""

FALLBACK_RATE = 0.01
"""Step of the Adam that takes over from L-BFGS, in pixel values."""


class LBFGSMinimizer(Minimizer):
    """Descend with L-BFGS, no clamp and no line search, and return each picture's best iterate.

    A picture whose loss is not finite or more than ``EXPLODED`` times its best goes back to its best
    state, forgets its history and halves its step.  After ``ROLLBACKS`` times it goes on with Adam,
    from the next entry of the trace.

    Args:
        evaluate, images, iterations, options: see :class:`Minimizer`.
        learning_rate: (N,).
        history: curvature pairs.
    """

    def __init__(
        self,
        evaluate: Evaluate,
        images: Tensor,
        iterations: int,
        *,
        learning_rate: Tensor,
        history: int,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(evaluate, images, iterations, **options)
        self.solver = BatchedLBFGS(
            len(images),
            images[0].numel(),
            history=min(history, iterations),
            learning_rate=learning_rate,
            device=images.device,
            dtype=images.dtype,
            # The gradient of a relative loss shrinks with the number of pixels: no absolute threshold
            # can be right for all sizes.
            first_step=FIRST_STEP,
            minimum_curvature=0.0,
            relative_curvature=1e-8,
            tolerance_grad=0.0,
            tolerance_change=0.0,
        )
        self.best = self.x.clone()
        self.best_gradient = torch.zeros_like(self.x)
        self.switched = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        self.fallback: BatchedAdam | None = None

    def _step(self) -> Losses:
        losses, gradient = self.evaluate(self.x)
        total = losses.total
        best_loss = self.best_loss[self.rows]
        finite = torch.isfinite(total) & torch.isfinite(gradient.flatten(1).sum(1))
        better = finite & (total < best_loss)
        _keep(self.best, self.x, better)
        _keep(self.best_gradient, gradient, better)
        best_loss = torch.where(better, total, best_loss)
        self.best_loss[self.rows] = best_loss
        lost = ~finite | (total > EXPLODED * best_loss)
        # torch.where and not an if: asking the device would stall it at every iteration.
        x = torch.where(wide(lost), self.best, self.x)
        gradient = torch.where(wide(lost), self.best_gradient, gradient)
        self.rollbacks[self.rows] += lost
        self.solver.reset(lost)
        rate = self.solver.learning_rate
        self.solver.learning_rate = torch.where(lost, rate / 2, rate)
        step = self.solver.direction(gradient.flatten(1)).view(x.shape)
        if self.iteration % self.record_every == 0:
            self._give_up_lbfgs(x)
        if self.fallback is not None:
            step = torch.where(wide(self.switched), self.fallback.direction(gradient), step)
        self.x = x + step
        return losses

    def _give_up_lbfgs(self, x: Tensor) -> None:
        """Let pictures that were rolled back too often go on with an Adam that starts afresh."""
        unlucky = (self.rollbacks[self.rows] >= ROLLBACKS) & ~self.switched
        if not bool(unlucky.any()):
            return
        if self.fallback is None:
            self.fallback = BatchedAdam(x, learning_rate=FALLBACK_RATE, averaging=0)
        self.fallback.restart(unlucky)
        self.switched |= unlucky

    def _results(self) -> Tensor:
        return self.best

    def _keep_rows(self, places: Tensor) -> None:
        super()._keep_rows(places)
        self.best, self.best_gradient = self.best[places], self.best_gradient[places]
        self.switched = self.switched[places]
        self.solver.keep_rows(places)
        if self.fallback is not None:
            self.fallback.keep_rows(places)

    def _row_state(self, place: int) -> Row:
        state = {"best": self.best[place], "best_gradient": self.best_gradient[place]}
        state |= {f"solver.{name}": value[place] for name, value in self.solver.state().items()}
        if self.fallback is not None and bool(self.switched[place]):
            state |= {f"adam.{name}": v[place] for name, v in self.fallback.state().items()}
        return state

    def _load_rows(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        for place, state in enumerate(states):
            self.best[place] = state["best"].to(self.best)
            self.best_gradient[place] = state["best_gradient"].to(self.best)
            for name, value in self.solver.state().items():
                value[place] = state[f"solver.{name}"].to(value)
            if "adam.steps" not in state:
                continue
            if self.fallback is None:
                self.fallback = BatchedAdam(self.x, learning_rate=FALLBACK_RATE, averaging=0)
            for name, value in self.fallback.state().items():
                value[place] = state[f"adam.{name}"].to(value)
            self.switched[place] = True


def _keep(store: Tensor, new: Tensor, which: Tensor) -> None:
    """Overwrite the rows of ``store`` where ``which`` is true."""
    torch.where(wide(which), new, store, out=store)
