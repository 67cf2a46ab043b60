"""From contents and style targets to images: the pyramid, coarse to fine.

Gatys et al. (arXiv 1611.07865, section 6) optimize at a low resolution first and continue from there:
the coarse level lays out large strokes that a single fine level does not find.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nstcore.core.batched import (
    add_noise,
    generator,
    resample,
    style_noise,
    to_tensor,
    white_noise,
)
from nstcore.core.encoders.base import Encoder
from nstcore.core.geometry import Size, levels
from nstcore.core.graphs import Capture, capture_cuda
from nstcore.core.guidance import Guide, layer_guides, stack_guides
from nstcore.core.history import Checkpointer, History, OptimizerState, Result
from nstcore.core.losses.base import Losses
from nstcore.core.minimize import Callback, Evaluate, Minimizer, Problem
from nstcore.core.moments import Moments
from nstcore.core.objective import Objective, balance_gradients, build_objective
from nstcore.core.optimizers import OPTIMIZERS
from nstcore.core.settings import PER_IMAGE, Settings, batch_key
from nstcore.core.targets import regional_moments
from nstcore.core.tiling import TiledObjective, tiled_features
from nstcore.images import resize
from nstcore.images.masks import Regions

log = logging.getLogger(__name__)

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class StylizeTask:
    """One image to be made.

    Attributes:
        content: (H, W, 3) float32 in [0, 1], at the full size of the result; grey for
            ``color: luminance``, as all other images then.
        styles: for every level, coarse to fine: layer -> moments (on any device), each with N = 1.
        settings: all settings.
        seed: the random seed.
        style_image: (H, W, 3), for ``init: style``.
        start: (H, W, 3), for ``init: file``.
        regions: of the content, at its size; None to compare the image as a whole.
    """

    content: Pixels
    styles: Sequence[Mapping[str, Moments]]
    settings: Settings
    seed: int = 0
    style_image: Pixels | None = None
    start: Pixels | None = None
    regions: Regions | None = None

    @property
    def region_names(self) -> tuple[str, ...]:
        """Names of the content's regions; empty without a guide."""
        return () if self.regions is None else self.regions.names


Progress = Callable[[int, int, Losses], None]
"""Called with iterations done, iterations in all, and current losses."""


Observe = Callable[[int, Tensor, Tensor], None]
"""Called at the start and after every iteration with iterations done over all levels, the images that are
optimized (N', 3, H, W), unclamped, and their indices (N',) among all."""


def stylize(
    encoder: Encoder,
    tasks: Sequence[StylizeTask],
    *,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    observe: Observe | None = None,
    checkpointer: Checkpointer | None = None,
    tile: int | None = None,
    graphs: bool = True,
) -> list[Result]:
    """Optimize images of one size together; each is the same as if it were alone.

    Args:
        encoder: on ``device``.
        tasks: all of one content size, with settings of one :func:`batch_key`.
        device: where to compute.
        progress: called about every tenth iteration.
        observe: called after every iteration.
        checkpointer: saves the state at intervals; the result after continuing from a saved state equals
            that of an uninterrupted run.
        tile: side of the tiles in px in which a large image is computed, with the same result in
            less memory; None for the whole at once.
        graphs: whether iterations are recorded as CUDA graphs; see :mod:`nstcore.core.graphs`.

    Raises:
        ValueError: if the tasks cannot share a batch.
    """
    capture = capture_cuda if graphs and torch.device(device).type == "cuda" else None
    batch = _Batch(encoder, tasks, device, tile, capture)
    settings, height, width = batch.settings, *tasks[0].content.shape[:2]
    pyramid = levels(settings, (width, height))
    total = sum(iterations for _, iterations in pyramid)
    first = len(settings.level_sizes()) - len(pyramid)  # coarser ones are too small for the encoder
    saved = None if checkpointer is None else checkpointer.load()
    history = History(len(tasks), None if saved is None else saved.history)
    if saved is None:
        images = batch.start(pyramid[0][0]).to(device)
    else:
        log.info("continuing at level %d, iteration %d", saved.level, saved.iteration)
        width, height = pyramid[saved.level - first][0]
        images = torch.zeros(len(tasks), 3, height, width, device=device)
    carry_over, done = None, 0
    for level, (size, iterations) in enumerate(pyramid, first):
        if saved is None or level >= saved.level:
            started = time.perf_counter()
            images = resample(images, size[1], size[0])
            report = partial(_report, progress, done, total)
            minimizer = batch.minimizer(level, images, iterations, carry_over, report)
            if saved is not None and level == saved.level:
                minimizer.load(saved.iteration, saved.images)
                started -= saved.seconds
            elif done == 0 and observe is not None:
                observe(0, images, minimizer.active)
            after = partial(_after, minimizer, level, done, history, started, observe, checkpointer)
            result = minimizer.run(after)
            images, carry_over = result.images, result.carry_over
            seconds, count = time.perf_counter() - started, int(result.iterations.max())
            history.end_level(level, done, size, result, seconds)
            log.info("level %d x %d: %d iterations in %.1f s", *size, count, seconds)
        done += iterations
    return history.results(images.clamp(0, 1).permute(0, 2, 3, 1).contiguous().cpu().numpy())


