"""Metrics of finished images: how each is computed, and what tables and pages have to know of it.

The weighted loss that was optimized cannot be compared across weights; these numbers can: they are
unweighted, at one size, under one encoder.

To add a metric, write a function of an `EvaluatedImage` and register it with `@metric`.  Tables, the
report, comparisons, reserved names and the documentation follow `METRICS`.  Importing this module loads
neither torch nor numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from nstcore.core.batched import to_tensor
from nstcore.core.encoders import ENCODERS, EncoderSpec
from nstcore.core.lazy import lazy_import

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from nstcore.core import image_similarity, moments
    from nstcore.core.encoders.base import Encoder
    from nstcore.core.guidance import Guide
    from nstcore.core.image_similarity import StyleImage
    from nstcore.core.losses import base, total_variation
    from nstcore.core.moments import Moments
    from nstcore.images.masks import Regions

    Floats = NDArray[np.float32]
else:
    np, torch = lazy_import("numpy"), lazy_import("torch")
    image_similarity = lazy_import("nstcore.core.image_similarity")
    moments = lazy_import("nstcore.core.moments")
    base = lazy_import("nstcore.core.losses.base")
    total_variation = lazy_import("nstcore.core.losses.total_variation")

Compute = Callable[["EvaluatedImage"], float]
Better = Literal["less", "more"] | None

LAYER_PREFIX = "style_loss_"
"""``style_loss_<layer>``: what the names of one layer's style losses begin with."""


# --- The registry -----------------------------


@dataclass(frozen=True)
class Metric:
    """One metric of a cell.

    Attributes:
        name: its key in records and its column in tables.
        label: what people see.
        formula: how it is computed, in TeX or in words.
        better: whether less or more of it is better; None where neither is.
        unit: of its values; empty for a plain number.
        compute: computes it for a finished image; None for what the optimization has recorded.
        recorded_as: its key in the record's ``optimization`` where ``compute`` is None.
        whole: whether its values are whole numbers.
        always: whether tables have its column even where no record has a value.
        layer: the layer that it is about; encoders without it do not have the metric.
    """

    name: str
    label: str
    formula: str
    better: Better = None
    unit: str = ""
    compute: Compute | None = None
    recorded_as: str = ""
    whole: bool = False
    always: bool = False
    layer: str | None = None

    @property
    def direction(self) -> int:
        """Which end is the better one: -1 the low, 1 the high, 0 neither."""
        return {"less": -1, "more": 1, None: 0}[self.better]


METRICS: dict[str, Metric] = {}
"""Every metric by its name, in the order of records."""


def metric_named(name: str) -> Metric:
    """The metric of a column, also of one that only other versions of the program measure."""
    if name in METRICS:
        return METRICS[name]
    if name.startswith(LAYER_PREFIX):
        return _layer_metric(name.removeprefix(LAYER_PREFIX))
    return Metric(name, name.replace("_", " "), "")


def is_metric_name(name: str) -> bool:
    """Whether tables have, or may get, a column of this name."""
    return name in METRICS or name.startswith(LAYER_PREFIX)


def metric(
    name: str, label: str, formula: str, better: Better = None, **options: Any
) -> Callable[[Compute], Compute]:
    """Register the function that computes a metric; for the arguments see `Metric`."""

    def register(compute: Compute) -> Compute:
        METRICS[name] = Metric(name, label, formula, better, compute=compute, **options)
        return compute

    return register


# --- What an image is compared with -----------------------------


