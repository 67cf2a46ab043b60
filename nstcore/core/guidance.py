r"""Guides: the regions of an image, in each layer's activations.

Gatys, Ecker, Bethge, Hertzmann & Shechtman, *Controlling Perceptual Factors in Neural Style Transfer*,
arXiv 1611.07865, section 4.  A guide has a mask for every region; a region's style statistics are
averages over the positions of its mask, and its style loss compares them with a style of its own.

A region's loss is weighted by its share of the image's area, times its factor in ``region_weights``.
With a loss that is relative and averaged over the region, every pixel then has the same pull towards its
style whatever the size of its region: one ``style_weight`` looks alike with and without a guide, and
a single region that covers everything changes nothing.  (The article leaves these factors, its
lambda, open.)
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from nstcore.core.batched import Selectable
from nstcore.core.encoders import EncoderSpec

log = logging.getLogger(__name__)

Propagation = Literal["simple", "inside", "all"]

LEAST_POSITIONS = 1.0
"""A region that covers less than this many positions of a layer has no statistics there."""


@dataclass(frozen=True)
class Guide(Selectable):
    """The regions of one layer.

    Attributes:
        weights: (N or 1, R, H, W) of the layer, adding up to 1 for each region; 0 for a region that is
            left out.
        shares: (N or 1, R), the weight of each region's loss; 0 for a region that is left out.
    """

    weights: Tensor
    shares: Tensor

    def scaled(self, factors: Tensor) -> Guide:
        """The same with shares multiplied by (R,) or (N or 1, R); a factor of 0 leaves a region out."""
        return replace(self, shares=self.shares * factors)


def propagate(
    spec: EncoderSpec,
    masks: Tensor,
    layers: Iterable[str],
    propagation: Propagation = "simple",
) -> dict[str, Tensor]:
    """Bring masks to the resolution of layers, along the network's own convolutions and poolings.

    * ``simple``: averaged over the pixels that a position stands for.
    * ``inside``: eroded; a position belongs to a region when its whole receptive field does.
    * ``all``: dilated; a position belongs to a region when any of its receptive field does.

    Padding beyond the image's border is ignored.

    Masks (R, H, W) in [0, 1] give layer -> (R, h, w) in [0, 1], of the size of the layer's activations.
    """
    wanted = set(layers)
    if not wanted:
        return {}
    # Erosion is the dilation of the complement.
    x = (1 - masks if propagation == "inside" else masks).unsqueeze(0)
    found: dict[str, Tensor] = {}
    stride = 1
    for layer in spec.up_to(wanted):
        if layer.stride != stride:
            factor, stride = layer.stride // stride, layer.stride
            x = F.avg_pool2d(x, factor) if propagation == "simple" else F.max_pool2d(x, factor)
        if propagation != "simple":
            # The field of a convolution; torch pads a maximum with -infinity.
            x = F.max_pool2d(x, 2 * layer.radius + 1, stride=1, padding=layer.radius)
        if layer.name in wanted:
            found[layer.name] = (1 - x if propagation == "inside" else x)[0]
    return found


def layer_guides(
    spec: EncoderSpec,
    masks: Tensor,
    layers: Iterable[str],
    propagation: Propagation,
    names: Sequence[str],
) -> dict[str, Guide]:
    """The guide of one image at every layer.

    A region that covers less than one position of a layer is left out there, with a warning.

    Masks are (R, H, W) in [0, 1], with R names.  The shares are of the image's area, whatever the
    propagation.
    """
    shares = masks.mean((1, 2))
    found: dict[str, Guide] = {}
    for layer, layer_masks in propagate(spec, masks, layers, propagation).items():
        total = layer_masks.sum((1, 2))
        present = total >= LEAST_POSITIONS
        for name, is_present in zip(names, present.tolist(), strict=True):
            if not is_present:
                log.warning(
                    "region %s covers less than one position of %s at %d x %d px and is left out there",
                    name,
                    layer,
                    masks.shape[2],
                    masks.shape[1],
                )
        # torch.where keeps a division by zero out of the result.
        scale = torch.where(present, 1 / total.clamp_min(LEAST_POSITIONS), torch.zeros_like(total))
        found[layer] = Guide((layer_masks * scale[:, None, None])[None], (shares * present)[None])
    return found


def stack_guides(guides: Sequence[Mapping[str, Guide]]) -> dict[str, Guide]:
    """One guide for each layer from those of a batch's images; what all share is stored once."""

    def stacked(values: list[Tensor]) -> Tensor:
        return values[0] if all(value is values[0] for value in values) else torch.cat(values)

    return {
        layer: Guide(
            stacked([one[layer].weights for one in guides]),
            stacked([one[layer].shares for one in guides]),
        )
        for layer in guides[0]
    }
