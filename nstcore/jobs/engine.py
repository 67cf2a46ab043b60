"""What needs torch: imported by the jobs only when something has to be computed."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from nstcore.core.encoders.base import Encoder
from nstcore.core.encoders.weights import load_encoder
from nstcore.core.guidance import layer_guides
from nstcore.core.history import Result
from nstcore.core.losses.base import Losses
from nstcore.core.metrics import MetricTargets, StyleImage, evaluate
from nstcore.core.moments import Moments
from nstcore.core.settings import Settings
from nstcore.core.stylize import Task, stylize, to_tensor
from nstcore.core.targets import by_region, load_moments, picture_moments, save_moments
from nstcore.errors import UserError
from nstcore.images import resize
from nstcore.images.masks import Regions
from nstcore.jobs.background import Prefetcher
from nstcore.jobs.checkpoint import FileCheckpointer, Position, positions
from nstcore.jobs.shutdown import Preempted, ShutdownSignal
from nstcore.resources.device import (
    arrange_memory,
    bind_threads,
    choose_device,
    configure,
    convolves_in_half,
    describe,
    forget_failure,
    instructions,
    peak_memory_mb,
    release_memory,
    reset_peak_memory,
)
from nstcore.resources.free_memory import free_bytes
from nstcore.resources.memory_model import is_out_of_memory
from nstcore.resources.micro_batches import BatchInput, MicroBatch, log_shortage, split_batches

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """Why jobs could not be done together."""

    reason: str
    out_of_memory: bool


# --- What needs torch: imported by the jobs only when something has to be computed. ---

Pixels = NDArray[np.float32]

STYLE_TILE = 1024
"""Side of the tiles in pixels in which large styles are seen."""

TARGETS_KEPT = 64
"""Style targets that stay on the device: those of VGG-19 have 2.5 MB each."""


@dataclass(frozen=True)
class StylizeRequest:
    """One picture to be made, as files.

    Attributes:
        label: how to call it in the log.
        settings: all settings.
        size: width and height of the picture.
        targets: the style's moments for every level, coarse to fine.
        weights: the encoder's weights.
        read: gives the task, its styles left out; called in any thread, when its turn comes, so that
            a job with thousands of pictures holds those of a batch or two.
        checkpoint: folder for the states in between; None to save none.
        region_names: of the content's regions; empty without a guide.
    """

    label: str
    settings: Settings
    size: tuple[int, int]
    targets: Sequence[Path]
    weights: Path
    read: Callable[[], Task]
    checkpoint: Path | None = None
    region_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class StylizeResult:
    """A result and what it cost.

    Attributes:
        result: the picture, or None when the computation failed.
        reason: one line, when it failed.
        metadata: for the record's ``optimization``.
        members: which jobs shared the batch, in its order.
    """

    result: Result | None
    reason: str | None
    metadata: dict[str, Any]
    members: tuple[int, ...] = ()


Progress = Callable[[str, int, int, Losses], None]
"""Called with a label, iterations done, iterations in all, and current losses."""

ClaimCallback = Callable[[Sequence[int]], tuple[Sequence[int], Sequence[int]]]
"""Called with the indices of jobs that are about to be done together: those to do now, and those to ask
for again later.  Neither: somebody else has done them."""

PAUSES = (1.0, 10.0)
"""Seconds between two questions for what is left, at first and after many of them."""


def claim_all(indices: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    """Nobody else does any of it."""
    return indices, ()


@dataclass
class Engine:
    """A device with the encoders and style targets that it has loaded.

    Args:
        device: as in the configuration.
        threads: how many the job was granted; None for all.
        batch_size: most pictures at the same time; None for as many as memory allows.
        tile: side of the tiles in pixels in which pictures are computed; None for tiles only where
            whole pictures do not fit.
        precision: of the convolutions while a picture is made, as in the configuration.
        deterministic: whether a repeat must give the same bytes.
        checkpoint_seconds: between two states that are saved of a descent.
        stop: whether the work has to end early.
    """

    device_name: str = "auto"
    threads: int | None = None
    batch_size: int | None = None
    _: KW_ONLY
    tile: int | None = None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    deterministic: bool = False
    checkpoint_seconds: float = math.inf
    stop: ShutdownSignal = field(default_factory=ShutdownSignal)
    _encoders: dict[tuple[str, ...], Encoder] = field(default_factory=dict)
    _target_threads: dict[Path, frozenset[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        bind_threads(self.threads)
        self.device = choose_device(self.device_name)
        configure(self.device, self.deterministic)
        self.moments = lru_cache(TARGETS_KEPT)(self._load_moments)

    def make(
        self,
        jobs: Sequence[StylizeRequest],
        progress: Progress | None = None,
        turn: ClaimCallback = claim_all,
    ) -> Iterator[tuple[int, StylizeResult]]:
        """Make all pictures, several at a time, and yield each with its index as it is finished.

        A picture that cannot be made is yielded with its reason; the others are still made.

        Args:
            jobs: the pictures.
            progress: told about the descent.
            turn: which ones are to be made; what has to wait comes after everything else.

        Raises:
            Preempted: when the work has to end early; states of what was under way are saved.
        """
        waiting, put_off, pause = self._batches(jobs), list[MicroBatch[int]](), PAUSES[0]

        def read_all(work: MicroBatch[int]) -> list[Task]:
            return [jobs[i].read() for i in work.items]

        with Prefetcher(read_all) as ahead:
            while waiting or put_off:
                reason = self.stop.reason()
                if reason is not None:
                    raise Preempted(reason)
                if not waiting:
                    time.sleep(pause)
                    waiting, put_off, pause = put_off, [], min(1.2 * pause, PAUSES[1])
                work = waiting.pop(0)
                now, later = turn(work.items)
                if later:
                    put_off.append(replace(work, items=tuple(later)))
                if not now:
                    continue
                pause = PAUSES[0]
                # States may have come since, from a job that was killed.
                part, *others = self._alike(jobs, now)
                waiting[:0] = [replace(work, items=tuple(other)) for other in others]
                work = replace(work, items=tuple(part))
                # Where memory is so short that tiles are needed, nothing is read before it is used.
                ample = waiting and work.tile is None and waiting[0].tile is None
                following = waiting[0] if ample else None
                read = partial(ahead.take, work, following)
                made, failure = self._attempt(jobs, work, read, progress)
                if failure is None:
                    yield from zip(work.items, made, strict=True)
                    continue
                smaller = work.smaller(out_of_memory=failure.out_of_memory)
                if smaller:
                    log.warning("%s; going on with %s", failure.reason, smaller[0])
                    waiting[:0] = smaller
                else:
                    yield (
                        work.items[0],
                        StylizeResult(None, failure.reason, self._metadata(work, jobs, 0.0)),
                    )

    def _attempt(
        self,
        jobs: Sequence[StylizeRequest],
        work: MicroBatch[int],
        read: Callable[[], Sequence[Task]],
        progress: Progress | None,
    ) -> tuple[list[StylizeResult], Failure | None]:
        """Make some pictures together; what went wrong, when it did."""
        started = time.perf_counter()
        reset_peak_memory(self.device)
        try:
            results = self._stylize(jobs, work, read, progress)
        except Preempted:
            raise
        except Exception as error:
            # What is tried next must stand outside: the traceback keeps all tensors alive.
            log.info("a batch of %d pictures failed", len(work.items), exc_info=True)
            reason = (str(error).splitlines() or ["no reason given"])[0]
            if not isinstance(error, UserError):
                reason = f"{type(error).__name__}: {reason}"
            short = is_out_of_memory(error)
            if short and "memory" not in reason.lower():
                # oneDNN only says that it could not create something.
                reason = f"out of memory ({reason})"
            failure = Failure(reason, short)
        else:
            seconds = time.perf_counter() - started
            release_memory(self.device)
            return [self._made(result, work, jobs, seconds) for result in results], None
        forget_failure(self.device)
        return [], failure

    def _made(
        self, result: Result, work: MicroBatch[int], jobs: Sequence[StylizeRequest], seconds: float
    ) -> StylizeResult:
        count = len(work.items)
        facts = self._metadata(work, jobs, seconds / count)
        facts["iterations"] = sum(level.iterations for level in result.levels)
        facts["rollbacks"] = result.rollbacks
        facts["levels"] = [
            {
                "width": level.width,
                "height": level.height,
                "iterations": level.iterations,
                "seconds": round(level.seconds / count, 4),
            }
            for level in result.levels
        ]
        return StylizeResult(result, result.reason, facts, work.items)

    def _metadata(
        self, work: MicroBatch[int], jobs: Sequence[StylizeRequest], seconds: float
    ) -> dict[str, Any]:
        wanted = jobs[work.items[0]].settings.history
        files = [path for i in work.items for path in jobs[i].targets]
        threads = frozenset().union(*(self._target_threads.get(path, ()) for path in files))
        short = f"history {work.history} in place of {wanted}, for want of memory"
        return {
            "device": describe(self.device),
            "instructions": instructions(self.device),
            "precision": "bfloat16" if self.half else "float32",
            "deterministic": self.deterministic,
            "threads": torch.get_num_threads(),
            # With how many the styles' targets were computed, if with one number and it is known.
            "target_threads": next(iter(threads)) if len(threads) == 1 else None,
            "batch_size": len(work.items),
            "tile": work.tile,
            "history": work.history,
            # What is not as the settings say, and why.
            "degraded": short if work.history < wanted else None,
            "iterations": 0,
            # A picture's share of its batch: shares add up to what the run cost.
            "seconds": round(seconds, 4),
            "peak_memory_mb": round(peak_memory_mb(self.device), 1),
        }

    def _batches(self, jobs: Sequence[StylizeRequest]) -> list[MicroBatch[int]]:
        """Indices of jobs that go together and fit into memory together."""

        def describe(index: int) -> BatchInput:
            job = jobs[index]
            return BatchInput(job.settings, job.size, str(job.weights), job.region_names)

        # What was freed meanwhile is not in use.
        release_memory(self.device)
        free = free_bytes(self.device)
        batches = list(
            split_batches(
                range(len(jobs)),
                describe,
                self.device.type,
                free,
                most=self.batch_size,
                tile=self.tile,
            )
        )
        log_shortage(batches, free, self.tile)
        return batches

    def _alike(self, jobs: Sequence[StylizeRequest], members: Sequence[int]) -> Iterator[list[int]]:
        """Split a batch whose saved states have no point of the descent in common."""
        states = {i: frozenset(_states(jobs[i])) for i in members}
        if len(members) == 1 or frozenset.intersection(*states.values()):
            yield list(members)
            return
        groups: dict[frozenset[Position], list[int]] = {}
        for i in members:
            groups.setdefault(states[i], []).append(i)
        yield from groups.values()

    def _stylize(
        self,
        everything: Sequence[StylizeRequest],
        work: MicroBatch[int],
        read: Callable[[], Sequence[Task]],
        progress: Progress | None,
    ) -> list[Result]:
        jobs = [everything[i] for i in work.items]
        settings = jobs[0].settings
        encoder = self.encoder(settings, jobs[0].weights, settings.layers, half=self.half)
        label = jobs[0].label if len(jobs) == 1 else f"{jobs[0].label} and {len(jobs) - 1} more"
        log.info("%s: %d pictures on %s", label, len(jobs), describe(self.device))
        arrange_memory(self.device, work.tile is not None)
        tasks = [
            replace(
                task,
                styles=[self.moments(path) for path in job.targets],
                settings=job.settings.model_copy(update={"history": work.history}),
            )
            for job, task in zip(jobs, read(), strict=True)
        ]

        def report(done: int, total: int, losses: Losses) -> None:
            if progress is not None:
                progress(label, done, total, losses)

        with self.stop.listening():
            return stylize(
                encoder,
                tasks,
                device=self.device,
                progress=report,
                checkpointer=self._keeper(jobs, work),
                tile=work.tile,
            )

    def _keeper(
        self, jobs: Sequence[StylizeRequest], work: MicroBatch[int]
    ) -> FileCheckpointer | None:
        folders = [job.checkpoint for job in jobs if job.checkpoint is not None]
        if len(folders) < len(jobs):
            return None
        if work.history != jobs[0].settings.history:
            # A state with a longer history is of no use to it.
            folders = [folder / f"history={work.history}" for folder in folders]
        return FileCheckpointer(folders, self.checkpoint_seconds, self.stop.reason)

    @property
    def half(self) -> bool:
        """Whether pictures are made with convolutions in bfloat16."""
        return convolves_in_half(self.precision, self.device.type)

    def encoder(
        self, settings: Settings, weights: Path, layers: Sequence[str], *, half: bool = False
    ) -> Encoder:
        """The encoder that some settings ask for, loaded once."""
        key = (str(weights), settings.pooling, settings.padding, str(half), *sorted(layers))
        if key not in self._encoders:
            self._encoders[key] = load_encoder(
                settings, weights, layers, device=self.device, half=half
            )
        return self._encoders[key]

    def _load_moments(self, path: Path) -> dict[str, Moments]:
        """A style target, on the device."""
        loaded, facts = load_moments(path)
        self._target_threads[path] = frozenset(_threads(facts))
        return {
            layer: Moments(value.gram.to(self.device), value.mean.to(self.device))
            for layer, value in loaded.items()
        }

    def style_target(
        self,
        file: Path,
        pixels: Pixels,
        size: int,
        settings: Settings,
        layers: tuple[str, ...],
        weights: Path,
        facts: dict[str, Any],
        regions: Regions | None = None,
    ) -> None:
        """Compute the moments of one style picture at one size, and of its regions, and write them."""
        encoder = self.encoder(settings, weights, layers)
        # Tiles are exact, and a style that fits into one is seen whole.
        found = picture_moments(
            encoder,
            pixels,
            size,
            layers,
            self.device,
            STYLE_TILE,
            settings.size_by,
            regions,
            settings.guide_propagation,
        )
        save_moments(file, found, {**facts, "threads": torch.get_num_threads()})

    def evaluation(
        self,
        settings: Settings,
        weights: Path,
        content: Pixels,
        styles: Sequence[StyleImage],
        target: Path,
        regions: Regions | None = None,
    ) -> Callable[[Pixels], dict[str, float]]:
        """A function that measures finished pictures of one content and one style.

        Args:
            settings: of the encoder that evaluates; ``size`` is the evaluation size.
            weights: of that encoder.
            content: prepared at the evaluation size.
            styles: the style's pictures, at any size, with their weights.
            target: the style's moments at the evaluation size.
            regions: of the content, at the evaluation size.
        """
        spec = settings.encoder_spec
        encoder = self.encoder(settings, weights, spec.evaluation_layers)
        with torch.no_grad():
            layer = spec.evaluation_content
            features = encoder(to_tensor(content, self.device), [layer])[layer]
        size = (content.shape[1], content.shape[0])
        shown = tuple(style.resized(settings.size) for style in styles)
        moments, guides = self.moments(target), None
        if regions is not None:
            masks = torch.from_numpy(regions.scaled(size)).to(self.device)
            seen = spec.evaluation_moments
            guides = layer_guides(spec, masks, seen, settings.guide_propagation, regions.names)
            moments, there = by_region(moments, seen, regions.names)
            guides = {layer: guides[layer].scaled(there[layer]) for layer in seen}
        reference = MetricTargets(content, features, shown, moments, guides, regions)
        return lambda picture: evaluate(encoder, resize(picture, size), reference)


def _threads(facts: Mapping[str, Any]) -> Iterator[int]:
    """Every number of threads in the facts of a style target or of its parts."""
    if "threads" in facts:
        yield facts["threads"]
    for part in (*facts.get("blend", ()), *facts.get("regions", ())):
        yield from _threads(part)


def _states(job: StylizeRequest) -> set[Position]:
    return set() if job.checkpoint is None else set(positions(job.checkpoint))