@dataclass(frozen=True)
class MetricTargets:
    """What the images of one content and one style are compared with, at the evaluation size.

    Attributes:
        content: (H, W, 3) in [0, 1].
        content_features: (1, C, h, w) at the encoder's layer for it.
        style: the images of the style.
        style_moments: layer -> moments at the style and the held-out layers; with a guide, by region.
        guides: layer -> where the content's regions lie; None to compare the image as a whole.
        regions: of the content, at its size.
    """

    content: Floats
    content_features: Tensor
    style: tuple[StyleImage, ...]
    style_moments: Mapping[str, Moments]
    guides: Mapping[str, Guide] | None = None
    regions: Regions | None = None

    @classmethod
    def of(
        cls,
        encoder: Encoder,
        content: Floats,
        styles: Sequence[StyleImage],
        style_moments: Mapping[str, Moments] | None = None,
        guides: Mapping[str, Guide] | None = None,
        regions: Regions | None = None,
    ) -> MetricTargets:
        """Compute the content's activations, and the moments of a single style image if not given."""
        spec, device = encoder.spec, encoder.mean.device
        with torch.no_grad():
            if style_moments is None:
                [style] = styles
                image = to_tensor(style.image, device)
                style_moments = moments.style_moments(encoder, image, spec.evaluation_moments)
            layer = spec.evaluation_content
            features = encoder(to_tensor(content, device), [layer])[layer]
        return cls(content, features, tuple(styles), style_moments, guides, regions)


@dataclass
class EvaluatedImage:
    """One image under evaluation; what several metrics need is computed once, when first asked for.

    Attributes:
        encoder: on the device of the targets' tensors.
        image: (H, W, 3) in [0, 1], of the size of the targets' content.
        targets: what it is compared with.
    """

    encoder: Encoder
    image: Floats
    targets: MetricTargets

    @cached_property
    def tensor(self) -> Tensor:
        """The image as (1, 3, H, W)."""
        return to_tensor(self.image, self.targets.content_features.device)

    @cached_property
    def content_features(self) -> Tensor:
        """(1, C, h, w) at the encoder's layer for it."""
        layer = self.encoder.spec.evaluation_content
        return self.encoder(self.tensor, [layer])[layer]

    @cached_property
    def style_errors(self) -> dict[str, float]:
        """Layer -> relative error of its Gram matrix, at the style and the held-out layers.

        With a guide it is the mean over the regions, weighted by their areas.
        """
        targets, found, device = self.targets, {}, self.tensor.device
        layers = self.encoder.spec.evaluation_moments
        own = moments.style_moments(self.encoder, self.tensor, layers, targets.guides)
        for layer, value in own.items():
            style = targets.style_moments[layer]
            target = moments.Moments(style.gram.to(device), style.mean.to(device))
            guide = None if targets.guides is None else targets.guides[layer]
            found[layer] = _style_error(self.encoder, layer, value, target, guide)
        return found


def evaluate(encoder: Encoder, image: Floats, targets: MetricTargets) -> dict[str, float]:
    """Every metric that is computed from a finished image; for the arguments see `EvaluatedImage`.

    Returns:
        Name -> value, in the order of `METRICS`; NaN where there is none.
    """
    evaluation, layers = EvaluatedImage(encoder, image, targets), encoder.spec.evaluation_style
    with torch.no_grad():
        return {
            name: one.compute(evaluation)
            for name, one in METRICS.items()
            if one.compute and (one.layer is None or one.layer in layers)
        }


# --- The metrics -----------------------------


def _of_each_encoder(describe: Callable[[EncoderSpec], str]) -> str:
    return " or ".join(dict.fromkeys(map(describe, ENCODERS.values())))


@metric(
    "content_loss",
    "content loss",
    "‖F − P‖² / ‖P‖² of the activations F of the image and P of its content at "
    + _of_each_encoder(lambda spec: spec.evaluation_content),
    "less",
    always=True,
)
def _content_loss(evaluation: EvaluatedImage) -> float:
    # An encoder with adapters compares in VGG-19's space, so that its numbers mean the same.
    pair = (evaluation.content_features, evaluation.targets.content_features)
    layer = evaluation.encoder.spec.evaluation_content
    lifted = [moments.lift_features(evaluation.encoder, layer, one) for one in pair]
    return float(base.relative_error(*lifted))


