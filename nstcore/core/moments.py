"""First and second moments of activations: what the style losses compare.

Every function takes a batch of N independent images, so that the gradient of a sum over the batch is, for
each image, the gradient of its own part.  Equation numbers are those of Gatys, Ecker & Bethge, *A Neural
Algorithm of Artistic Style*, arXiv 1508.06576.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nstcore.core.encoders.base import Encoder
from nstcore.core.guidance import Guide
from nstcore.core.half_sums import flat_positions, guided_half_sums, half_gram_and_mean


def gram_matrix(features: Tensor) -> Tensor:
    r"""Correlations of the channels, averaged over positions: :math:`F F^T / M`.

    The article's Gram matrix (eq. 3) is the plain sum :math:`F F^T`; dividing by the number of
    positions M makes images of different size comparable.

    Args:
        features: (N, C, H, W) activations.

    Returns:
        (N, C, C), symmetric and positive semi-definite.
    """
    return gram_and_mean(features)[0]


def gram_and_mean(features: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`gram_matrix` and :func:`channel_mean` of activations (N, C, H, W), in one go.

    Of activations in bfloat16 they are summed up, and given out, in float32.
    """
    if features.dtype == torch.bfloat16:
        return half_gram_and_mean(features)
    h, w = features.shape[-2:]
    if _through_convolutions(features):
        gram, total = _ConvolutionSums.apply(features)
        return gram / (h * w), total / (h * w)
    flat = flat_positions(features)
    # (N, C, M) @ (N, M, C) -> (N, C, C).  Scaling one factor first keeps sums small in half precision.
    return (flat / (h * w)).mT @ flat, channel_mean(features)


class _ConvolutionSums(torch.autograd.Function):
    r"""The plain sums :math:`F F^T` and :math:`F 1` of each image through the CPU's convolutions.

    The gradient of a 1 x 1 convolution with respect to its kernel is the sum over positions of output
    gradient times input; with F in both places that is the Gram matrix.  The gradient of both sums is
    a 1 x 1 convolution of F in turn, with a bias.  torch's convolutions (oneDNN) read channels_last as
    it lies in memory; with two threads they took a quarter to a half of the time of its matrix products
    (MKL) on an AMD EPYC (``benchmarks/results/kernels.md``).
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(features)
        grams, sums = [], []
        for one in torch.split(features, 1):
            grams.append(_correlations(one, one))
            # The bias gradient would be this sum too, but takes oneDNN longer.
            sums.append(one.sum((0, 2, 3)))
        return torch.stack(grams), torch.stack(sums)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gram_slope: Tensor, sum_slope: Tensor) -> Tensor:
        (features,) = ctx.saved_tensors
        both = gram_slope + gram_slope.mT
        parts = [
            F.conv2d(one, kernel[:, :, None, None], bias)
            for one, kernel, bias in zip(torch.split(features, 1), both, sum_slope, strict=True)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def _correlations(first: Tensor, second: Tensor) -> Tensor:
    """Sums over positions of products of channels, (C, C), of two (1, C, H, W) on the CPU."""
    kernel = first.new_empty(first.shape[1], first.shape[1], 1, 1)
    settings = ([1, 1], [0, 0], [1, 1], False, [0, 0], 1)
    gram: Tensor = torch.ops.aten.convolution_backward(
        first, second, kernel, None, *settings, [False, True, False]
    )[1]
    return gram.flatten(1)


def guided_gram_and_mean(features: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    r"""Gram matrices and means of regions: :math:`\sum_p t_p F_p F_p^T` and :math:`\sum_p t_p F_p`.

    Gatys et al., *Controlling Perceptual Factors in Neural Style Transfer*, arXiv 1611.07865, section 4:
    activations are multiplied by a guidance channel T whose squares add up to 1, and correlated.  Here
    :math:`t = T^2`; with t adding up to 1 over the positions both results are averages over a region,
    and those of parts of an image add up to those of the whole.

    Args:
        features: (N, C, H, W) activations.
        weights: t of R regions, (N, R, H, W), or (1, R, H, W) when all images share them.

    Returns:
        (N, R, C, C) and (N, R, C), in float32 where activations are in bfloat16.
    """
    sums: tuple[Tensor, Tensor] = _GuidedSums.apply(features, weights)
    return sums


class _GuidedSums(torch.autograd.Function):
    """The sums of :func:`guided_gram_and_mean`, without keeping a copy of the activations per region."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(features, weights)
        regions = weights.shape[1]
        flat = flat_positions(features)
        if features.dtype == torch.bfloat16:
            return guided_half_sums(flat, weights.flatten(2))
        # (N or 1, R, M) @ (N, M, C) -> (N, R, C)
        means = weights.flatten(2) @ flat
        if _through_convolutions(features):
            rows = [
                torch.stack([_correlations(one * t[:, r : r + 1], one) for r in range(regions)])
                for one, t in _with_weights(features, weights)
            ]
            return torch.stack(rows), means
        shares = weights.flatten(2).unsqueeze(-1)  # (N or 1, R, M, 1)
        # (N, C, M) @ (N, M, C) -> (N, C, C), one region after the other
        grams = [(flat * shares[:, r]).mT @ flat for r in range(regions)]
        return torch.stack(grams, 1), means

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gram_slope: Tensor, mean_slope: Tensor) -> tuple[Tensor, None]:
        features, weights = ctx.saved_tensors
        regions = weights.shape[1]
        # sum_r t_r (S_r + S_r^T) F + t_r s_r
        both = gram_slope + gram_slope.mT
        if not _through_convolutions(features):
            flat = flat_positions(features)
            both, biases = both.to(flat), mean_slope.to(flat).unsqueeze(2)
            shares = weights.flatten(2).unsqueeze(-1).to(flat)  # (N or 1, R, M, 1)
            slopes = torch.zeros_like(flat)
            for r in range(regions):
                slopes.addcmul_(torch.baddbmm(biases[:, r], flat, both[:, r]), shares[:, r])
            return slopes.view(len(slopes), *features.shape[-2:], -1).permute(0, 3, 1, 2), None
        parts = []
        for (one, t), slope, bias in zip(
            _with_weights(features, weights), both, mean_slope, strict=True
        ):
            total = torch.zeros_like(one)
            for r in range(regions):
                # A 1 x 1 convolution with a bias.
                part = F.conv2d(one, slope[r][:, :, None, None], bias[r])
                total.addcmul_(part, t[:, r : r + 1])
            parts.append(total)
        return (parts[0] if len(parts) == 1 else torch.cat(parts)), None


