"""One job: every cell of a batch, linked from the store where it is there, computed where it is not."""

from __future__ import annotations

import logging
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from nstcore.errors import UnusableInput, UserError
from nstcore.jobs.background import BackgroundWriter
from nstcore.jobs.cell_inputs import RunInputs
from nstcore.jobs.input_cache import InputCache
from nstcore.jobs.job import ShutdownSignal
from nstcore.jobs.output import (
    BatchCell,
    Evaluator,
    store_image,
    write_failure,
    write_record,
    write_refusal,
)
from nstcore.jobs.run_process import scheduler_job
from nstcore.jobs.snapshots import SnapshotKeeper, is_chosen
from nstcore.jobs.targets import cell_targets, make_targets
from nstcore.plan import paths
from nstcore.plan.plan import Cell, Plan
from nstcore.plan.record import CellRecord
from nstcore.resources.device_memory import is_out_of_memory
from nstcore.resources.requests import PENDING_WRITES
from nstcore.store.cells import Store, StoredCell, link
from nstcore.store.claims import ClaimQueue, Claims, WaitCallback

if TYPE_CHECKING:
    from nstcore.core.losses.base import Losses
    from nstcore.jobs.engine import Engine, Progress, StylizeRequest, StylizeResult

log = logging.getLogger(__name__)

BACKGROUND_WRITE_MAX_PIXELS = 2**22
"""Larger images are written before the next is begun, whose memory is planned without them."""


MEASURED_BESIDE = 512
"""Largest side in pixels at which images are measured beside the next: memory is planned without it."""

Duplicates = Sequence[BatchCell]
"""Cells with one key, such as those of two ids of one file: the first is computed and stands for all."""


@dataclass(frozen=True)
class BatchSummary:
    """How many cells were linked (also those that another job made meanwhile), computed, and failed."""

    linked: int
    computed: int
    failed: int


def stylize_batch(
    plan: Plan,
    cells: Sequence[Cell],
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    waits: WaitCallback | None = None,
) -> BatchSummary:
    """Make every cell of a batch: its image and its record.

    A finished cell is stored at once and linked to its place.  When the store has all of them and
    their metrics, torch is not even imported.

    Args:
        plan, cells: the run, and the cells of one batch.
        threads: how many the job was granted; None for all.
        progress: called during the optimization.
        waits: called from time to time while the job waits for another that makes the same cells.

    Returns:
        How many were linked, computed, and failed; a cell that failed has a placeholder image and a
        record that says why.

    Raises:
        Preempted: the work had to end early; the next call continues from the saved states.
    """
    job = BatchJob(plan, threads)
    missing: dict[str, list[BatchCell]] = {}
    finished: list[tuple[BatchCell, StoredCell]] = []
    unusable = 0
    for planned in cells:
        try:
            cell = job.batch_cell(planned)
        except UnusableInput as error:
            job.refuse(planned, str(error))
            unusable += 1
            continue
        stored = job.store.find(cell.key)
        if stored is None:
            missing.setdefault(cell.key, []).append(cell)
        else:
            finished.append((cell, stored))
    present = len(finished)
    log.info(
        "%d cells: %d in the store, %d to compute",
        len(cells),
        present,
        len(cells) - present - unusable,
    )
    for cell, stored in finished:
        job.link(cell, stored)
    computed = failed = 0
    if missing:
        computed, failed = job.compute(list(missing.values()), progress, waits)
    failed += unusable
    return BatchSummary(len(cells) - computed - failed, computed, failed)


def make_image(
    plan: Plan, *, threads: int | None = None, progress: Progress | None = None
) -> tuple[Path, CellRecord]:
    """Make the only image of a plan whose inputs are prepared; see :func:`prepare_inputs`.

    Returns:
        The image's path and its record.

    Raises:
        UserError: it cannot be made.
    """
    [cell] = plan.cells()
    summary = stylize_batch(plan, [cell], threads=threads, progress=progress)
    image = Path(plan.config.run_dir) / cell.image
    record = CellRecord.read(paths.record_path(image))
    if summary.failed:
        raise UserError(f"no image was made: {record.reason}")
    return image, record


