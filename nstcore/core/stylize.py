"""From contents and style targets to pictures: the pyramid, coarse to fine.

Gatys et al. (arXiv 1611.07865, section 6) optimize at a low resolution first and go on from there:
the coarse level lays out large strokes that a single fine level does not find.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nstcore.core.encoders.layers import deepest, stage
from nstcore.core.encoders.vgg import VGG
from nstcore.core.gradient_balance import balanced
from nstcore.core.guidance import Guide, layer_guides, stack_guides
from nstcore.core.history import Checkpointer, History, OptimizerState, Result
from nstcore.core.initialization import add_noise, generator, resample, style_noise, white_noise
from nstcore.core.losses.base import Losses
from nstcore.core.minimize import Callback, Evaluate, MinimizerOptions, Select
from nstcore.core.moments import Moments
from nstcore.core.objective import Objective, build_objective
from nstcore.core.optimizers import OPTIMIZERS
from nstcore.core.settings import PER_IMAGE, Settings, batch_key
from nstcore.core.targets import by_region
from nstcore.core.tiling import TiledObjective, tiled_features
from nstcore.images import fit_size, resize
from nstcore.images.masks import Regions

log = logging.getLogger(__name__)

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Task:
    """One picture to be made.

    Attributes:
        content: (H, W, 3) float32 in [0, 1], at the full size of the result; grey for
            ``color: luminance``, as all other pictures then.
        styles: for every level, coarse to fine: layer -> moments (on any device), each with N = 1.
        settings: all settings.
        seed: the random seed.
        style_picture: (H, W, 3), for ``init: style``.
        start: (H, W, 3), for ``init: file``.
        regions: of the content, at its size; None to compare the picture as a whole.
    """

    content: Pixels
    styles: Sequence[Mapping[str, Moments]]
    settings: Settings
    seed: int = 0
    style_picture: Pixels | None = None
    start: Pixels | None = None
    regions: Regions | None = None

    @property
    def region_names(self) -> tuple[str, ...]:
        """Names of the content's regions; empty without a guide."""
        return () if self.regions is None else self.regions.names


Progress = Callable[[int, int, Losses], None]
"""Called with iterations done, iterations in all, and current losses."""


