"""The images before the first iteration, and their resampling between levels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def generator(seed: int) -> torch.Generator:
    """A random generator on the CPU, so that every device gets the same numbers."""
    return torch.Generator(device="cpu").manual_seed(seed)


def white_noise(height: int, width: int, random: torch.Generator) -> Tensor:
    """(3, H, W), normal with mean 0.5 and standard deviation 0.25, cut to [0, 1]."""
    return (0.5 + 0.25 * torch.randn(3, height, width, generator=random)).clamp_(0, 1)


def style_noise(height: int, width: int, style: Tensor, random: torch.Generator) -> Tensor:
    """Noise with the mean and the covariance of a style's colours.

    Args:
        height, width: of the result.
        style: (3, H, W) in [0, 1].
        random: the generator.

    Returns:
        (3, H, W), cut to [0, 1].
    """
    pixels = style.flatten(1)  # (3, M)
    mean = pixels.mean(1, keepdim=True)
    covariance = torch.cov(pixels.double())
    # A grey image has a singular covariance, which still has a symmetric root.
    values, vectors = torch.linalg.eigh(covariance)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    noise = torch.randn(3, height * width, generator=random)
    colored: Tensor = mean + root.to(noise.dtype) @ noise
    return colored.view(3, height, width).clamp_(0, 1)


def add_noise(image: Tensor, deviation: float, random: torch.Generator) -> Tensor:
    """``image`` plus white noise of a standard deviation, unclamped."""
    if deviation == 0:
        return image
    return image + deviation * torch.randn(image.shape, generator=random)


def resample(images: Tensor, height: int, width: int, *, smooth: bool = True) -> Tensor:
    """(N, C, H, W) at another size, from one level of the pyramid to the next.

    Args:
        images: (N, C, H, W).
        height, width: the new size.
        smooth: bicubic, for images; else bilinear, for an optimizer's state, which must not overshoot.
    """
    if images.shape[-2:] == (height, width):
        return images
    return F.interpolate(
        images,
        size=(height, width),
        mode="bicubic" if smooth else "bilinear",
        align_corners=False,
        antialias=height < images.shape[-2],
    )
