"""Weights and working folders for the workflow's tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from workbench import Bench, write_picture

VGG19_UP_TO_RELU5_1 = [
    (0, 3, 64),
    (2, 64, 64),
    (5, 64, 128),
    (7, 128, 128),
    (10, 128, 256),
    (12, 256, 256),
    (14, 256, 256),
    (16, 256, 256),
    (19, 256, 512),
    (21, 512, 512),
    (23, 512, 512),
    (25, 512, 512),
    (28, 512, 512),
]
"""Index in torchvision's ``features``, input channels, output channels."""


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict with torchvision's keys and random values that keep activations in range."""
    import torch

    random = torch.Generator().manual_seed(19)
    state = {}
    for index, incoming, outgoing in VGG19_UP_TO_RELU5_1:
        scale = (2 / (9 * incoming)) ** 0.5  # He et al. 2015, equation 10
        weight = torch.randn(outgoing, incoming, 3, 3, generator=random) * scale
        state[f"features.{index}.weight"] = weight.half()
        state[f"features.{index}.bias"] = torch.zeros(outgoing).half()
    path = tmp_path_factory.mktemp("weights") / "vgg19.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="session")
def make_bench(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Callable[..., Bench]:
    """Makes a working folder with small pictures and a configuration that takes seconds."""

    def make(contents: int = 2, styles: int = 2, **changes: Any) -> Bench:
        folder = tmp_path_factory.mktemp("bench")
        for index in range(contents):
            write_picture(folder / "photos" / f"photo{index + 1}.png", seed=index)
        for index in range(styles):
            write_picture(folder / "paintings" / f"painting{index + 1}.png", seed=100 + index)
        bench = Bench(folder, weights)
        bench.write(
            run="small",
            contents="photos",
            styles="paintings",
            settings={
                "size": 64,
                "pyramid_start": 64,
                "iterations": 3,
            },
            sweep={"axes": {"style_weight": [1, 10]}},
            batch_by=["style"],
            evaluation={"size": 64},
            report={"thumbnail": 64},
            device="cpu",
        )
        bench.write(**changes)
        return bench

    return make