def make_batch_member(
    plans: Sequence[Plan],
    position: int,
    *,
    threads: int | None = None,
    target_threads: int | None = None,
    progress: Progress | None = None,
) -> StoredCell:
    """Make the image of one plan in one batch with those of others, which are thrown away.

    How many are computed together decides the last bits of each.  It is not measured.

    Args:
        plans: each of a single cell, with prepared inputs, in the order of the batch.
        position: of the plan whose image is kept.
        threads, target_threads: how many to compute with, and to compute style targets; None for all.
        progress: called during the optimization.

    Raises:
        UserError: it cannot be made.
    """
    for plan in plans:
        [cell] = plan.cells()
        targets = list(paths.targets_of([cell.settings]))
        make_targets(plan, cell.style, targets=targets, threads=target_threads)
    jobs = [BatchJob(plan, threads) for plan in plans]
    own = jobs[position]
    cells, requests = [], []
    for job in jobs:
        job.engine = own.engine
        [cell] = job.plan.cells()
        cells.append(job.batch_cell(cell))
        requests.append(job.request(cells[-1]))
    # A batch has one encoder; each run's folder has a copy of its weights.
    requests = [replace(request, weights=requests[position].weights) for request in requests]
    made = next(made for i, made in own.engine.make(requests, progress) if i == position)
    if made.result is None or made.result.status != "ok":
        raise UserError(f"no image was made: {made.reason or 'failed'}")
    return store_image(own.store, own.images, cells[position], made)()


