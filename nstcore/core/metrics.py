r"""Metrics of finished images: how each is computed, and what tables and pages have to know of it.

The weighted loss that was optimized cannot be compared across weights; these numbers can: they are
unweighted, at one size, under one encoder.

To add a metric, write a function of an `Evaluation` and register it with `@metric`.  Tables, the
report, comparisons and the configuration's reserved names follow `METRICS`.  Importing this module
loads neither torch nor numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from nstcore.core.encoders.layers import EVAL_CONTENT_LAYER, EVAL_HELD_OUT_LAYERS, EVAL_STYLE_LAYERS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from nstcore.core.encoders.vgg import VGG
    from nstcore.core.guidance import Guide
    from nstcore.core.moments import Moments
    from nstcore.images.masks import Regions

    Floats = NDArray[np.float32]

LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Rec. 709 weights, here of the gamma-encoded channels (luma)."""

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
    """

    name: str
    label: str
    formula: str
    better: Literal["less", "more"] | None = None
    unit: str = ""
    compute: Callable[[Evaluation], float] | None = None
    recorded_as: str = ""
    whole: bool = False
    always: bool = False

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
    """Whether a column of tables has this name or may get it."""
    return name in METRICS or name.startswith(LAYER_PREFIX)


def metric(
    name: str,
    label: str,
    formula: str,
    better: Literal["less", "more"] | None = None,
    *,
    unit: str = "",
    always: bool = False,
) -> Callable[[Callable[[Evaluation], float]], Callable[[Evaluation], float]]:
    """Register a function as a metric; the arguments are those of `Metric`."""

    def register(compute: Callable[[Evaluation], float]) -> Callable[[Evaluation], float]:
        METRICS[name] = Metric(name, label, formula, better, unit, compute, always=always)
        return compute

    return register


# --- What an image is compared with -----------------------------


@dataclass(frozen=True)
class StyleImage:
    """One image of a style.

    Attributes:
        image: (H, W, 3) in [0, 1].
        weight: its share of the style, or of one region's style.
        region: the region that takes its style; None for all.
        regions: its own, of which a content's regions take those of the same name.
    """

    image: Floats
    weight: float
    region: str | None = None
    regions: Regions | None = None

    def resized(self, size: int) -> StyleImage:
        """The same with another long side."""
        from nstcore.images import fit_size, resize

        height, width = self.image.shape[:2]
        return replace(self, image=resize(self.image, fit_size((width, height), size)))

    def mask(self, region: str) -> Floats | None:
        """How much of each pixel is in a region, (H, W) in [0, 1]; None without regions."""
        if self.regions is None:
            return None
        height, width = self.image.shape[:2]
        mask: Floats = self.regions.scaled((width, height))[self.regions.names.index(region)]
        return mask


@dataclass(frozen=True)
class MetricTargets:
    """What the images of one content and one style are compared with, at the evaluation size.

    Attributes:
        content: (H, W, 3) in [0, 1].
        content_features: (1, C, h, w) at ``EVAL_CONTENT_LAYER``.
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


class Evaluation:
    """One image under evaluation; what several metrics need is computed once, when first asked for.

    Args:
        encoder: on the device of the targets' tensors.
        image: (H, W, 3) in [0, 1], of the size of the targets' content.
        targets: what it is compared with.
    """

    def __init__(self, encoder: VGG, image: Floats, targets: MetricTargets) -> None:
        self.encoder = encoder
        self.image = image
        self.targets = targets

    @cached_property
    def tensor(self) -> Tensor:
        """The image as (1, 3, H, W)."""
        import numpy as np
        import torch

        tensor = torch.from_numpy(np.ascontiguousarray(self.image)).permute(2, 0, 1).unsqueeze(0)
        return tensor.to(self.targets.content_features.device)

    @cached_property
    def luma(self) -> NDArray[np.float64]:
        """(H, W)."""
        return luma(self.image)

    @cached_property
    def content_features(self) -> Tensor:
        """(1, C, h, w) at ``EVAL_CONTENT_LAYER``."""
        return self.encoder(self.tensor, [EVAL_CONTENT_LAYER])[EVAL_CONTENT_LAYER]

    @cached_property
    def style_errors(self) -> dict[str, float]:
        """Layer -> relative error of its Gram matrix, at the style and the held-out layers.

        With a guide it is the mean over the regions, weighted by their areas.
        """
        from nstcore.core.moments import Moments, style_moments

        targets, found = self.targets, {}
        layers = [*EVAL_STYLE_LAYERS, *EVAL_HELD_OUT_LAYERS]
        moments = style_moments(self.encoder, self.tensor, layers, targets.guides)
        for layer, value in moments.items():
            style = targets.style_moments[layer]
            target = Moments(style.gram.to(self.tensor.device), style.mean.to(self.tensor.device))
            guide = None if targets.guides is None else targets.guides[layer]
            found[layer] = _style_error(self.encoder, layer, value, target, guide)
        return found


