"""What is written of a cell: its image, metrics and record, or a placeholder and the reason."""

from __future__ import annotations

import datetime
import logging
import platform
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from nstcore.config.run import Config
from nstcore.core.color_modes import restore_color
from nstcore.errors import UserError
from nstcore.images import load_float, write_image
from nstcore.images.image import levels_of, quantize, shown_digest
from nstcore.jobs.cell_inputs import CellInputs, RunInputs
from nstcore.jobs.input_cache import InputCache
from nstcore.jobs.targets import cell_targets
from nstcore.plan import paths
from nstcore.plan.keys import ALGORITHM
from nstcore.plan.plan import Cell
from nstcore.plan.record import SCHEMA, CellIdentity, CellRecord, ImageInfo, OptimizationInfo
from nstcore.resources.requests import IMAGES_KEPT
from nstcore.store.cells import Store, StoredCell

if TYPE_CHECKING:
    from nstcore.jobs.engine import Engine, StylizeResult

log = logging.getLogger(__name__)

PACKAGES = ("nstcore", "torch", "numpy", "pillow")
"""What computes here: their versions are in the record."""


@dataclass(frozen=True)
class BatchCell:
    """A cell of a batch, what it is made from, and its key."""

    cell: Cell
    inputs: CellInputs
    key: str

    @property
    def place(self) -> Path:
        """Where its image belongs."""
        return self.inputs.run / self.cell.image


class Evaluator:
    """Measures the finished images of a run, or finds their metrics in the store; in any thread.

    Attributes:
        size: of the longer side, in pixels, at which they are measured.
    """

    def __init__(
        self, inputs: RunInputs, images: InputCache, store: Store, engine: Callable[[], Engine]
    ) -> None:
        self.size = inputs.evaluation_settings.size
        self._inputs, self._images, self._store, self._engine = inputs, images, store, engine
        # What is known of a content to evaluate with takes more memory than the content.
        self._evaluation = lru_cache(IMAGES_KEPT)(self._new_evaluation)

    def info(self) -> dict[str, Any]:
        """The encoder that evaluates and the size, for the record."""
        settings = self._inputs.evaluation_settings
        return {**self._inputs.encoder(settings).to_json(), "size": settings.size}

    def metrics(self, cell: Cell, stored: StoredCell) -> dict[str, Any]:
        """The metrics of a finished cell; empty where it cannot be measured."""
        inputs = self._inputs.evaluation(cell.style, cell.content)
        checksum = stored.record["image"]["sha256"]
        key = inputs.evaluation_key(checksum)
        known = self._store.read("metrics", key)
        if known is not None:
            metrics: dict[str, Any] = known["metrics"]
            return metrics
        try:
            evaluate = self._evaluation(cell.style, cell.content)
            values = evaluate(load_float(stored.image))
            measured = {name: json_safe(value) for name, value in values.items()}
        except (ValueError, UserError) as error:
            # A panorama may be too narrow at the evaluation size; it is still finished.
            log.warning("%s cannot be measured: %s", cell.image, error)
            return {}
        self._store.write("metrics", key, {"image": checksum, "metrics": measured})
        return measured

    def _new_evaluation(
        self, style: str, content: str
    ) -> Callable[[NDArray[np.float32]], Mapping[str, float]]:
        from nstcore.core.image_similarity import StyleImage

        inputs, images = self._inputs.evaluation(style, content), self._images
        styles = [
            StyleImage(
                images.style(inputs, index),
                part.weight,
                part.region,
                images.style_regions(inputs, index),
            )
            for index, part in enumerate(inputs.style)
        ]
        targets = [self._inputs.plan.evaluation_target]
        [target] = cell_targets(inputs, images, self._store, self._engine, targets=targets)
        return self._engine().evaluation(
            inputs.settings,
            images.weights(inputs),
            images.content(inputs),
            styles,
            target,
            images.regions(inputs),
        )


def json_safe(value: float) -> float | None:
    """A number for JSON, which knows no NaN and no infinity."""
    return value if np.isfinite(value) else None


def store_image(
    store: Store,
    images: InputCache,
    cell: BatchCell,
    made: StylizeResult,
    members: Sequence[BatchCell] = (),
) -> Callable[[], StoredCell]:
    """What puts a finished image into the store: files only, fit for a thread of its own.

    Args:
        store: where to.
        images: give the content, whose transparency and colors the image may have.
        cell, made: the image's cell and the result.
        members: everything in its batch, in order.
    """
    assert made.result is not None
    inputs = cell.inputs
    output, settings = inputs.output, inputs.settings
    pixels, alpha = made.result.image, images.alpha(inputs)
    if settings.color != "style":
        pixels = restore_color(settings, pixels, images.content(inputs))
    height, width = pixels.shape[:2]
    image: dict[str, Any] = {"width": width, "height": height, "bits": output.bits}
    if output.format != "jpg":
        # What a reader of the file will find; of a JPEG only its decoder knows.
        image["pixels"] = shown_digest(
            quantize(pixels, output.bits),
            None if alpha is None else levels_of(alpha, output.bits),
        )
    record = _new_record(
        cell,
        made,
        seed=inputs.seed,
        image=ImageInfo(**image),
        output=output.model_dump(),
        **_batch_members(cell, members),
    )
    write = partial(
        write_image,
        rgb=pixels,
        bits=output.bits,
        quality=output.quality,
        record=record.to_json(exclude={"trace"}),
        alpha=alpha,
    )
    return lambda: store.put(cell.key, f".{output.format}", write, record.to_json())


