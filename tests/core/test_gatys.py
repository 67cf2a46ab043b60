"""The preset ``gatys`` against the article's formulas, computed in numpy alone.

Gatys, Ecker & Bethge, arXiv 1508.06576: equations 1 (content), 3 (Gram matrix), 4 and 5 (style) and
7 (total).  The network, too, is written out in numpy here.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d

from nstcore.core.moments import style_moments
from nstcore.core.objective import build_objective
from nstcore.core.settings import PRESETS, Settings

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _numpy_features(encoder, image: np.ndarray) -> dict[str, np.ndarray]:
    """Activations (C, H, W) of every layer: 3 x 3 convolutions, rectifiers, average pooling."""
    x = (image - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    found = {}
    for name, convolution in encoder.convolutions.items():
        if name.endswith("_1") and name != "relu1_1":
            c, h, w = x.shape
            x = x[:, : h // 2 * 2, : w // 2 * 2].reshape(c, h // 2, 2, w // 2, 2).mean((2, 4))
        kernels = convolution.weight.numpy().astype(float)
        offsets = convolution.bias.numpy().astype(float)
        x = np.stack(
            [
                offset
                + sum(
                    correlate2d(plane, part, mode="same", boundary="fill")
                    for plane, part in zip(x, kernel, strict=True)
                )
                for kernel, offset in zip(kernels, offsets, strict=True)
            ]
        )
        x = np.maximum(x, 0)
        found[name] = x
    return found


@pytest.mark.parametrize("style_shape", [(18, 21), (24, 17)], ids=["same size", "other size"])
def test_preset_equals_the_articles_formulas(random_vgg, style_shape):
    settings = Settings(**PRESETS["gatys"])
    assert settings.pooling == "avg"
    assert settings.init == "noise"
    assert settings.tv_weight == 0
    encoder = random_vgg(dtype=torch.float64, pooling=settings.pooling, padding=settings.padding)
    random = np.random.default_rng(3)
    picture, content = random.random((2, 3, 18, 21))
    style = random.random((3, *style_shape))

    f, p, s = (_numpy_features(encoder, image) for image in (picture, content, style))
    # eq. 1: L_content = 1/2 sum (F - P)^2 at conv4_2
    content_loss = 0.5 * np.sum((f["relu4_2"] - p["relu4_2"]) ** 2)
    style_loss = 0.0
    for stage in range(1, 6):
        features, aims = (x[f"relu{stage}_1"].reshape(len(x[f"relu{stage}_1"]), -1) for x in (f, s))
        n, m = features.shape
        gram = features @ features.T  # eq. 3
        # The article's style has the picture's size; ours counts as if it were repeated to it.
        aim = aims @ aims.T * (m / aims.shape[1])
        energy = np.sum((gram - aim) ** 2) / (4 * n**2 * m**2)  # eq. 4
        style_loss += energy / 5  # eq. 5 with w = 1/5
    alpha_over_beta = 1e-3

    def tensor(image: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(image).unsqueeze(0)

    objective = build_objective(
        encoder,
        settings,
        content=encoder(tensor(content), list(settings.content_layers)),
        style=style_moments(encoder, tensor(style), list(settings.style_layers)),
    )
    found = objective(tensor(picture))
    # The network's constants are held in float32.
    assert float(found.content) == pytest.approx(content_loss, rel=1e-6)
    assert float(found.style) == pytest.approx(style_loss, rel=1e-6)
    # eq. 7: alpha L_content + beta L_style, up to the common factor
    total = alpha_over_beta * content_loss + style_loss
    assert float(found.total) / settings.style_weight == pytest.approx(total, rel=1e-6)


def test_preset_is_the_articles_choice():
    settings = Settings(**PRESETS["gatys"])
    assert set(settings.content_layers) == {"relu4_2"}
    assert settings.style_layers == {f"relu{stage}_1": 0.2 for stage in range(1, 6)}
    assert settings.optimizer == "lbfgs"
    assert len(settings.level_sizes()) == 1