def _report(
    progress: Progress | None, done: int, total: int, iteration: int, losses: Losses
) -> None:
    if progress is not None:
        progress(done + iteration, total, losses)


def _after(
    minimizer: Minimizer,
    level: int,
    done: int,
    history: History,
    started: float,
    observe: Observe | None,
    checkpointer: Checkpointer | None,
) -> None:
    """What follows each iteration of a level; ``done`` are those of the levels before."""
    if observe is not None:
        observe(done + minimizer.iteration, minimizer.x, minimizer.active)
    if checkpointer is not None and not minimizer.done and checkpointer.due():
        seconds = time.perf_counter() - started
        iteration, state = minimizer.iteration, minimizer.state()
        checkpointer.save(OptimizerState(level, iteration, state, history.entries, seconds))


@dataclass(frozen=True)
class _Batch:
    """Tasks that are optimized together: their start, and the objective of a level."""

    encoder: Encoder
    tasks: Sequence[StylizeTask]
    device: torch.device | str
    tile: int | None
    capture: Capture[Losses] | None

    def __post_init__(self) -> None:
        agreed = {(batch_key(t.settings), t.content.shape, t.region_names) for t in self.tasks}
        if len(agreed) > 1:
            raise ValueError(
                "the images of a batch must agree in size, regions and all settings but weights"
            )

    @property
    def settings(self) -> Settings:
        """What all tasks agree in, and the first one's own weights."""
        return self.tasks[0].settings

    def start(self, size: Size) -> Tensor:
        """The images before the first iteration, (N, 3, H, W) on the CPU."""
        width, height = size
        starts: list[Tensor] = []
        for task in self.tasks:
            random = generator(task.seed)
            kind = task.settings.init
            if kind == "noise":
                start = white_noise(height, width, random)
            elif kind == "style":
                if task.style_image is None:
                    raise ValueError("`init: style` needs the style's image")
                start = style_noise(height, width, to_tensor(task.style_image)[0], random)
            else:
                source = task.start if kind == "file" else task.content
                if source is None:
                    raise ValueError("`init: file` needs an image to start from")
                start = to_tensor(resize(source, size))[0]
            starts.append(add_noise(start, task.settings.init_noise, random))
        images = torch.stack(starts)
        if self.settings.color == "luminance":
            # Contents and styles are grey there; noise has three channels, of which one is taken.
            images = images[:, :1].expand_as(images).contiguous()
        return images

    def minimizer(
        self, level: int, images: Tensor, iterations: int, carry_over: Any, callback: Callback
    ) -> Minimizer:
        """What optimizes images (N, 3, H, W) at one level."""
        settings, (height, width) = self.settings, images.shape[-2:]
        weights = {name: self._values(name) for name in PER_IMAGE}
        targets, guides = [task.styles[level] for task in self.tasks], None
        if self.tasks[0].regions is not None:
            targets, guides = self._regional_targets(targets, (width, height))
        if all(target is targets[0] for target in targets):
            targets = targets[:1]
        style = {
            layer: Moments(
                torch.cat([moments[layer].gram for moments in targets]).to(self.device),
                torch.cat([moments[layer].mean for moments in targets]).to(self.device),
            )
            for layer in settings.used_style_layers
        }
        content = self._content_targets((width, height))
        objective = build_objective(
            self.encoder, settings, content=content, style=style, guides=guides, weights=weights
        )
        if settings.normalization == "gradient":
            objective = balance_gradients(objective, height, width, self.evaluator)
        problem = Problem(
            self.evaluator(objective),
            images,
            iterations,
            tolerance=settings.tolerance,
            select=lambda rows: self.evaluator(objective.select(rows)),
            callback=callback,
            capture=self.capture,
        )
        optimizer = OPTIMIZERS[settings.optimizer]
        return optimizer(problem, settings, weights["learning_rate"], carry_over)

    def _values(self, name: str) -> Tensor:
        """A setting's value for each image, (N,) float32."""
        field = "step_length" if name == "learning_rate" else name
        values = [getattr(task.settings, field) for task in self.tasks]
        return torch.tensor(values, dtype=torch.float32).to(self.device)

    def _content_targets(self, size: Size) -> dict[str, Tensor]:
        """Content activations at one level: (1, ...) when all images share their content."""
        layers = self.settings.used_content_layers
        features: dict[int, dict[str, Tensor]] = {}
        for content in {id(task.content): task.content for task in self.tasks}.values():
            image = to_tensor(resize(content, size), self.device)
            features[id(content)] = tiled_features(self.encoder, image, layers, self.tile)
        if len(features) == 1:
            return next(iter(features.values()))
        each = [features[id(task.content)] for task in self.tasks]
        return {layer: torch.cat([one[layer] for one in each]) for layer in layers}

    def _regional_targets(
        self, targets: Sequence[Mapping[str, Moments]], size: Size
    ) -> tuple[list[Mapping[str, Moments]], dict[str, Guide]]:
        """For each image the moments of every region, and the guides: (1, ...) when all share them."""
        settings, names = self.settings, self.tasks[0].region_names
        layers = settings.used_style_layers
        regional = {id(target): regional_moments(target, layers, names) for target in targets}
        masks: dict[int, dict[str, Guide]] = {}
        guides: dict[tuple[object, ...], dict[str, Guide]] = {}
        chosen = []
        for task, target in zip(self.tasks, targets, strict=True):
            assert task.regions is not None
            if id(task.regions) not in masks:
                scaled = torch.from_numpy(task.regions.scaled(size)).to(self.device)
                masks[id(task.regions)] = layer_guides(
                    settings.encoder_spec, scaled, layers, settings.guide_propagation, names
                )
            factors = [task.settings.region_weights.get(name, 1.0) for name in names]
            key = (id(task.regions), id(target), *factors)
            if key not in guides:
                _, present = regional[id(target)]
                weights = torch.tensor(factors, device=self.device)
                guides[key] = {
                    layer: guide.scaled(weights * present[layer].to(self.device))
                    for layer, guide in masks[id(task.regions)].items()
                }
            chosen.append(guides[key])
        stacked = stack_guides(chosen if len(guides) > 1 else chosen[:1])
        return [regional[id(target)][0] for target in targets], stacked

    def evaluator(self, objective: Objective) -> Evaluate:
        """Evaluation in tiles; for ``color: luminance`` the gradient is projected onto equal channels.

        Images that are not grey count as their first channel then.  A network's channels do not see red,
        green and blue alike: a grey image would get colours even where content and style are grey.
        """
        evaluate = TiledObjective(objective, self.tile).evaluate

        def projected(images: Tensor) -> tuple[Losses, Tensor]:
            losses, gradient = evaluate(images[:, :1].expand_as(images).contiguous())
            return losses, gradient.mean(1, keepdim=True).expand_as(gradient).contiguous()

        return projected if self.settings.color == "luminance" else evaluate
