"""Tiles give the numbers of the whole picture: geometry, moments, losses, gradients."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from objectives import objective_of
from torch import Tensor

from nstcore.core.encoders import LAYERS, VGG19, EncoderSpec
from nstcore.core.encoders.compact import load_compact
from nstcore.core.encoders.vgg import VGG
from nstcore.core.geometry import tile_grid
from nstcore.core.losses.total_variation import total_variation
from nstcore.core.moments import style_moments
from nstcore.core.objective import Objective
from nstcore.core.tiling import TiledObjective, _add_up, tiled_features, tiled_moments

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}

SHALLOW = {"relu1_1": 1.0, "relu2_1": 0.5, "relu3_1": 2.0}
DEEP = {"relu1_1": 1.0, "relu3_2": 0.5, "relu5_1": 0.2}


def picture(
    height: int, width: int, n: int = 1, seed: int = 0, dtype: torch.dtype = torch.float64
) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, height, width, generator=random, dtype=torch.float64).to(dtype)


def make_objective(
    encoder: VGG,
    image: Tensor,
    style_layers: dict[str, float],
    content_layers: dict[str, float],
    normalization: str = "relative",
    **options: str,
) -> Objective:
    """An objective for pictures like ``image``, each with its own weights and content."""
    n, _, height, width = image.shape
    dtype = image.dtype
    painting = picture(64, 57, seed=2, dtype=dtype)
    content = picture(height, width, n, seed=1, dtype=dtype)
    return objective_of(
        encoder,
        content=encoder(content, content_layers) if content_layers else {},
        style=style_moments(encoder, painting, list(style_layers)) if style_layers else {},
        content_layers=content_layers,
        style_layers=style_layers,
        content_weight=torch.linspace(1, 2, n, dtype=dtype),
        style_weight=torch.linspace(100, 0, n, dtype=dtype),
        tv_weight=torch.linspace(0.5, 3, n, dtype=dtype),
        normalization=normalization,
        **options,
    )


def distance(found: Tensor, expected: Tensor) -> float:
    """Distance of each picture's values relative to their length; the worst of the pictures."""
    found, expected = found.flatten(1).double(), expected.flatten(1).double()
    return float(((found - expected).norm(dim=1) / expected.norm(dim=1)).max())


def worst(objective: Objective, tiled: TiledObjective, image: Tensor) -> float:
    """The largest relative distance between tiled and untiled losses and gradients."""
    losses, gradient = tiled.evaluate(image)
    expected, whole = objective.evaluate(image)
    assert gradient.dtype == whole.dtype
    assert losses.style_layers.keys() == expected.style_layers.keys()
    pairs = [
        (gradient, whole),
        *((getattr(losses, term), getattr(expected, term)) for term in ("total", "style", "tv")),
        *((losses.style_layers[name], value) for name, value in expected.style_layers.items()),
    ]
    if objective.content_layers:
        pairs.append((losses.content, expected.content))
    return max(
        distance(a.unsqueeze(1), b.unsqueeze(1)) if a.dim() == 1 else distance(a, b)
        for a, b in pairs
    )


# --- the grid -----------------------------


steady = settings(deadline=None, max_examples=50)


@st.composite
def grids(draw):
    step = 2 ** draw(st.integers(0, 4))
    height, width = draw(st.integers(1, 60 * step)), draw(st.integers(1, 60 * step))
    tile = draw(st.integers(2 * step, 30 * step))
    return height, width, tile, draw(st.integers(0, 6)) * step, step


@steady
@given(grids())
def test_cores_partition_the_picture(grid):
    height, width, *_ = grid
    seen = torch.zeros(height, width, dtype=torch.long)
    for tile in tile_grid(*grid):
        seen[tile.core] += 1
    assert (seen == 1).all()


