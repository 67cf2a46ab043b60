"""The losses as pure functions on tensors, one value per image.

Every function takes a batch of N independent images and returns N values, so that the gradient of
their sum is, for each image, the gradient of its own loss.

Gatys, Ecker & Bethge, *A Neural Algorithm of Artistic Style*, arXiv 1508.06576; the equation numbers
below are that article's.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

TVForm = Literal["squared", "absolute", "isotropic"]

TV_EPSILON = 1e-2
"""Difference of pixel values below which isotropic total variation is round: its slope has no jump."""


def gram_matrix(features: Tensor) -> Tensor:
    r"""Correlations of the channels, averaged over positions: :math:`F F^T / M`.

    The article's Gram matrix (eq. 3) is the plain sum :math:`F F^T`; dividing by the number of
    positions M makes pictures of different size comparable.

    Args:
        features: (N, C, H, W) activations.

    Returns:
        (N, C, C), symmetric and positive semi-definite.
    """
    n, c, h, w = features.shape
    if _through_convolutions(features):
        return gram_and_mean(features)[0]
    # Activations come in channels_last; (N, M, C) is a view of that memory, so nothing is copied.
    flat = features.permute(0, 2, 3, 1).reshape(n, h * w, c)
    # (N, C, M) @ (N, M, C) -> (N, C, C).  Scaling one factor first keeps sums small in half precision.
    return (flat / (h * w)).mT @ flat


class _ConvolutionSums(torch.autograd.Function):
    r"""The plain sums :math:`F F^T` and :math:`F 1` of each picture through the CPU's convolutions.

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
    channels = first.shape[1]
    _, gram, _ = torch.ops.aten.convolution_backward(
        first,
        second,
        first.new_empty(channels, channels, 1, 1),
        None,
        [1, 1],
        [0, 0],
        [1, 1],
        False,
        [0, 0],
        1,
        [False, True, False],
    )
    found: Tensor = gram.flatten(1)
    return found