def stylize(
    encoder: VGG,
    tasks: Sequence[Task],
    *,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    keeper: Checkpointer | None = None,
    tile: int | None = None,
) -> list[Result]:
    """Optimize pictures of one size together; each is the same as if it were alone.

    Args:
        encoder: on ``device``.
        tasks: all of one content size, with settings that are :func:`batch_key`.
        device: where to compute.
        progress: called about every tenth iteration.
        keeper: saves the state now and then; the result of a descent that goes on from a saved state
            equals that of an uninterrupted one.
        tile: side of the tiles in px in which a large picture is computed, with the same result in
            less memory; None for the whole at once.

    Raises:
        ValueError: if the tasks do not go together.
    """
    settings = tasks[0].settings
    if (
        len({batch_key(t.settings) for t in tasks}) > 1
        or len({t.content.shape for t in tasks}) > 1
        or len({t.region_names for t in tasks}) > 1
    ):
        raise ValueError(
            "the pictures of a batch must agree in size, regions and all settings but weights"
        )
    height, width = tasks[0].content.shape[:2]
    weight = {
        name: torch.tensor(
            [
                t.settings.step_length if name == "learning_rate" else getattr(t.settings, name)
                for t in tasks
            ],
            dtype=torch.float32,
            device=device,
        )
        for name in PER_IMAGE
    }
    sizes = [fit_size((width, height), size, settings.size_by) for size in settings.level_sizes()]
    # By area, a fitted picture fitted again may come out a pixel wider.
    sizes[-1] = (width, height)
    plan = settings.level_iterations()
    # A panorama's coarse levels may be too low for the encoder to see anything.
    smallest = 2 ** (stage(deepest(settings.layers)) - 1)
    levels = [i for i, size in enumerate(sizes) if min(size) >= smallest] or [len(sizes) - 1]
    total = sum(plan[i] for i in levels)
    saved = keeper.load() if keeper is not None else None
    journal = History.of(len(tasks), None if saved is None else saved.facts)
    if saved is None:
        images = _start(tasks, sizes[levels[0]]).to(device)
    else:
        log.info("going on at level %d, iteration %d", saved.level, saved.iteration)
        images = torch.zeros(len(tasks), 3, *reversed(sizes[saved.level]), device=device)
    only = _grey_only if settings.color == "luminance" else _as_it_is

    def evaluator(objective: Objective) -> Evaluate:
        return only(TiledObjective(objective, tile).evaluate)

    carry_over: Any = None
    for level in levels if saved is None else levels[levels.index(saved.level) :]:
        (level_width, level_height), iterations = sizes[level], plan[level]
        done = sum(plan[i] for i in levels if i < level)
        started = time.perf_counter()
        images = resample(images, level_height, level_width)
        style, guides = _style_targets(tasks, level, (level_width, level_height), device)
        whole = build_objective(
            encoder,
            settings,
            content=_content_targets(encoder, tasks, (level_width, level_height), device, tile),
            style=style,
            guides=guides,
            weights=weight,
        )
        if settings.normalization == "gradient":
            whole = balanced(whole, level_height, level_width, evaluator)
        evaluate = evaluator(whole)
        options: MinimizerOptions = {
            "tolerance": settings.tolerance,
            "select": _selector(whole, evaluator),
            "callback": _callback(progress, done, total),
        }
        descent = OPTIMIZERS[settings.optimizer].build(
            evaluate,
            images,
            iterations,
            settings,
            weight["learning_rate"],
            carry_over,
            **options,
        )
        earlier = 0.0
        if saved is not None and saved.level == level:
            descent.load(saved.iteration, saved.rows)
            earlier = saved.seconds
        while not descent.done:
            descent.advance()
            if keeper is not None and not descent.done and keeper.due():
                seconds = earlier + time.perf_counter() - started
                keeper.save(
                    OptimizerState(
                        level, descent.iteration, descent.state(), journal.facts(), seconds
                    )
                )
        outcome = descent.finish()
        images, carry_over = outcome.images, outcome.carry_over
        seconds = earlier + time.perf_counter() - started
        journal.end_level(level, done, (level_width, level_height), outcome, seconds)
        log.info(
            "level %d x %d: %d iterations in %.1f s",
            level_width,
            level_height,
            int(outcome.iterations.max()),
            seconds,
        )
    finished = images.clamp(0, 1).permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return journal.results(finished)


def to_tensor(pixels: Pixels, device: torch.device | str = "cpu") -> Tensor:
    """(H, W, 3) to (1, 3, H, W), channels last in memory."""
    values = torch.from_numpy(np.ascontiguousarray(pixels))
    pinned = torch.device(device).type == "cuda"
    if pinned:  # nobody waits for the copy, and its blocks are used again and again
        values = values.pin_memory()
    return values.permute(2, 0, 1).unsqueeze(0).to(device, non_blocking=pinned)


def _start(tasks: Sequence[Task], size: tuple[int, int]) -> Tensor:
    """The pictures before the first iteration, (N, 3, H, W) on the CPU."""
    width, height = size
    starts: list[Tensor] = []
    for task in tasks:
        random = generator(task.seed)
        kind = task.settings.init
        if kind == "noise":
            start = white_noise(height, width, random)
        elif kind == "style":
            if task.style_picture is None:
                raise ValueError("init: style needs the style's picture")
            start = style_noise(height, width, to_tensor(task.style_picture)[0], random)
        else:
            source = task.start if kind == "file" else task.content
            if source is None:
                raise ValueError("init: file needs a picture to start from")
            start = to_tensor(resize(source, size))[0]
        starts.append(add_noise(start, task.settings.init_noise, random))
    images = torch.stack(starts)
    if tasks[0].settings.color == "luminance":
        # Contents and styles are grey there; noise has three channels, of which one is taken.
        images = images[:, :1].expand_as(images).contiguous()
    return images


