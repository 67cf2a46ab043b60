"""A start for the student in closed form: layer after layer, by least squares.

Random weights spend thousands of steps on what linear algebra gives in a minute.  For every layer

1. choose the c of VGG-19's C channels that linearly predict all the others best (greedy forward
   selection on their covariance);
2. fit a 3 x 3 convolution from the student's own previous layer to those channels' values *before*
   the rectifier, by ridge regression; where both target and prediction are negative there is no
   error, since the rectifier hides it, so the fit is repeated a few times with such targets
   replaced (compare He, Zhang & Sun, *Channel Pruning for Accelerating Very Deep Neural
   Networks*, 2017, which reconstructs activations layer by layer);
3. give each channel unit energy.

Adapters follow by ridge regression from the student's activations to the teacher's.  Only
activations on images enter, no weight is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nstcore.core.encoders import LAYERS, channels, stage
from nstcore.core.encoders.compact import CompactEncoder
from nstcore.core.encoders.vgg import pool
from tools.distill.teacher import Teacher

_POSITIONS = 60_000  # pixels that each layer's regression sees
_RIDGE = 1e-4  # share of the mean diagonal added to the normal equations


def select_channels(second_moment: Tensor, count: int) -> Tensor:
    """Indices of the ``count`` channels that predict all channels best in the least-squares sense.

    Args:
        second_moment: (C, C), the mean of f f^T (uncentred or centred).
        count: how many to choose, at most C.

    Returns:
        (count,) int64 in the order chosen.
    """
    residual = second_moment.double().clone()
    floor = 1e-9 * residual.diagonal().mean().clamp_min(1e-30)
    chosen: list[int] = []
    for _ in range(count):
        diagonal = residual.diagonal()
        # Choosing channel j takes sum_i residual_ij^2 / residual_jj off the unexplained energy.
        gain = residual.square().sum(0) / diagonal.clamp_min(floor)
        gain[diagonal <= floor] = -1.0
        if chosen:
            gain[chosen] = -2.0
        best = int(gain.argmax())
        chosen.append(best)
        column = residual[:, best].clone()
        residual -= torch.outer(column, column) / diagonal[best].clamp_min(floor)
    return torch.tensor(chosen)


def ridge(second: Tensor, cross: Tensor, strength: float = _RIDGE) -> Tensor:
    """Solve ``(second + strength * mean diagonal) X = cross`` in float64.

    Args:
        second: (k, k) moments of the predictors, the constant among them.
        cross: (k, m) moments of predictors with targets.
        strength: share of the mean diagonal that is added.
    """
    second = second.double()
    eye = torch.eye(second.shape[0], dtype=torch.float64, device=second.device)
    factor = torch.linalg.cholesky(second + strength * second.diagonal().mean() * eye)
    return torch.cholesky_solve(cross.double(), factor)


def rectified_regression(predictors: Tensor, targets: Tensor, rounds: int = 4) -> Tensor:
    """Weights W with relu(predictors @ W) close to relu(targets).

    Args:
        predictors: (P, k), the last column 1.
        targets: (P, m) values before the rectifier.
        rounds: repetitions with hidden targets replaced by the prediction.

    Returns:
        (k, m).
    """
    second = predictors.T @ predictors / len(predictors)
    weights = ridge(second, predictors.T @ targets / len(predictors)).to(targets.dtype)
    for _ in range(rounds):
        predicted = predictors @ weights
        visible = torch.where(targets > 0, targets, predicted.clamp_max(0))
        weights = ridge(second, predictors.T @ visible / len(predictors)).to(targets.dtype)
    return weights


@torch.no_grad()
def measure_teacher(teacher: Teacher, batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """Set the teacher's scales to unit energy; return each layer's second moment (C, C)."""
    totals: dict[str, Tensor] = {}
    count = 0
    for images in batches:
        count += 1
        for layer, features in teacher.network(images, teacher.network.layers).items():
            flat = features.transpose(0, 1).flatten(1)
            moment = flat @ flat.T / flat.shape[1]
            totals[layer] = totals[layer] + moment if layer in totals else moment
    second = {layer: total / count for layer, total in totals.items()}
    for layer, moment in second.items():
        teacher.scale[layer] = float(moment.diagonal().mean().sqrt())
    return second


@torch.no_grad()
def fit_layers(
    student: CompactEncoder,
    teacher: Teacher,
    second: dict[str, Tensor],
    batches: Sequence[Tensor],
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Fit the student's convolutions one after the other (steps 1 to 3 above).

    Args:
        student: changed in place.
        teacher: measured (see :func:`measure_teacher`).
        second: the teacher's second moments.
        batches: images (N, 3, H, W) to fit on; all are kept in memory, with one layer's features.
        seed: chooses the pixels that each regression sees.
        progress: told about each layer.
    """
    chosen = {
        layer: select_channels(second[layer], channels(layer, student.widths))
        for layer in student.layers
    }
    wanted = [_before_rectifier(teacher, images, chosen) for images in batches]
    generator = torch.Generator().manual_seed(seed)
    current = [(images - student.mean) / student.std for images in batches]
    previous_stage = 1
    for layer in student.layers:
        if stage(layer) != previous_stage:
            current = [pool(x, "max") for x in current]
            previous_stage = stage(layer)
        convolution = student.convolutions[layer]
        assert isinstance(convolution, nn.Conv2d)
        predictors, targets = _sample(current, [w[layer] for w in wanted], generator)
        weights = rectified_regression(predictors, targets)
        energy = (predictors @ weights).clamp_min(0).square().mean(0).sqrt().clamp_min(1e-4)
        weights = weights / energy
        incoming = convolution.weight.shape[1]
        convolution.weight.copy_(weights[:-1].T.reshape(-1, incoming, 3, 3))
        _bias(convolution).copy_(weights[-1])
        current = [F.relu(convolution(x)) for x in current]
        for w in wanted:
            del w[layer]
        if progress is not None:
            progress(layer)


