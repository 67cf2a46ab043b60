"""The weighted sum that is descended: content, style and total variation of every picture."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from nstcore.core.encoders.vgg import VGG
from nstcore.core.guidance import Guide
from nstcore.core.losses.base import Losses
from nstcore.core.losses.functional import (
    TVForm,
    affine_moments,
    gatys_content_loss,
    gatys_style_loss,
    gram_and_mean,
    guided_gram_and_mean,
    lift_gram,
    over_energy,
    qr_factor,
    relative_error,
    total_variation,
)
from nstcore.core.losses.wasserstein import (
    FLOOR,
    Gaussian,
    covariance_matrix,
    target_gaussian,
    wasserstein2,
)

Normalization = Literal["relative", "gatys"]
Statistic = Literal["gram", "w2"]


@dataclass(frozen=True)
class Moments:
    """First and second moments of one layer's activations of a style.

    Attributes:
        gram: (1, C, C) or (N, C, C), averaged over positions; with a guide (1 or N, R, C, C), averaged
            over each of R regions.
        mean: (1, C) or (N, C); with a guide (1 or N, R, C).
    """

    gram: Tensor
    mean: Tensor

    def region(self, index: int) -> Moments:
        """Those of one region, without a dimension for it."""
        return Moments(self.gram[:, index], self.mean[:, index])


def style_moments(
    encoder: VGG, image: Tensor, layers: list[str], guides: Mapping[str, Guide] | None = None
) -> dict[str, Moments]:
    """Moments of the chosen layers, in the encoder's own channels (before any adapter).

    Args:
        encoder: the network.
        image: (N, 3, H, W) in [0, 1].
        layers: their names.
        guides: layer -> where its regions lie, for moments of each region.
    """
    features = encoder(image, layers)
    return {
        name: layer_moments(value, None if guides is None else guides[name])
        for name, value in features.items()
    }


def layer_moments(features: Tensor, guide: Guide | None = None) -> Moments:
    """Moments of one layer's activations (N, C, H, W), with a guide those of each of its regions."""
    if guide is None:
        return Moments(*gram_and_mean(features))
    return Moments(*guided_gram_and_mean(features, guide.weights))


def lift_moments(encoder: VGG, layer: str, moments: Moments) -> Tensor:
    """The Gram matrix (N, K, K) in the space where an encoder's losses are taken.

    With adapters that is VGG-19's space; without, the encoder's own.
    """
    if layer not in encoder.adapters:
        return moments.gram
    return lift_gram(moments.gram, moments.mean, *encoder.adapters[layer])


def lift_features(encoder: VGG, layer: str, features: Tensor) -> Tensor:
    """Activations (N, K, H, W) in the space where an encoder's losses are taken: A F + b."""
    if layer not in encoder.adapters:
        return features
    weight, bias = encoder.adapters[layer]
    return F.conv2d(features, weight[:, :, None, None], bias)


