"""crowsonkb/style-transfer-pytorch: how it is started from a checkout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

OUTPUT = "style-transfer-pytorch.png"

CHECKPOINT = "vgg19-dcbb9e9d.pth"
"""The file that torchvision takes for its own download."""

CLASSIFIER = {0: (4096, 25088), 3: (4096, 4096), 6: (1000, 4096)}
"""Shapes of VGG-19's linear layers, which are loaded but never used."""


def write_weights(state: Mapping[str, Tensor], home: Path) -> None:
    """Put VGG-19's weights where torchvision looks for them, below ``TORCH_HOME``.

    Raises:
        ValueError: if they lack a convolution; torchvision loads all sixteen.
    """
    complete = {key: value.float() for key, value in state.items() if key.startswith("features.")}
    if len(complete) != 32:
        raise ValueError("style-transfer-pytorch needs weights with all 16 convolutions")
    for index, shape in CLASSIFIER.items():
        # One zero seen as many: saved as one.
        complete[f"classifier.{index}.weight"] = torch.zeros(()).expand(shape)
        complete[f"classifier.{index}.bias"] = torch.zeros(()).expand(shape[0])
    path = home / "hub" / "checkpoints" / CHECKPOINT
    path.parent.mkdir(parents=True)
    torch.save(complete, path)


def command(python: Path, files: tuple[str, str], size: int, device: str) -> list[str]:
    """The words of its command line: its own defaults, at a size.

    Args:
        python: the interpreter.
        files: of content and style.
        size: long side of the result.
        device: where it computes.
    """
    return [
        *(str(python), "-c", "from style_transfer.cli import main; main()"),
        *(*files, "--output", OUTPUT, "--end-scale", str(size)),
        *("--devices", "cpu" if device == "cpu" else "cuda:0"),
    ]