def _with_weights(features: Tensor, weights: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Each image's (1, C, H, W) with its (1, R, H, W)."""
    own = weights.expand(len(features), -1, -1, -1)
    return list(zip(torch.split(features, 1), torch.split(own, 1), strict=True))


def _through_convolutions(features: Tensor) -> bool:
    return features.device.type == "cpu" and features.dtype == torch.float32


def channel_mean(features: Tensor) -> Tensor:
    """Mean activation of each channel: (N, C, H, W) -> (N, C)."""
    return features.mean(dim=(-2, -1))


def covariance_matrix(gram: Tensor, mean: Tensor) -> Tensor:
    r"""Covariance of the channels, :math:`G - \mu \mu^T`: (N, C, C), (N, C) -> (N, C, C)."""
    return gram - mean.unsqueeze(-1) * mean.unsqueeze(-2)


def with_slope(at: Tensor, value: Tensor, slope: Tensor) -> Tensor:
    """Values (N,) of ``at`` (N, ...), computed without history, with their derivative (N, ...)."""
    found: Tensor = _WithSlope.apply(at, value, slope)
    return found


class _WithSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, at: Tensor, value: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return value.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return gradient.view(-1, *[1] * (slope.dim() - 1)) * slope, None, None


# --- Moments of layers ---


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
    encoder: Encoder,
    image: Tensor,
    layers: Iterable[str],
    guides: Mapping[str, Guide] | None = None,
) -> dict[str, Moments]:
    """Moments of some layers for images (N, 3, H, W), in the encoder's own channels (before any adapter).

    With ``guides`` (layer -> guide) they are those of each region.
    """
    return {
        name: layer_moments(value, None if guides is None else guides[name])
        for name, value in encoder(image, layers).items()
    }


def layer_moments(features: Tensor, guide: Guide | None = None) -> Moments:
    """Moments of one layer's activations (N, C, H, W), with a guide those of each of its regions."""
    if guide is None:
        return Moments(*gram_and_mean(features))
    return Moments(*guided_gram_and_mean(features, guide.weights))


# --- Adapters: losses in the space of another network ---


