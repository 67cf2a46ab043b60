r"""Exact losses and gradients, tile by tile, of images whose activations do not fit into memory.

Style losses compare statistics of the whole image, so its parts cannot be optimized one by one.  But
every statistic in use is a sum over positions.  Pass 1 adds up the sums of all tiles without keeping
activations; the losses and their slopes with respect to the sums follow; pass 2 computes each tile's
activations again and sends the slopes back to its pixels:

.. math:: \frac{dL}{dx} = \sum_{tiles} \sum_l \frac{dL}{dS_l} \frac{dS_{l,tile}}{dx}

A tile has a *core*, the pixels that it stands for, and an *outer* window, the pixels that it is
computed from.  Cores start at multiples of the deepest layer's stride, so that poolings meet
the same pixels as in the whole image, and lie a receptive field away from every cut of the outer
window: their activations are the whole image's, and so are the derivatives of these activations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from nstcore.core.encoders import EncoderSpec
from nstcore.core.encoders.base import Encoder
from nstcore.core.geometry import Tile, Window, tile_grid
from nstcore.core.guidance import Guide
from nstcore.core.losses.base import Losses
from nstcore.core.moments import Moments, gram_and_mean, guided_gram_and_mean
from nstcore.core.objective import Objective


def _tiles(image: Tensor, spec: EncoderSpec, layers: Sequence[str], tile: int | None) -> list[Tile]:
    """Tiles of ``image`` (N, 3, H, W) for some layers; a single one if ``tile`` is None."""
    height, width = image.shape[-2:]
    if tile is None or not layers:
        whole = slice(0, height), slice(0, width)
        return [Tile(whole, whole)]
    return tile_grid(height, width, tile, spec.margin(layers), spec.stride(*layers))


def _crop(tensor: Tensor, window: Window) -> Tensor:
    return tensor[..., window[0], window[1]]


def _moments_of_tile(
    encoder: Encoder,
    features: Mapping[str, Tensor],
    guides: Mapping[str, Guide | None],
    tile: Tile,
    image: Tensor,
) -> list[Tensor]:
    """What a tile's core adds to averages over the whole image, or over regions where there is a guide.

    Args:
        encoder: the network.
        features: layer -> activations of the tile's outer window.
        guides: layer -> guide or None, of the layers that are wanted.
        tile: the tile.
        image: the whole image, for its size.

    Returns:
        For each layer Gram matrix, (N, C, C), and mean, (N, C); with a guide (N, R, C, C) and (N, R, C).
    """
    height, width = image.shape[-2:]
    parts: list[Tensor] = []
    for layer, guide in guides.items():
        stride = encoder.spec.stride(layer)
        core = _crop(features[layer], tile.within(stride))
        if guide is not None:
            parts += guided_gram_and_mean(core, _crop(guide.weights, tile.at(stride)))
        else:
            positions = encoder.spec[layer].positions(width, height)
            share = core.shape[-2] * core.shape[-1] / positions
            gram, mean = gram_and_mean(core)
            parts += [gram * share, mean * share]
    return parts


def _add_up(parts: Iterable[Sequence[Tensor]]) -> list[Tensor]:
    """Sums over tiles, each quantity by itself, in the dtype of the parts.

    They are accumulated in float64 where the device has it, so that the number of tiles does not matter.
    """
    totals: list[Tensor] = []
    part: Sequence[Tensor] = []
    for part in parts:
        doubles = [value if value.device.type == "mps" else value.double() for value in part]
        totals = list(map(torch.add, totals, doubles)) if totals else doubles
    return [total.to(value.dtype) for total, value in zip(totals, part, strict=True)]


class TiledObjective:
    """An objective that is evaluated tile by tile: the same numbers in the memory of one tile.

    The activations of every tile are computed twice, so an evaluation costs two forward passes and
    one backward pass over all outer windows.  An image that fits into one tile is left to the objective
    itself at no extra cost.

    Args:
        objective: what to evaluate; its content targets are for the whole image.
        tile: greatest side of a core in px (see :func:`tile_grid`); None for no tiles.

    Raises:
        ValueError: when evaluated, if the tile is smaller than two strides of the deepest layer.
    """

    def __init__(self, objective: Objective, tile: int | None) -> None:
        self.objective = objective
        self.tile = tile

    def tiles(self, image: Tensor) -> list[Tile]:
        """The tiles in which images like ``image`` (N, 3, H, W) are evaluated."""
        return _tiles(image, self.objective.encoder.spec, self.objective.layers, self.tile)

    def evaluate(self, image: Tensor) -> tuple[Losses, Tensor]:
        """Losses of ``image`` (N, 3, H, W) and the gradient of each image's own total."""
        tiles = self.tiles(image)
        if len(tiles) == 1:
            return self.objective.evaluate(image)
        image = image.detach()
        with torch.no_grad():
            totals = _add_up(
                self._statistics(_crop(image, tile.outer), tile, image) for tile in tiles
            )
        leaf = image.detach().requires_grad_()
        totals = [total.requires_grad_() for total in totals]
        remaining = iter(totals)
        moments = {
            layer: Moments(next(remaining), next(remaining)) for layer in self.objective.style
        }
        squares = {layer: next(remaining) for layer in self.objective.content}
        losses = self.objective.losses(moments, squares, self.objective.tv(leaf))
        # The images are independent: the gradient of the sum holds each one's own.
        # Means are unused by Gram matrices without adapters.
        gradient, *slopes = torch.autograd.grad(
            losses.total.sum(), [leaf, *totals], allow_unused=True
        )
        used = [i for i, slope in enumerate(slopes) if slope is not None]
        for tile in tiles:
            outer = _crop(image, tile.outer).clone().requires_grad_()
            parts = self._statistics(outer, tile, image)
            (own,) = torch.autograd.grad([parts[i] for i in used], outer, [slopes[i] for i in used])
            # Where outer windows overlap, a pixel acts on several cores.
            _crop(gradient, tile.outer).add_(own)
        return losses.detach(), gradient

    def _statistics(self, outer: Tensor, tile: Tile, image: Tensor) -> list[Tensor]:
        """What one tile, with pixels ``outer``, adds to the statistics of ``image``.

        Returns:
            Gram matrix and mean for each style layer, then squares for each content layer.
        """
        encoder = self.objective.encoder
        features = encoder(outer, self.objective.layers)
        guides = {layer: loss.guide for layer, loss in self.objective.style.items()}
        parts = _moments_of_tile(encoder, features, guides, tile, image)
        for layer, content in self.objective.content.items():
            stride = encoder.spec.stride(layer)
            core = _crop(features[layer], tile.within(stride))
            parts.append(content.squares(core, tile.at(stride)))
        return parts