@steady
@given(grids())
def test_windows_start_at_multiples_of_the_stride_and_are_cores_with_halo(grid):
    height, width, _, halo, step = grid
    for tile in tile_grid(*grid):
        for outer, core, length in zip(tile.outer, tile.core, (height, width), strict=True):
            assert core.start % step == outer.start % step == 0
            assert outer.start == max(core.start - halo, 0)
            assert outer.stop == min(core.stop + halo, length)
            assert core.stop % step == 0 or core.stop == length


@steady
@given(grids())
def test_outer_windows_are_bounded_and_balanced(grid):
    height, width, limit, halo, step = grid
    sides: list[set[int]] = [set(), set()]
    for tile in tile_grid(*grid):
        for side, outer, core in zip(sides, tile.outer, tile.core, strict=True):
            side.add(outer.stop - outer.start)
            assert outer.stop - outer.start <= limit + 2 * halo
            assert core.stop - core.start >= min(step, height, width)
    # A halo that reaches over a whole neighbour and the border is cut; no window is thin otherwise.
    for side, length in zip(sides, (height, width), strict=True):
        if length >= 4 * halo + 2 * step:
            assert max(side) - min(side) < 2 * step


@steady
@given(grids(), st.sampled_from(LAYERS))
def test_cores_partition_the_activations_of_every_layer(grid, layer):
    height, width, tile, halo, _ = grid
    step = VGG19.stride(layer)
    tile, halo = max(tile, 2 * step), halo // step * step
    seen = torch.zeros(height // step, width // step, dtype=torch.long)
    for part in tile_grid(height, width, tile, halo, step):
        seen[part.at(step)] += 1
        # The same positions in the activations of the outer window.
        for outer, whole, own in zip(part.outer, part.at(step), part.within(step), strict=True):
            assert own.start + outer.start // step == whole.start
            assert own.stop - own.start == whole.stop - whole.start
            assert own.stop <= (outer.stop - outer.start) // step
    assert (seen == 1).all()


def test_a_picture_no_larger_than_a_tile_with_its_halo_is_one_tile():
    assert len(tile_grid(672, 672, 512, 80, 16)) == 1
    assert len(tile_grid(672, 673, 512, 80, 16)) == 2


def test_grid_refuses_what_cannot_be_aligned():
    with pytest.raises(ValueError, match="at least 32 px"):
        tile_grid(100, 100, 31, 0, 16)
    with pytest.raises(ValueError, match="multiple of 16"):
        tile_grid(100, 100, 64, 24, 16)


# --- the margin -----------------------------


@pytest.mark.parametrize("layer", LAYERS)
def test_margin_is_what_a_position_sees_on_its_side(random_vgg, layer):
    # Average pooling hands a gradient to every pixel that a position sees.
    encoder = random_vgg((2, 2, 2, 2, 2), depth=layer, dtype=torch.float64, pooling="avg")
    for convolution in encoder.convolutions.values():
        convolution.weight.abs_()
    step = VGG19.stride(layer)
    middle = 12  # the field of relu5_4 is 252 px
    image = (5 + picture(1 + 2 * step, 24 * step)).expand(1, 3, -1, -1).requires_grad_()
    value = encoder(image, [layer])[layer][..., middle].sum()
    (gradient,) = torch.autograd.grad(value, image)
    seen = gradient.abs().sum((0, 1, 2)).nonzero().flatten()
    reach = middle * step - int(seen[0])
    assert VGG19.margin([layer]) - step < reach <= VGG19.margin([layer])


def test_margin_of_several_layers_is_the_largest():
    assert VGG19.margin(["relu5_1"]) == 80  # its receptive field is 156 px: 70 on each side
    for one, other in product(LAYERS, LAYERS):
        margins = [VGG19.margin([layer]) for layer in (one, other)]
        together = VGG19.margin([one, other])
        assert together >= max(margins)
        assert together % max(VGG19.stride(one), VGG19.stride(other)) == 0


@pytest.mark.parametrize("pooling", ["max", "avg", "l2"])
@pytest.mark.parametrize("layer", ["relu2_2", "relu3_1", "relu4_2", "relu5_1"])
def test_a_smaller_halo_is_not_enough(random_vgg, layer, pooling, monkeypatch):
    encoder = random_vgg(depth=layer, dtype=torch.float64, pooling=pooling)
    margin, step = VGG19.margin([layer]), VGG19.stride(layer)
    image = picture(40, 2 * margin + 8 * step + 3)
    objective = make_objective(encoder, image, {layer: 1.0}, {})
    tiled = TiledObjective(objective, 4 * step)
    assert len(tiled.tiles(image)) > 1
    assert worst(objective, tiled, image) < 1e-9
    monkeypatch.setattr(EncoderSpec, "margin", lambda self, names: margin - step)
    assert worst(objective, tiled, image) > 1e-7


# --- losses and gradients -----------------------------


@pytest.mark.parametrize("padding", ["zeros", "replicate", "reflect"])
@pytest.mark.parametrize("pooling", ["max", "avg", "l2"])
@pytest.mark.parametrize(
    ("size", "style_layers", "content", "tile", "count"),
    [
        ((83, 131), SHALLOW, "relu2_2", 16, 4 * 7),
        ((97, 64), SHALLOW, "relu3_1", 37, 3 * 2),
        ((181, 227), DEEP, "relu4_2", 32, 1 * 3),
        ((211, 193), DEEP, "relu4_2", 48, 2 * 1),
    ],
)
def test_tiled_equals_whole(random_vgg, size, style_layers, content, tile, count, pooling, padding):
    encoder = random_vgg(dtype=torch.float64, pooling=pooling, padding=padding)
    image = picture(*size)
    objective = make_objective(encoder, image, style_layers, {content: 1.0})
    tiled = TiledObjective(objective, tile)
    assert len(tiled.tiles(image)) == count
    assert worst(objective, tiled, image) < 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("normalization", ["relative", "gatys"])
@pytest.mark.parametrize(
    ("style_layers", "content_layers"),
    [
        ({"relu1_2": 1.0, "relu4_1": 2.0}, {"relu2_2": 0.5, "relu4_1": 1.5}),
        ({"relu3_3": 1.0}, {}),
        ({}, {"relu3_1": 1.0}),
    ],
)
def test_tiled_equals_whole_for_every_picture_of_a_batch(
    random_vgg, style_layers, content_layers, normalization, dtype
):
    encoder = random_vgg(dtype=dtype, pooling="avg", padding="reflect")
    image = picture(160, 211, n=3, dtype=dtype)
    objective = make_objective(encoder, image, style_layers, content_layers, normalization)
    tiled = TiledObjective(objective, 40)
    assert len(tiled.tiles(image)) >= 6
    losses, gradient = tiled.evaluate(image)
    expected, whole = objective.evaluate(image)
    assert losses.total.shape == (3,)
    assert distance(gradient, whole) < TOLERANCE[dtype]
    assert distance(losses.total.unsqueeze(1), expected.total.unsqueeze(1)) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tile", [32, 70, 150])
def test_tiled_equals_whole_under_the_packaged_encoder(tile, dtype):
    encoder = load_compact(padding="replicate").to(dtype)
    encoder.to(memory_format=torch.channels_last)
    image = picture(205, 262, n=2, dtype=dtype)
    layers = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    objective = make_objective(encoder, image, dict.fromkeys(layers, 1.0), {"relu4_2": 1.0})
    tiled = TiledObjective(objective, tile)
    assert len(tiled.tiles(image)) == {32: 8, 70: 2, 150: 1}[tile]
    assert worst(objective, tiled, image) < TOLERANCE[dtype]


@pytest.mark.parametrize("form", ["absolute", "isotropic"])
def test_every_form_of_total_variation_is_that_of_the_whole_picture(random_vgg, form):
    encoder = random_vgg(depth="relu3_1", dtype=torch.float64)
    image = picture(83, 131, n=2)
    objective = make_objective(encoder, image, SHALLOW, {"relu3_1": 1.0}, tv_form=form)
    tiled = TiledObjective(objective, 32)
    assert len(tiled.tiles(image)) > 1
    assert worst(objective, tiled, image) < 1e-9
    losses, _ = tiled.evaluate(image)
    torch.testing.assert_close(losses.tv, total_variation(image, form))


def test_a_picture_that_breaks_leaves_its_neighbours_alone(random_vgg):
    encoder = random_vgg(depth="relu3_1", dtype=torch.float64)
    image = picture(83, 131, n=2)
    objective = make_objective(encoder, image, SHALLOW, {"relu3_1": 1.0})
    expected, whole = objective.evaluate(image)
    image[0, :, 40, 60] = torch.nan
    losses, gradient = TiledObjective(objective, 32).evaluate(image)
    assert losses.total.isnan().tolist() == [True, False]
    assert float(losses.total[1]) == pytest.approx(float(expected.total[1]))
    assert distance(gradient[1:], whole[1:]) < 1e-9


def test_some_pictures_are_evaluated_as_among_all(random_vgg):
    encoder = random_vgg(depth="relu3_1", dtype=torch.float64)
    image = picture(83, 131, n=3)
    objective = make_objective(encoder, image, SHALLOW, {"relu3_1": 1.0})
    tiled = TiledObjective(objective, 32)
    losses, gradient = tiled.evaluate(image)
    rows = torch.tensor([2, 0])
    some = TiledObjective(objective.select(rows), 32)
    assert len(some.tiles(image[rows])) == len(tiled.tiles(image)) > 1
    found, own = some.evaluate(image[rows])
    torch.testing.assert_close(found.total, losses.total[rows])
    assert distance(own, gradient[rows]) < 1e-9


@pytest.mark.parametrize("tile", [None, 100])
def test_one_tile_is_the_objective_itself(random_vgg, tile):
    image = picture(83, 131, dtype=torch.float32)
    objective = make_objective(random_vgg(), image, SHALLOW, {"relu4_2": 1.0})
    losses, gradient = TiledObjective(objective, tile).evaluate(image)
    expected, whole = objective.evaluate(image)
    assert torch.equal(losses.total, expected.total)
    assert torch.equal(gradient, whole)


def test_totals_of_many_tiles_keep_their_digits():
    # In float32 the sum of 10,000 tenths is off by 1e-4.
    (total,) = _add_up([torch.tensor([0.1])] for _ in range(10_000))
    assert total.dtype == torch.float32
    assert float(total) == pytest.approx(1000, rel=1e-6)


# --- moments and activations -----------------------------


@pytest.mark.parametrize("tile", [None, 32, 50])
@pytest.mark.parametrize("layers", [["relu3_1"], ["relu4_2", "relu2_1"], ["relu1_1", "relu5_1"]])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_tiled_moments_and_features_are_the_plain_ones(random_vgg, layers, tile, layout):
    encoder = random_vgg(depth=VGG19.deepest(layers), dtype=torch.float64, padding="reflect")
    encoder.to(memory_format=layout)
    image = picture(181, 233, n=2)
    features = encoder(image, layers)
    found = tiled_features(encoder, image, layers, tile)
    assert found.keys() == features.keys()
    for name, value in features.items():
        torch.testing.assert_close(found[name], value)
        assert found[name].stride() == value.stride()
    moments = style_moments(encoder, image, layers)
    measured = tiled_moments(encoder, image, layers, tile)
    assert measured.keys() == moments.keys()
    for name, expected in moments.items():
        torch.testing.assert_close(measured[name].gram, expected.gram, rtol=1e-10, atol=0)
        torch.testing.assert_close(measured[name].mean, expected.mean, rtol=1e-10, atol=0)
