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

from nstcore.core.encoders.base import Encoder
from nstcore.core.encoders.registry import EncoderSpec
from nstcore.core.geometry import Tile, Window, tile_grid, window_of
from nstcore.core.guidance import Guide
from nstcore.core.losses.base import Losses
from nstcore.core.moments import Moments, guided_gram_and_mean, layer_moments
from nstcore.core.objective import Objective


def _tiles(image: Tensor, spec: EncoderSpec, layers: Sequence[str], tile: int | None) -> list[Tile]:
    """Tiles of ``image`` (N, 3, H, W) for some layers; a single one if ``tile`` is None."""
    height, width = image.shape[-2:]
    whole = window_of(((0, height), (0, width)))
    if tile is None or not layers:
        return [Tile(whole, whole)]
    return tile_grid(height, width, tile, spec.margin(layers), spec.stride(*layers))


def _crop(tensor: Tensor, window: Window) -> Tensor:
    return tensor[..., window[0], window[1]]


def _share_of_moments(
    core: Tensor, positions: int, guide: Guide | None, window: Window
) -> list[Tensor]:
    """What a core's activations (N, C, h, w) add to averages over an image with M positions.

    Args:
        core: the activations.
        positions: M.
        guide: the regions over which averages are taken; None for the whole image.
        window: the core in the activations of the whole image.

    Returns:
        To the Gram matrix, (N, C, C), and to the mean, (N, C); with a guide (N, R, C, C) and (N, R, C).
    """
    if guide is not None:
        return list(guided_gram_and_mean(core, _crop(guide.weights, window)))
    share = core.shape[-2] * core.shape[-1] / positions
    moments = layer_moments(core)
    return [moments.gram * share, moments.mean * share]


def _add_up(parts: Iterable[Sequence[Tensor]]) -> list[Tensor]:
    """Sums over tiles, each quantity by itself, in the dtype of the parts.

    They are accumulated in float64 where the device has it, so that the number of tiles does not matter.
    """
    totals: list[Tensor] = []
    dtypes: list[torch.dtype] = []
    for part in parts:
        doubles = [value if value.device.type == "mps" else value.double() for value in part]
        if not totals:
            totals, dtypes = doubles, [value.dtype for value in part]
        else:
            totals = [total + value for total, value in zip(totals, doubles, strict=True)]
    return [total.to(dtype) for total, dtype in zip(totals, dtypes, strict=True)]


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
        losses = self._losses(totals, self.objective.tv(leaf))
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
        """What one tile adds to the statistics from which the losses are computed.

        Args:
            outer: the pixels of the tile's outer window.
            tile: the tile.
            image: the whole image, for its size.

        Returns:
            Gram matrix and mean for each style layer, then squares for each content layer.
        """
        spec, (height, width) = self.objective.encoder.spec, image.shape[-2:]
        features = self.objective.encoder(outer, self.objective.layers)
        cores = {
            name: _crop(value, tile.within(spec.stride(name))) for name, value in features.items()
        }
        parts: list[Tensor] = []
        for layer, style in self.objective.style.items():
            positions = spec[layer].positions(width, height)
            parts += _share_of_moments(
                cores[layer], positions, style.guide, tile.at(spec.stride(layer))
            )
        for layer, content in self.objective.content.items():
            parts.append(content.squares(cores[layer], tile.at(spec.stride(layer))))
        return parts

    def _losses(self, totals: Sequence[Tensor], tv: Tensor) -> Losses:
        """The objective's losses from statistics in the order of :meth:`_statistics`."""
        remaining = iter(totals)
        moments = {
            layer: Moments(next(remaining), next(remaining)) for layer in self.objective.style
        }
        squares = {layer: next(remaining) for layer in self.objective.content}
        return self.objective.losses(moments, squares, tv)


@torch.no_grad()
def tiled_moments(
    encoder: Encoder,
    image: Tensor,
    layers: Sequence[str],
    tile: int | None,
    guides: Mapping[str, Guide] | None = None,
) -> dict[str, Moments]:
    """:func:`~nstcore.core.moments.style_moments` in the memory of one tile, without history.

    Args:
        encoder: the network.
        image: (N, 3, H, W) in [0, 1].
        layers: their names.
        tile: greatest side of a core in px (see :func:`tile_grid`); None for the whole at once.
        guides: layer -> guide, for moments of each region.
    """
    spec, (height, width) = encoder.spec, image.shape[-2:]

    def measure(part: Tile) -> list[Tensor]:
        features = encoder(_crop(image, part.outer), layers)
        return [
            value
            for layer in layers
            for value in _share_of_moments(
                _crop(features[layer], part.within(spec.stride(layer))),
                spec[layer].positions(width, height),
                None if guides is None else guides[layer],
                part.at(spec.stride(layer)),
            )
        ]

    totals = iter(_add_up(map(measure, _tiles(image, encoder.spec, layers, tile))))
    return {layer: Moments(next(totals), next(totals)) for layer in layers}


@torch.no_grad()
def tiled_features(
    encoder: Encoder, image: Tensor, layers: Sequence[str], tile: int | None
) -> dict[str, Tensor]:
    """Activations of whole images in their own memory and that of one tile, without history.

    Args:
        encoder: the network.
        image: (N, 3, H, W) in [0, 1].
        layers: their names; few and deep ones, since all of their activations are kept.
        tile: greatest side of a core in px (see :func:`tile_grid`); None for the whole at once.

    Returns:
        name -> (N, C, H // stride, W // stride).
    """
    tiles = _tiles(image, encoder.spec, layers, tile)
    if len(tiles) == 1:
        return encoder(image, layers)
    height, width = image.shape[-2:]
    found: dict[str, Tensor] = {}
    for part in tiles:
        features = encoder(_crop(image, part.outer), layers)
        for layer, value in features.items():
            step = encoder.spec.stride(layer)
            if layer not in found:
                n, channels = value.shape[:2]
                size = (height // step, width // step)
                # In the layout of the encoder's own activations, which they will be compared with.
                last = value.is_contiguous(memory_format=torch.channels_last)
                found[layer] = torch.empty(
                    (n, channels, *size),
                    dtype=value.dtype,
                    device=value.device,
                    memory_format=torch.channels_last if last else torch.contiguous_format,
                )
            _crop(found[layer], part.at(step)).copy_(_crop(value, part.within(step)))
    return found
