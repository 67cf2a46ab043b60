"""Batches of N independent images: where they start, their size, their state, and some of them.

Importing this module does not import torch.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from nstcore.core.lazy import lazy_import

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor
    from torch.nn import functional
else:
    np, torch = lazy_import("numpy"), lazy_import("torch")
    functional = lazy_import("torch.nn.functional")

ImageState = dict[str, "Tensor"]
"""The state of one image by name."""


class Selectable:
    """Tensors of N images: each is (N, ...), or (1, ...) where all images share it."""

    def select(self, rows: Tensor) -> Self:
        """The same for some of the images, (N',) indices."""
        other = copy.copy(self)
        vars(other).update((name, _select(value, rows)) for name, value in vars(self).items())
        return other


def _select(value: Any, rows: Tensor) -> Any:
    if isinstance(value, torch.Tensor):
        return value if len(value) == 1 else value[rows]
    if isinstance(value, Selectable):
        return value.select(rows)
    if isinstance(value, dict):
        return {name: _select(one, rows) for name, one in value.items()}
    return tuple(_select(one, rows) for one in value) if isinstance(value, tuple) else value


class BatchedState:
    """State of N independent images: the tensors (N, ...) that ``tensors`` names.

    Attributes:
        tensors: names of attributes.
        prefix: of their names in a saved state.
    """

    tensors: ClassVar[tuple[str, ...]]
    prefix: ClassVar[str] = ""

    def image_state(self, place: int) -> ImageState:
        """What the next steps of one image depend on."""
        return {self.prefix + name: getattr(self, name)[place] for name in self.tensors}

    def load_image(self, place: int, state: Mapping[str, Tensor]) -> None:
        """Continue one image from its :meth:`image_state`."""
        for name in self.tensors:
            getattr(self, name)[place] = state[self.prefix + name]

    def keep(self, places: Tensor) -> None:
        """Keep only some of the images, an index (N',)."""
        for name in self.tensors:
            setattr(self, name, getattr(self, name)[places])


def to_tensor(pixels: NDArray[np.float32], device: torch.device | str = "cpu") -> Tensor:
    """(H, W, 3) to (1, 3, H, W), channels last in memory."""
    values = torch.from_numpy(np.ascontiguousarray(pixels))
    pinned = torch.device(device).type == "cuda"
    if pinned:  # the copy runs in the background, and the pinned memory is used again
        values = values.pin_memory()
    return values.permute(2, 0, 1).unsqueeze(0).to(device, non_blocking=pinned)


def per_image(values: Tensor) -> Tensor:
    """One value for each image, (N,), in a shape that broadcasts over images: (N, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)


def resample(images: Tensor, height: int, width: int, *, smooth: bool = True) -> Tensor:
    """(N, C, H, W) at another size, from one level of the pyramid to the next.

    Args:
        images: (N, C, H, W).
        height, width: the new size.
        smooth: bicubic, for images; else bilinear, for an optimizer's state, which must not overshoot.
    """
    if images.shape[-2:] == (height, width):
        return images
    return functional.interpolate(
        images,
        size=(height, width),
        mode="bicubic" if smooth else "bilinear",
        align_corners=False,
        antialias=height < images.shape[-2],
    )


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
