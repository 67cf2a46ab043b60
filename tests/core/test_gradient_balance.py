"""Weights as ratios of gradient norms: against gradients taken apart, for every picture by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from objectives import objective_of

from nstcore.core.batched import generator, white_noise
from nstcore.core.moments import style_moments
from nstcore.core.objective import NOISE_SEED, Objective, balance_gradients, gradient_ratio
from nstcore.core.settings import Settings
from nstcore.core.stylize import StylizeTask, stylize
from nstcore.core.targets import image_moments
from nstcore.core.tiling import TiledObjective

LAYERS = ["relu1_1", "relu3_1"]


@pytest.fixture
def make_objective(random_vgg):
    """An objective of three pictures, 40 x 56, with their own contents, styles and weights."""
    encoder = random_vgg(dtype=torch.float64, depth="relu3_2")

    def make(statistic: str = "gram", contents: float = 1.0) -> Objective:
        random = torch.Generator().manual_seed(3)
        pictures = torch.rand(6, 3, 40, 56, generator=random, dtype=torch.float64)
        scale = torch.tensor([1.0, 0.1, 0.5], dtype=torch.float64).view(3, 1, 1, 1)
        return objective_of(
            encoder,
            content=encoder(contents * pictures[:3], ["relu3_2"]),
            style=style_moments(encoder, scale * pictures[3:], LAYERS),
            content_layers={"relu3_2": 1.0},
            style_layers=dict.fromkeys(LAYERS, 1.0),
            content_weight=torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64),
            style_weight=torch.tensor([1.0, 10.0, 0.5], dtype=torch.float64),
            tv_weight=torch.tensor([0.0, 3.0, 1.0], dtype=torch.float64),
            statistic=statistic,
        )

    return make


def whole(objective: Objective) -> Any:
    return TiledObjective(objective, None).evaluate


@pytest.mark.parametrize("statistic", ["gram", "w2"])
def test_weights_are_the_ratio_of_gradient_norms(make_objective, statistic):
    objective = make_objective(statistic)
    found = balance_gradients(objective, 40, 56, whole)
    noise = white_noise(40, 56, generator(NOISE_SEED)).double().expand(3, -1, -1, -1)
    leaf = noise.clone().requires_grad_()
    losses = found(leaf)
    norms = {}
    for term in ("content", "style"):
        weighted = getattr(found, f"{term}_weight") * getattr(losses, term)
        (gradient,) = torch.autograd.grad(weighted.sum(), leaf, retain_graph=True)
        norms[term] = gradient.flatten(1).norm(dim=1)
    given = objective.style_weight / objective.content_weight
    torch.testing.assert_close(norms["style"] / norms["content"], given, rtol=1e-6, atol=0)
    # Pictures differ, so that one factor for all would not have done; other weights stay.
    factors = found.style_weight / objective.style_weight
    assert factors.max() > 1.2 * factors.min()
    assert torch.equal(found.content_weight, objective.content_weight)
    assert torch.equal(found.tv_weight, objective.tv_weight)


def test_the_ratio_does_not_depend_on_the_weights_nor_on_the_other_pictures(make_objective):
    objective = make_objective()
    ratio = gradient_ratio(objective, 40, 56, whole)
    heavier = replace(
        objective,
        content_weight=0 * objective.content_weight,
        style_weight=1e3 * objective.style_weight,
    )
    assert torch.equal(gradient_ratio(heavier, 40, 56, whole), ratio)
    for row in range(3):
        alone = gradient_ratio(objective.select(torch.tensor([row])), 40, 56, whole)
        torch.testing.assert_close(alone, ratio[row : row + 1])


def test_in_tiles_it_is_the_same(make_objective):
    objective = make_objective()

    def tiled(one: Objective) -> Any:
        parts = TiledObjective(one, 8)
        assert len(parts.tiles(torch.zeros(1, 3, 40, 56))) > 1
        return parts.evaluate

    expected = gradient_ratio(objective, 40, 56, whole)
    torch.testing.assert_close(gradient_ratio(objective, 40, 56, tiled), expected)


def test_without_a_gradient_weights_stay_as_they_are(make_objective):
    objective = make_objective()
    nothing = lambda one: lambda images: (one(images), torch.zeros_like(images))  # noqa: E731
    assert gradient_ratio(objective, 40, 56, nothing).tolist() == [1, 1, 1]
    broken = lambda one: lambda images: (one(images), images * torch.nan)  # noqa: E731
    assert gradient_ratio(objective, 40, 56, broken).tolist() == [1, 1, 1]


@pytest.mark.parametrize("options", [{}, {"color": "luminance"}, {"init": "noise"}])
def test_a_picture_is_made_as_with_the_weights_multiplied(random_vgg, waves, options):
    """By hand: one level under ``relative`` with the factor in the style weight."""
    base = {
        "size": 48,
        "pyramid_start": 48,
        "iterations": 5,  # rounding grows with every step, by how much depends on the processor
        "tolerance": 0.0,
        "style_layers": LAYERS,
        "content_layers": ["relu3_2"],
        "style_weight": 3.0,
        **options,
    }
    encoder = random_vgg()
    grey = options.get("color") == "luminance"
    content, painting = waves(36, 48, 1), waves(40, 56, 2)
    if grey:
        content, painting = (p[..., :1].repeat(3, axis=2) for p in (content, painting))
    moments = [image_moments(encoder, painting, 48, LAYERS)]

    def make(**changes: Any) -> Any:
        settings = Settings(**{**base, **changes})
        return stylize(encoder, [StylizeTask(content, moments, settings)])[0]

    target = torch.from_numpy(content).permute(2, 0, 1)[None].contiguous()
    noise = white_noise(36, 48, generator(NOISE_SEED))[None]
    noise = noise[:, :1].expand_as(noise).contiguous() if grey else noise
    norms = []
    for weights in ((1.0, 0.0), (0.0, 1.0)):
        one = objective_of(
            encoder,
            content=encoder(target, ["relu3_2"]),
            style=moments[0],
            content_layers={"relu3_2": 1.0},
            style_layers=dict.fromkeys(LAYERS, 1.0),
            content_weight=torch.tensor([weights[0]]),
            style_weight=torch.tensor([weights[1]]),
            tv_weight=torch.zeros(1),
        )
        gradient = one.evaluate(noise)[1]
        norms.append(float((gradient.mean(1) if grey else gradient).norm()))
    factor = norms[0] / norms[1]
    found, expected = make(normalization="gradient"), make(style_weight=3.0 * factor)
    np.testing.assert_allclose(found.image, expected.image, atol=2e-3)
    assert np.abs(found.image - make().image).max() > 0.02, "it matters"
