"""One level of the pyramid: minimize an objective for N images in lockstep, each guarded.

A minimizer advances by one iteration at a time, so that its caller can save its state in between and
continue in another process.  Importing this module does not import torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from nstcore.core.batched import BatchedState, ImageState
from nstcore.core.graphs import Capture, Replay
from nstcore.core.lazy import Discovered, lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from nstcore.core.losses.base import Losses
else:
    torch = lazy_import("torch")

Evaluate = Callable[["Tensor"], tuple["Losses", "Tensor"]]
"""Maps (N, 3, H, W) to the losses of each image and the gradient of each one's own total."""

Select = Callable[["Tensor"], Evaluate]
"""Maps indices (N',) of images to a function that evaluates these images only."""

Callback = Callable[[int, "Losses"], None]
"""Called with the iterations done and the losses whenever the trace gets an entry."""


@dataclass(frozen=True)
class Problem:
    """What a minimizer minimizes, and how long.

    Attributes:
        evaluate: the objective.
        images: the start, (N, 3, H, W).
        iterations: evaluations at most.
        tolerance: an image has converged when its best loss fell by less than this share of itself
            between two entries of the trace; 0 to keep all images to the end.
        select: makes an evaluator of fewer images; None to keep all images to the end.
        record_every: iterations between entries of the trace.
        callback: called at every entry of the trace.
        capture: records an iteration for a device; see :class:`nstcore.core.graphs.Replay`.
    """

    evaluate: Evaluate
    images: Tensor
    iterations: int
    tolerance: float = 0.0
    select: Select | None = None
    record_every: int = 10
    callback: Callback | None = None
    capture: Capture[Losses] | None = None


@dataclass
class MinimizeResult:
    """The result of one level.

    Attributes:
        images: (N, 3, H, W), each image's best iterate (L-BFGS) or average (Adam), not clamped.
        carry_over: what the next level's minimizer of the same class continues from, if anything.
        trace: the losses on the way.
        iterations: (N,), evaluations of each image.
        rollbacks: (N,), how often each image went back to an earlier state.
        failed: (N,), images that never had a finite loss.
    """

    images: Tensor
    carry_over: Any
    trace: Trace
    iterations: Tensor
    rollbacks: Tensor
    failed: Tensor


