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

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from nstcore.core.batched import BatchedState, ImageState, per_image
from nstcore.core.lazy import lazy_import
from nstcore.core.minimize import Minimizer, Problem
from nstcore.core.optimizers.adam import BatchedAdam

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")


class BatchedLBFGS(BatchedState):
    """N independent L-BFGS minimizations over vectors of D values.

    Each row keeps its own history and step length; a row's path does not depend on the other rows.
    Where its gradient or its step vanishes, or the direction does not descend, a row has converged and
    stays until :meth:`reset`.  There is no clamping: it would falsify the curvature pairs.

    Args:
        rows: N, the number of problems.
        size: D, the number of unknowns of each.
        history: how many curvature pairs are kept for each row; memory is 2 * history * N * D values.
        learning_rate: step length along the quasi-Newton direction, one number or (N,).
        device, dtype: of the history; float32 where no dtype is given.
        first_step: mean absolute change of a row's values in its first step; None for torch's
            convention, a step whose absolute values add up to 1 at most, which becomes ever smaller
            with the size of an image.
        relative_curvature: pairs with y.s at most this share of |y| |s| are left out, whatever the
            scale of the problem; torch's optimizer leaves out those with y.s at most 1e-10.
    """

    tensors = (
        "basis",
        "products",
        "count",
        "scale",
        "steps_taken",
        "previous_gradient",
        "previous_step",
        "converged",
        "learning_rate",
    )
    prefix = "solver."

    def __init__(
        self,
        rows: int,
        size: int,
        *,
        history: int = 20,
        learning_rate: float | Tensor = 1.0,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        first_step: float | None = None,
        relative_curvature: float = 0.0,
    ) -> None:
        if history < 1:
            raise ValueError(f"history must be at least 1, not {history}")
        self.size, self.history = size, history
        self.first_step = first_step
        self.relative_curvature = relative_curvature
        rate = torch.as_tensor(learning_rate, device=device, dtype=dtype or torch.float32)
        self.learning_rate = rate.expand(rows).clone()
        # The basis of one row: its steps s in the first half, its gradient differences y in the second.
        self.basis = rate.new_zeros(rows, 2 * history, size)
        self.products = rate.new_zeros(rows, 2 * history, 2 * history)
        self.count = torch.zeros(rows, dtype=torch.long, device=device)
        self.scale = rate.new_ones(rows)
        self.steps_taken = torch.zeros(rows, dtype=torch.long, device=device)
        self.previous_gradient = rate.new_zeros(rows, size)
        self.previous_step = rate.new_zeros(rows, size)
        self.converged = torch.zeros(rows, dtype=torch.bool, device=device)

    def reset(self, which: Tensor) -> None:
        """Forget the history of the rows where ``which`` (N,) is true; their next step is a first one."""
        self.count.masked_fill_(which, 0)
        self.steps_taken.masked_fill_(which, 0)
        self.scale.masked_fill_(which, 1.0)
        self.converged.masked_fill_(which, False)

    def direction(self, gradient: Tensor) -> Tensor:
        """Take in the gradient at the current point and return the step to add to it.

        Args:
            gradient: (N, D), of every row's own loss.

        Returns:
            (N, D); zero for rows that have converged.
        """
        fresh = self.steps_taken == 0  # no step was taken yet, so there is no pair to learn from
        difference = gradient - self.previous_gradient
        moved = ~fresh & ~self.converged
        with_gradient = self._remember(self.previous_step, difference, moved, gradient)
        coefficients, own = self._coefficients(with_gradient)
        # (N, 1, 2m) @ (N, 2m, D) -> (N, D)
        step = torch.baddbmm(
            (gradient * own.unsqueeze(1)).unsqueeze(1), coefficients.unsqueeze(1), self.basis
        ).squeeze(1)
        slope = (step * gradient).sum(1)
        size = gradient.abs().sum(1)
        if self.first_step is None:
            first_length = (1.0 / size).clamp(max=1.0) * self.learning_rate
        else:
            floor = torch.finfo(size.dtype).tiny
            first_length = self.first_step * self.size / size.clamp_min(floor) * self.learning_rate
        length = torch.where(fresh, first_length, self.learning_rate)
        # A NaN slope must not count as converged: the minimizer's guard handles it.
        self.converged |= (gradient.abs().amax(1) == 0) | (slope > 0)
        step.mul_(length.unsqueeze(1)).masked_fill_(self.converged.unsqueeze(1), 0.0)
        self.converged |= step.abs().amax(1) == 0
        self.previous_gradient.copy_(gradient)
        self.previous_step.copy_(step)
        self.steps_taken += 1
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
        accepted = moved & (curvature > least)
        index = torch.arange(len(self.count), device=step.device)
        slot = self.count % self.history
        mask = accepted.unsqueeze(1)
        for offset, vector in ((0, step), (self.history, difference)):
            place = slot + offset
            self.basis[index, place] = torch.where(mask, vector, self.basis[index, place])
        newest = (self.basis[index, slot], self.basis[index, slot + self.history], gradient)
        # (N, 2m, D) @ (N, D, 3) -> (N, 2m, 3): one reading of the basis for all three, each of them
        # contiguous, which a CPU multiplies three times as fast.
        products = torch.bmm(self.basis, torch.stack(newest, 1).mT)
        for column, offset in ((0, 0), (1, self.history)):
            place = slot + offset
            self.products[index, place] = products[..., column]
            self.products[index, :, place] = products[..., column]
        torch.where(accepted, curvature / squared, self.scale, out=self.scale)
        self.count += accepted
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
        order = (self.count.unsqueeze(1) + torch.arange(m, device=with_gradient.device)) % m
        used = torch.arange(m, device=with_gradient.device) >= m - self.count.unsqueeze(1)  # (N, m)
        both = used.unsqueeze(2) & used.unsqueeze(1)
        products = self.products.to(small)
        rows, columns = order.unsqueeze(2), order.unsqueeze(1)
        index = torch.arange(len(self.count), device=order.device).view(-1, 1, 1)
        nothing = products.new_zeros(())
        sy = torch.where(both, products[index, rows, columns + m], nothing)  # S^T Y
        yy = torch.where(both, products[index, rows + m, columns + m], nothing)  # Y^T Y
        sg = torch.where(used, with_gradient.to(small).gather(1, order), nothing).unsqueeze(2)
        yg = torch.where(used, with_gradient.to(small).gather(1, order + m), nothing).unsqueeze(2)
        gamma = self.scale.to(small).view(-1, 1, 1)
        diagonal = sy.diagonal(dim1=1, dim2=2)
        # An unused position gets the equation x = 0.
        upper = sy.triu() + torch.diag_embed((~used).to(small))
        a = torch.linalg.solve_triangular(upper, sg, upper=True)
        inner = diagonal.unsqueeze(2) * a + gamma * (yy @ a - yg)
        b = torch.linalg.solve_triangular(upper.mT, inner, upper=False)
        coefficients = torch.zeros_like(with_gradient)
        coefficients.scatter_(1, order, -b.squeeze(2).to(with_gradient.dtype))
        coefficients.scatter_(1, order + m, (gamma * a).squeeze(2).to(with_gradient.dtype))
        return coefficients, -self.scale


