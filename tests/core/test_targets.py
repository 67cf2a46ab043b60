"""Style targets: what is stored is what was computed, and blends are pictures side by side."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nstcore.core.moments import Moments, channel_mean, gram_matrix, style_moments
from nstcore.core.targets import (
    blend,
    image_moments,
    load_moments,
    regional_moments,
    regional_target,
    save_moments,
    style_size,
)
from nstcore.errors import StoreError
from nstcore.images import resize
from nstcore.images.masks import Regions

STYLE = ["relu1_1", "relu3_1", "relu5_1"]


@pytest.fixture
def moments(random_vgg, waves):
    return image_moments(random_vgg(), waves(40, 56, 3), 48, STYLE)


def _equal(one, other, **tolerance) -> None:
    assert one.keys() == other.keys()
    for layer in one:
        torch.testing.assert_close(one[layer].gram, other[layer].gram, **tolerance)
        torch.testing.assert_close(one[layer].mean, other[layer].mean, **tolerance)


def test_moments_are_those_of_the_resized_picture(random_vgg, waves, moments):
    encoder = random_vgg()
    seen = torch.from_numpy(resize(waves(40, 56, 3), (48, 34))).permute(2, 0, 1).unsqueeze(0)
    for layer, features in encoder(seen, STYLE).items():
        flat = features[0].flatten(1).double()
        torch.testing.assert_close(
            moments[layer].gram[0].double(), flat @ flat.T / flat.shape[1], rtol=1e-4, atol=1e-6
        )
        torch.testing.assert_close(
            moments[layer].mean[0].double(), flat.mean(1), rtol=1e-4, atol=1e-6
        )


@given(
    width=st.integers(1, 3000),
    height=st.integers(1, 3000),
    size=st.integers(32, 4000),
)
def test_a_style_is_never_enlarged(width, height, size):
    wide, high = style_size(width, height, size)
    assert 1 <= wide <= width
    assert 1 <= high <= height
    # No longer than asked, and tall enough for the encoder where the picture itself is.
    assert max(wide, high) <= max(size, 16)
    assert min(wide, high) >= min(width, height, 16)
    if min(wide, high) > 16:
        scale = min(1, size / max(width, height))
        assert wide == pytest.approx(width * scale, abs=0.5)
        assert high == pytest.approx(height * scale, abs=0.5)


@given(
    width=st.integers(1, 3000),
    height=st.integers(1, 3000),
    size=st.integers(32, 4000),
    by=st.sampled_from(["short", "area"]),
)
def test_a_style_is_measured_like_the_picture(width, height, size, by):
    wide, high = style_size(width, height, size, by)
    own = min(width, height) if by == "short" else (width * height) ** 0.5
    assert wide <= width
    assert high <= height
    if size >= own + 1:
        assert (wide, high) == (width, height), "it is never enlarged"
    elif min(wide, high) > 16 and size < own - 1:
        found = min(wide, high) if by == "short" else (wide * high) ** 0.5
        # Of an area, half a pixel of the short side counts as the long one is longer.
        assert found == pytest.approx(
            size, abs=0 if by == "short" else 0.5 * (wide / high + high / wide)
        )


def test_a_small_style_is_taken_as_it_is(random_vgg, waves):
    small = waves(24, 30, 1)
    large, own = (image_moments(random_vgg(), small, size, STYLE) for size in (512, 30))
    _equal(large, own, rtol=0, atol=0)


def test_a_style_seen_in_tiles_is_the_same_style(random_vgg, waves):
    painting = waves(230, 171, 1)
    whole, tiled = (image_moments(random_vgg(), painting, 230, STYLE, tile=t) for t in (None, 32))
    _equal(tiled, whole, rtol=1e-4, atol=1e-6)


# --- blends -----------------------------


@pytest.mark.parametrize("weights", [[0.5, 0.5], [0.2, 0.3, 0.5], [1.0, 0.0]])
def test_a_style_blended_with_itself_is_that_style(moments, weights):
    _equal(blend([moments] * len(weights), weights), moments)


def test_one_style_is_no_blend(moments):
    _equal(blend([moments], [1.0]), moments, rtol=0, atol=0)


def test_a_weight_of_0_leaves_a_style_out(random_vgg, waves, moments):
    other = image_moments(random_vgg(), waves(40, 56, 8), 48, STYLE)
    _equal(blend([moments, other], [1.0, 0.0]), moments)
    _equal(blend([moments, other], [0.0, 1.0]), other)
    _equal(blend([moments, other], [0.3, 0.7]), blend([other, moments], [0.7, 0.3]))


@pytest.mark.parametrize("cut", [8, 12, 19])
def test_a_blend_of_two_parts_is_the_picture_of_both_side_by_side(cut):
    features = torch.randn(1, 5, 6, 24, dtype=torch.float64)
    parts = [
        {"relu1_1": Moments(gram_matrix(part), channel_mean(part))}
        for part in (features[..., :cut], features[..., cut:])
    ]
    whole = {"relu1_1": Moments(gram_matrix(features), channel_mean(features))}
    _equal(blend(parts, [cut / 24, 1 - cut / 24]), whole)


def test_through_the_encoder_only_the_seam_differs(random_vgg):
    encoder = random_vgg(depth="relu1_1", padding="replicate", dtype=torch.float64)
    picture = torch.rand(1, 3, 20, 200, dtype=torch.float64)
    halves = [
        style_moments(encoder, part, ["relu1_1"])
        for part in (picture[..., :100], picture[..., 100:])
    ]
    whole = style_moments(encoder, picture, ["relu1_1"])
    found = blend(halves, [0.5, 0.5])
    # Two of 200 columns have the seam among their neighbours.
    for name in ("gram", "mean"):
        one, other = (getattr(x["relu1_1"], name) for x in (found, whole))
        assert 0 < float((one - other).norm() / other.norm()) < 0.01


def test_a_style_blended_with_itself_is_the_style(random_vgg, waves, moments):
    again = image_moments(random_vgg(), waves(40, 56, 3), 48, STYLE)
    for share in (0.5, 0.2, 0.01):
        _equal(blend([moments, again], [share, 1 - share]), moments)


# --- regions -------------------------------------------------------------------------


def test_a_picture_s_regions_have_averages_of_their_own(random_vgg, waves):
    """By plain numpy, with the masks of the size of each layer's activations."""
    picture = waves(40, 56, 3)
    mask = np.zeros((40, 56), np.uint8)
    mask[:, :24] = 255
    regions = Regions(("left", "rest"), np.stack([mask, 255 - mask]))
    layers = ["relu1_1", "relu3_1"]
    found = image_moments(random_vgg(), picture, 56, layers, regions=regions)
    tensor = torch.from_numpy(picture).permute(2, 0, 1).unsqueeze(0)
    for layer, features in random_vgg()(tensor, layers).items():
        step = 56 // features.shape[3]
        for name, part in (
            ("left", features[..., : 24 // step]),
            ("rest", features[..., 24 // step :]),
        ):
            f = part[0].flatten(1).double().numpy()
            own = found[f"{layer}/{name}"]
            np.testing.assert_allclose(own.gram[0].numpy(), f @ f.T / f.shape[1], rtol=1e-4)
            np.testing.assert_allclose(own.mean[0].numpy(), f.mean(1), rtol=1e-4)
    _equal(
        {layer: found[layer] for layer in layers},
        image_moments(random_vgg(), picture, 56, layers),
        rtol=0,
        atol=0,
    )


def test_regions_are_saved_beside_the_whole(random_vgg, waves, tmp_path):
    regions = Regions(("a", "b.c"), np.full((2, 40, 56), 128, np.uint8))
    moments = image_moments(random_vgg(), waves(40, 56, 3), 48, STYLE, regions=regions)
    save_moments(tmp_path / "48.safetensors", moments, {})
    found, _ = load_moments(tmp_path / "48.safetensors")
    _equal(found, moments, rtol=0, atol=0)
    assert "relu1_1/b.c" in found


def test_a_target_of_regions_takes_each_from_its_style(random_vgg, waves, moments):
    regions = Regions(("a", "b"), np.stack([np.full((40, 56), v, np.uint8) for v in (255, 0)]))
    guided = image_moments(random_vgg(), waves(40, 56, 8), 48, STYLE, regions=regions)
    target = regional_target({"a": guided, "b": moments, "c": moments})
    found, there = regional_moments(target, STYLE, ["b", "a"])
    for layer in STYLE:
        torch.testing.assert_close(found[layer].region(0).gram, moments[layer].gram)
        torch.testing.assert_close(found[layer].region(1).gram, guided[f"{layer}/a"].gram)
        assert there[layer].tolist() == [1, 1]
    # The guide has nothing of b: it is left out, and what stands in its place is finite.
    found, there = regional_moments(guided, STYLE, ["a", "b"])
    for layer in STYLE:
        assert there[layer].tolist() == [1, 0]
        assert found[layer].gram.isfinite().all()
        assert found[layer].region(1).gram.any()


# --- files ---------------------------------------------------------------------------


def test_what_is_saved_is_loaded(moments, tmp_path):
    facts = {"picture": "ab" * 32, "size": 48, "layers": STYLE, "name": "Sternennacht – ü"}
    save_moments(tmp_path / "new/folder/48.safetensors", moments, facts)
    found, kept = load_moments(tmp_path / "new/folder/48.safetensors")
    _equal(found, moments, rtol=0, atol=0)
    assert kept == facts
    assert [path.name for path in (tmp_path / "new/folder").iterdir()] == ["48.safetensors"]


def test_equal_moments_give_equal_bytes(moments, tmp_path):
    facts = {"b": 1, "a": [2, 3]}
    save_moments(tmp_path / "1.safetensors", moments, facts)
    save_moments(tmp_path / "2.safetensors", dict(reversed(moments.items())), {"a": [2, 3], "b": 1})
    assert (tmp_path / "1.safetensors").read_bytes() == (tmp_path / "2.safetensors").read_bytes()


@pytest.mark.parametrize("kind", ["missing", "empty", "torn", "text", "no facts", "no mean", "bad"])
def test_a_damaged_file_is_one_clear_line(moments, tmp_path, kind):
    from safetensors.torch import save_file

    path = tmp_path / "48.safetensors"
    tensors = {"relu1_1.gram": torch.ones(1, 2, 2), "relu1_1.mean": torch.ones(1, 2)}
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "torn":
        save_moments(path, moments, {"size": 48})
        path.write_bytes(path.read_bytes()[:-20])
    elif kind == "text":
        path.write_text("no tensors\n" * 100)
    elif kind == "no facts":
        save_file(tensors, path)
    elif kind == "no mean":
        save_file(
            {"relu1_1.gram": torch.ones(1, 2, 2)}, path, metadata={"facts": json.dumps({"a": 1})}
        )
    elif kind == "bad":
        save_file(tensors, path, metadata={"facts": "{not json"})
    with pytest.raises(StoreError) as caught:
        load_moments(path)
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    assert "delete it" in line


def test_pictures_need_not_be_contiguous(random_vgg, waves, moments):
    mirrored = np.ascontiguousarray(waves(40, 56, 3)[:, ::-1])[:, ::-1]
    assert not mirrored.flags["C_CONTIGUOUS"]
    _equal(image_moments(random_vgg(), mirrored, 48, STYLE), moments)
