"""How many operations an encoder and its Gram matrices take, counted from their shapes; no torch."""

from __future__ import annotations

from collections.abc import Iterable

from nstcore.encoders.layers import LAYERS, channels, stage


def convolution_flops(widths: tuple[int, ...], last: str, height: int, width: int) -> int:
    """Operations of all 3 x 3 convolutions up to a layer for one picture, forward.

    The gradient with respect to their inputs takes as many again.

    Args:
        widths: channels of the stages.
        last: the layer.
        height, width: of the picture in pixels.
    """
    total, incoming = 0, 3
    for layer in LAYERS[: LAYERS.index(last) + 1]:
        reduced = 2 ** (stage(layer) - 1)
        outgoing = channels(layer, widths)
        total += 2 * 9 * incoming * outgoing * (height // reduced) * (width // reduced)
        incoming = outgoing
    return total


def gram_flops(widths: tuple[int, ...], layers: Iterable[str], height: int, width: int) -> int:
    """Operations of one picture's Gram matrices, forward: full products, C² M multiply-adds.

    Backward takes as many again: the gradient of F F^T is (S + S^T) F.
    """
    total = 0
    for layer in layers:
        reduced = 2 ** (stage(layer) - 1)
        total += 2 * channels(layer, widths) ** 2 * (height // reduced) * (width // reduced)
    return total
