"""One job: every cell of a batch, from the store where it is there, computed where it is not."""

from __future__ import annotations

import datetime
import logging
import platform
import shutil
import signal
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from nstcore.core.color_modes import finished_picture
from nstcore.core.encoders.layers import EVAL_HELD_OUT_LAYERS, EVAL_STYLE_LAYERS
from nstcore.errors import UserError
from nstcore.images import load_float, write_image
from nstcore.images.image import levels_of, quantize, shown_digest
from nstcore.jobs import prepare
from nstcore.jobs.background import BackgroundWriter
from nstcore.jobs.cell_inputs import KEPT, InputCache
from nstcore.jobs.heartbeat import scheduler_job
from nstcore.jobs.shutdown import ShutdownSignal
from nstcore.plan import paths, preparation
from nstcore.plan.keys import ALGORITHM, evaluation_key
from nstcore.plan.plan import Cell, Plan
from nstcore.store.cells import Store, Stored, link
from nstcore.store.claims import ClaimQueue, Claims, WaitCallback
from nstcore.store.files import write_json

if TYPE_CHECKING:
    from nstcore.core.metrics import StyleImage
    from nstcore.core.stylize import Task
    from nstcore.jobs.engine import Engine, Progress, StylizeRequest, StylizeResult

log = logging.getLogger(__name__)

SCHEMA = 1
"""Version of the record's layout."""

PENDING_WRITES = 2
"""Pictures that are written, or wait for it, while others are optimized."""

BACKGROUND_WRITE_MAX_PIXELS = 2**22
"""Larger pictures are written before the next is begun, whose memory is planned without them."""


@dataclass(frozen=True)
class Item:
    """A cell of the batch, its key, and what the store has of it."""

    cell: Cell
    key: str
    stored: Stored | None


@dataclass(frozen=True)
class BatchSummary:
    """What a batch ended with: how many cells were linked, computed, and failed.

    Those that another job made meanwhile are linked, too.
    """

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
    stop: ShutdownSignal | None = None,
) -> BatchSummary:
    """Make every cell of a batch: its picture and its record.

    A finished cell goes to the store at once and is linked to its place.  When the store has all of
    them and their measurements, torch is not even imported.

    Args:
        plan: the run.
        cells: of one batch.
        threads: how many the job was granted; None for all.
        progress: told about the descent.
        waits: told, from time to time, for whom the job waits: another that makes the same cells.
        stop: whether the work has to end early; None: as the environment's deadline tells.

    Returns:
        The outcome; cells that failed have a record that says why and a placeholder picture.

    Raises:
        Preempted: when the work had to end early; the next call goes on from the states saved.
    """
    store = Store(plan.config.store_dir)
    items = []
    for cell in cells:
        key = prepare.key_of(plan, cell)
        items.append(Item(cell, key, store.find(key)))
    # Two cells that cannot differ, such as two ids of one file, are one: the first stands for all.
    waiting: dict[str, list[Item]] = {}
    for item in items:
        if item.stored is None:
            waiting.setdefault(item.key, []).append(item)
    missing = list(waiting.values())
    present = sum(item.stored is not None for item in items)
    log.info("%d cells: %d in the store, %d to compute", len(items), present, len(items) - present)
    session = _Session(plan, store, threads, stop or ShutdownSignal.of())
    for item in items:
        if item.stored is not None:
            session.finish(item)
    computed = failed = 0
    if missing:
        computed, failed = session.compute(missing, progress, waits)
    return BatchSummary(len(items) - computed - failed, computed, failed)