@metric(
    "style_loss",
    "style loss",
    "mean of the style losses of "
    + _of_each_encoder(lambda spec: ", ".join(spec.evaluation_style)),
    "less",
    always=True,
)
def _style_loss(evaluation: EvaluatedImage) -> float:
    return _mean_style_error(evaluation, evaluation.encoder.spec.evaluation_style)


def _layer_metric(layer: str) -> Metric:
    """The style loss of one layer."""
    return Metric(
        LAYER_PREFIX + layer,
        f"style loss {layer}",
        f"‖G − A‖² / ‖A‖² of the Gram matrices G of the image and A of the style at {layer}",
        "less",
        compute=lambda evaluation: evaluation.style_errors[layer],
        layer=layer,
    )


for _spec in ENCODERS.values():
    METRICS |= {one.name: one for one in map(_layer_metric, _spec.evaluation_style)}


@metric(
    f"{LAYER_PREFIX}held_out",
    "style loss held out",
    "mean of the style losses of "
    + _of_each_encoder(lambda spec: ", ".join(spec.evaluation_held_out))
    + ", which the default settings do not optimize",
    "less",
)
def _style_loss_held_out(evaluation: EvaluatedImage) -> float:
    return _mean_style_error(evaluation, evaluation.encoder.spec.evaluation_held_out)


@metric("tv", "total variation", "mean squared difference of neighbouring pixels", always=True)
def _tv(evaluation: EvaluatedImage) -> float:
    return float(total_variation.total_variation(evaluation.tensor))


@metric(
    "ssim",
    "SSIM",
    "structural similarity of the luma to the content's (Wang et al. 2004), at most 1",
    "more",
    always=True,
)
def _ssim(evaluation: EvaluatedImage) -> float:
    return image_similarity.luma_ssim(evaluation.image, evaluation.targets.content)


@metric(
    "color_distance",
    "color distance",
    "mean Wasserstein-1 distance of the L*, a* and b* distributions to the style's",
    "less",
    unit="ΔE*ab",
    always=True,
)
def _color_distance(evaluation: EvaluatedImage) -> float:
    targets = evaluation.targets
    return image_similarity.style_color_distance(evaluation.image, targets.style, targets.regions)


@metric("clipped", "clipped", "share of channel values that are exactly 0 or 1")
def _clipped(evaluation: EvaluatedImage) -> float:
    return float(((evaluation.image <= 0) | (evaluation.image >= 1)).mean())


for _metric in (
    Metric(
        "iterations_done",
        "iterations done",
        "iterations of the optimizer, over all levels of the pyramid",
        recorded_as="iterations",
        whole=True,
    ),
    Metric(
        "seconds",
        "seconds",
        "time of the optimization, divided by the cells that shared it",
        "less",
        unit="s",
        recorded_as="seconds",
    ),
    Metric(
        "peak_memory_mb",
        "peak memory, MB",
        "most memory that the cell's job took",
        "less",
        unit="MB",
        recorded_as="peak_memory_mb",
    ),
):
    METRICS[_metric.name] = _metric


# --- The computations -----------------------------


def _mean_style_error(evaluation: EvaluatedImage, layers: tuple[str, ...]) -> float:
    errors = [evaluation.style_errors[layer] for layer in layers]
    return sum(errors) / len(errors) if errors else math.nan


def _style_error(
    encoder: Encoder, layer: str, value: Moments, target: Moments, guide: Guide | None
) -> float:
    """Relative error of a layer's Gram matrices; NaN where no region covers a position of the layer."""
    if guide is None:
        lifted = [moments.lift_moments(encoder, layer, one) for one in (value, target)]
        return float(base.relative_error(*lifted))
    shares = guide.shares[0].tolist()
    total = sum(
        share * _style_error(encoder, layer, value.region(r), target.region(r), None)
        for r, share in enumerate(shares)
        if share > 0
    )
    return total / sum(shares) if sum(shares) > 0 else math.nan
