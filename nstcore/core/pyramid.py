"""The levels of the pyramid and the images they start from; importing this does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nstcore.core.lazy import lazy_import
from nstcore.core.settings import Settings
from nstcore.images import fit_size

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

Size = tuple[int, int]
"""Width and height in pixels."""


def image_size(native: Size, settings: Settings) -> Size:
    """Width and height of a cell's image, from the size of its content's file."""
    return fit_size(native, settings.size, settings.size_by)


def levels(settings: Settings, size: Size) -> list[tuple[Size, int]]:
    """Size and iterations of every level of an image, coarse to fine; the last one has its full size.

    Coarse levels that are too small for the encoder, such as those of a panorama, are left out.
    """
    all_levels = [
        (fit_size(size, wanted, settings.size_by), iterations)
        for wanted, iterations in zip(
            settings.level_sizes(), settings.level_iterations(), strict=True
        )
    ]
    # By area, a fitted image fitted again may become a pixel wider.
    all_levels[-1] = (size, all_levels[-1][1])
    smallest = settings.encoder_spec.stride(*settings.layers)
    return [level for level in all_levels if min(level[0]) >= smallest] or all_levels[-1:]


def area(size: Size) -> int:
    """Number of pixels."""
    return size[0] * size[1]


# --- The images before the first iteration ---


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