def stylize_among(
    plans: Sequence[Plan],
    place: int,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Stored:
    """Make the picture of one plan in one batch with those of others, of which nothing is kept.

    How many are computed together decides the last bits of each.  It is not measured.

    Args:
        plans: each of a single cell, in the order of the batch.
        place: of the plan whose picture is kept.
        threads, progress: as in :func:`stylize_batch`.

    Raises:
        UserError: if it cannot be made.
    """
    sessions = [
        _Session(plan, Store(plan.config.store_dir), threads, ShutdownSignal.of()) for plan in plans
    ]
    own = sessions[place]
    items = []
    for session in sessions:
        session.share(own)
        [cell] = session.plan.cells()
        items.append(Item(cell, prepare.key_of(session.plan, cell), None))
    jobs = [session.job(item) for session, item in zip(sessions, items, strict=True)]
    # A batch has one encoder; each run's folder has a copy of its weights.
    jobs = [replace(job, weights=jobs[place].weights) for job in jobs]
    for index, made in own.engine.make(jobs, progress):
        if index != place:
            continue
        if made.result is None or made.result.status != "ok":
            raise UserError(f"no picture was made: {made.reason or 'failed'}")
        return own.keep(items[place], made)
    raise AssertionError("the engine yields every job")


class _Session:
    """The state of one batch: the plan, the store, and the engine once something needs it."""

    def __init__(self, plan: Plan, store: Store, threads: int | None, stop: ShutdownSignal) -> None:
        self.plan = plan
        self.store = store
        self.threads = threads
        self.stop = stop
        self._engine: Engine | None = None
        self.seen = InputCache(plan, store, lambda: self.engine)
        # What a judge knows of its content takes more memory than the content.
        self._judge = lru_cache(KEPT)(self._make_judge)
        self._regions = lru_cache(KEPT)(partial(prepare.content_regions, plan))

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            from nstcore.jobs.engine import Engine

            config = self.plan.config
            self._engine = Engine(
                config.device,
                self.threads,
                config.batch_size,
                tile=config.tile,
                precision=config.precision,
                deterministic=config.deterministic,
                checkpoint_seconds=config.checkpoint_seconds,
                stop=self.stop,
            )
        return self._engine

    def compute(
        self,
        missing: Sequence[Sequence[Item]],
        progress: Progress | None,
        waits: WaitCallback | None,
    ) -> tuple[int, int]:
        """Compute cells and finish each; returns how many were computed and how many failed.

        Cells that another job is making come last, and are only linked when it has finished them.

        Args:
            missing: cells with one key each; one computation serves all cells of an entry.
            progress: told about the descent.
            waits: told for whom nothing can be done.
        """
        jobs = [self.job(twins[0]) for twins in missing]
        computed = failed = 0
        engine = self.engine
        # What is finished but not yet in the store would be lost: a signal waits for that, too.
        with (
            self.stop.listening([signal.SIGTERM]),
            Claims(self.store, scheduler_job()) as claims,
            BackgroundWriter() as aside,
        ):
            index_of = {twins[0].key: index for index, twins in enumerate(missing)}
            turns = ClaimQueue(
                claims, lambda key: self._made_meanwhile(claims, missing[index_of[key]]), waits
            )

            def turn(indices: Sequence[int]) -> tuple[list[int], list[int]]:
                # What is written may be what another job waits for while this one waits for its.
                aside.follow_up(PENDING_WRITES)
                now, later = turns.ask([missing[i][0].key for i in indices])
                return [index_of[key] for key in now], [index_of[key] for key in later]

            for index, made in engine.make(jobs, progress, turn):
                twins = missing[index]
                if made.result is None or made.result.status != "ok":
                    for item in twins:
                        self._fail(item, made)
                    claims.release([twins[0].key])
                    failed += len(twins)
                    continue
                computed += len(twins)
                company = [missing[i][0] for i in made.together]
                height, width = made.result.image.shape[:2]
                aside.work(
                    self.saving(twins[0], made, company),
                    partial(self._settle, twins, claims),
                    behind=PENDING_WRITES if height * width <= BACKGROUND_WRITE_MAX_PIXELS else 0,
                )
        return computed, failed

    def _made_meanwhile(self, claims: Claims, twins: Sequence[Item]) -> bool:
        """Link what another job has made since this one began."""
        stored = self.store.find(twins[0].key)
        if stored is not None:
            self._settle(twins, claims, stored)
        return stored is not None

    def _settle(self, twins: Sequence[Item], claims: Claims, stored: Stored) -> None:
        """Finish the cells that a picture in the store stands for."""
        shutil.rmtree(self.store.checkpoints(twins[0].key), ignore_errors=True)
        claims.release([twins[0].key])
        for item in twins:
            self.finish(replace(item, stored=stored))
            log.info("finished %s", item.cell.image)

    def share(self, other: _Session) -> None:
        """Compute with another session's engine."""
        self._engine = other.engine

    def finish(self, item: Item) -> None:
        """Link a cell of the store to its place and write its record."""
        assert item.stored is not None
        destination = self._in_run(item.cell.image)
        link(item.stored.image, destination)
        stored = item.stored.record
        record = {
            **self._identity(item),
            "status": "ok",
            "reason": None,
            "settings": stored["settings"],
            "inputs": self._inputs(item.cell),
            "image": {**stored["image"], "file": destination.name},
            "output": self.plan.config.output.model_dump(),
            "optimization": stored["optimization"],
            **({"together": stored["together"]} if "together" in stored else {}),
            "metrics": self._metrics(item),
            "evaluation": self._evaluation(),
            "trace": stored["trace"],
            "versions": stored["versions"],
            "created": stored["created"],
        }
        write_json(paths.record_path(destination), record)

    def _identity(self, item: Item) -> dict[str, Any]:
        cell = item.cell
        return {
            "schema": SCHEMA,
            "algorithm": ALGORITHM,
            "key": item.key,
            "run": self.plan.config.run,
            "cell": {
                "style": cell.style,
                "content": cell.content,
                "setting": cell.point.name,
                "axes": cell.point.values,
                "seed": cell.point.seed,
            },
        }

    def _inputs(self, cell: Cell) -> dict[str, Any]:
        return prepare.inputs_of(self.plan, cell).to_json()

    def _company(self, item: Item, together: Sequence[Item]) -> dict[str, Any]:
        """For the record: what else was in a cell's batch, as far as it differs from the cell itself.

        The cell's own place is None.  Empty where it was alone.
        """
        if len(together) < 2:
            return {}
        settings, inputs = item.cell.settings.model_dump(), self._inputs(item.cell)
        company: list[dict[str, Any] | None] = []
        for other in together:
            if other.key == item.key:
                company.append(None)
                continue
            found = {
                "settings": _differing(settings, other.cell.settings.model_dump()),
                "inputs": _differing(inputs, self._inputs(other.cell)),
            }
            company.append({"seed": other.cell.point.seed, **{k: v for k, v in found.items() if v}})
        return {"together": company}

    def keep(self, item: Item, made: StylizeResult) -> Stored:
        """Put a finished picture into the store."""
        return self.saving(item, made)()

    def saving(
        self, item: Item, made: StylizeResult, together: Sequence[Item] = ()
    ) -> Callable[[], Stored]:
        """What puts a finished picture into the store: files only, fit for a thread of its own.

        Args:
            item: its cell.
            made: its result.
            together: everything in its batch, in order.
        """
        assert made.result is not None
        output = self.plan.config.output
        pixels, alpha = made.result.image, self.seen.alpha(item.cell)
        if item.cell.settings.color != "style":
            content = self.seen.prepared_content(item.cell)
            pixels = finished_picture(item.cell.settings, pixels, content)
        height, width = pixels.shape[:2]
        image: dict[str, Any] = {"width": width, "height": height, "bits": output.bits}
        if output.format != "jpg":
            # What a reader of the file will find; of a JPEG only its decoder knows.
            image["pixels"] = shown_digest(
                quantize(pixels, output.bits),
                None if alpha is None else levels_of(alpha, output.bits),
            )
        record = {
            "schema": SCHEMA,
            "algorithm": ALGORITHM,
            "key": item.key,
            "settings": item.cell.settings.model_dump(),
            "seed": item.cell.point.seed,
            "inputs": self._inputs(item.cell),
            "image": image,
            "output": output.model_dump(),
            "optimization": made.facts,
            **self._company(item, together),
            # A step that was taken back may stand in it with an infinite loss.
            "trace": _finite(made.result.trace),
            "versions": versions(),
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        embedded = {name: value for name, value in record.items() if name != "trace"}
        return lambda: self.store.put(
            item.key,
            f".{output.format}",
            lambda path: write_image(
                path,
                pixels,
                bits=output.bits,
                quality=output.quality,
                record=embedded,
                alpha=alpha,
            ),
            record,
        )

    def _fail(self, item: Item, made: StylizeResult) -> None:
        """Write the record and the placeholder of a cell that could not be made."""
        reason = made.reason or "failed"
        log.error("%s: %s", item.cell.image, reason)
        settings = item.cell.settings
        content = prepare.content_facts(self.plan, item.cell.content, settings)
        destination = self._in_run(item.cell.image)
        destination.parent.mkdir(parents=True, exist_ok=True)
        write_image(destination, _placeholder(content["width"], content["height"], reason))
        record = {
            **self._identity(item),
            "status": made.result.status if made.result is not None else "failed",
            "reason": reason,
            "settings": settings.model_dump(),
            "inputs": self._inputs(item.cell),
            "image": None,
            "optimization": made.facts,
            "metrics": {},
            "evaluation": self._evaluation(),
            "trace": {} if made.result is None else _finite(made.result.trace),
            "versions": versions(),
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        write_json(paths.record_path(destination), record)

    def _evaluation(self) -> dict[str, Any]:
        judge = preparation.evaluation_settings(self.plan)
        return {**prepare.encoder_facts(self.plan, judge), "size": judge.size}

    def _metrics(self, item: Item) -> dict[str, Any]:
        """The measurements of a finished cell, from the store or made now."""
        assert item.stored is not None
        judge = preparation.evaluation_settings(self.plan)
        cell = item.cell
        guide = prepare.content_guide_facts(self.plan, cell.content, judge)
        image = item.stored.record["image"]["sha256"]
        key = evaluation_key(
            image,
            prepare.content_facts(self.plan, cell.content, judge)["digest"],
            prepare.identity_of_style(self.plan, cell.style, cell.content),
            prepare.encoder_facts(self.plan, judge)["sha256"],
            judge.size,
            None if guide is None else guide["digest"],
        )
        known = self.store.read("metrics", key)
        if known is not None:
            metrics: dict[str, Any] = known["metrics"]
            return metrics
        from nstcore.jobs.engine import json_safe

        try:
            measure = self._judge(cell.style, cell.content)
            measured = json_safe(measure(load_float(item.stored.image)))
        except (ValueError, UserError) as error:
            # A panorama may be too narrow to be judged at the evaluation size; it is still finished.
            log.warning("%s cannot be measured: %s", cell.image, error)
            return {}
        self.store.write("metrics", key, {"image": image, "metrics": measured})
        return measured

    def _make_judge(self, style: str, content: str) -> Callable[[NDArray[np.float32]], Any]:
        settings = preparation.evaluation_settings(self.plan)
        size = paths.size_label(settings)
        target = paths.target_id(
            settings, (*EVAL_STYLE_LAYERS, *EVAL_HELD_OUT_LAYERS), settings.size
        )
        return self.engine.judge(
            settings,
            self.seen.scratch.local(prepare.encoder_file(self.plan, settings)),
            self.seen.load(paths.CONTENT, content=content, size=size),
            self._shown(style),
            self._in_run(paths.TARGET.format(style=style, target=target)),
            self._regions(content, size),
        )

    def job(self, item: Item) -> StylizeRequest:
        """What the engine needs for a cell."""
        from nstcore.jobs.engine import StylizeRequest

        cell = item.cell
        settings = cell.settings
        content = prepare.content_facts(self.plan, cell.content, settings)
        guide = prepare.content_guide_facts(self.plan, cell.content, settings)
        return StylizeRequest(
            label=cell.image,
            settings=settings,
            size=(content["width"], content["height"]),
            targets=self.seen.targets(cell),
            weights=self.seen.scratch.local(prepare.encoder_file(self.plan, settings)),
            read=partial(self._task, cell),
            checkpoint=self.store.checkpoints(item.key),
            region_names=() if guide is None else tuple(sorted(guide["regions"])),
        )

    def _task(self, cell: Cell) -> Task:
        """What a cell is made from, without its style; read in another thread than the caller's."""
        from nstcore.core.stylize import Task

        settings = cell.settings
        return Task(
            content=self.seen.content(cell),
            styles=(),
            settings=settings,
            seed=cell.point.seed,
            style_picture=self.seen.style_colors(cell) if settings.init == "style" else None,
            start=self.seen.start(cell),
            regions=self._regions(cell.content, paths.size_label(settings)),
        )

    def _shown(self, style: str) -> list[StyleImage]:
        """The pictures of a style with their weights and regions."""
        from nstcore.core.metrics import StyleImage

        source = self.plan.styles[style]
        return [
            StyleImage(
                self.seen.load(paths.STYLE, style=style, index=i),
                weight,
                source.regions[i] if source.regions else None,
                prepare.style_regions(self.plan, style, i),
            )
            for i, weight in enumerate(source.weights)
        ]

    def _in_run(self, path: str) -> Path:
        return self.seen.in_run(path)


def versions() -> dict[str, str]:
    """What computes here, for the record."""
    packages = ("nstcore", "torch", "numpy", "pillow")
    return {name: version(name) for name in packages} | {"python": platform.python_version()}


def _differing(own: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """What of ``own`` has another value in ``other``, None where that has none."""
    return {k: other.get(k) for k in {**own, **other} if own.get(k) != other.get(k)}


def _finite(trace: dict[str, list[float]]) -> dict[str, list[float | None]]:
    return {
        name: [value if np.isfinite(value) else None for value in values]
        for name, values in trace.items()
    }


def _placeholder(width: int, height: int, reason: str) -> NDArray[np.float32]:
    """A grey picture with the reason, in place of one that could not be made: (H, W, 3)."""
    image = Image.new("RGB", (width, height), (225, 222, 216))
    draw = ImageDraw.Draw(image)
    size = max(10, min(width, height) // 16)
    text = "\n".join(["not made", "", *textwrap.wrap(reason, max(12, int(width / size * 1.6)))])
    draw.multiline_text(
        (width / 2, height / 2),
        text,
        fill=(120, 40, 30),
        font=ImageFont.load_default(size),
        anchor="mm",
        align="center",
    )
    return np.asarray(image).astype(np.float32) / np.float32(255)
