"""What the optimizer meets: images with noise, wrong colours, too much contrast.

Images are (N, 3, H, W) in [0, 1] or somewhat outside; every function draws from one
generator, which may be on another device than the CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def _uniform(generator: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    uniform = torch.rand(*shape, generator=generator, device=generator.device)
    return uniform * (high - low) + low


def _normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, device=generator.device)


def jitter_colour(image: Tensor, generator: torch.Generator) -> Tensor:
    """Change gamma, contrast, brightness and mix the channels of about half of the images."""
    n = image.shape[0]
    chosen = _uniform(generator, 0, 1, n, 1, 1, 1) < 0.5
    gamma = 2 ** _uniform(generator, -0.8, 0.8, n, 1, 1, 1)
    contrast = 2 ** _uniform(generator, -0.7, 0.7, n, 1, 1, 1)
    shift = _normal(generator, n, 3, 1, 1) * 0.08
    mixing = torch.eye(3, device=generator.device) + _normal(generator, n, 3, 3) * 0.12
    device = image.device
    changed = image.clamp(1e-4, 1) ** gamma.to(device)
    changed = torch.einsum("ncd,ndhw->nchw", mixing.to(device), changed - 0.5)
    changed = changed * contrast.to(device) + 0.5 + shift.to(device)
    return torch.where(chosen.to(device), changed, image)


def blur(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur with mirrored borders; ``sigma`` in pixels."""
    radius = max(1, round(2.5 * sigma))
    offsets = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-offsets.square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).repeat(3, 1)
    padded = F.pad(image, (radius, radius, radius, radius), mode="reflect")
    rows = F.conv2d(padded, kernel[:, None, :, None], groups=3)
    return F.conv2d(rows, kernel[:, None, None, :], groups=3)


def perturb(image: Tensor, generator: torch.Generator) -> Tensor:
    """A neighbour of each image: the same with noise of some scale, blurred, sharpened or tinted.

    The differences between an image and its neighbour teach the student the teacher's *slopes*,
    which are what an optimizer of pixels follows.
    """
    neighbours = []
    for single in torch.split(image, 1):
        kind = int(_uniform(generator, 0, 8, 1))
        amount = float(_uniform(generator, 0.0, 1.0, 1))
        neighbours.append(_perturb_one(single, kind, amount, generator))
    return torch.cat(neighbours)


def _noise(like: Tensor, generator: torch.Generator, cell: int = 1) -> Tensor:
    """White noise in cells of ``cell`` pixels; coloured or grey at random."""
    _, _, height, width = like.shape
    channels = 3 if float(_uniform(generator, 0, 1, 1)) < 0.6 else 1
    noise = _normal(generator, 1, channels, -(-height // cell), -(-width // cell)).to(like.device)
    if cell > 1:
        noise = noise.repeat_interleave(cell, 2).repeat_interleave(cell, 3)
    return noise[:, :, :height, :width].expand_as(like)


def _perturb_one(single: Tensor, kind: int, amount: float, generator: torch.Generator) -> Tensor:
    strength = 0.01 * 20**amount  # 0.01 to 0.2, more often small
    if kind <= 1:
        return single + strength * _noise(single, generator)
    if kind == 2:
        return single + strength * _noise(single, generator, 2)
    if kind == 3:
        return single + strength * _noise(single, generator, 2 + round(6 * amount))
    if kind == 4:
        noise = _noise(single, generator)
        return single + strength * (noise - blur(noise, 1.0))
    if kind == 5:
        return blur(single, 0.4 + 1.6 * amount)
    if kind == 6:
        return single + (0.3 + 1.5 * amount) * (single - blur(single, 1.0))
    shift = _normal(generator, 1, 3, 1, 1).to(single.device)
    return single * (1 + 0.4 * (amount - 0.5)) + 0.08 * shift