def write_record(
    run: str,
    cell: BatchCell,
    stored: StoredCell,
    metrics: dict[str, Any],
    evaluation: dict[str, Any],
) -> None:
    """Write the record of a finished cell beside its image in the run."""
    values = {
        **stored.record,
        **_identity(run, cell.cell),
        "status": "ok",
        "reason": None,
        "inputs": cell.inputs.record(),
        "image": {**stored.record["image"], "file": cell.place.name},
        "output": cell.inputs.output.model_dump(),
        "metrics": metrics,
        "evaluation": evaluation,
    }
    values.pop("seed", None)  # of the store; in a run it is part of `cell`
    CellRecord.parse(values, stored.image).write(paths.record_path(cell.place))


def write_failure(
    run: str, cell: BatchCell, made: StylizeResult, evaluation: dict[str, Any]
) -> None:
    """Write the placeholder of a cell that could not be made, and the record that says why."""
    reason, content = made.reason or "failed", cell.inputs.content
    cell.place.parent.mkdir(parents=True, exist_ok=True)
    write_image(cell.place, placeholder(content.width or 1, content.height or 1, reason))
    record = _new_record(
        cell,
        made,
        **_identity(run, cell.cell),
        status="failed" if made.result is None else made.result.status,
        reason=reason,
        image=None,
        metrics={},
        evaluation=evaluation,
    )
    record.write(paths.record_path(cell.place))


def write_refusal(config: Config, cell: Cell, reason: str, evaluation: dict[str, Any]) -> None:
    """Write the placeholder and the record of a cell that has no key: its inputs cannot be used."""
    place = Path(config.run_dir, cell.image)
    place.parent.mkdir(parents=True, exist_ok=True)
    side = min(cell.settings.size, 1024)
    write_image(place, placeholder(side, side, reason))
    record = CellRecord(
        schema_version=SCHEMA,
        algorithm=ALGORITHM,
        key="",
        settings=cell.settings.model_dump(),
        status="failed",
        reason=reason,
        image=None,
        metrics={},
        evaluation=evaluation,
        created=_now(),
        **_identity(config.run, cell),
    )
    record.write(paths.record_path(place))


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _new_record(cell: BatchCell, made: StylizeResult, /, **more: Any) -> CellRecord:
    """The record of a cell that was just computed; ``more`` are its other fields."""
    trace = {} if made.result is None else made.result.trace
    return CellRecord(
        schema_version=SCHEMA,
        algorithm=ALGORITHM,
        key=cell.key,
        settings=cell.inputs.settings.model_dump(),
        inputs=cell.inputs.record(),
        optimization=OptimizationInfo(**made.metadata),
        # A step that was taken back may be in the trace with an infinite loss.
        trace={name: [json_safe(value) for value in values] for name, values in trace.items()},
        versions={
            **{name: version(name) for name in PACKAGES},
            "python": platform.python_version(),
        },
        created=_now(),
        **more,
    )


def _identity(run: str, cell: Cell) -> dict[str, Any]:
    return {
        "run": run,
        "cell": CellIdentity(
            style=cell.style,
            content=cell.content,
            setting=cell.point.name,
            axes=cell.point.values,
            seed=cell.point.seed,
        ),
    }


def _batch_members(cell: BatchCell, members: Sequence[BatchCell]) -> dict[str, Any]:
    """What else was in a cell's batch, as far as it differs; the cell's own place is None.

    Empty where it was alone.
    """
    if len(members) < 2:
        return {}
    settings, own = cell.inputs.settings.model_dump(), cell.inputs.record().to_json()
    found: list[dict[str, Any] | None] = []
    for other in members:
        if other.key == cell.key:
            found.append(None)
            continue
        inputs = other.inputs
        parts = {
            "settings": _differing(settings, inputs.settings.model_dump()),
            "inputs": _differing(own, inputs.record().to_json()),
        }
        found.append({"seed": inputs.seed, **{name: part for name, part in parts.items() if part}})
    return {"together": found}


def _differing(own: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """What of ``own`` has another value in ``other``, None where that has none."""
    return {k: other.get(k) for k in {**own, **other} if own.get(k) != other.get(k)}


def placeholder(width: int, height: int, reason: str) -> NDArray[np.float32]:
    """A grey image with the reason, in place of one that could not be made: ``(H, W, 3)``."""
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
