"""The shape of VGG-19: names, order and geometry of its layers, without torch.

Names follow the usual convention: ``relu4_2`` is the rectified output of the second convolution
of the fourth stage (Simonyan & Zisserman 2015, table 1, column E).
"""

from __future__ import annotations

from collections.abc import Iterable

CONVOLUTIONS_PER_STAGE: tuple[int, ...] = (2, 2, 4, 4, 4)
"""How many 3 x 3 convolutions VGG-19 has between its poolings."""

VGG19_WIDTHS: tuple[int, ...] = (64, 128, 256, 512, 512)
"""Channels of each stage of VGG-19."""

COMPACT_WIDTHS: tuple[int, ...] = (16, 32, 64, 128, 256)
"""Channels of each stage of the compact encoder.

The first two stages cost most of the time, because they see the most pixels; the fifth sees 1/256
of them, so that its extra width costs little and pays where a narrow layer explains least."""

LAYERS: tuple[str, ...] = tuple(
    f"relu{stage}_{index}"
    for stage, count in enumerate(CONVOLUTIONS_PER_STAGE, start=1)
    for index in range(1, count + 1)
)
"""Every layer whose activations can be asked for, from shallow to deep."""

EVAL_CONTENT_LAYER = "relu4_2"
"""The layer at which finished pictures are compared with their content."""

EVAL_STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
"""The layers at which finished pictures are compared with their style."""

EVAL_HELD_OUT_LAYERS = ("relu1_2", "relu2_2", "relu3_2", "relu4_3")
"""Layers that the default settings do not optimize: a check on what the style layers promise."""


def stage(layer: str) -> int:
    """The stage (1 to 5) of a layer name; its activations are ``2 ** (stage - 1)`` times smaller.

    Raises:
        ValueError: if there is no such layer.
    """
    if layer not in LAYERS:
        raise ValueError(f"no layer {layer!r}; there are {LAYERS[0]} to {LAYERS[-1]}")
    return int(layer[4])


def deepest(layers: Iterable[str]) -> str:
    """The deepest of some layers: nothing after it has to be computed."""
    return max(layers, key=LAYERS.index)


def channels(layer: str, widths: tuple[int, ...] = VGG19_WIDTHS) -> int:
    """Channels of a layer in a network with the given stage widths."""
    return widths[stage(layer) - 1]


def torchvision_index(layer: str) -> int:
    """The index N of ``features.N.weight`` of the convolution in front of ``layer``.

    torchvision numbers convolutions, rectifiers and poolings through: ``relu1_1`` is 0, ``relu2_1``
    is 5, ``relu5_1`` is 28.
    """
    before = sum(2 * count + 1 for count in CONVOLUTIONS_PER_STAGE[: stage(layer) - 1])
    return before + 2 * (int(layer[6]) - 1)