class BatchJob:
    """What the cells of one batch share: the run, the store, inputs, and an engine once it is needed."""

    def __init__(self, plan: Plan, threads: int | None) -> None:
        self.plan = plan
        self.store = Store(plan.config.store_dir)
        self.threads = threads
        self.stop = ShutdownSignal.of()
        self.inputs = RunInputs(plan)
        self.images = InputCache(plan.config.cluster.scratch)
        self.evaluator = Evaluator(self.inputs, self.images, self.store, lambda: self.engine)

    @cached_property
    def engine(self) -> Engine:
        """The engine; the first use imports torch."""
        from nstcore.jobs.engine import Engine

        config = self.plan.config
        return Engine(
            config.device,
            self.threads,
            config.batch_size,
            tile=config.tile,
            precision=config.precision,
            deterministic=config.deterministic,
            checkpoint_seconds=config.checkpoint_seconds,
            stop=self.stop,
            workers=config.workers,
        )

    @property
    def measures_beside(self) -> bool:
        """Whether images are measured beside the next: on a CPU both would be slower by two fifths."""
        return self.engine.device.type != "cpu" and self.evaluator.size <= MEASURED_BESIDE

    def batch_cell(self, cell: Cell) -> BatchCell:
        """A cell with its inputs and its key."""
        inputs = self.inputs.of(cell)
        return BatchCell(cell, inputs, inputs.key())

    def refuse(self, cell: Cell, reason: str) -> None:
        """Write the placeholder and the record of a cell whose inputs cannot be used."""
        log.error("%s: %s", cell.image, reason)
        write_refusal(self.plan.config, cell, reason, self.evaluator.info())

    def request(self, cell: BatchCell) -> StylizeRequest:
        """What the engine needs for a cell."""
        from nstcore.jobs.engine import StylizeRequest

        inputs = cell.inputs
        content, guide = inputs.content, inputs.content.guide
        assert content.width is not None
        assert content.height is not None
        return StylizeRequest(
            label=cell.cell.image,
            settings=inputs.settings,
            size=(content.width, content.height),
            targets=cell_targets(inputs, self.images, self.store, lambda: self.engine),
            weights=self.images.weights(inputs),
            read=partial(self.images.task, inputs),
            checkpoint=self.store.checkpoints(cell.key),
            region_names=() if guide is None else tuple(sorted(guide.regions)),
        )

    def compute(
        self,
        missing: Sequence[Duplicates],
        progress: Progress | None,
        waits: WaitCallback | None,
    ) -> tuple[int, int]:
        """Compute cells and finish each; returns how many were computed and how many failed.

        Cells that another job is making come last, and are only linked when it has finished them.
        """
        requests = [
            replace(self.request(duplicates[0]), snapshots=self._snapshots(duplicates))
            for duplicates in missing
        ]
        index_of = {duplicates[0].key: index for index, duplicates in enumerate(missing)}
        computed = failed = 0
        engine = self.engine
        # What is finished but not yet stored would be lost: a signal waits for that, too.
        with (
            self.stop.listening([signal.SIGTERM]),
            Claims(self.store, scheduler_job()) as claims,
            BackgroundWriter() as writer,
        ):
            queue = ClaimQueue(
                claims, lambda key: self._made_meanwhile(missing[index_of[key]], claims), waits
            )

            def report(labels: Sequence[str], done: int, total: int, losses: Losses) -> None:
                writer.finish()
                if progress is not None:
                    progress(labels, done, total, losses)

            def claim(indices: Sequence[int]) -> tuple[list[int], list[int]]:
                # What has been written may be what another job waits for while this one waits for it.
                writer.finish()
                now, later = queue.ask([missing[i][0].key for i in indices])
                return [index_of[key] for key in now], [index_of[key] for key in later]

            for index, made in engine.make(requests, report, claim):
                duplicates = missing[index]
                if made.result is None or made.result.status != "ok":
                    self._fail(duplicates, made)
                    claims.release([duplicates[0].key])
                    failed += len(duplicates)
                    continue
                computed += len(duplicates)
                members = [missing[i][0] for i in made.members]
                height, width = made.result.image.shape[:2]
                small = height * width <= BACKGROUND_WRITE_MAX_PIXELS
                write = store_image(self.store, self.images, duplicates[0], made, members)
                writer.submit(
                    partial(self._store, duplicates[0], write),
                    partial(self._finish, duplicates, claims),
                    pending=max(PENDING_WRITES, len(members)) if small else 0,
                )
        return computed, failed

    def _store(self, cell: BatchCell, write: Callable[[], StoredCell]) -> StoredCell:
        """Store a finished image, and measure it while a device of its own computes the next ones."""
        stored = write()
        if self.measures_beside:
            try:
                self.evaluator.metrics(cell.cell, stored)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                log.info("%s is measured after the next images: %s", cell.cell.image, error)
        return stored

    def _snapshots(self, duplicates: Duplicates) -> SnapshotKeeper | None:
        """What keeps the snapshots of an image, where a cell that it stands for is to have some."""
        config, inputs = self.plan.config.snapshots, duplicates[0].inputs
        cells = [one.cell for one in duplicates if config and is_chosen(config, one.cell)]
        if config is None or not cells:
            return None
        images, content = [cell.image for cell in cells], partial(self.images.content, inputs)
        key = duplicates[0].key
        return SnapshotKeeper(config, inputs.settings, content, inputs.run, images, key)

    def _made_meanwhile(self, duplicates: Duplicates, claims: Claims) -> bool:
        """Link what another job has made since this one began."""
        stored = self.store.find(duplicates[0].key)
        if stored is not None:
            self._finish(duplicates, claims, stored)
        return stored is not None

    def _finish(self, duplicates: Duplicates, claims: Claims, stored: StoredCell) -> None:
        """Link the cells that a stored image stands for; its saved states and its claim go."""
        shutil.rmtree(self.store.checkpoints(stored.key), ignore_errors=True)
        claims.release([stored.key])
        for cell in duplicates:
            self.link(cell, stored)
            log.info("finished %s", cell.cell.image)

    def link(self, cell: BatchCell, stored: StoredCell) -> None:
        """Link a stored cell to its place and write its record."""
        link(stored.image, cell.place)
        metrics, evaluation = self.evaluator.metrics(cell.cell, stored), self.evaluator.info()
        write_record(self.plan.config.run, cell, stored, metrics, evaluation)

    def _fail(self, duplicates: Duplicates, made: StylizeResult) -> None:
        """Write the record and the placeholder of cells that could not be made."""
        evaluation = self.evaluator.info()
        for cell in duplicates:
            log.error("%s: %s", cell.cell.image, made.reason or "failed")
            write_failure(self.plan.config.run, cell, made, evaluation)