def _bias(convolution: nn.Conv2d) -> Tensor:
    if convolution.bias is None:
        raise ValueError("the student's convolutions have biases")
    return convolution.bias


def _before_rectifier(
    teacher: Teacher, images: Tensor, chosen: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Scaled values of chosen teacher channels before the rectifier, half precision."""
    found: dict[str, Tensor] = {}

    def keep(layer: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            # A copy: the rectifier works in place.
            values = output[:, chosen[layer].to(output.device)] / teacher.scale[layer]
            found[layer] = values.clamp(-1e4, 1e4).half()

        return hook

    handles = [
        teacher.network.convolutions[layer].register_forward_hook(keep(layer)) for layer in chosen
    ]
    try:
        teacher.network(images, [max(chosen, key=LAYERS.index)])
    finally:
        for handle in handles:
            handle.remove()
    return found


def _sample(
    inputs: list[Tensor], outputs: list[Tensor], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Random pixels: 3 x 3 neighbourhoods with a constant (P, 9 c + 1), targets (P, m)."""
    predictors, targets = [], []
    images = sum(x.shape[0] for x in inputs)
    for x, y in zip(inputs, outputs, strict=True):
        pixels = x.shape[-2] * x.shape[-1]
        count = min(pixels, max(1, _POSITIONS // images))
        where = torch.randperm(pixels, generator=generator)[:count].to(x.device)
        patches = F.unfold(x.contiguous(), 3, padding=1)[:, :, where]  # (N, 9 c, count)
        predictors.append(patches.transpose(1, 2).flatten(0, 1))
        targets.append(y.float().flatten(2)[:, :, where].transpose(1, 2).flatten(0, 1))
    rows = torch.cat(predictors)
    return torch.cat([rows, rows.new_ones(len(rows), 1)], 1), torch.cat(targets)


@torch.no_grad()
def fit_adapters(student: CompactEncoder, teacher: Teacher, batches: Iterable[Tensor]) -> None:
    """Set every adapter to the ridge regression from student to (scaled) teacher activations."""
    second: dict[str, Tensor] = {}
    cross: dict[str, Tensor] = {}
    for images in batches:
        found = student(images, student.layers)
        targets = teacher(images, student.layers)
        for layer, features in found.items():
            rows = features.transpose(0, 1).flatten(1)
            rows = torch.cat([rows, rows.new_ones(1, rows.shape[1])])  # (c + 1, P)
            values = targets[layer].transpose(0, 1).flatten(1)  # (C, P)
            s, k = rows @ rows.T / rows.shape[1], rows @ values.T / rows.shape[1]
            second[layer] = second[layer] + s if layer in second else s
            cross[layer] = cross[layer] + k if layer in cross else k
    for layer in second:
        solution = ridge(second[layer], cross[layer], 1e-5).float()  # (c + 1, C)
        adapter = student.lift(layer)
        adapter.weight.copy_(solution[:-1].T)
        adapter.bias.copy_(solution[-1])
