"""Pictures in regions: each takes its own style, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from nstcore.core.encoders.compact import load_compact
from nstcore.core.settings import Settings
from nstcore.core.stylize import StylizeTask, stylize
from nstcore.core.targets import image_moments, regional_target
from nstcore.errors import ConfigError
from nstcore.images.masks import Regions

HEIGHT, WIDTH = 48, 64
BASE: dict[str, Any] = {
    "size": WIDTH,
    "pyramid_start": 32,
    "iterations": 15,
    "style_layers": ["relu1_1", "relu2_1", "relu3_1"],
    "style_weight": 30.0,
    "tv_weight": 0.0,
    "tolerance": 0.0,
}


def columns(at: int, names: tuple[str, ...] = ("left", "right")) -> Regions:
    left = np.zeros((HEIGHT, WIDTH), np.uint8)
    left[:, :at] = 255
    return Regions(names, np.stack([left, 255 - left]))


@pytest.fixture
def target(random_vgg, waves) -> Callable[..., list[Any]]:
    """Moments of one style at every level."""

    def make(seed: int, settings: Settings, **options: Any) -> list[Any]:
        return [
            image_moments(
                random_vgg(),
                waves(40, 56, seed),
                settings.style_size(level),
                settings.layers,
                **options,
            )
            for level in settings.level_sizes()
        ]

    return make


@pytest.fixture
def task(target, waves) -> Callable[..., StylizeTask]:
    """A content with regions, or none, and a style for each of two regions."""

    def make(
        content: int = 0,
        regions: Regions | None = None,
        styles: tuple[int, int] = (10, 11),
        **options: Any,
    ) -> StylizeTask:
        settings = Settings(**{**BASE, **options})
        parts = [target(seed, settings) for seed in styles]
        names = ("left", "right") if regions is None else regions.names
        levels = [
            regional_target(dict(zip(names, level, strict=True)))
            for level in zip(*parts, strict=True)
        ]
        return StylizeTask(waves(HEIGHT, WIDTH, content), levels, settings, regions=regions)

    return make


def test_each_region_takes_its_own_style(waves) -> None:
    encoder = load_compact()
    settings = Settings(**{**BASE, "content_weight": 0.1, "iterations": 40})
    random = np.random.default_rng(0)
    colors = {"left": (0.9, 0.2, 0.1), "right": (0.1, 0.3, 0.9)}
    levels = []
    for size in settings.level_sizes():
        parts = {}
        for name, color in colors.items():
            paint = np.float32(color) * random.uniform(0.7, 1, (40, 56, 3)).astype(np.float32)
            parts[name] = image_moments(encoder, paint, size, settings.layers)
        levels.append(regional_target(parts))
    content = waves(HEIGHT, WIDTH)
    (made,) = stylize(encoder, [StylizeTask(content, levels, settings, regions=columns(32))])
    halves = {"left": np.s_[:, :28], "right": np.s_[:, 36:]}
    for name, half in halves.items():
        far, near = (
            np.abs(pixels[half].mean((0, 1)) - 0.85 * np.array(colors[name])).sum()
            for pixels in (content, made.image)
        )
        assert near < 0.5 * far
    red, blue = (made.image[half].mean((0, 1)) for half in halves.values())
    assert red[0] > 2 * blue[0]
    assert blue[2] > 2 * red[2]


def test_one_style_for_all_regions_is_that_of_whole_pictures(random_vgg, task, target) -> None:
    regions = columns(32)
    both = task(regions=regions, styles=(10, 10))
    whole = replace(both, styles=target(10, both.settings))
    found, expected = stylize(random_vgg(), [both, whole])
    assert np.array_equal(found.image, expected.image)


def test_a_region_that_covers_everything_is_no_guide(random_vgg, task, target) -> None:
    everything = Regions(("all",), np.full((1, HEIGHT, WIDTH), 255, np.uint8))
    few = {"iterations": 4}  # sums in another order, which every further step lets grow
    plain = replace(task(**few), styles=target(10, Settings(**{**BASE, **few})))
    (guided,), (expected,) = (
        stylize(random_vgg(), [one]) for one in (replace(plain, regions=everything), plain)
    )
    np.testing.assert_allclose(guided.image, expected.image, atol=2e-3)
    assert guided.trace["style_loss"] == pytest.approx(expected.trace["style_loss"], rel=1e-3)


def test_a_guided_style_is_compared_region_by_region(random_vgg, target, waves) -> None:
    """Its left half for the left of the content: as if the halves were styles of their own."""
    settings = Settings(**BASE)
    guide = Regions(("left", "right"), columns(32).at((56, 40)).masks)
    guided = target(10, settings, regions=guide)
    for level in guided:
        for layer in ("relu1_1", "relu2_1", "relu3_1"):
            left, right = (level[f"{layer}/{name}"] for name in ("left", "right"))
            torch.testing.assert_close(
                (left.gram + right.gram) / 2, level[layer].gram, rtol=2e-2, atol=1e-3
            )
            assert float((left.gram - right.gram).abs().max()) > 1e-3
    content = StylizeTask(waves(HEIGHT, WIDTH), guided, settings, regions=columns(32))
    parts = [
        {layer: level[f"{layer}/{name}"] for layer in ("relu1_1", "relu2_1", "relu3_1")}
        for name in ("left", "right")
        for level in guided
    ]
    apart = [
        regional_target({"left": parts[i], "right": parts[i + len(guided)]})
        for i in range(len(guided))
    ]
    found, expected = stylize(random_vgg(), [content, replace(content, styles=apart)])
    assert np.array_equal(found.image, expected.image)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_one_picture_alone_is_the_same_inside_a_batch(random_vgg, task, optimizer: str) -> None:
    options = {"optimizer": optimizer, "iterations": 6}
    shared = columns(32)
    tasks = [
        task(0, shared, **options),
        task(0, shared, (12, 11), region_weights={"left": 5.0}, **options),
        task(1, columns(16), (10, 12), region_weights={"left": 0.0}, **options),
    ]
    together = stylize(random_vgg(), tasks)
    for one, made in zip(tasks, together, strict=True):
        (alone,) = stylize(random_vgg(), [one])
        np.testing.assert_allclose(made.image, alone.image, atol=1e-4)
    assert np.abs(together[0].image - together[1].image).max() > 0.01


def test_a_weight_of_zero_leaves_a_region_as_it_is(random_vgg, task) -> None:
    one = task(regions=columns(32), region_weights={"right": 0.0}, pyramid_start=WIDTH)
    (made,) = stylize(random_vgg(), [one])
    change = np.abs(made.image - one.content).mean((0, 2))
    assert change[:24].mean() > 5 * change[48:].mean()


def test_tiles_make_the_same_picture(random_vgg, task) -> None:
    one = task(regions=columns(32), iterations=6, content_layers=["relu2_1"])
    (whole,), (tiled,) = (stylize(random_vgg(), [one], tile=tile) for tile in (None, 16))
    np.testing.assert_allclose(tiled.image, whole.image, atol=1e-3)


def test_regions_of_a_batch_agree(random_vgg, task) -> None:
    for other in (task(), task(regions=columns(32, ("a", "b")))):
        with pytest.raises(ValueError, match="agree in size, regions"):
            stylize(random_vgg(), [task(regions=columns(32)), other])


def test_a_style_without_the_content_s_regions_is_refused(random_vgg, task) -> None:
    one = task(regions=columns(32))
    with pytest.raises(ConfigError, match="no region sky; it has: left, right"):
        stylize(random_vgg(), [replace(one, regions=columns(32, ("left", "sky")))])


def test_what_a_style_has_too_little_of_is_left_out(random_vgg, target, waves) -> None:
    """A corner of 6 x 6 px has no position of relu4_1; its region keeps the other layers."""
    settings = Settings(**{**BASE, "style_layers": ["relu1_1", "relu4_1"], "pyramid_start": WIDTH})
    corner = np.zeros((40, 56), np.uint8)
    corner[:6, :6] = 255
    guide = Regions(("left", "right"), np.stack([corner, 255 - corner]))
    styles = target(10, settings, regions=guide)
    assert not styles[0]["relu4_1/left"].gram.any()
    one = StylizeTask(waves(HEIGHT, WIDTH), styles, settings, regions=columns(32))
    (made,) = stylize(random_vgg(), [one])
    assert made.status == "ok"
    change = np.abs(made.image - one.content).mean((0, 2))
    assert change[:24].mean() > 0.005
