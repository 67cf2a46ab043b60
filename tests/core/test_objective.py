"""What the objective adds up, against explicit sums."""

from __future__ import annotations

import math

import pytest
import torch
from objectives import objective_of
from scipy.linalg import sqrtm
from torch import Tensor

from nstcore.core.losses.wasserstein import FLOOR
from nstcore.core.moments import Moments, qr_factor, style_moments


def _explicit(encoder, layer: str, image: Tensor) -> Tensor:
    """Activations (N, K, M) after the layer's adapter, if it has one."""
    features = encoder(image, [layer])[layer].flatten(2)
    if layer not in encoder.adapters:
        return features
    weight, bias = encoder.adapters[layer]
    return weight @ features + bias.unsqueeze(1)


@pytest.mark.parametrize("adapted", [None, 3, 0, -1])
@pytest.mark.parametrize("normalization", ["relative", "gatys"])
def test_losses_equal_explicit_sums(make_objective, pictures, normalization, adapted):
    objective = make_objective(normalization, adapted=adapted)
    encoder = objective.encoder
    image, contents, styles = pictures(3, 3), pictures(1, 3), pictures(2, 3)
    found = objective(image)
    relative = normalization == "relative"
    for i in range(3):
        content = style = 0.0
        one = slice(i, i + 1)
        weights = {"relu2_2": 0.5, "relu4_2": 1.5}
        for layer, weight in weights.items():
            f, p = (_explicit(encoder, layer, x[one]) for x in (image, contents))
            error = (f - p).square().sum()
            value = error / p.square().sum() / 2.0 if relative else error / 2
            content += float(weight * value)
        weights = {"relu1_1": 1.0, "relu2_1": 0.5, "relu4_1": 2.0, "relu5_1": 0.2}
        for layer, weight in weights.items():
            f, p = (_explicit(encoder, layer, x[one])[0] for x in (image, styles))
            channels, positions = f.shape
            g, a = f @ f.T, p @ p.T  # plain sums, as in the article
            error = (g - a).square().sum()
            if relative:
                value = error / a.square().sum()
                style += float(weight / 3.7 * value)
            else:
                value = error / (4 * channels**2 * positions**2)
                style += float(weight * value)
            assert float(found.style_layers[layer][i]) == pytest.approx(float(value))
        assert float(found.content[i]) == pytest.approx(content)
        assert float(found.style[i]) == pytest.approx(style)
        expected = (
            objective.content_weight[i] * content
            + objective.style_weight[i] * style
            + objective.tv_weight[i] * found.tv[i]
        )
        assert float(found.total[i]) == pytest.approx(float(expected))


def _wasserstein(f: Tensor, p: Tensor) -> Tensor:
    """W2 of activations (K, M) over the style's energy, by the formula's letter."""
    energy = p.square().sum(0).mean()
    floor = FLOOR * energy * torch.eye(len(p), dtype=p.dtype)
    s, t = torch.cov(f, correction=0) + floor, torch.cov(p, correction=0) + floor
    half = torch.from_numpy(sqrtm(t.numpy()).real)
    middle = torch.from_numpy(sqrtm((half @ s @ half).numpy()).real)
    shift = (f.mean(1) - p.mean(1)).square().sum()
    return (shift + torch.trace(s + t - 2 * middle)) / energy


@pytest.mark.parametrize("adapted", [None, 3, 0, -1])
def test_wasserstein_losses_are_those_of_lifted_activations(make_objective, pictures, adapted):
    objective = make_objective(statistic="w2", adapted=adapted)
    image, styles = pictures(3, 3), pictures(2, 3)
    found = objective(image)
    weights = {"relu1_1": 1.0, "relu2_1": 0.5, "relu4_1": 2.0, "relu5_1": 0.2}
    for i in range(3):
        one, style = slice(i, i + 1), 0.0
        for layer, weight in weights.items():
            f, p = (_explicit(objective.encoder, layer, x[one])[0] for x in (image, styles))
            value = float(_wasserstein(f, p))
            assert float(found.style_layers[layer][i]) == pytest.approx(value, rel=1e-5)
            style += weight / 3.7 * value
        assert float(found.style[i]) == pytest.approx(style, rel=1e-5)


def test_wasserstein_losses_have_no_unit(make_objective, random_vgg, pictures):
    """An encoder whose activations are 100 times as large sees the same."""
    plain, louder = random_vgg(dtype=torch.float64), random_vgg(dtype=torch.float64)
    for encoder in (plain, louder):
        for layer in encoder.layers:
            c = encoder.convolutions[layer].out_channels
            eye = torch.eye(c, dtype=torch.float64)
            factor = 1.0 if encoder is plain else 100.0
            encoder.adapters[layer] = (factor * eye, torch.zeros(c, dtype=torch.float64))
    losses = [
        make_objective(statistic="w2", encoder=encoder)(pictures(3, 3)).style
        for encoder in (plain, louder)
    ]
    torch.testing.assert_close(*losses)


def test_wasserstein_is_relative_only(make_objective):
    with pytest.raises(ValueError, match="Wasserstein-2 distance has no `normalization: gatys`"):
        make_objective("gatys", statistic="w2")