class Minimizer(BatchedState, Discovered, ABC):
    """What all optimizers share: the active images, the trace, and convergence.

    An image that has converged leaves the batch, which gets faster for the others.  No decision about an
    image depends on the others.  An iteration changes its tensors where they are, without a decision of
    the host: a GPU repeats it as one graph.  Decisions follow at the entries of the trace.

    To add an optimizer, write a module in ``nstcore/core/optimizers/`` with a class derived from this
    one: the setting ``optimizer`` finds it by its ``name``.

    Args:
        problem: what to minimize.
        settings: a ``Settings``, of which ``own_settings`` are read.
        learning_rate: (N,).
        previous: ``carry_over`` of the level before, None at the first.

    Attributes:
        default_learning_rate: where the settings have none.
        optimizer: what computes the steps.
    """

    default_learning_rate: ClassVar[float]
    tensors: ClassVar[tuple[str, ...]] = ("x",)
    optimizer: BatchedState

    @classmethod
    @abstractmethod
    def image_copies(cls, settings: Any, history: int | None = None) -> int:
        """Copies of one image in memory at the same time: iterates, gradients, the optimizer's state.

        Args:
            settings: a ``Settings``, of which ``own_settings`` are read.
            history: in place of the one of the settings, where the optimizer has one.
        """

    @classmethod
    @abstractmethod
    def saved_copies(cls, settings: Any, history: int | None = None) -> int:
        """Copies of one image in a saved state; see :meth:`image_copies`."""

    @classmethod
    def largest_state(cls, history: int) -> int:
        """Copies of one image in the largest tensor of its state."""
        return 1

    def __init__(
        self, problem: Problem, settings: Any, learning_rate: Tensor, previous: Any = None
    ) -> None:
        images = problem.images
        count = len(images)
        self.problem = problem
        self.evaluate = problem.evaluate
        self.iteration = 0
        self.replay: Replay[Losses] = Replay(problem.capture)
        self.x = images.detach().clone()
        self.trace = Trace()
        # Indices of the images that have not converged; ``tensors`` have only these.
        self.active = torch.arange(count, device=images.device)
        self.best_loss = images.new_full((count,), torch.inf)
        self.recorded_loss = images.new_full((count,), torch.inf)
        self.rollbacks = torch.zeros(count, dtype=torch.long, device=images.device)
        self.evaluations = torch.zeros_like(self.rollbacks)
        # The result of every other image as ``final``, and what the next level needs of its state.
        self.converged: dict[int, ImageState] = {}

    @property
    def done(self) -> bool:
        """Whether all iterations are done, or all images have converged."""
        return self.iteration >= self.problem.iterations or len(self.active) == 0

    def run(self, after: Callable[[], None] = lambda: None) -> MinimizeResult:
        """Advance to the end; ``after`` is called after every iteration."""
        while not self.done:
            self.advance()
            after()
        return self.finish()

    def advance(self) -> None:
        """One evaluation of every active image, and the step that follows from it."""
        problem = self.problem
        self.iteration += 1
        losses = self.replay(self._iterate)
        recorded = self.iteration % problem.record_every == 0
        if not recorded and self.iteration != problem.iterations:
            return
        # The next iteration writes to the same tensors.
        losses = losses.clone()
        self.trace.append(self.iteration, self.active, losses)
        if problem.callback is not None:
            problem.callback(self.iteration, losses)
        if recorded:
            self._decide()
        if problem.select is not None and problem.tolerance > 0:
            self._drop_converged()

    def _iterate(self) -> Losses:
        self.evaluations[self.active] += 1
        losses, gradient = self.evaluate(self.x)
        total, best_loss = losses.total, self.best_loss[self.active]
        finite = torch.isfinite(total) & torch.isfinite(gradient.flatten(1).sum(1))
        better = finite & (total < best_loss)
        self.best_loss[self.active] = torch.where(better, total, best_loss)
        self._step(total, gradient, finite, better)
        return losses

    def _drop_converged(self) -> None:
        best, before = self.best_loss[self.active], self.recorded_loss[self.active]
        self.recorded_loss[self.active] = best
        # At the first entry ``before`` is infinite, and the difference never small.
        converged = before - best <= self.problem.tolerance * best
        if not bool(converged.any()):
            return
        results = self._results()
        for place in converged.nonzero().flatten().tolist():
            state = {"final": results[place]} | self._carried_state(place)
            self.converged[int(self.active[place])] = {k: v.clone() for k, v in state.items()}
        self.keep((~converged).nonzero().flatten())

    def keep(self, places: Tensor) -> None:
        """Keep only some of the active images, an index (N'',) into them."""
        super().keep(places)
        self.optimizer.keep(places)
        self.active = self.active[places]
        self.replay.forget()
        if self.problem.select is not None and len(places):
            self.evaluate = self.problem.select(self.active)

    def finish(self) -> MinimizeResult:
        """The result of the level."""
        found = {row: state["final"] for row, state in self.converged.items()}
        found |= zip(self.active.tolist(), self._results(), strict=True)
        return MinimizeResult(
            torch.stack([found[row] for row in range(len(self.evaluations))]),
            self._carry_over(),
            self.trace,
            self.evaluations,
            self.rollbacks,
            ~torch.isfinite(self.best_loss),
        )

    def _of_all_images(self) -> dict[str, Tensor]:
        """What is kept of every image, converged or not, (N,), by its name in a saved state."""
        return {
            "best_loss": self.best_loss,
            "recorded_loss": self.recorded_loss,
            "rollbacks": self.rollbacks,
            "taken": self.evaluations,
        }

    def state(self) -> list[ImageState]:
        """Everything that the next iterations depend on, for each image, to be saved."""
        states = self.converged | {
            row: self.image_state(place) for place, row in enumerate(self.active.tolist())
        }
        return [
            {"trace": table}
            | {name: values[row] for name, values in self._of_all_images().items()}
            | states[row]
            for row, table in enumerate(self.trace.tables(len(self.evaluations)))
        ]

    def load(self, iteration: int, states: Sequence[Mapping[str, Tensor]]) -> None:
        """Continue from the :meth:`state` after some iterations of the same images."""
        self.iteration = iteration
        self.trace.resumed = [state["trace"] for state in states]
        shared = self._of_all_images()
        for row, state in enumerate(states):
            for name, values in shared.items():
                values[row] = state[name]
            if "final" in state:
                self.converged[row] = {
                    name: value.to(self.x.device)
                    for name, value in state.items()
                    if name not in shared and name != "trace"
                }
        active = [row for row in range(len(states)) if row not in self.converged]
        if len(active) < len(states):
            self.keep(torch.tensor(active, dtype=torch.long, device=self.x.device))
        for place, row in enumerate(active):
            self.load_image(place, states[row])

    def image_state(self, place: int) -> ImageState:
        """With the state of the optimizer."""
        return super().image_state(place) | self.optimizer.image_state(place)

    def load_image(self, place: int, state: Mapping[str, Tensor]) -> None:
        """With the state of the optimizer."""
        super().load_image(place, state)
        self.optimizer.load_image(place, state)

    @abstractmethod
    def _step(self, total: Tensor, gradient: Tensor, finite: Tensor, better: Tensor) -> None:
        """Move ``x`` and update ``rollbacks``, both where they are; see this class's docstring.

        Args:
            total: (N',), the losses of the active images at ``x``; ``best_loss`` knows them already.
            gradient: (N', 3, H, W).
            finite: (N',), whether both are finite.
            better: (N',), whether they are, and the loss is the lowest so far.
        """

    def _decide(self) -> None:
        """What the host decides after an iteration that the trace has an entry of."""

    @abstractmethod
    def _results(self) -> Tensor:
        """The results of the active images if the level ended now, (N', 3, H, W)."""

    def _carried_state(self, place: int) -> ImageState:
        """What :meth:`_carry_over` needs of an image that converges."""
        return {}

    def _carry_over(self) -> Any:
        return None