@torch.no_grad()
def tiled_moments(
    encoder: Encoder,
    image: Tensor,
    layers: Sequence[str],
    tile: int | None,
    guides: Mapping[str, Guide] | None = None,
) -> dict[str, Moments]:
    """:func:`~nstcore.core.moments.style_moments` in the memory of one tile, without history."""
    of_layers = {layer: None if guides is None else guides[layer] for layer in layers}
    totals = iter(
        _add_up(
            _moments_of_tile(
                encoder, encoder(_crop(image, part.outer), layers), of_layers, part, image
            )
            for part in _tiles(image, encoder.spec, layers, tile)
        )
    )
    return {layer: Moments(next(totals), next(totals)) for layer in layers}


@torch.no_grad()
def tiled_features(
    encoder: Encoder, image: Tensor, layers: Sequence[str], tile: int | None
) -> dict[str, Tensor]:
    """Activations of whole images in their own memory and that of one tile, without history.

    Args:
        encoder: the network.
        image: (N, 3, H, W) in [0, 1].
        layers: few and deep ones, since all of their activations are kept.
        tile: greatest side of a core in px; None for the whole at once.
    """
    tiles = _tiles(image, encoder.spec, layers, tile)
    if len(tiles) == 1:
        return encoder(image, layers)
    height, width = image.shape[-2:]
    found: dict[str, Tensor] = {}
    for part in tiles:
        for layer, value in encoder(_crop(image, part.outer), layers).items():
            step = encoder.spec.stride(layer)
            if layer not in found:
                (n, c), size = value.shape[:2], (height // step, width // step)
                # In the layout of the encoder's own activations, which they will be compared with.
                if value.is_contiguous(memory_format=torch.channels_last):
                    found[layer] = value.new_empty(n, *size, c).permute(0, 3, 1, 2)
                else:
                    found[layer] = value.new_empty(n, c, *size)
            _crop(found[layer], part.at(step)).copy_(_crop(value, part.within(step)))
    return found
