from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from _crowson import CHECKPOINT, write_weights
from _neural_style import (
    CAFFE_MEAN,
    CONTENT_WEIGHT,
    PeerLoss,
    Picture,
    caffe_state,
    command,
    printed_loss,
)
from _peers_runs import GRIDS, Bench, Pair, shortest
from objectives import objective_of
from torch.nn import functional as F

from nstcore.core.batched import to_tensor
from nstcore.core.encoders import EVAL_STYLE_LAYERS, torchvision_index
from nstcore.core.encoders.vgg import VGG
from nstcore.core.losses.base import relative_error
from nstcore.core.moments import style_moments


def torchvision_state(encoder: VGG) -> dict[str, torch.Tensor]:
    return {
        f"features.{torchvision_index(layer)}.{part}": getattr(convolution, part).detach()
        for layer, convolution in encoder.convolutions.items()
        for part in ("weight", "bias")
    }


def test_the_converted_network_sees_in_caffes_input_what_the_original_sees(random_vgg):
    encoder = random_vgg(depth="relu2_1")
    state = caffe_state(torchvision_state(encoder))
    image = torch.rand(1, 3, 40, 48, generator=torch.Generator().manual_seed(1))
    red_green_blue = 255 * image - torch.tensor(CAFFE_MEAN).view(1, 3, 1, 1)
    x = red_green_blue.flip(1)
    for index in (0, 2):
        x = F.conv2d(
            x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], padding=1
        )
        x = x.relu()
    x = F.max_pool2d(x, 2)
    x = F.conv2d(x, state["features.5.weight"], state["features.5.bias"], padding=1).relu()
    expected = encoder(image, ["relu2_1"])["relu2_1"]
    # The zeros around the picture stand for slightly different greys.
    inside = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(x[inside], expected[inside], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(x, expected, rtol=0.05, atol=0.05)


def test_the_conversion_leaves_the_original_and_the_deeper_layers_alone(random_vgg):
    state = torchvision_state(random_vgg(depth="relu1_2"))
    before = {key: value.clone() for key, value in state.items()}
    converted = caffe_state(state)
    assert all(torch.equal(state[key], before[key]) for key in state)
    assert torch.equal(converted["features.2.weight"], state["features.2.weight"])


def direct_loss(encoder, picture, content, style, style_weight):
    """neural-style's formula, written down as its code has it."""
    layers = [*EVAL_STYLE_LAYERS, "relu4_2"]
    seen, kept, painted = (
        encoder(to_tensor(pixels) * 256 / 255, layers) for pixels in (picture, content, style)
    )

    def gram(features):
        _, c, h, w = features.shape
        flat = features.reshape(c, h * w)
        return (flat @ flat.T).div(features.nelement())

    loss = CONTENT_WEIGHT * F.mse_loss(seen["relu4_2"], kept["relu4_2"])
    for layer in EVAL_STYLE_LAYERS:
        loss = loss + style_weight * F.mse_loss(gram(seen[layer]), gram(painted[layer]))
    return float(loss)


def test_the_peers_loss_is_its_formula(random_vgg, waves):
    encoder = random_vgg()
    picture, content, style = waves(32, 48, 1), waves(32, 48, 2), waves(40, 36, 3)
    loss = PeerLoss(encoder, content, style)
    expected = direct_loss(encoder, picture, content, style, 70.0)
    assert loss.total(picture, 70.0) == pytest.approx(expected, rel=1e-5)
    assert loss.terms(content)[0] == 0
    content_term, style_term = PeerLoss(encoder, content, content).terms(content)
    assert content_term == style_term == 0


def test_a_pair_finds_its_own_pictures_perfect(random_vgg, waves, tmp_path: Path):
    encoder = random_vgg()
    content, style = waves(32, 48, 2), waves(48, 36, 3)
    bench = Bench(Namespace(judge_size=48, device="cpu"), tmp_path, encoder)
    reference = bench._reference(content, style)
    pair = Pair(
        ("c", "s"), ("", ""), (content, style), PeerLoss(encoder, content, style), reference
    )
    kept = pair.judge(encoder, content, 70.0)
    assert kept["content_loss"] == pytest.approx(0, abs=1e-9)
    assert kept["peer_loss"] == pytest.approx(pair.loss.total(content, 70.0))
    other = pair.judge(encoder, waves(32, 48, 9), 70.0)
    assert other["content_loss"] > 0.01
    assert all(other[name] > 0 for name in ("style_loss", "style_loss_held_out"))
    itself = PeerLoss(encoder, style, style)
    turned = Pair(("s", "s"), ("", ""), (style, style), itself, bench._reference(style, style))
    assert turned.judge(encoder, style, 70.0)["style_loss"] == pytest.approx(0, abs=1e-9)


def test_grids_differ_in_encoder_and_schedule_alone(random_vgg, waves, tmp_path: Path):
    options = Namespace(
        judge_size=48, device="cpu", size=48, tv_weight=0.0, weights=tmp_path / "w.pth",
        schedule=None, longer=[9, 6],
    )  # fmt: skip
    encoder = random_vgg()
    content, style = waves(32, 48, 2), waves(40, 36, 3)
    bench = Bench(options, tmp_path, encoder)
    loss = PeerLoss(encoder, content, style)
    reference = bench._reference(content, style)
    bench.pairs.append(Pair(("c", "s"), ("", ""), (content, style), loss, reference))
    grids = {grid: bench.settings(grid) for grid in GRIDS}
    assert grids["vgg19"].pop("weights") == str(options.weights)
    assert grids["compact_longer"].pop("iterations") == [9, 6]
    assert {grid: found.pop("encoder") for grid, found in grids.items()} == GRIDS
    assert grids["vgg19"] == grids["compact"] == grids["compact_longer"]
    assert "iterations" not in grids["compact"]


def test_translated_weights_descend_the_same_function(random_vgg, waves):
    encoder = random_vgg()
    content, style = waves(32, 48, 2), waves(40, 36, 3)
    peer = PeerLoss(encoder, content, style, scale=1.0)
    weight, layers = peer.relative(70.0)
    one = torch.ones(1)
    ours = objective_of(
        encoder,
        content=encoder(to_tensor(content), ["relu4_2"]),
        style=style_moments(encoder, to_tensor(style), list(EVAL_STYLE_LAYERS)),
        content_layers={"relu4_2": 1.0},
        style_layers=layers,
        content_weight=one,
        style_weight=weight * one,
        tv_weight=0 * one,
    )
    ratios = []
    for seed in (4, 5, 6):
        picture = waves(32, 48, seed)
        ratios.append(float(ours(to_tensor(picture)).total) / peer.total(picture, 70.0))
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-4)
    # At the start, the content, both are all style.
    gram = style_moments(encoder, to_tensor(content), ["relu3_1"])["relu3_1"].gram
    target = style_moments(encoder, to_tensor(style), ["relu3_1"])["relu3_1"].gram
    losses = ours(to_tensor(content))
    assert float(losses.content) == 0
    assert float(losses.style_layers["relu3_1"]) == pytest.approx(
        float(relative_error(gram, target))
    )