# --- The losses on the way, one trace for each image ---

TRACE_COLUMNS = ("iteration", "total_loss", "content_loss", "style_loss", "tv_loss")
"""The columns of a trace."""


@dataclass
class Trace:
    """Losses of one level, one entry for each recorded iteration.

    Attributes:
        iterations: of the entries since this process started.
        losses: at these iterations, each (N',) for the images that were active.
        rows: the indices of those images, (N',).
        resumed: for each image, the entries (T, 5) that an interrupted process made before.
    """

    iterations: list[int] = field(default_factory=list)
    losses: list[Losses] = field(default_factory=list)
    rows: list[Tensor] = field(default_factory=list)
    resumed: list[Tensor] = field(default_factory=list)

    def append(self, iteration: int, rows: Tensor, losses: Losses) -> None:
        """Add an entry; nothing is copied from the device before :meth:`tables`."""
        self.iterations.append(iteration)
        self.rows.append(rows)
        self.losses.append(losses)

    def tables(self, count: int) -> list[Tensor]:
        """Entries (T, 5) of each of ``count`` images, float64 on the CPU; see ``TRACE_COLUMNS``."""
        found: list[list[list[float]]] = [[] for _ in range(count)]
        for iteration, rows, losses in zip(self.iterations, self.rows, self.losses, strict=True):
            columns = torch.stack([losses.total, losses.content, losses.style, losses.tv], 1)
            for row, values in zip(rows.tolist(), columns.tolist(), strict=True):
                found[row].append([float(iteration), *values])
        tables = [torch.tensor(t, dtype=torch.float64).view(-1, len(TRACE_COLUMNS)) for t in found]
        if self.resumed:
            tables = [torch.cat(pair) for pair in zip(self.resumed, tables, strict=True)]
        return tables