def evaluate(encoder: VGG, image: Floats, targets: MetricTargets) -> dict[str, float]:
    """Every metric of `METRICS` that is computed from a finished image.

    Args:
        encoder: on the device of the targets' tensors.
        image: (H, W, 3) in [0, 1], of the size of the targets' content.
        targets: what it is compared with.

    Returns:
        Name -> value, in the order of `METRICS`; NaN where there is none.
    """
    import torch

    evaluation = Evaluation(encoder, image, targets)
    with torch.no_grad():
        return {
            name: one.compute(evaluation)
            for name, one in METRICS.items()
            if one.compute is not None
        }


# --- The metrics -----------------------------


@metric(
    "content_loss",
    "content loss",
    rf"‖F − P‖² / ‖P‖² of the activations F of the image and P of its content at {EVAL_CONTENT_LAYER}",
    "less",
    always=True,
)
def _content_loss(evaluation: Evaluation) -> float:
    from nstcore.core.losses.base import relative_error
    from nstcore.core.moments import lift_features

    # An encoder with adapters compares in VGG-19's space, so that its numbers mean the same.
    pair = (evaluation.content_features, evaluation.targets.content_features)
    lifted = [lift_features(evaluation.encoder, EVAL_CONTENT_LAYER, one) for one in pair]
    return float(relative_error(*lifted))


@metric(
    "style_loss",
    "style loss",
    f"mean of the style losses of {', '.join(EVAL_STYLE_LAYERS)}",
    "less",
    always=True,
)
def _style_loss(evaluation: Evaluation) -> float:
    return _mean_style_error(evaluation, EVAL_STYLE_LAYERS)


def _layer_metric(layer: str) -> Metric:
    """The style loss of one layer."""
    return Metric(
        LAYER_PREFIX + layer,
        f"style loss {layer}",
        f"‖G − A‖² / ‖A‖² of the Gram matrices G of the image and A of the style at {layer}",
        "less",
        compute=lambda evaluation: evaluation.style_errors[layer],
    )


METRICS |= {one.name: one for one in map(_layer_metric, EVAL_STYLE_LAYERS)}


@metric(
    f"{LAYER_PREFIX}held_out",
    "style loss held out",
    f"mean of the style losses of {', '.join(EVAL_HELD_OUT_LAYERS)}, which the default settings do not "
    "optimize",
    "less",
)
def _style_loss_held_out(evaluation: Evaluation) -> float:
    return _mean_style_error(evaluation, EVAL_HELD_OUT_LAYERS)


@metric(
    "tv",
    "total variation",
    "mean squared difference of neighbouring pixels",
    always=True,
)
def _tv(evaluation: Evaluation) -> float:
    from nstcore.core.losses.total_variation import total_variation

    return float(total_variation(evaluation.tensor))


@metric(
    "ssim",
    "SSIM",
    "structural similarity of the luma to the content's (Wang et al. 2004), at most 1",
    "more",
    always=True,
)
def _ssim(evaluation: Evaluation) -> float:
    return _structural_similarity(evaluation.luma, luma(evaluation.targets.content))


