"""Metrics against closed forms, published values and plain implementations."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from scipy.stats import wasserstein_distance

from nstcore.core.encoders import EVAL_CONTENT_LAYER, EVAL_HELD_OUT_LAYERS, EVAL_STYLE_LAYERS, VGG19
from nstcore.core.guidance import layer_guides
from nstcore.core.image_similarity import (
    StyleImage,
    color_distance,
    distance_of_sorted,
    luma_ssim,
)
from nstcore.core.metrics import (
    METRICS,
    MetricTargets,
    evaluate,
    metric_named,
)
from nstcore.core.moments import style_moments
from nstcore.core.targets import blend, regional_moments, regional_target
from nstcore.images.masks import Regions


def _tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).unsqueeze(0)


@pytest.fixture
def reference(random_vgg, waves):
    """Build what pictures are compared with."""

    def make(content: np.ndarray, *styles: tuple[np.ndarray, float]) -> MetricTargets:
        encoder = random_vgg()
        layers = [*EVAL_STYLE_LAYERS, *EVAL_HELD_OUT_LAYERS]
        parts = [style_moments(encoder, _tensor(style), layers) for style, _ in styles]
        return MetricTargets(
            content=content,
            content_features=encoder(_tensor(content), [EVAL_CONTENT_LAYER])[EVAL_CONTENT_LAYER],
            style=tuple(StyleImage(*style) for style in styles),
            style_moments=blend(parts, [weight for _, weight in styles]),
        )

    return make


@pytest.mark.parametrize(("n", "m"), [(1, 1), (7, 7), (12, 8), (5, 31), (1, 40)])
def test_the_distance_of_colors_is_the_wasserstein_distance(n: int, m: int) -> None:
    random = np.random.default_rng(n)
    a, b = (np.sort(random.normal(size=(3, count)), axis=1) for count in (n, m))
    wanted = np.mean([wasserstein_distance(*pair) for pair in zip(a, b, strict=True)])
    assert distance_of_sorted(a, b) == pytest.approx(wanted, rel=1e-12)


def test_an_encoder_with_adapters_measures_adapted_activations(waves):
    """Its numbers are those of a network whose activations are A F + b in place of F."""
    from nstcore.core.encoders.compact import load_compact

    class Adapted(torch.nn.Module):
        """The same network, seen only through its adapters, at full resolution."""

        def __init__(self) -> None:
            super().__init__()
            self.network = load_compact()
            self.spec = self.network.spec
            self.adapters: dict = {}

        def forward(self, image, layers):
            found = self.network(image, layers)
            return {name: self.network.lift(name)(value) for name, value in found.items()}

    def numbers(encoder):
        content, style, picture = waves(48, 64, 0), waves(50, 40, 1), waves(48, 64, 2)
        layers = [*EVAL_STYLE_LAYERS, *EVAL_HELD_OUT_LAYERS]
        features = encoder(_tensor(content), [EVAL_CONTENT_LAYER])[EVAL_CONTENT_LAYER]
        moments = style_moments(encoder, _tensor(style), layers)
        return evaluate(
            encoder, picture, MetricTargets(content, features, (StyleImage(style, 1.0),), moments)
        )

    assert numbers(load_compact()) == pytest.approx(numbers(Adapted()), rel=1e-3)


STYLE_NAMES = ["style_loss", "style_loss_held_out", *(f"style_loss_{x}" for x in EVAL_STYLE_LAYERS)]


def test_the_content_itself(random_vgg, waves, reference):
    content, style = waves(48, 64, 0), waves(50, 40, 1)
    found = evaluate(random_vgg(), content, reference(content, (style, 1.0)))
    assert found["content_loss"] == pytest.approx(0, abs=1e-9)
    assert found["ssim"] == pytest.approx(1)
    assert all(found[name] > 1e-3 for name in STYLE_NAMES)
    assert found["color_distance"] > 1
    assert found["clipped"] == 0


def test_the_style_itself(random_vgg, waves, reference):
    content, style = waves(48, 64, 0), waves(48, 64, 1)
    found = evaluate(random_vgg(), style, reference(content, (style, 1.0)))
    for name in STYLE_NAMES:
        assert found[name] == pytest.approx(0, abs=1e-9)
    assert found["color_distance"] == pytest.approx(0, abs=1e-9)
    assert found["content_loss"] > 0.01
    assert found["ssim"] < 0.9


def test_the_keys_are_those_of_the_table(random_vgg, waves, reference):
    content = waves(48, 64, 0)
    found = evaluate(random_vgg(), content, reference(content, (content, 1.0)))
    assert {*STYLE_NAMES, "content_loss", "tv", "ssim", "color_distance", "clipped"} == set(found)
    assert all(type(value) is float and math.isfinite(value) for value in found.values())


def test_every_metric_is_described():
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.label
        assert metric.formula
        assert (metric.compute is None) == bool(metric.recorded_as)
    assert metric_named("style_loss_relu3_4").better == "less"
    assert metric_named("flicker").better is None


def test_losses_equal_plain_numpy(random_vgg, waves, reference):
    encoder = random_vgg()
    picture, content, style = waves(48, 64, 5), waves(48, 64, 0), waves(70, 50, 1)
    found = evaluate(encoder, picture, reference(content, (style, 1.0)))

    def features(pixels: np.ndarray, layer: str) -> np.ndarray:
        value = encoder(_tensor(pixels), [layer])[layer][0].flatten(1)
        return value.double().numpy()

    f, p = features(picture, "relu4_2"), features(content, "relu4_2")
    assert found["content_loss"] == pytest.approx(((f - p) ** 2).sum() / (p**2).sum(), rel=1e-4)
    errors = {}
    for layer in (*EVAL_STYLE_LAYERS, *EVAL_HELD_OUT_LAYERS):
        f, s = features(picture, layer), features(style, layer)
        g, a = f @ f.T / f.shape[1], s @ s.T / s.shape[1]
        errors[layer] = ((g - a) ** 2).sum() / (a**2).sum()
    for layer in EVAL_STYLE_LAYERS:
        assert found[f"style_loss_{layer}"] == pytest.approx(errors[layer], rel=1e-3)
    mean = np.mean([errors[layer] for layer in EVAL_STYLE_LAYERS])
    assert found["style_loss"] == pytest.approx(mean, rel=1e-3)
    mean = np.mean([errors[layer] for layer in EVAL_HELD_OUT_LAYERS])
    assert found["style_loss_held_out"] == pytest.approx(mean, rel=1e-3)
    across, down = (np.mean(np.diff(picture, axis=axis) ** 2) for axis in (1, 0))
    assert found["tv"] == pytest.approx(across + down, rel=1e-5)


def columns(height: int, width: int, at: int) -> Regions:
    left = np.zeros((height, width), np.uint8)
    left[:, :at] = 255
    return Regions(("left", "right"), np.stack([left, 255 - left]))


def guided(reference: MetricTargets, levels: dict, *styles: StyleImage) -> MetricTargets:
    """The same reference with two regions, the left three quarters and the right quarter."""
    height, width = reference.content.shape[:2]
    regions = columns(height, width, width * 3 // 4)
    masks = torch.from_numpy(regions.scaled((width, height)))
    layers = [*EVAL_STYLE_LAYERS, *EVAL_HELD_OUT_LAYERS]
    moments, _ = regional_moments(levels, layers, regions.names)
    guides = layer_guides(VGG19, masks, layers, "simple", regions.names)
    return replace(reference, style=styles, style_moments=moments, guides=guides, regions=regions)


def test_regions_are_compared_each_with_its_own_style(random_vgg, waves, reference):
    encoder = random_vgg()
    picture, content = waves(64, 128, 5), waves(64, 128, 0)
    paintings = {"left": waves(70, 50, 1), "right": waves(40, 90, 2)}
    layers = [*EVAL_STYLE_LAYERS, *EVAL_HELD_OUT_LAYERS]
    parts = {name: style_moments(encoder, _tensor(p), layers) for name, p in paintings.items()}
    plain = reference(content, (paintings["left"], 1.0))
    shown = [StyleImage(p, 1.0, name) for name, p in paintings.items()]
    found = evaluate(encoder, picture, guided(plain, regional_target(parts), *shown))
    for layer in EVAL_STYLE_LAYERS:
        features = encoder(_tensor(picture), [layer])[layer][0].double().numpy()
        cut = features.shape[2] * 3 // 4
        expected = 0.0
        for name, part, share in (
            ("left", features[..., :cut], 0.75),
            ("right", features[..., cut:], 0.25),
        ):
            f = part.reshape(len(part), -1)
            g, a = f @ f.T / f.shape[1], parts[name][layer].gram[0].double().numpy()
            expected += share * ((g - a) ** 2).sum() / (a**2).sum()
        assert found[f"style_loss_{layer}"] == pytest.approx(expected, rel=1e-3)
    colors = [
        color_distance(picture[:, :96], paintings["left"]),
        color_distance(picture[:, 96:], paintings["right"]),
    ]
    assert found["color_distance"] == pytest.approx(0.75 * colors[0] + 0.25 * colors[1])
    for name in ("content_loss", "ssim", "tv", "clipped"):
        assert found[name] == evaluate(encoder, picture, plain)[name]


def test_colours_of_a_guided_style_are_those_of_its_region(random_vgg, waves, reference):
    content, style = waves(64, 128, 0), waves(40, 80, 1)
    plain = reference(content, (style, 1.0))
    shown = StyleImage(style, 1.0, None, columns(40, 80, 30))
    found = evaluate(random_vgg(), content, guided(plain, plain.style_moments, shown))
    colors = [
        color_distance(content[:, :96], style[:, :30]),
        color_distance(content[:, 96:], style[:, 30:]),
    ]
    assert found["color_distance"] == pytest.approx(0.75 * colors[0] + 0.25 * colors[1])


def test_more_noise_is_worse(random_vgg, waves, reference):
    content = waves(64, 80, 0)
    target = reference(content, (waves(48, 48, 1), 1.0))
    noise = np.random.default_rng(0).normal(size=content.shape).astype(np.float32)
    found = [
        evaluate(random_vgg(), np.clip(content + level * noise, 0, 1), target)
        for level in (0.0, 0.02, 0.05, 0.1, 0.2)
    ]
    ssim, loss, tv = ([one[name] for one in found] for name in ("ssim", "content_loss", "tv"))
    assert ssim == sorted(ssim, reverse=True)
    assert loss == sorted(loss)
    assert tv == sorted(tv)


def test_a_blends_colour_distance_is_the_weighted_mean(random_vgg, waves, reference):
    content, first, second = waves(48, 64, 0), waves(48, 64, 1), waves(30, 60, 2)
    found = evaluate(random_vgg(), content, reference(content, (first, 0.3), (second, 0.7)))
    expected = 0.3 * color_distance(content, first) + 0.7 * color_distance(content, second)
    assert found["color_distance"] == pytest.approx(expected)


def test_clipped_is_the_share_of_values_at_the_ends(random_vgg, waves, reference):
    content = waves(48, 64, 0)
    picture = content.copy()
    picture[:12] = 0.0
    picture[12:24, :, 1] = 1.0
    found = evaluate(random_vgg(), picture, reference(content, (content, 1.0)))
    assert found["clipped"] == pytest.approx(0.25 + 0.25 / 3)


# --- structural similarity -----------------------------


def _plain_ssim(a: np.ndarray, b: np.ndarray, radius: int = 5) -> float:
    """Wang, Bovik, Sheikh & Simoncelli 2004, eq. 13, with their 11 x 11 window of sigma 1.5."""
    x = np.arange(-radius, radius + 1)
    line = np.exp(-(x**2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2

    def mean(values: np.ndarray) -> np.ndarray:
        return convolve2d(values, window, mode="valid")

    ma, mb = mean(a), mean(b)
    va, vb, vab = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * ma * mb + c1) * (2 * vab + c2)
    return float(np.mean(top / ((ma**2 + mb**2 + c1) * (va + vb + c2))))


def test_ssim_equals_a_plain_implementation(waves):
    a, b = waves(40, 52, 0), waves(40, 52, 3)
    luma = np.array([0.2126, 0.7152, 0.0722])
    expected = _plain_ssim(a.astype(float) @ luma, b.astype(float) @ luma)
    assert luma_ssim(a, b) == pytest.approx(expected, abs=1e-6)
    assert luma_ssim(b, a) == pytest.approx(expected, abs=1e-6)


def test_ssim_of_flat_pictures_is_the_luminance_term():
    a, b = np.full((20, 20, 3), 0.8, np.float32), np.full((20, 20, 3), 0.4, np.float32)
    expected = (2 * 0.8 * 0.4 + 1e-4) / (0.8**2 + 0.4**2 + 1e-4)
    assert luma_ssim(a, b) == pytest.approx(expected, abs=1e-5)


def test_ssim_looks_at_light_only():
    random = np.random.default_rng(0)
    grey = random.random((30, 30, 1)).astype(np.float32) * 0.5 + 0.2
    # Red up, blue down, so that the luma stays: 0.2126 r + 0.0722 b.
    tint = np.array([0.0722, 0.0, -0.2126], np.float32) * 0.5
    assert luma_ssim(grey + tint, grey + np.zeros(3, np.float32)) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("side", range(1, 13))
def test_narrow_pictures_have_a_value_too(waves, side):
    picture, other = waves(side, 40, 1), waves(side, 40, 2)
    assert luma_ssim(picture, picture) == pytest.approx(1)
    assert luma_ssim(picture, other) == luma_ssim(other, picture) < 0.99


# --- colour distance -----------------------------

# sRGB primaries in CIE L*a*b* (D65), from Bruce Lindbloom's tables.
LAB = {
    (0, 0, 0): (0.0, 0.0, 0.0),
    (1, 1, 1): (100.0, 0.0, 0.0),
    (1, 0, 0): (53.24, 80.09, 67.20),
    (0, 1, 0): (87.73, -86.18, 83.18),
    (0, 0, 1): (32.30, 79.19, -107.86),
}


@pytest.mark.parametrize("one", LAB)
@pytest.mark.parametrize("other", LAB)
def test_flat_colours_are_as_far_as_their_coordinates(one, other):
    pictures = [
        np.broadcast_to(np.array(rgb, np.float32), shape)
        for rgb, shape in ((one, (4, 5, 3)), (other, (7, 3, 3)))
    ]
    expected = np.mean(np.abs(np.subtract(LAB[one], LAB[other])))
    assert color_distance(*pictures) == pytest.approx(expected, abs=0.05)


def test_colour_distance_is_blind_to_places_and_to_size(waves):
    picture, other = waves(20, 30, 0), waves(25, 25, 1)
    shuffled = np.random.default_rng(0).permutation(picture.reshape(-1, 3)).reshape(30, 20, 3)
    assert color_distance(picture, shuffled) == pytest.approx(0, abs=1e-5)
    assert color_distance(np.tile(picture, (2, 3, 1)), other) == pytest.approx(
        color_distance(picture, other), rel=1e-5
    )
    assert color_distance(other, picture) == pytest.approx(color_distance(picture, other))


def test_half_of_the_pixels_changed_is_half_the_distance():
    black, white = np.zeros((4, 4, 3), np.float32), np.ones((4, 4, 3), np.float32)
    half = black.copy()
    half[:2] = 1
    assert color_distance(half, black) == pytest.approx(color_distance(white, black) / 2, rel=1e-4)
