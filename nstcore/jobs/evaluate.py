"""The metrics of finished images: from the store, or measured now."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nstcore.errors import UserError
from nstcore.images import load_float
from nstcore.jobs.cell_inputs import CellInputs, RunInputs
from nstcore.jobs.input_cache import InputCache
from nstcore.plan.plan import Cell
from nstcore.resources.requests import IMAGES_KEPT
from nstcore.store.cells import Store, StoredCell

if TYPE_CHECKING:
    from nstcore.core.image_similarity import StyleImage
    from nstcore.jobs.engine import Engine

log = logging.getLogger(__name__)

Evaluate = Callable[[NDArray[np.float32]], Mapping[str, float]]
"""Measures an image of one content and one style."""


class Evaluator:
    """Measures the finished images of a run.

    Args:
        inputs: of the run.
        images: give the pixels.
        store: has the metrics of images that were measured before, and keeps new ones.
        engine: measures.
    """

    def __init__(
        self, inputs: RunInputs, images: InputCache, store: Store, engine: Callable[[], Engine]
    ) -> None:
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
            measured = json_safe(evaluate(load_float(stored.image)))
        except (ValueError, UserError) as error:
            # A panorama may be too narrow at the evaluation size; it is still finished.
            log.warning("%s cannot be measured: %s", cell.image, error)
            return {}
        self._store.write("metrics", key, {"image": checksum, "metrics": measured})
        return measured

    def _new_evaluation(self, style: str, content: str) -> Evaluate:
        inputs = self._inputs.evaluation(style, content)
        return self._engine().evaluation(
            inputs.settings,
            self._images.weights(inputs),
            self._images.content(inputs),
            self._style_images(inputs),
            inputs.target_file(self._inputs.plan.evaluation_target),
            self._images.regions(inputs),
        )

    def _style_images(self, inputs: CellInputs) -> list[StyleImage]:
        from nstcore.core.image_similarity import StyleImage

        return [
            StyleImage(
                self._images.style(inputs, index),
                part.weight,
                part.region,
                self._images.style_regions(inputs, index),
            )
            for index, part in enumerate(inputs.style)
        ]


def json_safe(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Metrics for JSON, which knows no NaN and no infinity."""
    return {name: value if np.isfinite(value) else None for name, value in metrics.items()}