# --- The minimizer: unclamped, guarded, with each image's best iterate as its result. ---

EXPLOSION_FACTOR = 100.0
"""A loss has exploded when it is this many times the best one so far.

The second step of L-BFGS, the first with an estimate of the curvature, often overshoots by some tens and
recovers by itself, faster than from a rollback; what explodes grows to thousands."""

MAX_ROLLBACKS = 3
"""How often an image may go back to its best state before Adam takes over from L-BFGS."""

FIRST_STEP = 1e-3
"""Mean change of a pixel value in the first step of L-BFGS, times the learning rate."""

FALLBACK_RATE = 0.01
"""Learning rate of the Adam that takes over from L-BFGS, in pixel values."""


class LBFGSMinimizer(Minimizer):
    """L-BFGS without clamping or line search; the result is each image's best iterate.

    An image whose loss is not finite or more than ``EXPLOSION_FACTOR`` times its best goes back to its
    best state, forgets its history and halves its step.  After ``MAX_ROLLBACKS`` times it continues with
    Adam, after the next entry of the trace.  A level starts without history: curvature of another size is
    of no use.
    """

    name: ClassVar[str] = "lbfgs"
    label: ClassVar[str] = "L-BFGS"
    formula: ClassVar[str] = "Nocedal & Wright 2006, algorithm 7.4, without line search"
    default_learning_rate: ClassVar[float] = 1.0
    own_settings: ClassVar[tuple[str, ...]] = ("history",)
    tensors = ("x", "best", "best_gradient")
    optimizer: BatchedLBFGS

    @classmethod
    def image_copies(cls, settings: Any, history: int | None = None) -> int:
        """Iterate, start, best, gradients, steps, one on the way, and two for each curvature pair."""
        return 9 + 2 * (settings.history if history is None else history)

    @classmethod
    def saved_copies(cls, settings: Any, history: int | None = None) -> int:
        """Iterate, best, their gradients, and two for each curvature pair."""
        return 4 + 2 * (settings.history if history is None else history)

    @classmethod
    def largest_state(cls, history: int) -> int:
        """The basis of steps and gradient differences."""
        return 2 * history

    def __init__(
        self, problem: Problem, settings: Any, learning_rate: Tensor, previous: Any = None
    ) -> None:
        super().__init__(problem, settings, learning_rate)
        images = problem.images
        self.optimizer = BatchedLBFGS(
            len(images),
            images[0].numel(),
            history=min(settings.history, problem.iterations),
            learning_rate=learning_rate,
            device=images.device,
            dtype=images.dtype,
            # The gradient of a relative loss shrinks with the number of pixels: no absolute threshold
            # can be right for all sizes.
            first_step=FIRST_STEP,
            relative_curvature=1e-8,
        )
        self.best = self.x.clone()
        self.best_gradient = torch.zeros_like(self.x)
        self.switched = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        self.fallback: BatchedAdam | None = None

    def _step(self, total: Tensor, gradient: Tensor, finite: Tensor, better: Tensor) -> None:
        torch.where(per_image(better), self.x, self.best, out=self.best)
        torch.where(per_image(better), gradient, self.best_gradient, out=self.best_gradient)
        rejected = ~finite | (total > EXPLOSION_FACTOR * self.best_loss[self.active])
        # torch.where instead of an if: reading from the device would stall it at every iteration.
        x = torch.where(per_image(rejected), self.best, self.x)
        gradient = torch.where(per_image(rejected), self.best_gradient, gradient)
        self.rollbacks[self.active] += rejected
        self.optimizer.reset(rejected)
        rate = self.optimizer.learning_rate
        torch.where(rejected, rate / 2, rate, out=rate)
        step = self.optimizer.direction(gradient.flatten(1)).view(x.shape)
        if self.fallback is not None:
            step = torch.where(per_image(self.switched), self.fallback.direction(gradient), step)
        torch.add(x, step, out=self.x)

    def _decide(self) -> None:
        """Adam takes over from the images that were rolled back too often."""
        exhausted = (self.rollbacks[self.active] >= MAX_ROLLBACKS) & ~self.switched
        if bool(exhausted.any()):
            self._adam().restart(exhausted)
            self.switched |= exhausted

    def _adam(self) -> BatchedAdam:
        """The Adam that takes over; a new one at the first call."""
        if self.fallback is None:
            self.fallback = BatchedAdam(self.x, learning_rate=FALLBACK_RATE, averaging=0)
            self.replay.forget()
        return self.fallback

    def _results(self) -> Tensor:
        return self.best

    def keep(self, places: Tensor) -> None:
        """With Adam's."""
        super().keep(places)
        self.switched = self.switched[places]
        if self.fallback is not None:
            self.fallback.keep(places)

    def image_state(self, place: int) -> ImageState:
        """With Adam's, where it has taken over."""
        state = super().image_state(place)
        if self.fallback is not None and bool(self.switched[place]):
            state |= self.fallback.image_state(place)
        return state

    def load_image(self, place: int, state: Mapping[str, Tensor]) -> None:
        """With Adam's, where it has taken over."""
        super().load_image(place, state)
        if "adam.steps" in state:
            self._adam().load_image(place, state)
            self.switched[place] = True