@pytest.mark.parametrize(("rows", "columns"), [(9, 4), (4, 4), (3, 7)])
def test_short_factor_keeps_lengths(rows, columns):
    weight = torch.randn(rows, columns, dtype=torch.float64)
    factor = qr_factor(weight)
    assert factor.shape == (min(rows, columns), columns)
    vectors = torch.randn(columns, 20, dtype=torch.float64)
    torch.testing.assert_close((factor @ vectors).norm(dim=0), (weight @ vectors).norm(dim=0))
    matrix = vectors[:, :columns] + vectors[:, :columns].mT
    torch.testing.assert_close(
        (factor @ matrix @ factor.mT).norm(), (weight @ matrix @ weight.mT).norm()
    )


def test_a_picture_that_is_its_own_target_has_no_loss(random_vgg, pictures):
    encoder = random_vgg(dtype=torch.float64)
    image = pictures(4)
    one = torch.ones(1, dtype=torch.float64)
    for normalization, statistic in (("relative", "gram"), ("gatys", "gram"), ("relative", "w2")):
        objective = objective_of(
            encoder,
            content=encoder(image, ["relu4_2"]),
            style=style_moments(encoder, image, ["relu1_1", "relu5_1"]),
            content_layers={"relu4_2": 1.0},
            style_layers={"relu1_1": 1.0, "relu5_1": 1.0},
            content_weight=one,
            style_weight=one,
            tv_weight=0 * one,
            normalization=normalization,
            statistic=statistic,
        )
        # W2 is a difference of traces: of 0 the rounding remains.
        nothing = 1e-20 if statistic == "gram" else 1e-13
        assert float(objective(image).total) == pytest.approx(0, abs=nothing)


def test_relative_layer_weights_count_by_their_ratio(random_vgg, pictures):
    encoder = random_vgg(dtype=torch.float64)
    image, other = pictures(4), pictures(5)
    one = torch.ones(1, dtype=torch.float64)

    def style(factor: float, normalization: str) -> float:
        objective = objective_of(
            encoder,
            content=encoder(other, ["relu4_2"]),
            style=style_moments(encoder, other, ["relu1_1", "relu3_1", "relu5_1"]),
            content_layers={"relu4_2": factor},
            style_layers={"relu1_1": 2 * factor, "relu3_1": 0.0, "relu5_1": factor},
            content_weight=one,
            style_weight=one,
            tv_weight=0 * one,
            normalization=normalization,
        )
        losses = objective(image)
        assert set(losses.style_layers) == {"relu1_1", "relu5_1"}  # the weight 0 costs nothing
        return float(losses.style)

    assert style(7.0, "relative") == pytest.approx(style(1.0, "relative"))
    assert style(7.0, "gatys") == pytest.approx(7 * style(1.0, "gatys"))


def test_pictures_that_share_targets_need_them_once(random_vgg, pictures):
    encoder = random_vgg(dtype=torch.float64)
    images, content, painting = pictures(6, 3), pictures(7), pictures(8)
    layers = ["relu1_1", "relu4_1"]

    def losses(copies: int):
        moments = style_moments(encoder, painting, layers)
        targets = encoder(content, ["relu4_2"])["relu4_2"]
        return objective_of(
            encoder,
            content={"relu4_2": targets.repeat(copies, 1, 1, 1)},
            style={
                name: Moments(m.gram.repeat(copies, 1, 1), m.mean.repeat(copies, 1))
                for name, m in moments.items()
            },
            content_layers={"relu4_2": 1.0},
            style_layers=dict.fromkeys(layers, 1.0),
            content_weight=torch.ones(3, dtype=torch.float64),
            style_weight=torch.ones(3, dtype=torch.float64),
            tv_weight=torch.zeros(3, dtype=torch.float64),
        )(images)

    torch.testing.assert_close(losses(1).total, losses(3).total)


@pytest.mark.parametrize("statistic", ["gram", "w2"])
def test_a_black_flat_style_gives_finite_losses(random_vgg, pictures, statistic):
    # Without biases, the encoder's mean colour has no activation at all anywhere.
    encoder = random_vgg(dtype=torch.float64)
    for convolution in encoder.convolutions.values():
        convolution.bias.zero_()
    flat = encoder.mean.expand(1, 3, 18, 21)
    one = torch.ones(1, dtype=torch.float64)
    objective = objective_of(
        encoder,
        content=encoder(flat, ["relu4_2"]),
        style=style_moments(encoder, flat, ["relu2_1"]),
        content_layers={"relu4_2": 1.0},
        style_layers={"relu2_1": 1.0},
        content_weight=one,
        style_weight=one,
        tv_weight=one,
        statistic=statistic,
    )
    assert math.isfinite(float(objective(pictures(4)).total))


@pytest.mark.parametrize("statistic", ["gram", "w2"])
def test_some_of_the_pictures_have_the_losses_that_they_have_among_all(
    make_objective, pictures, statistic
):
    objective = make_objective("relative", adapted=3, statistic=statistic)
    image = pictures(3, 3)
    whole = objective(image)
    rows = torch.tensor([2, 0])
    some = objective.select(rows)(image[rows])
    for name in ("total", "content", "style", "tv"):
        torch.testing.assert_close(getattr(some, name), getattr(whole, name)[rows])
