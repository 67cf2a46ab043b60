"""How far a student is from its teacher, as numbers to descend.

Teacher activations T (N, C, H, W) come with unit energy a layer; S (N, c, H, W) are the student's;
``A, b`` the layer's adapter.  All errors are shares: 0 is perfect, 1 is what a student that answers
0 would get.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nstcore.core.encoders import EVAL_CONTENT_LAYER, EVAL_STYLE_LAYERS, stage
from nstcore.core.encoders.compact import Adapter, CompactEncoder
from nstcore.core.losses.base import relative_error
from nstcore.core.moments import channel_mean, gram_matrix, lift_gram

MAIN_LAYERS = (*EVAL_STYLE_LAYERS, EVAL_CONTENT_LAYER)
"""Where losses are taken by default; these count fully, the others guide the way."""

LAYER_WEIGHTS: dict[str, float] = {
    "relu1_1": 0.5,
    "relu1_2": 0.1,
    "relu2_1": 1.0,
    "relu2_2": 0.2,
    "relu3_1": 1.0,
    "relu3_2": 0.2,
    "relu3_3": 0.1,
    "relu3_4": 0.2,
    "relu4_1": 1.5,
    "relu4_2": 1.5,
    "relu4_3": 0.5,
    "relu4_4": 0.5,
    "relu5_1": 2.0,
}
"""How much each layer counts.  Of images made with an early student, VGG-19 found the style of
``relu1_1`` to ``relu4_1`` nearly matched and that of ``relu5_1`` hardly, so the deep end, and what leads
there, counts most."""

_EPSILON = 1e-6


def unexplained_energy(lifted: Tensor, target: Tensor) -> Tensor:
    """Sum (lifted - target)^2 / sum target^2 over a whole batch: a scalar."""
    return (lifted - target).square().sum() / target.square().sum().clamp_min(_EPSILON)


def lifted_gram(adapter: Adapter, features: Tensor) -> Tensor:
    """Averaged Gram matrix in the teacher's space: (N, c, H, W) -> (N, C, C)."""
    return lift_gram(gram_matrix(features), channel_mean(features), adapter.weight, adapter.bias)


def moment_change_error(moment: Tensor, target: Tensor) -> Tensor:
    """Share of the *differences* between images' second moments left unexplained: a scalar.

    An optimizer descends differences of Gram matrices; what the student misses in every image
    alike does not disturb it.  Each image is compared with the next one of the batch.
    """
    change = target - target.roll(1, 0)
    error = (moment - moment.roll(1, 0) - change).square().sum((1, 2))
    energy = change.square().sum((1, 2)) + 0.05 * target.square().sum((1, 2))
    return (error / energy.clamp_min(_EPSILON)).mean()


def slope_error(lifted: Tensor, target: Tensor) -> Tensor:
    """How well the *change* between the first and second half of a batch is predicted: a scalar.

    Image i and image i + N/2 are neighbours.  The share of the teacher's change that the
    student's change leaves unexplained, for each pair, averaged over pairs.  A tenth of the
    activations' own energy is added below, so that a pair which hardly differs counts little.
    """
    half = target.shape[0] // 2
    change = target[half:] - target[:half]
    predicted = lifted[half:] - lifted[:half]
    error = (predicted - change).square().flatten(1).sum(1)
    energy = change.square().flatten(1).sum(1) + 0.1 * target[:half].square().flatten(1).sum(1)
    return (error / energy.clamp_min(_EPSILON)).mean()


@dataclass(frozen=True)
class Weights:
    """How much each part of the loss counts; chosen so that no part rules."""

    activation: float = 1.0
    moment: float = 0.25
    moment_change: float = 0.5
    slope: float = 0.5


@dataclass
class Targets:
    """What the teacher says about one batch, thinned so that it can be kept and used again.

    Attributes:
        samples: by layer, activations (N, C, h, w) on a regular subset of the pixels.
        moments: by style layer, second moments (N, C, C) over all pixels.
        offset: position of the subset, two numbers in [0, 1).
    """

    samples: dict[str, Tensor]
    moments: dict[str, Tensor]
    offset: tuple[float, float]


def thin(features: Tensor, layer: str, offset: tuple[float, float]) -> Tensor:
    """Every 8th, 4th, 2nd or single pixel of stage 1, 2, 3 or later; every other one for side layers.

    Neighbouring pixels of the early stages say nearly the same, and lifting all of them to the
    teacher's channels would cost more than the student's own step.
    """
    stride = {1: 8, 2: 4, 3: 2}.get(stage(layer), 1) * (1 if layer in MAIN_LAYERS else 2)
    row, column = (min(int(share * stride), stride - 1) for share in offset)
    return features[:, :, row::stride, column::stride]


@torch.no_grad()
def make_targets(
    features: Mapping[str, Tensor], scale: Mapping[str, float], offset: tuple[float, float]
) -> Targets:
    """Thin VGG-19's activations of all layers to half precision and bring them to unit energy.

    Args:
        features: as they come out of the network, in any precision.
        scale: root mean square of each layer.
        offset: of the thinned pixels, two numbers in [0, 1).
    """
    samples = {
        layer: (thin(value, layer, offset).float() / scale[layer]).half()
        for layer, value in features.items()
    }
    moments = {
        layer: (gram_matrix(features[layer].float()) / scale[layer] ** 2).half()
        for layer in EVAL_STYLE_LAYERS
    }
    return Targets(samples, moments, offset)


def matching_loss(
    student: CompactEncoder, found: Mapping[str, Tensor], targets: Targets, weights: Weights
) -> tuple[Tensor, dict[str, float]]:
    """The training loss of one batch of neighbours (see :func:`slope_error`).

    Args:
        student: whose adapters lead to the teacher's channels.
        found: student activations (N, c, H, W) by layer.
        targets: the teacher's answer.
        weights: of the parts.

    Returns:
        the loss, and its parts as means over the main layers for the log.
    """
    total = next(iter(found.values())).new_zeros((), dtype=torch.float32)
    parts = {"activation": 0.0, "slope": 0.0, "moment": 0.0, "moment_change": 0.0}
    for layer, sample in targets.samples.items():
        adapter = student.lift(layer)
        lifted = adapter(thin(found[layer], layer, targets.offset).float())
        target = sample.float()
        activation = unexplained_energy(lifted, target)
        total = total + LAYER_WEIGHTS[layer] * weights.activation * activation
        if layer not in MAIN_LAYERS:
            continue
        slope = slope_error(lifted, target)
        total = total + LAYER_WEIGHTS[layer] * weights.slope * slope
        parts["activation"] += float(activation.detach()) / len(MAIN_LAYERS)
        parts["slope"] += float(slope.detach()) / len(MAIN_LAYERS)
    for layer, second in targets.moments.items():
        gram = lifted_gram(student.lift(layer), found[layer].float())
        target = second.float()
        # The root would have no finite slope at 0; squared errors alone fade too early.
        absolute = (relative_error(gram, target) + 1e-4).sqrt().mean()
        change = moment_change_error(gram, target)
        both = weights.moment * absolute + weights.moment_change * change
        total = total + LAYER_WEIGHTS[layer] * both
        parts["moment"] += float(absolute.detach()) / len(EVAL_STYLE_LAYERS)
        parts["moment_change"] += float(change.detach()) / len(EVAL_STYLE_LAYERS)
    return total, parts
