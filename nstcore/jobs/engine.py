"""Makes images on one device.  It needs torch: jobs import it only when something has to be computed."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from nstcore.core.history import Result
from nstcore.core.losses.base import Losses
from nstcore.core.settings import Settings
from nstcore.core.stylize import StylizeTask, stylize
from nstcore.errors import Preempted, UserError
from nstcore.jobs.background import Prefetcher
from nstcore.jobs.checkpoint import FileCheckpointer, Position, positions
from nstcore.jobs.device_models import DeviceModels
from nstcore.jobs.job import ShutdownSignal, label_text
from nstcore.jobs.snapshots import SnapshotKeeper, observing
from nstcore.resources.device import (
    bind_threads,
    choose_device,
    configure,
    convolves_in_half,
    describe,
    instructions,
)
from nstcore.resources.device_memory import (
    arrange_memory,
    forget_failure,
    free_bytes,
    is_out_of_memory,
    peak_memory_mb,
    release_memory,
    reset_peak_memory,
)
from nstcore.resources.memory_model import (
    BatchInput,
    MicroBatch,
    log_shortage,
    split_batches,
)

log = logging.getLogger(__name__)


PAUSES = (1.0, 10.0)
"""Seconds between two attempts to claim what other jobs are making: at first, and after many."""


@dataclass(frozen=True)
class StylizeRequest:
    """One image to be made, as files.

    Attributes:
        label: what the log calls it.
        settings: all settings.
        size: width and height of the image in pixels.
        targets: the style's moments for every level, coarse to fine.
        weights: the encoder's weights.
        read: gives the task without its styles; called in any thread, shortly before it is needed, so
            that a job with thousands of images holds those of a batch or two.
        checkpoint: folder for the states in between; None to save none.
        region_names: of the content's regions; empty without a guide.
        snapshots: what keeps its iterates, if anything.
    """

    label: str
    settings: Settings
    size: tuple[int, int]
    targets: Sequence[Path]
    weights: Path
    read: Callable[[], StylizeTask]
    checkpoint: Path | None = None
    region_names: tuple[str, ...] = ()
    snapshots: SnapshotKeeper | None = None


@dataclass(frozen=True)
class StylizeResult:
    """A result and what it cost.

    Attributes:
        result: the image, or None when the computation failed.
        reason: one line, when it failed.
        metadata: for the record's ``optimization``.
        members: indices of the requests that shared the batch, in its order.
    """

    result: Result | None
    reason: str | None
    metadata: dict[str, Any]
    members: tuple[int, ...] = ()


class Failure(NamedTuple):
    """Why a batch could not be made."""

    reason: str
    out_of_memory: bool


Progress = Callable[[Sequence[str], int, int, Losses], None]
"""Called with the labels of images, iterations done, iterations in all, and current losses."""

ClaimCallback = Callable[[Sequence[int]], tuple[Sequence[int], Sequence[int]]]
"""Called with the indices of requests that are about to be made together; returns those to make now and
those to ask for again later.  An index in neither list was made by another job."""


def claim_all(indices: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    """Claim everything: no other job makes any of it."""
    return indices, ()


@dataclass
class Engine(DeviceModels):
    """Makes images on a device, with the encoders and style targets that are loaded there.

    Args:
        device_name: as in the configuration.
        threads: how many the job was granted; None for all.
        batch_size: most images at the same time; None for as many as memory allows.
        tile: side of the tiles in pixels in which images are computed; None for tiles only where
            whole images do not fit.
        precision: of the convolutions while an image is optimized, as in the configuration.
        deterministic: whether a repeat must give the same bytes.
        checkpoint_seconds: between two saved states.
        stop: whether the work has to end early.
        workers: how many jobs share the memory of this machine.
        graphs: whether iterations are recorded as CUDA graphs, where there is CUDA.
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
    workers: int = 1
    graphs: bool = True

    def __post_init__(self) -> None:
        self._kind: object = None
        bind_threads(self.threads)
        super().__init__(choose_device(self.device_name))
        configure(self.device, self.deterministic)

    def make(
        self,
        requests: Sequence[StylizeRequest],
        progress: Progress | None = None,
        claim: ClaimCallback = claim_all,
    ) -> Iterator[tuple[int, StylizeResult]]:
        """Make all images, several at a time, and yield each with its index as it is finished.

        An image that cannot be made is yielded with its reason; the others are still made.  ``claim``
        says which ones to make now; what has to wait comes after everything else.

        Raises:
            Preempted: the work had to end early; the states of unfinished images are saved.
        """
        queue, postponed, pause = self._batches(requests), list[MicroBatch[int]](), PAUSES[0]

        def read_all(batch: MicroBatch[int]) -> list[StylizeTask]:
            return [requests[i].read() for i in batch.items]

        with Prefetcher(read_all) as prefetcher:
            while queue or postponed:
                reason = self.stop.reason()
                if reason is not None:
                    raise Preempted(reason)
                if not queue:
                    time.sleep(pause)
                    queue, postponed, pause = postponed, [], min(1.2 * pause, PAUSES[1])
                batch = queue.pop(0)
                now, later = claim(batch.items)
                if later:
                    postponed.append(replace(batch, items=tuple(later)))
                if not now:
                    continue
                pause = PAUSES[0]
                # A job that was killed meanwhile may have left states.
                part, *others = _split_by_states(requests, now)
                queue[:0] = [replace(batch, items=tuple(other)) for other in others]
                batch = replace(batch, items=tuple(part))
                # Where memory is so short that tiles are needed, nothing is read ahead.
                ample = queue and batch.tile is None and queue[0].tile is None
                read = partial(prefetcher.take, batch, queue[0] if ample else None)
                made = self._attempt(requests, batch, read, progress)
                if not isinstance(made, Failure):
                    yield from zip(batch.items, made, strict=True)
                elif smaller := batch.smaller(out_of_memory=made.out_of_memory):
                    log.warning("%s; continuing with %s", made.reason, smaller[0])
                    queue[:0] = smaller
                else:
                    metadata = self._metadata(batch, requests)
                    yield batch.items[0], StylizeResult(None, made.reason, metadata)

    def _attempt(
        self,
        requests: Sequence[StylizeRequest],
        batch: MicroBatch[int],
        read: Callable[[], Sequence[StylizeTask]],
        progress: Progress | None,
    ) -> list[StylizeResult] | Failure:
        """Make the images of a batch."""
        started = time.perf_counter()
        kind = (batch.first.key, len(batch.items), batch.tile, batch.history)
        if kind != self._kind:
            # Other sizes need other blocks of memory.
            release_memory(self.device)
            self._kind = kind
        reset_peak_memory(self.device)
        try:
            results = self._stylize(requests, batch, read, progress)
        except Preempted:
            raise
        except Exception as error:
            # The next attempt must be made outside of here: the traceback keeps all tensors alive.
            log.info("a batch of %d images failed", len(batch.items), exc_info=True)
            reason = (str(error).splitlines() or ["no reason given"])[0]
            if not isinstance(error, UserError):
                reason = f"{type(error).__name__}: {reason}"
            out_of_memory = is_out_of_memory(error)
            if out_of_memory and "memory" not in reason.lower():
                # oneDNN only says that it could not create something.
                reason = f"out of memory ({reason})"
            failure = Failure(reason, out_of_memory)
        else:
            seconds = time.perf_counter() - started
            return [
                StylizeResult(
                    result,
                    result.reason,
                    self._metadata(batch, requests, seconds, result),
                    batch.items,
                )
                for result in results
            ]
        forget_failure(self.device)
        return failure

    def _metadata(
        self,
        batch: MicroBatch[int],
        requests: Sequence[StylizeRequest],
        seconds: float = 0.0,
        result: Result | None = None,
    ) -> dict[str, Any]:
        """How a batch was computed in so many seconds, and an image's share of them."""
        count = len(batch.items)
        wanted = requests[batch.items[0]].settings.history
        files = [path for i in batch.items for path in requests[i].targets]
        threads = frozenset().union(*(self.target_threads.get(path, ()) for path in files))
        shorter = f"history {batch.history} in place of {wanted}, for want of memory"
        metadata: dict[str, Any] = {
            "device": describe(self.device),
            "instructions": instructions(self.device),
            "precision": "bfloat16" if self.half else "float32",
            "deterministic": self.deterministic,
            "threads": torch.get_num_threads(),
            # Of the jobs that computed the style targets, if all had one number and it is known.
            "target_threads": next(iter(threads)) if len(threads) == 1 else None,
            "batch_size": count,
            "tile": batch.tile,
            "history": batch.history,
            # What is not as the settings say, and why.
            "degraded": shorter if batch.history < wanted else None,
            "iterations": 0,
            "seconds": round(seconds / count, 4),
            "peak_memory_mb": round(peak_memory_mb(self.device), 1),
        }
        if result is not None:
            metadata["iterations"] = sum(level.iterations for level in result.levels)
            metadata["rollbacks"] = result.rollbacks
            metadata["levels"] = [
                {**asdict(level), "seconds": round(level.seconds / count, 4)}
                for level in result.levels
            ]
        return metadata

    def _batches(self, requests: Sequence[StylizeRequest]) -> list[MicroBatch[int]]:
        """Indices of requests that go together and fit into memory together."""

        def batch_input(index: int) -> BatchInput:
            one = requests[index]
            return BatchInput(one.settings, one.size, str(one.weights), one.region_names)

        # Memory that torch holds for reuse counts as free.
        release_memory(self.device)
        free = free_bytes(self.device) / (self.workers if self.device.type == "cpu" else 1)
        limits = {"most": self.batch_size, "tile": self.tile}
        kind, items = self.device.type, range(len(requests))
        batches = list(split_batches(items, batch_input, kind, free, **limits, half=self.half))
        log_shortage(batches, free, self.tile)
        return batches

    def _stylize(
        self,
        requests: Sequence[StylizeRequest],
        batch: MicroBatch[int],
        read: Callable[[], Sequence[StylizeTask]],
        progress: Progress | None,
    ) -> list[Result]:
        members = [requests[i] for i in batch.items]
        first, labels = members[0], [one.label for one in members]
        encoder = self.encoder(first.settings, first.weights, first.settings.layers, half=self.half)
        log.info("%s: %d images on %s", label_text(labels), len(labels), describe(self.device))
        arrange_memory(self.device, batch.tile is not None)
        tasks = [
            replace(
                task,
                styles=[self.moments(path) for path in request.targets],
                settings=request.settings.model_copy(update={"history": batch.history}),
            )
            for request, task in zip(members, read(), strict=True)
        ]

        def report(done: int, total: int, losses: Losses) -> None:
            if progress is not None:
                progress(labels, done, total, losses)

        keepers = [request.snapshots for request in members]
        with self.stop.listening(), observing(keepers) as observe:
            return stylize(
                encoder,
                tasks,
                device=self.device,
                progress=report,
                observe=observe,
                checkpointer=self._checkpointer(members, batch.history),
                tile=batch.tile,
                graphs=self.graphs,
            )

    def _checkpointer(
        self, members: Sequence[StylizeRequest], history: int
    ) -> FileCheckpointer | None:
        folders = [request.checkpoint for request in members if request.checkpoint is not None]
        if len(folders) < len(members):
            return None
        if history != members[0].settings.history:
            # A state with a longer history cannot be used.
            folders = [folder / f"history={history}" for folder in folders]
        every, stop = self.checkpoint_seconds, self.stop
        return FileCheckpointer(folders, every, stop.reason, stop.leave_time_for)

    @property
    def half(self) -> bool:
        """Whether images are optimized with convolutions in bfloat16."""
        return convolves_in_half(self.precision, self.device.type)


def _split_by_states(
    requests: Sequence[StylizeRequest], members: Sequence[int]
) -> Iterator[list[int]]:
    """Split a batch whose saved states have no point of the optimization in common."""
    states = {
        i: frozenset(() if (folder := requests[i].checkpoint) is None else positions(folder))
        for i in members
    }
    if len(members) == 1 or frozenset.intersection(*states.values()):
        yield list(members)
        return
    groups: dict[frozenset[Position], list[int]] = {}
    for i in members:
        groups.setdefault(states[i], []).append(i)
    yield from groups.values()