class LossSpace:
    r"""The space in which the losses of one layer are taken: that of :math:`A F + b`, or of F itself.

    Lengths and distances in the wide space of an encoder with adapters are taken without going there:
    with the short triangular factors of :math:`A = Q R` and of :math:`[A\; b] = Q' R'`, R d has the
    length of A d, and R' [F; 1] that of A F + b.

    Args:
        weight: A, (K, C); None for the activations F themselves.
        bias: b, (K,).
        half: whether activations are in bfloat16.
    """

    def __init__(
        self, weight: Tensor | None = None, bias: Tensor | None = None, *, half: bool = False
    ) -> None:
        self.adapter: tuple[Tensor, Tensor] | None = None
        if weight is not None and bias is not None:
            self.adapter = weight, bias
            self.linear = qr_factor(weight)
            self.affine = qr_factor(torch.cat([weight, bias[:, None]], 1))
            self.kernel = self.linear[:, :, None, None]
            self.kernel = self.kernel.bfloat16() if half else self.kernel

    def features(self, features: Tensor) -> Tensor:
        """Activations (N, K', H, W) with the lengths of those in the space, never in bfloat16."""
        features = features.to(torch.promote_types(features.dtype, torch.float32))
        if self.adapter is None:
            return features
        return F.conv2d(features, self.affine[:, :-1, None, None], self.affine[:, -1])

    def difference(self, difference: Tensor) -> Tensor:
        """The difference of two activations, (N, K', H, W), with its length in the space."""
        if self.adapter is None:
            return difference
        return F.conv2d(difference, self.kernel)

    def gram(self, moments: Moments) -> Tensor:
        """Matrices (N, K', K') with the distances of Gram matrices in the space."""
        if self.adapter is None:
            return moments.gram
        # Of F with a constant channel of ones: [[G, mu], [mu^T, 1]], (N, C + 1, C + 1).
        n, c = moments.mean.shape
        extended = moments.gram.new_ones(n, c + 1, c + 1)
        extended[:, :c, :c] = moments.gram
        extended[:, :c, c] = moments.mean
        extended[:, c, :c] = moments.mean
        return self.affine @ extended @ self.affine.mT

    def channels(self, moments: Moments) -> int:
        """Number of channels in the space."""
        return moments.mean.shape[-1] if self.adapter is None else len(self.adapter[0])

    def mean(self, mean: Tensor) -> Tensor:
        """Means (N, K) in the space."""
        return mean if self.adapter is None else mean @ self.adapter[0].mT + self.adapter[1]

    def mean_and_covariance(self, moments: Moments) -> tuple[Tensor, Tensor]:
        """Of Gaussians (N, K'), (N, K', K') with the W2 distances of those in the space.

        A S A^T = Q (R S R^T) Q^T has the traces of R S R^T; b is the same for both and drops out.
        """
        covariance = covariance_matrix(moments.gram, moments.mean)
        if self.adapter is None:
            return moments.mean, covariance
        return moments.mean @ self.linear.mT, self.linear @ covariance @ self.linear.mT


def loss_space(encoder: Encoder, layer: str) -> LossSpace:
    """The space in which an encoder's losses at one layer are taken."""
    return LossSpace(*encoder.adapters.get(layer, ()), half=encoder.half_precision)


def lift_gram(gram: Tensor, mean: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    r"""The averaged Gram matrix of :math:`A F + b`, from the moments of F alone.

    .. math:: A G A^T + A \mu b^T + b \mu^T A^T + b b^T

    Args:
        gram, mean: averaged Gram matrix (N, C, C) and mean (N, C) of F.
        weight, bias: A, (K, C), and b, (K,).

    Returns:
        (N, K, K).
    """
    cross = (mean @ weight.T).unsqueeze(-1) * bias  # (N, K, K): A mu b^T
    return weight @ gram @ weight.T + cross + cross.mT + bias.unsqueeze(-1) * bias


def qr_factor(weight: Tensor) -> Tensor:
    r"""R with :math:`R^T R = W^T W`, of the smallest size.

    For every d and every symmetric M it keeps lengths, :math:`\|R d\| = \|W d\|` and
    :math:`\|R M R^T\|_F = \|W M W^T\|_F`: a network with few channels C is compared in a space of many
    channels K without ever going there.
    Of W (K, C) that is the triangular factor, (min(K, C), C).
    """
    factor: Tensor = torch.linalg.qr(to_float64(weight), mode="r").R
    return factor.to(weight)


def to_float64(tensor: Tensor) -> Tensor:
    """A copy in float64: on the CPU where the device, an Apple GPU, has no such numbers."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


def lift_moments(encoder: Encoder, layer: str, moments: Moments) -> Tensor:
    """The Gram matrix (N, K, K) in the space where an encoder's losses are taken.

    With adapters that is VGG-19's space; without, the encoder's own.
    """
    if layer not in encoder.adapters:
        return moments.gram
    return lift_gram(moments.gram, moments.mean, *encoder.adapters[layer])


def lift_features(encoder: Encoder, layer: str, features: Tensor) -> Tensor:
    """Activations (N, K, H, W) in the space where an encoder's losses are taken: A F + b."""
    if layer not in encoder.adapters:
        return features
    weight, bias = encoder.adapters[layer]
    return F.conv2d(features, weight[:, :, None, None], bias)
