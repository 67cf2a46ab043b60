"""Regions: their statistics, their way through the encoder, their losses."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from objectives import objective_of
from torch import Tensor
from torch.autograd import gradcheck

from nstcore.core.encoders import VGG19
from nstcore.core.guidance import Guide, layer_guides, propagate, stack_guides
from nstcore.core.moments import (
    Moments,
    gram_and_mean,
    guided_gram_and_mean,
    layer_moments,
    style_moments,
)
from nstcore.core.objective import Objective
from nstcore.core.tiling import TiledObjective, tiled_moments

LAYERS = {"relu1_1": 1.0, "relu2_1": 0.5, "relu3_1": 2.0, "relu4_1": 1.0}
KINDS = [("relative", "gram"), ("relative", "w2"), ("gatys", "gram")]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def halves(height: int, width: int, at: int) -> Tensor:
    """Two masks (2, H, W): the columns before ``at`` and the rest."""
    left = torch.zeros(height, width, dtype=torch.float64)
    left[:, :at] = 1
    return torch.stack([left, 1 - left])


def rest_of(mask: Tensor) -> Tensor:
    return torch.stack([mask, 1 - mask])


def make_objective(
    encoder,
    content: Tensor,
    style: dict[str, Moments],
    guides: dict[str, Guide] | None,
    normalization: str = "relative",
    statistic: str = "gram",
) -> Objective:
    n = len(content)
    return objective_of(
        encoder,
        content=encoder(content, ["relu3_1"]),
        style=style,
        content_layers={"relu3_1": 1.0},
        style_layers=LAYERS,
        content_weight=torch.linspace(1, 2, n, dtype=torch.float64),
        style_weight=torch.linspace(100, 10, n, dtype=torch.float64),
        tv_weight=torch.linspace(0.5, 3, n, dtype=torch.float64),
        normalization=normalization,
        statistic=statistic,
        guides=guides,
    )


def for_each_region(*styles: dict[str, Moments]) -> dict[str, Moments]:
    """Moments (1, R, ...) from those of each region's style."""
    return {
        layer: Moments(
            torch.stack([style[layer].gram for style in styles], 1),
            torch.stack([style[layer].mean for style in styles], 1),
        )
        for layer in styles[0]
    }


def adapted(encoder):
    """Give an encoder adapters to three channels more."""
    numbers = torch.Generator().manual_seed(5)
    for layer in LAYERS:
        c = encoder.convolutions[layer].out_channels
        encoder.adapters[layer] = (
            torch.randn(c + 3, c, generator=numbers, dtype=torch.float64),
            torch.randn(c + 3, generator=numbers, dtype=torch.float64),
        )
    return encoder


# --- statistics -----------------------------


def test_moments_of_regions_are_numpy_averages() -> None:
    features, weights = random(2, 4, 5, 6), random(2, 3, 5, 6, seed=1)
    gram, mean = guided_gram_and_mean(features, weights)
    for n in range(2):
        for r in range(3):
            t = weights[n, r].numpy().ravel()
            f = features[n].numpy().reshape(4, -1)
            # The article's form: activations times a guidance channel T, with t = T squared.
            guided = f * np.sqrt(t)
            np.testing.assert_allclose(gram[n, r].numpy(), guided @ guided.T)
            np.testing.assert_allclose(
                mean[n, r].numpy(), np.average(f, axis=1, weights=t) * t.sum()
            )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_full_mask_gives_the_plain_moments(
    dtype: torch.dtype, layout: torch.memory_format
) -> None:
    features = random(2, 16, 9, 14).to(dtype).contiguous(memory_format=layout)
    features.requires_grad_()
    full = torch.full((1, 1, 9, 14), 1 / 126, dtype=dtype)
    slope = random(2, 16, 16, seed=3).to(dtype)
    found = []
    for gram, mean in (
        gram_and_mean(features),
        (value[:, 0] for value in guided_gram_and_mean(features, full)),
    ):
        value = (gram * slope).sum() + (mean * slope[:, 1]).sum()
        found.append((gram, mean, torch.autograd.grad(value, features)[0]))
    for plain, guided in zip(*found, strict=True):
        torch.testing.assert_close(guided, plain)