def gram_and_mean(features: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`gram_matrix` and :func:`channel_mean` of the same activations, in one go.

    Args:
        features: (N, C, H, W) activations.

    Returns:
        (N, C, C) and (N, C).
    """
    if not _through_convolutions(features):
        return gram_matrix(features), channel_mean(features)
    positions = features.shape[-2] * features.shape[-1]
    gram, total = _ConvolutionSums.apply(features)
    return gram / positions, total / positions


def guided_gram_and_mean(features: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    r"""Gram matrices and means of regions: :math:`\sum_p t_p F_p F_p^T` and :math:`\sum_p t_p F_p`.

    Gatys et al., *Controlling Perceptual Factors in Neural Style Transfer*, arXiv 1611.07865, section 4:
    activations are multiplied by a guidance channel T whose squares add up to 1, and correlated.  Here
    :math:`t = T^2`; with t adding up to 1 over the positions both results are averages over a region,
    and those of parts of a picture add up to those of the whole.

    Args:
        features: (N, C, H, W) activations.
        weights: t of R regions, (N, R, H, W), or (1, R, H, W) when all pictures share them.

    Returns:
        (N, R, C, C) and (N, R, C).
    """
    gram, mean = _GuidedSums.apply(features, weights)
    return gram, mean


class _GuidedSums(torch.autograd.Function):
    """The sums of :func:`guided_gram_and_mean`, without keeping a copy of the activations per region."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(features, weights)
        n, c, h, w = features.shape
        regions = weights.shape[1]
        flat = features.permute(0, 2, 3, 1).reshape(n, h * w, c)
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
        both = gram_slope + gram_slope.mT
        parts = []
        for (one, t), slope, bias in zip(
            _with_weights(features, weights), both, mean_slope, strict=True
        ):
            # sum_r t_r (S_r + S_r^T) F + t_r s_r: a 1 x 1 convolution with a bias for each region.
            total = torch.zeros_like(one)
            for r in range(regions):
                part = F.conv2d(one, slope[r][:, :, None, None], bias[r])
                total.addcmul_(part, t[:, r : r + 1])
            parts.append(total)
        return (parts[0] if len(parts) == 1 else torch.cat(parts)), None


def _with_weights(features: Tensor, weights: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Each picture's (1, C, H, W) with its (1, R, H, W)."""
    own = weights.expand(len(features), -1, -1, -1)
    return list(zip(torch.split(features, 1), torch.split(own, 1), strict=True))


def _through_convolutions(features: Tensor) -> bool:
    return features.device.type == "cpu" and features.dtype == torch.float32


def channel_mean(features: Tensor) -> Tensor:
    """Mean activation of each channel: (N, C, H, W) -> (N, C)."""
    return features.mean(dim=(-2, -1))


def lift_gram(gram: Tensor, mean: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    r"""The averaged Gram matrix of :math:`A F + b`, from the moments of F alone.

    .. math:: A G A^T + A \mu b^T + b \mu^T A^T + b b^T

    Args:
        gram: (N, C, C) averaged Gram matrix of F.
        mean: (N, C) mean of F.
        weight: A, (K, C).
        bias: b, (K,).

    Returns:
        (N, K, K).
    """
    cross = (mean @ weight.T).unsqueeze(-1) * bias  # (N, K, K): A mu b^T
    return weight @ gram @ weight.T + cross + cross.mT + bias.unsqueeze(-1) * bias


def affine_moments(gram: Tensor, mean: Tensor) -> Tensor:
    r"""The averaged Gram matrix of F with a constant channel of ones: :math:`[[G, \mu], [\mu^T, 1]]`.

    Args:
        gram: (N, C, C) averaged Gram matrix of F.
        mean: (N, C) mean of F.

    Returns:
        (N, C + 1, C + 1).
    """
    n, c = mean.shape
    moments = gram.new_ones(n, c + 1, c + 1)
    moments[:, :c, :c] = gram
    moments[:, :c, c] = mean
    moments[:, c, :c] = mean
    return moments


def qr_factor(weight: Tensor) -> Tensor:
    r"""R with :math:`R^T R = W^T W`, of the smallest size.

    For every d and every symmetric M it keeps lengths, :math:`\|R d\| = \|W d\|` and
    :math:`\|R M R^T\|_F = \|W M W^T\|_F`: a network with few channels C is compared in a space of many
    channels K without ever going there.

    Args:
        weight: W, (K, C).

    Returns:
        (min(K, C), C), the triangular factor of W.
    """
    factor: Tensor = torch.linalg.qr(weight.double(), mode="r").R
    return factor.to(weight.dtype)


def relative_error(value: Tensor, target: Tensor, energy: Tensor | None = None) -> Tensor:
    r"""Squared error over the target's own energy, :math:`\|v - t\|^2 / \|t\|^2`, for each image.

    0 is a perfect match and 1 what an all-zero value would have.  It has no unit, so one weight
    means the same for every picture, size, layer and encoder.

    Args:
        value: (N, ...).
        target: (N, ...), or (1, ...) when all images share it.
        energy: the squared norm to divide by, (N,) or (1,), where it is already known.

    Returns:
        (N,), none negative.
    """
    if energy is None:
        energy = target.flatten(1).square().sum(1)
    return over_energy((value - target).flatten(1).square().sum(1), energy)


def over_energy(squares: Tensor, energy: Tensor) -> Tensor:
    """A sum of squared errors (N,) over the target's energy (N,) or (1,)."""
    # A black picture has no energy at some layers; the floor keeps its loss finite.
    return squares / energy.clamp_min(torch.finfo(squares.dtype).tiny ** 0.5)


def gatys_content_loss(squares: Tensor) -> Tensor:
    r"""Content loss of the article, eq. 1: :math:`\frac12 \sum (F - P)^2`.

    Args:
        squares: (N,), :math:`\sum (F - P)^2`.

    Returns:
        (N,).
    """
    return 0.5 * squares


def gatys_style_loss(gram: Tensor, target: Tensor, channels: int | None = None) -> Tensor:
    r"""One layer's style loss of the article, eq. 4: :math:`\sum (G - A)^2 / (4 C^2 M^2)`.

    The article's Gram matrices are sums over M positions, ours are averages: the M² of the formula
    cancels.  Where the style has another number of positions than the picture, this compares it
    as if it were repeated to the picture's size, a case on which the article is silent.

    Args:
        gram: (N, C, C) averaged Gram matrices of the pictures.
        target: (N, C, C) or (1, C, C) averaged Gram matrices of the style.
        channels: the C of the formula, where the matrices have been shortened.

    Returns:
        (N,).
    """
    channels = channels or gram.shape[-1]
    return (gram - target).flatten(1).square().sum(1) / (4 * channels**2)


def total_variation(image: Tensor, form: TVForm = "squared") -> Tensor:
    r"""How much neighbouring pixels differ, as a mean, so that one weight means the same at every size.

    With the differences to the right :math:`d_x` and downwards :math:`d_y` of every channel:

    * ``squared``: the means of :math:`d_x^2` and of :math:`d_y^2`, added: Mahendran & Vedaldi (CVPR 2015,
      eq. 6) with exponent beta = 2.  It smoothes all edges alike.
    * ``absolute``: the means of :math:`|d_x|` and of :math:`|d_y|`, added: the anisotropic form, which
      leaves large steps and removes small ones, and likes upright and level edges best.
    * ``isotropic``: the mean of :math:`\sqrt{d_x^2 + d_y^2 + \epsilon^2} - \epsilon`: Rudin, Osher &
      Fatemi 1992, the same for edges of all directions; beta = 1 in Mahendran & Vedaldi.  Outside of
      the picture there is no difference.

    Args:
        image: (N, 3, H, W), H and W at least 2.
        form: ``squared``, ``absolute`` or ``isotropic``.

    Returns:
        (N,), for values in [0, 1] between 0 and 2.
    """
    across = image[..., :, 1:] - image[..., :, :-1]
    down = image[..., 1:, :] - image[..., :-1, :]
    if form == "isotropic":
        squares = F.pad(across.square(), (0, 1)) + F.pad(down.square(), (0, 0, 0, 1))
        return ((squares + TV_EPSILON**2).sqrt() - TV_EPSILON).mean(dim=(1, 2, 3))
    if form == "absolute":
        return across.abs().mean(dim=(1, 2, 3)) + down.abs().mean(dim=(1, 2, 3))
    return across.square().mean(dim=(1, 2, 3)) + down.square().mean(dim=(1, 2, 3))
