"""``normalization: gradient``: weights as the ratio of gradient norms, whatever the pictures."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nstcore.core.initialization import generator, white_noise
from nstcore.core.minimize import Evaluate
from nstcore.core.objective import Objective

NOISE_SEED = 0


def balanced(
    objective: Objective, height: int, width: int, evaluator: Callable[[Objective], Evaluate]
) -> Objective:
    r"""An objective whose style weights are multiplied by :func:`gradient_ratio`.

    Then at the noise the ratio of the weights as given is that of
    :math:`\|w_s \nabla L_s\|` to :math:`\|w_c \nabla L_c\|`.

    Args:
        objective: with weights as given.
        height, width: of its pictures.
        evaluator: how the descent evaluates an objective: in tiles, among grey pictures.
    """
    ratio = gradient_ratio(objective, height, width, evaluator)
    return objective.weighted(style=objective.style_weight * ratio)


def gradient_ratio(
    objective: Objective, height: int, width: int, evaluator: Callable[[Objective], Evaluate]
) -> Tensor:
    r""":math:`\|\nabla L_c\| / \|\nabla L_s\|` of every picture, with respect to the pixels: (N,).

    Taken at white noise, the start of Gatys et al., and not at the descent's own: at ``init: content``
    the content's gradient is zero, and near it as small as the distance, so that weights would mean
    what ``init_noise`` happens to be.  The noise is one for all seeds and starts, and depends on nothing
    but the size: a descent that goes on from a saved state finds the same ratio again.

    Where a gradient vanishes even there, as that of a black content, the ratio is 1.
    """
    one = torch.ones_like(objective.content_weight)
    noise = white_noise(height, width, generator(NOISE_SEED)).to(one)
    images = noise.expand(len(one), -1, -1, -1).contiguous()
    norms = []
    for term in ("content", "style"):
        weights = {"content": 0 * one, "style": 0 * one, "tv": 0 * one} | {term: one}
        _, gradient = evaluator(objective.weighted(**weights))(images)
        norms.append(gradient.flatten(1).double().norm(dim=1))
    ratio = norms[0] / norms[1]
    usable = torch.isfinite(ratio) & (ratio > 0)
    return torch.where(usable, ratio, 1.0).to(one)