def test_the_command_line_names_files_and_weights(tmp_path: Path):
    picture = Picture("c.png", "s.png", 100.0, 256, 500, "out.png")
    words = command(tmp_path / "python", picture, "cpu")
    assert words[:3] == [str(tmp_path / "python"), "-m", "neural_style.neural_style"]
    (tmp_path / "neural-style").touch()
    words = command(tmp_path / "python", picture, "cpu")
    assert words[0] == str(tmp_path / "neural-style")
    given = dict(zip(words[1::2], words[2::2], strict=False))
    assert given["-gpu"] == "c"
    assert "-model_file" in words
    assert words[words.index("-num_iterations") + 1] == "500"


def test_the_last_loss_that_it_printed_counts():
    assert printed_loss("  Total loss: 12.5\nnoise\n  Total loss: 7.25\n") == 7.25
    assert printed_loss("nothing") is None


@pytest.mark.parametrize("least", [1.0, 2.0, 7.3, 100.0, 399.0])
def test_the_shortest_length_is_found_to_ten_per_cent(least):
    tried = []

    def reached(length):
        tried.append(length)
        return length >= least

    found = shortest(reached, 2.0, 400.0)
    assert found is not None
    assert least <= found <= max(1.1 * least, least + 1)
    assert len(tried) < 16


def test_a_length_that_nothing_reaches_is_none():
    assert shortest(lambda _: False, 2.0, 50.0) is None


def test_weights_for_torchvision_are_complete_and_small(tmp_path: Path):
    state = {f"features.{i}.weight": torch.ones(1) for i in range(16)}
    with pytest.raises(ValueError, match="16 convolutions"):
        write_weights(state, tmp_path / "a")
    state |= {f"features.{i}.bias": torch.ones(1) for i in range(16)}
    write_weights(state, tmp_path / "b")
    path = tmp_path / "b" / "hub" / "checkpoints" / CHECKPOINT
    assert path.stat().st_size < 100_000
    assert torch.load(path)["classifier.0.weight"].shape == (4096, 25088)
