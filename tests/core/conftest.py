"""An objective with every part in use, in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from objectives import objective_of

from nstcore.core.encoders.vgg import VGG
from nstcore.core.moments import style_moments
from nstcore.core.objective import Objective

CONTENT_LAYERS = {"relu2_2": 0.5, "relu4_2": 1.5}
STYLE_LAYERS = {"relu1_1": 1.0, "relu2_1": 0.5, "relu4_1": 2.0, "relu5_1": 0.2}


@pytest.fixture
def pictures() -> Callable[..., torch.Tensor]:
    """Random pictures (N, 3, 18, 21) in float64."""

    def make(seed: int, n: int = 1) -> torch.Tensor:
        random = torch.Generator().manual_seed(seed)
        return torch.rand(n, 3, 18, 21, generator=random, dtype=torch.float64)

    return make


@pytest.fixture
def make_objective(random_vgg, pictures) -> Callable[..., Objective]:
    """Build objectives of three pictures with different weights, contents and styles."""

    def make(
        normalization: str = "relative",
        *,
        statistic: str = "gram",
        adapted: int | None = None,
        encoder: VGG | None = None,
    ) -> Objective:
        if encoder is None:
            encoder = random_vgg(dtype=torch.float64, pooling="avg", padding="replicate")
        if adapted is not None:  # to that many channels more
            random = torch.Generator().manual_seed(5)
            for layer in {*CONTENT_LAYERS, *STYLE_LAYERS}:
                c = encoder.convolutions[layer].out_channels
                encoder.adapters[layer] = (
                    torch.randn(c + adapted, c, generator=random, dtype=torch.float64),
                    torch.randn(c + adapted, generator=random, dtype=torch.float64),
                )
        return objective_of(
            encoder,
            content=encoder(pictures(1, 3), CONTENT_LAYERS),
            style=style_moments(encoder, pictures(2, 3), list(STYLE_LAYERS)),
            content_layers=CONTENT_LAYERS,
            style_layers=STYLE_LAYERS,
            content_weight=torch.tensor([1.0, 0.3, 2.0], dtype=torch.float64),
            style_weight=torch.tensor([10.0, 100.0, 0.0], dtype=torch.float64),
            tv_weight=torch.tensor([0.0, 0.5, 3.0], dtype=torch.float64),
            normalization=normalization,
            statistic=statistic,
        )

    return make