def test_single_precision_and_its_slope_are_those_of_double() -> None:
    """Float32 goes through convolution kernels on a CPU, float64 through matrix products."""
    weights, slope = random(2, 3, 9, 14, seed=1) / 60, random(2, 3, 8, 8, seed=2)
    found = []
    for dtype in (torch.float32, torch.float64):
        features = random(2, 8, 9, 14).to(dtype).requires_grad_()
        gram, mean = guided_gram_and_mean(features, weights.to(dtype))
        value = (gram * slope.to(dtype)).sum() + (mean * slope[..., 0].to(dtype)).sum()
        found.append(
            (gram.double(), mean.double(), torch.autograd.grad(value, features)[0].double())
        )
    for single, double in zip(*found, strict=True):
        torch.testing.assert_close(single, double, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shared", [True, False])
def test_the_slope_is_that_of_finite_differences(shared: bool) -> None:
    weights = random(1 if shared else 2, 3, 4, 5, seed=1)
    features = random(2, 3, 4, 5).requires_grad_()
    assert gradcheck(lambda f: guided_gram_and_mean(f, weights), features)


def test_regions_that_cover_the_picture_add_up_to_it() -> None:
    """The whole's moments are those of its parts, weighted by their areas."""
    features = random(1, 5, 12, 16)
    masks = rest_of(random(12, 16, seed=4))
    guide = layer_guides(VGG19, masks, ["relu1_1"], "simple", "ab")["relu1_1"]
    whole, parts = layer_moments(features), layer_moments(features, guide)
    assert float(guide.shares.sum()) == pytest.approx(1)
    share = guide.shares[..., None]
    torch.testing.assert_close((share[..., None] * parts.gram).sum(1), whole.gram)
    torch.testing.assert_close((share * parts.mean).sum(1), whole.mean)


# --- the way through the encoder -----------------------------


def test_simple_masks_are_averages_over_what_a_position_stands_for() -> None:
    masks = random(2, 37, 50)
    found = propagate(VGG19, masks, LAYERS)
    for layer, seen in found.items():
        step = VGG19.stride(layer)
        high, wide = 37 // step, 50 // step
        blocks = masks[:, : high * step, : wide * step].reshape(2, high, step, wide, step)
        torch.testing.assert_close(seen, blocks.mean((2, 4)))


@pytest.mark.parametrize("padding", ["zeros", "replicate"])
def test_inside_and_all_are_what_positions_see(random_vgg, padding: str) -> None:
    """A network that only adds hands on a mask wherever a position sees any of it."""
    layers = ["relu1_1", "relu1_2", "relu2_2", "relu3_1", "relu4_2"]
    adding = random_vgg((1, 1, 1, 1, 1), dtype=torch.float64, pooling="avg", padding=padding)
    for convolution in adding.convolutions.values():
        convolution.weight.abs_()
        convolution.bias.zero_()
    adding.mean.zero_()
    mask = torch.zeros(150, 180, dtype=torch.float64)
    mask[20:120, 31:150] = 1
    mask[:, 160:] = 1
    seen = {
        name: adding(value.expand(1, 3, -1, -1), layers)
        for name, value in (("in", mask), ("out", 1 - mask))
    }
    everything, inside = (propagate(VGG19, mask[None], layers, how) for how in ("all", "inside"))
    for layer in layers:
        assert torch.equal(everything[layer][0] > 0, seen["in"][layer][0, 0] > 0)
        assert torch.equal(inside[layer][0] > 0, seen["out"][layer][0, 0] == 0)
        assert 0 < int(inside[layer].sum()) < int(everything[layer].sum())


def test_masks_have_the_size_of_activations(random_vgg) -> None:
    encoder, layers = random_vgg(dtype=torch.float64), ["relu1_2", "relu3_1", "relu5_1"]
    for how in ("simple", "inside", "all"):
        seen = propagate(VGG19, random(2, 61, 83), layers, how)
        for layer, features in encoder(random(1, 3, 61, 83), layers).items():
            assert seen[layer].shape == (2, *features.shape[-2:])


def test_a_region_too_small_for_a_layer_is_left_out_there(caplog: pytest.LogCaptureFixture) -> None:
    spot = torch.zeros(64, 64, dtype=torch.float64)
    spot[8:15, 8:15] = 1  # 49 pixels: 3 positions of stage 3, less than one of stage 4
    with caplog.at_level(logging.WARNING):
        guides = layer_guides(VGG19, rest_of(spot), LAYERS, "simple", ["spot", "rest"])
    assert [record.getMessage() for record in caplog.records] == [
        "region spot covers less than one position of relu4_1 at 64 x 64 px and is left out there"
    ]
    for layer, guide in guides.items():
        area = 0 if layer == "relu4_1" else 49 / 4096
        torch.testing.assert_close(
            guide.shares, torch.tensor([[area, 1 - 49 / 4096]], dtype=torch.float64)
        )
        sums = guide.weights.sum((2, 3))
        torch.testing.assert_close(sums, (guide.shares > 0).double())


# --- losses -----------------------------


@pytest.mark.parametrize("lifted", [False, True])
@pytest.mark.parametrize(("normalization", "statistic"), KINDS)
def test_a_guide_that_covers_everything_changes_nothing(
    random_vgg, normalization: str, statistic: str, lifted: bool
) -> None:
    encoder = random_vgg(dtype=torch.float64, pooling="avg")
    if lifted:
        encoder = adapted(encoder)
    image, content, painting = (
        random(2, 3, 48, 56),
        random(2, 3, 48, 56, seed=1),
        random(1, 3, 40, 44),
    )
    style = style_moments(encoder, painting, list(LAYERS))
    kind = (normalization, statistic)
    plain = make_objective(encoder, content, style, None, *kind)
    for how in ("simple", "inside", "all"):
        guides = layer_guides(
            VGG19, torch.ones(1, 48, 56, dtype=torch.float64), LAYERS, how, ["everything"]
        )
        guided = make_objective(encoder, content, for_each_region(style), guides, *kind)
        (found, slope), (expected, wanted) = guided.evaluate(image), plain.evaluate(image)
        torch.testing.assert_close(found.total, expected.total, rtol=1e-9, atol=0)
        torch.testing.assert_close(slope, wanted, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize(("normalization", "statistic"), KINDS)
def test_two_halves_add_up(random_vgg, normalization: str, statistic: str) -> None:
    """Each half's loss, taken of a picture's layer cut in two, by its share of the area."""
    encoder = random_vgg(dtype=torch.float64, pooling="avg")
    image, painting, other = (
        random(1, 3, 48, 64),
        random(1, 3, 40, 44, seed=2),
        random(1, 3, 52, 44, seed=3),
    )
    styles = [style_moments(encoder, one, list(LAYERS)) for one in (painting, other)]
    guides = layer_guides(VGG19, halves(48, 64, 24), LAYERS, "simple", "ab")
    guides = {layer: guide.scaled(torch.tensor([1, 3])) for layer, guide in guides.items()}
    kind = (normalization, statistic)
    found = make_objective(encoder, image, for_each_region(*styles), guides, *kind)(image)
    features = encoder(image, LAYERS)
    for layer in LAYERS:
        column = 24 // VGG19.stride(layer)
        expected = 0.0
        for part, style, share in (
            (features[layer][..., :column], styles[0], 24 / 64),
            (features[layer][..., column:], styles[1], 3 * 40 / 64),
        ):
            alone = make_objective(encoder, image, style, None, *kind)
            expected += share * float(alone.style[layer](layer_moments(part)))
        assert float(found.style_layers[layer]) == pytest.approx(expected)


def test_halves_that_are_alike_have_the_moments_of_one() -> None:
    features = random(1, 6, 10, 12)
    twice = torch.cat([features, features], 3)
    guide = layer_guides(VGG19, halves(10, 24, 12), ["relu1_1"], "simple", "ab")["relu1_1"]
    one, both = layer_moments(features), layer_moments(twice, guide)
    for region in range(2):
        torch.testing.assert_close(both.region(region).gram, one.gram)
        torch.testing.assert_close(both.region(region).mean, one.mean)
    assert guide.shares.tolist() == [[0.5, 0.5]]


def test_a_region_pulls_at_no_pixel_that_it_does_not_see(random_vgg) -> None:
    encoder = random_vgg(dtype=torch.float64)
    image = random(1, 3, 48, 160)
    style = style_moments(encoder, random(1, 3, 40, 44, seed=2), list(LAYERS))
    guides = layer_guides(VGG19, halves(48, 160, 64)[:1], LAYERS, "inside", ["left"])
    objective = make_objective(encoder, image, for_each_region(style), guides)
    objective.content_weight, objective.tv_weight = torch.zeros(2, 1, dtype=torch.float64)
    _, slope = objective.evaluate(image)
    assert float(slope[..., 64:].abs().max()) == 0
    assert float(slope[..., :32].abs().max()) > 0


def test_the_pull_at_a_pixel_does_not_depend_on_the_size_of_its_region(random_vgg) -> None:
    """Of a texture that repeats, one pixel feels the same in a large and in a small region."""
    encoder = random_vgg(dtype=torch.float64)
    image = random(1, 3, 16, 16).repeat(1, 1, 3, 12)
    style = style_moments(encoder, random(1, 3, 40, 44, seed=2), list(LAYERS))
    slopes = []
    for at in (96, 128):
        guides = layer_guides(VGG19, halves(48, 192, at)[:1], LAYERS, "simple", ["left"])
        objective = make_objective(encoder, image, for_each_region(style), guides)
        objective.content_weight, objective.tv_weight = torch.zeros(2, 1, dtype=torch.float64)
        slopes.append(objective.evaluate(image)[1][..., 32:48])
    # The borders' part in the averages differs a little.
    assert float((slopes[0] - slopes[1]).norm() / slopes[0].norm()) < 0.1


@pytest.mark.parametrize("statistic", ["gram", "w2"])
def test_the_gradient_is_that_of_finite_differences(random_vgg, statistic: str) -> None:
    encoder = random_vgg(dtype=torch.float64, pooling="avg", padding="replicate")
    image = random(2, 3, 18, 21)
    style = style_moments(encoder, random(1, 3, 40, 44, seed=2), list(LAYERS))
    guides = layer_guides(VGG19, rest_of(random(18, 21, seed=6)), LAYERS, "simple", "ab")
    objective = make_objective(
        encoder, random(2, 3, 18, 21, seed=1), for_each_region(style, style), guides
    )
    _, slope = objective.evaluate(image)
    for seed in range(3):
        step = random(*image.shape, seed=10 + seed) - 0.5
        ahead, behind = (objective(image + sign * 1e-6 * step).total for sign in (1, -1))
        expected = (ahead - behind) / 2e-6
        torch.testing.assert_close((slope * step).sum((1, 2, 3)), expected, rtol=1e-5, atol=0)


def batch_of_two(encoder, statistic: str) -> tuple[list[Objective], Objective, Tensor]:
    """Two pictures with guides and styles of their own, alone and in a batch."""
    image, content = random(2, 3, 96, 131), random(2, 3, 96, 131, seed=1)
    guides = [
        layer_guides(VGG19, halves(96, 131, 40), LAYERS, "simple", "ab"),
        layer_guides(VGG19, rest_of(random(96, 131, seed=6)), LAYERS, "all", "ab"),
    ]
    # As where a style has too little of a region.
    guides[1]["relu2_1"] = guides[1]["relu2_1"].scaled(torch.tensor([0, 1]))
    paintings = [
        style_moments(encoder, random(1, 3, 50, 44, seed=s), list(LAYERS)) for s in (2, 3, 4)
    ]
    styles = [for_each_region(*paintings[:2]), for_each_region(*paintings[1:])]
    both = {
        layer: Moments(
            torch.cat([style[layer].gram for style in styles]),
            torch.cat([style[layer].mean for style in styles]),
        )
        for layer in LAYERS
    }
    together = make_objective(encoder, content, both, stack_guides(guides), statistic=statistic)
    alone = []
    for i in range(2):
        one = make_objective(encoder, content[i : i + 1], styles[i], guides[i], statistic=statistic)
        for name in ("content_weight", "style_weight", "tv_weight"):
            setattr(one, name, getattr(together, name)[i : i + 1])
        alone.append(one)
    return alone, together, image


@pytest.mark.parametrize("statistic", ["gram", "w2"])
def test_pictures_of_a_batch_have_their_own_guides(random_vgg, statistic: str) -> None:
    alone, together, image = batch_of_two(random_vgg(dtype=torch.float64), statistic)
    losses, slope = together.evaluate(image)
    for i, one in enumerate(alone):
        for objective in (one, together.select(torch.tensor([i]))):
            expected, wanted = objective.evaluate(image[i : i + 1])
            torch.testing.assert_close(losses.total[i : i + 1], expected.total)
            torch.testing.assert_close(slope[i : i + 1], wanted)
    assert abs(float(losses.style[0] / losses.style[1]) - 1) > 0.01


@pytest.mark.parametrize("statistic", ["gram", "w2"])
def test_tiles_give_the_numbers_of_the_whole(random_vgg, statistic: str) -> None:
    _, objective, image = batch_of_two(random_vgg(dtype=torch.float64, pooling="avg"), statistic)
    tiled = TiledObjective(objective, 32)
    assert len(tiled.tiles(image)) > 1
    (found, slope), (expected, wanted) = tiled.evaluate(image), objective.evaluate(image)
    torch.testing.assert_close(found.total, expected.total, rtol=1e-10, atol=0)
    torch.testing.assert_close(slope, wanted, rtol=1e-8, atol=1e-12)


def test_moments_of_a_large_style_are_those_of_the_whole(random_vgg) -> None:
    encoder, image = random_vgg(dtype=torch.float64), random(1, 3, 150, 211)
    guides = layer_guides(VGG19, halves(150, 211, 100), LAYERS, "simple", "ab")
    features = encoder(image, LAYERS)
    tiled = tiled_moments(encoder, image, list(LAYERS), 32, guides)
    for layer in LAYERS:
        whole = layer_moments(features[layer], guides[layer])
        torch.testing.assert_close(tiled[layer].gram, whole.gram)
        torch.testing.assert_close(tiled[layer].mean, whole.mean)
