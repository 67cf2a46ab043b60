"""The losses of a batch of images; importing this module does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Losses:
    """Every loss of every image, unweighted except for ``total``; each is (N,)."""

    total: Tensor
    content: Tensor
    style: Tensor
    tv: Tensor
    style_layers: dict[str, Tensor]

    def detach(self) -> Losses:
        """The same numbers without their history."""
        return Losses(
            self.total.detach(),
            self.content.detach(),
            self.style.detach(),
            self.tv.detach(),
            {layer: value.detach() for layer, value in self.style_layers.items()},
        )