class Objective:
    """Losses of N pictures against their targets at one size.

    Args:
        encoder: the network.
        content: layer -> activations of the content, (1 or N, C, H, W) at the picture's size.
        style: layer -> moments of the style in the encoder's channels.
        content_layers: layer -> weight of its content loss.
        style_layers: layer -> weight of its style loss.
        content_weight, style_weight, tv_weight: (N,), one for each picture.
        normalization: ``relative``: every layer's squared error over its target's energy, layer weights
            scaled to the sum 1.  ``gatys``: equations 1 and 4 of the article with the weights as given.
        statistic: ``gram``: styles are compared by their Gram matrices.  ``w2``: by the squared
            Wasserstein-2 distance of Gaussians with their means and covariances, over the trace of
            the style's second moment; relative only.
        tv_form: see :func:`~nstcore.core.losses.functional.total_variation`.
        guides: layer -> where its regions lie, of every style layer; None for no regions.  With them
            ``style`` has moments for every region, and a layer's loss is the sum of the regions'
            own losses, each times its share.

    Raises:
        ValueError: for ``w2`` with ``gatys``.
    """

    def __init__(
        self,
        encoder: VGG,
        *,
        content: Mapping[str, Tensor],
        style: Mapping[str, Moments],
        content_layers: Mapping[str, float],
        style_layers: Mapping[str, float],
        content_weight: Tensor,
        style_weight: Tensor,
        tv_weight: Tensor,
        normalization: Normalization = "relative",
        statistic: Statistic = "gram",
        tv_form: TVForm = "squared",
        guides: Mapping[str, Guide] | None = None,
    ) -> None:
        if statistic == "w2" and normalization == "gatys":
            raise ValueError("the article has no Wasserstein distance")
        self.encoder = encoder
        self.statistic: Statistic = statistic
        self.tv_form: TVForm = tv_form
        self.normalization: Normalization = normalization
        self.content_weight = content_weight
        self.style_weight = style_weight
        self.tv_weight = tv_weight
        self.content_layers = _scaled(content_layers, normalization)
        self.style_layers = _scaled(style_layers, normalization)
        self.layers = list(dict.fromkeys([*self.style_layers, *self.content_layers]))
        # Of layers with an adapter A, b: factors as short as A and as [A b] allow.
        self._content_factors: dict[str, Tensor] = {}
        self._style_factors: dict[str, Tensor] = {}
        self._channels: dict[str, int] = {}
        for layer in self.layers:
            if layer in encoder.adapters:
                weight, bias = encoder.adapters[layer]
                self._channels[layer] = len(weight)
                self._content_factors[layer] = qr_factor(weight)
                self._style_factors[layer] = qr_factor(torch.cat([weight, bias[:, None]], 1))
        self._content: dict[str, tuple[Tensor, Tensor]] = {}
        for layer in self.content_layers:
            target = content[layer]
            self._content[layer] = (target, self._content_energy(layer, target))
        self.guides = guides
        # By layer and region; without a guide the whole picture is region 0.
        self._style: dict[tuple[str, int], tuple[Tensor, Tensor]] = {}
        self._gaussians: dict[tuple[str, int], tuple[Gaussian, Tensor]] = {}
        for layer in self.style_layers:
            for region, moments in enumerate(self._regions(style[layer])):
                if statistic == "w2":
                    self._gaussians[layer, region] = self._gaussian(layer, moments)
                else:
                    gram = self._seen(layer, moments)
                    self._style[layer, region] = (gram, gram.flatten(1).square().sum(1))

    def _content_energy(self, layer: str, target: Tensor) -> Tensor:
        """Sum of squares (N,) of activations in the space where losses are taken."""
        if layer in self._style_factors:
            # With [A b] = Q R, the length of A F + b is that of R [F; 1], which has fewer channels.
            factor = self._style_factors[layer]
            target = F.conv2d(target, factor[:, :-1, None, None], factor[:, -1])
        return target.flatten(1).square().sum(1)

    def select(self, rows: Tensor) -> Objective:
        """The same for some of the pictures only.

        Args:
            rows: which, (N',) indices.
        """

        def chosen(value: Tensor) -> Tensor:
            return value if len(value) == 1 else value[rows]

        other = copy.copy(self)
        # Weights are never shared: one picture's is (1,), of which row 0 is taken.
        other.content_weight = self.content_weight[rows]
        other.style_weight = self.style_weight[rows]
        other.tv_weight = self.tv_weight[rows]
        other._content = {k: (chosen(t), chosen(e)) for k, (t, e) in self._content.items()}
        other._style = {k: (chosen(t), chosen(e)) for k, (t, e) in self._style.items()}
        other._gaussians = {
            key: (
                Gaussian(chosen(one.mean), chosen(one.root), chosen(one.trace), chosen(one.floor)),
                chosen(energy),
            )
            for key, (one, energy) in self._gaussians.items()
        }
        if self.guides is not None:
            other.guides = {layer: guide.select(rows) for layer, guide in self.guides.items()}
        return other

    def _regions(self, moments: Moments) -> list[Moments]:
        """Moments of each region; without a guide there is one, the whole picture."""
        if self.guides is None:
            return [moments]
        return [moments.region(index) for index in range(moments.gram.shape[1])]

    def guide(self, layer: str) -> Guide | None:
        """Where the regions lie in a style layer; None without a guide."""
        return None if self.guides is None else self.guides[layer]

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

    def content_squares(
        self, layer: str, features: Tensor, window: tuple[slice, slice] | None = None
    ) -> Tensor:
        """Sum of squared content differences at one layer, in the space where losses are taken.

        Sums over parts of a picture add up to the sum over the whole.

        Args:
            layer: a content layer.
            features: (N, C, h, w) activations, of the whole picture or of a window of it.
            window: rows and columns of the target that ``features`` stand for; None for all.

        Returns:
            (N,).
        """
        target, _ = self._content[layer]
        if window is not None:
            target = target[..., window[0], window[1]]
        difference = features - target
        if layer in self._content_factors:
            # R (F - P) has the length of A (F - P).
            difference = F.conv2d(difference, self._content_factors[layer][:, :, None, None])
        return difference.flatten(1).square().sum(1)

    def _content_loss(self, layer: str, squares: Tensor) -> Tensor:
        if self.normalization == "gatys":
            return gatys_content_loss(squares)
        return over_energy(squares, self._content[layer][1])

    def _seen(self, layer: str, moments: Moments) -> Tensor:
        """The matrix whose distances are those of the Gram matrices that the loss compares."""
        if layer not in self._style_factors:
            return moments.gram
        factor = self._style_factors[layer]
        return factor @ affine_moments(moments.gram, moments.mean) @ factor.mT

    def _mean_and_covariance(self, layer: str, moments: Moments) -> tuple[Tensor, Tensor]:
        """Of Gaussians whose W2 distances are those in the space where losses are taken.

        With an adapter A = Q R, A S A^T = Q (R S R^T) Q^T has the traces of R S R^T, and A d has the
        length of R d; b is the same for both and drops out.
        """
        covariance = covariance_matrix(moments.gram, moments.mean)
        if layer not in self._content_factors:
            return moments.mean, covariance
        factor = self._content_factors[layer]
        return moments.mean @ factor.mT, factor @ covariance @ factor.mT

    def _gaussian(self, layer: str, style: Moments) -> tuple[Gaussian, Tensor]:
        """A style's Gaussian, and its energy: the trace of the second moment, lifted."""
        mean, covariance = self._mean_and_covariance(layer, style)
        shown = style.mean
        if layer in self.encoder.adapters:
            weight, bias = self.encoder.adapters[layer]
            shown = style.mean @ weight.mT + bias
        energy = shown.square().sum(1) + covariance.diagonal(dim1=-2, dim2=-1).sum(-1)
        return target_gaussian(mean, covariance, FLOOR * energy), energy

    def _style_loss(self, layer: str, moments: Moments) -> Tensor:
        guide = self.guide(layer)
        if guide is None:
            return self._region_loss(layer, 0, moments)
        losses = [
            self._region_loss(layer, region, own)
            for region, own in enumerate(self._regions(moments))
        ]
        return (guide.shares * torch.stack(losses, 1)).sum(1)

    def _region_loss(self, layer: str, region: int, moments: Moments) -> Tensor:
        if self.statistic == "w2":
            gaussian, spread = self._gaussians[layer, region]
            return over_energy(
                wasserstein2(*self._mean_and_covariance(layer, moments), gaussian), spread
            )
        gram = self._seen(layer, moments)
        target, energy = self._style[layer, region]
        if self.normalization == "gatys":
            return gatys_style_loss(gram, target, self._channels.get(layer))
        return relative_error(gram, target, energy)

    def losses(
        self, moments: Mapping[str, Moments], squares: Mapping[str, Tensor], tv: Tensor
    ) -> Losses:
        """All losses from what was measured of the pictures, differentiable with respect to it.

        Args:
            moments: of every style layer, over the whole picture.
            squares: :meth:`content_squares` of every content layer, over the whole picture.
            tv: (N,), :meth:`total_variation` of the whole picture.
        """
        style_layers = {
            layer: self._style_loss(layer, moments[layer]) for layer in self.style_layers
        }
        nothing = torch.zeros_like(self.content_weight)
        content = sum(
            (
                weight * self._content_loss(layer, squares[layer])
                for layer, weight in self.content_layers.items()
            ),
            start=nothing,
        )
        style = sum(
            (weight * style_layers[layer] for layer, weight in self.style_layers.items()),
            start=nothing,
        )
        total = self.content_weight * content + self.style_weight * style + self.tv_weight * tv
        return Losses(total, content, style, tv, style_layers)

    def __call__(self, image: Tensor) -> Losses:
        """Losses of ``image`` (N, 3, H, W), differentiable with respect to it."""
        features = self.encoder(image, self.layers)
        moments = {
            layer: layer_moments(features[layer], self.guide(layer)) for layer in self.style_layers
        }
        squares = {
            layer: self.content_squares(layer, features[layer]) for layer in self.content_layers
        }
        return self.losses(moments, squares, self.total_variation(image))

    def total_variation(self, image: Tensor) -> Tensor:
        """Total variation (N,) of ``image`` (N, 3, H, W) in the objective's form."""
        return total_variation(image, self.tv_form)

    def evaluate(self, image: Tensor) -> tuple[Losses, Tensor]:
        """Losses of ``image`` (N, 3, H, W) and the gradient of each picture's own total."""
        return losses_and_gradient(self, image)


def losses_and_gradient(
    objective: Callable[[Tensor], Losses], image: Tensor
) -> tuple[Losses, Tensor]:
    """An objective's losses at ``image`` (N, 3, H, W), and the gradient of each picture's own total."""
    leaf = image.detach().requires_grad_()
    losses = objective(leaf)
    # The pictures are independent: the gradient of the sum holds each one's own.
    (gradient,) = torch.autograd.grad(losses.total.sum(), leaf)
    return losses.detach(), gradient


def _scaled(weights: Mapping[str, float], normalization: Normalization) -> dict[str, float]:
    """Layers in use; for relative losses their weights add up to 1."""
    used = {layer: weight for layer, weight in weights.items() if weight != 0}
    if normalization == "gatys":
        return used
    total = sum(used.values())
    return {layer: weight / total for layer, weight in used.items()}
