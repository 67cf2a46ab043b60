"""The objective: the weighted sum of content loss, style loss and total variation of every image."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nstcore.core.encoders.base import Encoder
from nstcore.core.guidance import Guide
from nstcore.core.losses import STYLE_LOSSES
from nstcore.core.losses.base import Losses, StyleLoss
from nstcore.core.losses.content import ContentLoss
from nstcore.core.losses.total_variation import TVLoss
from nstcore.core.minimize import Evaluate
from nstcore.core.moments import Moments, layer_moments, loss_space
from nstcore.core.pyramid import generator, white_noise
from nstcore.core.settings import Settings

NOISE_SEED = 0


@dataclass(frozen=True)
class RegionalLoss:
    """The style loss of one layer: of the whole image, or the sum of its regions' by their shares.

    Attributes:
        regions: the loss of each region; without a guide one, of the whole image.
        guide: the regions of the images at the layer, or None.
    """

    regions: tuple[StyleLoss, ...]
    guide: Guide | None

    def __call__(self, moments: Moments) -> Tensor:
        """The loss (N,) of images with these moments, of each region where there is a guide."""
        if self.guide is None:
            return self.regions[0](moments)
        losses = [loss(moments.region(index)) for index, loss in enumerate(self.regions)]
        return (self.guide.shares * torch.stack(losses, 1)).sum(1)

    def select(self, rows: Tensor) -> RegionalLoss:
        """The same of some of the images, (N',) indices."""
        guide = None if self.guide is None else self.guide.select(rows)
        return RegionalLoss(tuple(loss.select(rows) for loss in self.regions), guide)


class Objective:
    """Losses of N images at one size; see :func:`build_objective`.

    Args:
        encoder: the network.
        content, style: layer -> loss.
        tv: the total variation.
        content_layers, style_layers: layer -> weight of its loss.
        content_weight, style_weight, tv_weight: (N,), one for each image.
    """

    def __init__(
        self,
        encoder: Encoder,
        content: Mapping[str, ContentLoss],
        style: Mapping[str, RegionalLoss],
        tv: TVLoss,
        *,
        content_layers: Mapping[str, float],
        style_layers: Mapping[str, float],
        content_weight: Tensor,
        style_weight: Tensor,
        tv_weight: Tensor,
    ) -> None:
        self.encoder = encoder
        self.content, self.style, self.tv = content, style, tv
        self.content_layers, self.style_layers = content_layers, style_layers
        self.content_weight = content_weight
        self.style_weight = style_weight
        self.tv_weight = tv_weight
        self.layers = list(dict.fromkeys([*style, *content]))

    def select(self, rows: Tensor) -> Objective:
        """The same of some of the images, (N',) indices."""
        # Weights are never shared: those of a single image are (1,), of which row 0 is taken.
        other = self.weighted(
            content=self.content_weight[rows],
            style=self.style_weight[rows],
            tv=self.tv_weight[rows],
        )
        other.content = {layer: loss.select(rows) for layer, loss in self.content.items()}
        other.style = {layer: loss.select(rows) for layer, loss in self.style.items()}
        return other

    def weighted(
        self,
        *,
        content: Tensor | None = None,
        style: Tensor | None = None,
        tv: Tensor | None = None,
    ) -> Objective:
        """The same with other weights, each (N,); None for its own."""
        other = copy.copy(self)
        other.content_weight = self.content_weight if content is None else content
        other.style_weight = self.style_weight if style is None else style
        other.tv_weight = self.tv_weight if tv is None else tv
        return other

    def losses(
        self, moments: Mapping[str, Moments], squares: Mapping[str, Tensor], tv: Tensor
    ) -> Losses:
        """All losses from statistics of the images, differentiable with respect to them.

        Args:
            moments: of every style layer, over the whole image.
            squares: :meth:`ContentLoss.squares` of every content layer, over the whole image.
            tv: (N,), the total variation of the whole image.
        """
        content = style = torch.zeros_like(self.content_weight)
        for layer, weight in self.content_layers.items():
            content = content + weight * self.content[layer](squares[layer])
        style_layers = {layer: self.style[layer](moments[layer]) for layer in self.style_layers}
        for layer, weight in self.style_layers.items():
            style = style + weight * style_layers[layer]
        total = self.content_weight * content + self.style_weight * style + self.tv_weight * tv
        return Losses(total, content, style, tv, style_layers)

    def __call__(self, image: Tensor) -> Losses:
        """Losses of ``image`` (N, 3, H, W), differentiable with respect to it."""
        features = self.encoder(image, self.layers)
        moments = {
            layer: layer_moments(features[layer], loss.guide) for layer, loss in self.style.items()
        }
        squares = {layer: loss.squares(features[layer]) for layer, loss in self.content.items()}
        return self.losses(moments, squares, self.tv(image))

    def evaluate(self, image: Tensor) -> tuple[Losses, Tensor]:
        """Losses of ``image`` (N, 3, H, W) and the gradient of each image's own total."""
        return losses_and_gradient(self, image)


def losses_and_gradient(
    objective: Callable[[Tensor], Losses], image: Tensor
) -> tuple[Losses, Tensor]:
    """An objective's losses at ``image`` (N, 3, H, W), and the gradient of each image's own total."""
    leaf = image.detach().requires_grad_()
    losses = objective(leaf)
    # The images are independent: the gradient of the sum holds each one's own.
    (gradient,) = torch.autograd.grad(losses.total.sum(), leaf)
    return losses.detach(), gradient


def build_objective(
    encoder: Encoder,
    settings: Settings,
    *,
    content: Mapping[str, Tensor],
    style: Mapping[str, Moments],
    guides: Mapping[str, Guide] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    images: int = 1,
) -> Objective:
    """The objective that some settings ask for, at one size.

    With ``normalization: gradient`` the style weights are still to be balanced; see
    :func:`balance_gradients`.

    Args:
        encoder: the network.
        settings: whose layers, losses and normalization count.
        content: layer -> activations of the content, (1 or N, C, H, W) at the size of the images.
        style: layer -> moments of the style in the encoder's channels; with guides of every region.
        guides: layer -> the regions at every style layer; None to compare images as a whole.
        weights: ``content_weight``, ``style_weight`` and ``tv_weight``, each (N,); None for those of the
            settings.
        images: N, where ``weights`` are not given.

    Raises:
        ValueError: for a style loss that does not support the normalization.
    """
    content_layers = _layer_weights(settings.content_layers, settings)
    style_layers = _layer_weights(settings.style_layers, settings)
    loss = STYLE_LOSSES[settings.statistic]

    def regional(layer: str) -> RegionalLoss:
        space = loss_space(encoder, layer)
        if guides is None:
            return RegionalLoss((loss(style[layer], space, settings),), None)
        regions = map(style[layer].region, range(style[layer].gram.shape[1]))
        return RegionalLoss(tuple(loss(own, space, settings) for own in regions), guides[layer])

    if weights is None:
        weights = {
            name: encoder.mean.new_full((images,), getattr(settings, name))
            for name in ("content_weight", "style_weight", "tv_weight")
        }
    return Objective(
        encoder,
        {
            layer: ContentLoss(content[layer], loss_space(encoder, layer), settings)
            for layer in content_layers
        },
        {layer: regional(layer) for layer in style_layers},
        TVLoss(settings),
        content_layers=content_layers,
        style_layers=style_layers,
        content_weight=weights["content_weight"],
        style_weight=weights["style_weight"],
        tv_weight=weights["tv_weight"],
    )


def _layer_weights(given: Mapping[str, float], settings: Settings) -> dict[str, float]:
    """The layers in use; the weights of relative losses are scaled to add up to 1."""
    used = {layer: weight for layer, weight in given.items() if weight != 0}
    total = 1 if settings.normalization == "gatys" else sum(used.values())
    return {layer: weight / total for layer, weight in used.items()}


# --- `normalization: gradient`: weights as ratios of gradient norms ---


def balance_gradients(
    objective: Objective, height: int, width: int, evaluator: Callable[[Objective], Evaluate]
) -> Objective:
    r"""Multiply an objective's style weights by :func:`gradient_ratio`.

    Then the ratio of the weights as given is, at white noise, that of
    :math:`\|w_s \nabla L_s\|` to :math:`\|w_c \nabla L_c\|`.

    Args:
        objective: with weights as given.
        height, width: of its images.
        evaluator: how an objective is evaluated: in tiles, among grey images.
    """
    ratio = gradient_ratio(objective, height, width, evaluator)
    return objective.weighted(style=objective.style_weight * ratio)


def gradient_ratio(
    objective: Objective, height: int, width: int, evaluator: Callable[[Objective], Evaluate]
) -> Tensor:
    r""":math:`\|\nabla L_c\| / \|\nabla L_s\|` of every image, with respect to the pixels: (N,).

    It is taken at white noise, the start of Gatys et al.  At the start of ``init: content`` the content's
    gradient is zero, and near it as small as the distance, so that weights would mean what
    ``init_noise`` happens to be.  The noise depends on nothing but the size: after continuing from a
    saved state the ratio is the same.

    Where a gradient vanishes even there, as that of a black content, the ratio is 1.
    """
    one = torch.ones_like(objective.content_weight)
    noise = white_noise(height, width, generator(NOISE_SEED)).to(one)
    images = noise.expand(len(one), -1, -1, -1).contiguous()
    norms = []
    for name in ("content", "style"):
        weights = {"content": 0 * one, "style": 0 * one, "tv": 0 * one} | {name: one}
        _, gradient = evaluator(objective.weighted(**weights))(images)
        norms.append(gradient.flatten(1).double().norm(dim=1))
    ratio = norms[0] / norms[1]
    usable = torch.isfinite(ratio) & (ratio > 0)
    return torch.where(usable, ratio, 1.0).to(one)