@metric(
    "color_distance",
    "color distance",
    "mean Wasserstein-1 distance of the L*, a* and b* distributions to the style's",
    "less",
    unit="ΔE*ab",
    always=True,
)
def _color_distance(evaluation: Evaluation) -> float:
    """:func:`color_distance` to a style of several images, in several regions."""
    image, targets = evaluation.image, evaluation.targets
    if targets.regions is None:
        return sum(style.weight * color_distance(image, style.image) for style in targets.style)
    height, width = image.shape[:2]
    masks = targets.regions.scaled((width, height))
    total = area = 0.0
    for region, mask in zip(targets.regions.names, masks, strict=True):
        for style in targets.style:
            own = style.mask(region) if style.region in (None, region) else None
            counts = style.region in (None, region) and (own is None or own.any())
            if counts and mask.any():
                part = float(mask.sum()) * style.weight
                total += part * color_distance(image, style.image, mask, own)
                area += part
    return total / area if area > 0 else math.nan


@metric("clipped", "clipped", "share of channel values that are exactly 0 or 1")
def _clipped(evaluation: Evaluation) -> float:
    return float(((evaluation.image <= 0) | (evaluation.image >= 1)).mean())


METRICS |= {
    one.name: one
    for one in (
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
            "s",
            recorded_as="seconds",
        ),
        Metric(
            "peak_memory_mb",
            "peak memory, MB",
            "most memory that the cell's job took",
            "less",
            "MB",
            recorded_as="peak_memory_mb",
        ),
    )
}


# --- The computations -----------------------------


def _mean_style_error(evaluation: Evaluation, layers: tuple[str, ...]) -> float:
    return sum(evaluation.style_errors[layer] for layer in layers) / len(layers)


def _style_error(
    encoder: VGG, layer: str, value: Moments, target: Moments, guide: Guide | None
) -> float:
    """Relative error of a layer's Gram matrices; NaN where no region covers a position of the layer."""
    from nstcore.core.losses.base import relative_error
    from nstcore.core.moments import lift_moments

    if guide is None:
        lifted = [lift_moments(encoder, layer, moments) for moments in (value, target)]
        return float(relative_error(*lifted))
    shares = guide.shares[0].tolist()
    total = sum(
        share * _style_error(encoder, layer, value.region(r), target.region(r), None)
        for r, share in enumerate(shares)
        if share > 0
    )
    return total / sum(shares) if sum(shares) > 0 else math.nan


def luma(image: Floats) -> NDArray[np.float64]:
    """(H, W, 3) -> (H, W): the weighted sum of the gamma-encoded channels."""
    import numpy as np

    weights = np.asarray(LUMINANCE, dtype=np.float64)
    found: NDArray[np.float64] = image @ weights
    return found


def luma_ssim(image: Floats, other: Floats) -> float:
    """Structural similarity of two images' luma, with the Gaussian window of Wang et al. 2004.

    Args:
        image, other: (H, W, 3) in [0, 1], of one size.

    Returns:
        At most 1, which only equal images reach.
    """
    return _structural_similarity(luma(image), luma(other))


def _structural_similarity(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    from skimage.metrics import structural_similarity

    # The window reaches 5 px to each side; near a border that it would cross the map is left out.
    # An image narrower than the window has no inside: there the pixels are mirrored instead.
    narrowest = min(a.shape)
    return float(
        structural_similarity(
            a,
            b,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            win_size=min(11, narrowest - 1 + narrowest % 2),
            use_sample_covariance=False,
        )
    )


def color_distance(
    image: Floats, style: Floats, mask: Floats | None = None, style_mask: Floats | None = None
) -> float:
    """Distance between the colors of two images of any size, in units of CIE Lab (ΔE*ab).

    The mean of the Wasserstein-1 distances of the L*, a* and b* distributions: how far, on average, a
    pixel's coordinate has to move.  0 for equal distributions of each coordinate.

    Args:
        image, style: (H, W, 3) in [0, 1].
        mask, style_mask: (H, W), how much each pixel counts; None for all alike.
    """
    import numpy as np
    from scipy.stats import wasserstein_distance
    from skimage.color import rgb2lab

    a, b = rgb2lab(image).reshape(-1, 3), rgb2lab(style).reshape(-1, 3)
    weights = [None if m is None else m.ravel() for m in (mask, style_mask)]
    distances = [wasserstein_distance(a[:, i], b[:, i], *weights) for i in range(3)]
    return float(np.mean(distances))
