"""Pictures computed in tiles are those computed whole."""

from __future__ import annotations

import numpy as np
import pytest

from nstcore.core.encoders import VGG19
from nstcore.core.settings import Settings
from nstcore.core.stylize import StylizeTask, stylize
from nstcore.core.targets import image_moments

TILE = 48
LAYERS = ["relu1_1", "relu3_1", "relu4_1"]


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_tiles_change_neither_pictures_nor_losses(random_vgg, waves, optimizer):
    encoder = random_vgg()
    settings = Settings(
        size=221,
        pyramid_start=110,
        pyramid_factor=2.0,
        iterations=[2, 4],
        optimizer=optimizer,
        init="content",
        content_layers=["relu4_2"],
        style_layers=LAYERS,
    )
    painting = waves(90, 70, 5)
    styles = [
        image_moments(encoder, painting, settings.style_size(level), settings.layers)
        for level in settings.level_sizes()
    ]
    tasks = [StylizeTask(waves(170, 221, seed), styles, settings) for seed in (0, 1)]
    whole = stylize(encoder, tasks)
    seen: list[int] = []
    hook = encoder.register_forward_pre_hook(
        lambda _, inputs: seen.append(max(inputs[0].shape[-2:]))
    )
    tiled = stylize(encoder, tasks, tile=TILE)
    hook.remove()
    # Of targets and pictures alike, nothing larger than a tile was ever inside the encoder.
    assert max(seen) <= TILE + 2 * VGG19.margin(settings.layers) < 170
    for one, other in zip(tiled, whole, strict=True):
        np.testing.assert_allclose(one.image, other.image, atol=1e-3)
        np.testing.assert_allclose(
            one.trace["total_loss"], other.trace["total_loss"], rtol=1e-3, atol=1e-7
        )
        assert np.abs(one.image - tasks[0].content).max() > 0.005
