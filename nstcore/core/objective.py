"""The objective: the weighted sum of content loss, style loss and total variation of every image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nstcore.core.batched import Selectable, generator, white_noise
from nstcore.core.encoders.base import Encoder
from nstcore.core.guidance import Guide
from nstcore.core.losses import STYLE_LOSSES
from nstcore.core.losses.base import Losses, StyleLoss
from nstcore.core.losses.gatys import ContentLoss
from nstcore.core.losses.total_variation import TVLoss
from nstcore.core.minimize import Evaluate
from nstcore.core.moments import Moments, layer_moments, loss_space, to_float64
from nstcore.core.settings import Settings

NOISE_SEED = 0


@dataclass(frozen=True)
class RegionalLoss(Selectable):
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


@dataclass
class Objective(Selectable):
    """Losses of N images at one size; see :func:`build_objective`.

    Attributes:
        encoder: the network.
        content, style: layer -> loss.
        tv: the total variation.
        content_layers, style_layers: layer -> weight of its loss.
        content_weight, style_weight, tv_weight: (N,), one for each image.
    """

    encoder: Encoder
    content: dict[str, ContentLoss]
    style: dict[str, RegionalLoss]
    tv: TVLoss
    content_layers: Mapping[str, float]
    style_layers: Mapping[str, float]
    content_weight: Tensor
    style_weight: Tensor
    tv_weight: Tensor

    @property
    def layers(self) -> list[str]:
        """Every layer of which activations are needed."""
        return list(dict.fromkeys([*self.style, *self.content]))

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
        leaf = image.detach().requires_grad_()
        losses = self(leaf)
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
    spaces = {layer: loss_space(encoder, layer) for layer in (*content_layers, *style_layers)}
    loss = STYLE_LOSSES[settings.statistic]

    def regional(layer: str) -> RegionalLoss:
        guide = None if guides is None else guides[layer]
        count = style[layer].gram.shape[1]
        regions = [style[layer]] if guide is None else map(style[layer].region, range(count))
        return RegionalLoss(tuple(loss(own, spaces[layer], settings) for own in regions), guide)

    if weights is None:
        weights = {
            name: encoder.mean.new_full((images,), getattr(settings, name))
            for name in ("content_weight", "style_weight", "tv_weight")
        }
    return Objective(
        encoder,
        {layer: ContentLoss(content[layer], spaces[layer], settings) for layer in content_layers},
        {layer: regional(layer) for layer in style_layers},
        TVLoss(settings),
        content_layers,
        style_layers,
        weights["content_weight"],
        weights["style_weight"],
        weights["tv_weight"],
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
    """
    ratio = gradient_ratio(objective, height, width, evaluator)
    return replace(objective, style_weight=objective.style_weight * ratio)


def gradient_ratio(
    objective: Objective, height: int, width: int, evaluator: Callable[[Objective], Evaluate]
) -> Tensor:
    r""":math:`\|\nabla L_c\| / \|\nabla L_s\|` of every image, with respect to the pixels: (N,).

    It is taken at white noise of the images' size, the start of Gatys et al.  At the start of
    ``init: content`` the content's gradient is zero, and near it as small as the distance, so that
    weights would mean what ``init_noise`` happens to be.  The noise depends on nothing but the size:
    after continuing from a saved state the ratio is the same.  Where a gradient vanishes even there, as
    that of a black content, the ratio is 1.

    ``evaluator`` says how an objective is evaluated: in tiles, among grey images.
    """
    one = torch.ones_like(objective.content_weight)
    noise = white_noise(height, width, generator(NOISE_SEED)).to(one)
    images = noise.expand(len(one), -1, -1, -1).contiguous()

    def gradient(content: Tensor, style: Tensor) -> Tensor:
        part = replace(objective, content_weight=content, style_weight=style, tv_weight=0 * one)
        return to_float64(evaluator(part)(images)[1].flatten(1))

    ratio = gradient(one, 0 * one).norm(dim=1) / gradient(0 * one, one).norm(dim=1)
    usable = torch.isfinite(ratio) & (ratio > 0)
    return torch.where(usable, ratio, 1.0).to(one)