def _content_targets(
    encoder: VGG,
    tasks: Sequence[Task],
    size: tuple[int, int],
    device: torch.device | str,
    tile: int | None,
) -> dict[str, Tensor]:
    """Content activations at one level: (1, ...) when all pictures share their content."""
    settings = tasks[0].settings
    layers = [name for name, value in settings.content_layers.items() if value > 0]
    distinct = {id(task.content): task.content for task in tasks}
    found: dict[int, dict[str, Tensor]] = {}
    for key, pixels in distinct.items():
        found[key] = tiled_features(encoder, to_tensor(resize(pixels, size), device), layers, tile)
    if len(found) == 1:
        return next(iter(found.values()))
    return {
        layer: torch.cat([found[id(task.content)][layer] for task in tasks]) for layer in layers
    }


def _style_targets(
    tasks: Sequence[Task], level: int, size: tuple[int, int], device: torch.device | str
) -> tuple[dict[str, Moments], dict[str, Guide] | None]:
    """Style moments at one level, and where the regions lie for which they are.

    Moments are (1, ...) when all pictures share their style, guides when they share their regions.
    """
    shared = len({id(task.styles[level]) for task in tasks}) == 1
    settings = tasks[0].settings
    layers = [name for name, value in settings.style_layers.items() if value > 0]
    if tasks[0].regions is None:
        chosen = [task.styles[level] for task in (tasks[:1] if shared else tasks)]
        return _stacked(chosen, layers, device), None
    names = tasks[0].region_names
    masks: dict[int, dict[str, Guide]] = {}
    guides: dict[tuple[object, ...], dict[str, Guide]] = {}
    styles, rows = [], []
    for task in tasks:
        assert task.regions is not None
        if id(task.regions) not in masks:
            scaled = torch.from_numpy(task.regions.scaled(size)).to(device)
            masks[id(task.regions)] = layer_guides(
                scaled, layers, settings.guide_propagation, names
            )
        moments, there = by_region(task.styles[level], layers, names)
        styles.append(moments)
        factors = [task.settings.region_weights.get(name, 1.0) for name in names]
        key = (id(task.regions), id(task.styles[level]), *factors)
        if key not in guides:
            guides[key] = {
                layer: guide.scaled(torch.tensor(factors, device=device) * there[layer].to(device))
                for layer, guide in masks[id(task.regions)].items()
            }
        rows.append(guides[key])
    return (
        _stacked(styles[:1] if shared else styles, layers, device),
        stack_guides(rows if len(guides) > 1 else rows[:1]),
    )


def _stacked(
    chosen: Sequence[Mapping[str, Moments]], layers: Sequence[str], device: torch.device | str
) -> dict[str, Moments]:
    return {
        layer: Moments(
            torch.cat([moments[layer].gram for moments in chosen]).to(device),
            torch.cat([moments[layer].mean for moments in chosen]).to(device),
        )
        for layer in layers
    }


def _selector(objective: Objective, evaluator: Callable[[Objective], Evaluate]) -> Select:
    return lambda rows: evaluator(objective.select(rows))


def _as_it_is(evaluate: Evaluate) -> Evaluate:
    return evaluate


def _grey_only(evaluate: Evaluate) -> Evaluate:
    """An objective among grey pictures: the gradient is projected onto equal channels.

    Pictures that are not grey count as their first channel.  A network's channels do not see red, green
    and blue alike, so that a grey picture would get colours even where content and style are grey.
    """

    def projected(images: Tensor) -> tuple[Losses, Tensor]:
        losses, gradient = evaluate(images[:, :1].expand_as(images).contiguous())
        return losses, gradient.mean(1, keepdim=True).expand_as(gradient).contiguous()

    return projected


def _callback(progress: Progress | None, done: int, total: int) -> Callback | None:
    if progress is None:
        return None
    return lambda iteration, losses: progress(done + iteration, total, losses)
