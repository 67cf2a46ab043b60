"""Activations against torchvision's own VGG-19 with equal weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nstcore.core.encoders import LAYERS, VGG19_WIDTHS, stage, torchvision_index
from nstcore.core.encoders.vgg import VGG, pad, pool

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


@pytest.fixture(scope="module")
def peer() -> nn.Sequential:
    """torchvision's ``vgg19().features`` with random weights."""
    from torchvision.models import vgg19

    with torch.device("meta"):  # the classifier's 120 million weights are never made
        features = vgg19(weights=None).features
    features.to_empty(device="cpu")
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in features:
            if isinstance(module, nn.Conv2d):
                spread = (2 / (9 * module.in_channels)) ** 0.5
                module.weight.normal_(0, spread, generator=random)
                module.bias.normal_(0, 0.1, generator=random)
    return features.requires_grad_(False)


@pytest.fixture(scope="module")
def state(peer) -> dict[str, torch.Tensor]:
    return {f"features.{key}": value for key, value in peer.state_dict().items()}


def _reference(peer: nn.Sequential, image: torch.Tensor, pooling: str, padding: str):
    """Every rectifier's output, with the peer's poolings and paddings replaced as asked."""
    x = (image - MEAN) / STD
    found = {}
    for index, module in enumerate(peer):
        if isinstance(module, nn.MaxPool2d):
            x = nn.AvgPool2d(2, 2)(x) if pooling == "avg" else module(x)
        elif isinstance(module, nn.Conv2d):
            if padding == "zeros":
                x = module(x)
            else:
                x = F.conv2d(F.pad(x, (1, 1, 1, 1), mode=padding), module.weight, module.bias)
        else:
            x = F.relu(x)
            found[index - 1] = x
    return found


@pytest.mark.parametrize(
    ("pooling", "padding"),
    [
        ("max", "zeros"),
        ("avg", "zeros"),
        ("max", "reflect"),
        ("max", "replicate"),
        ("avg", "replicate"),
    ],
)
@pytest.mark.parametrize("size", [(33, 47), (50, 38)], ids=["33x47", "50x38"])
def test_equals_torchvision(peer, state, pooling, padding, size):
    encoder = VGG(pooling=pooling, padding=padding)
    encoder.load_torchvision(state)
    image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    found = encoder(image, LAYERS)
    expected = _reference(peer, image, pooling, padding)
    assert set(found) == set(LAYERS)
    for layer in LAYERS:
        reference = expected[torchvision_index(layer)]
        assert found[layer].shape == reference.shape
        assert found[layer].min() >= 0
        scale = float(reference.abs().max())
        torch.testing.assert_close(found[layer], reference, rtol=1e-4, atol=1e-5 * scale)


def test_odd_sizes_are_halved_downwards(random_vgg):
    found = random_vgg()(torch.rand(1, 3, 35, 61), LAYERS[:13])
    for layer, features in found.items():
        shift = stage(layer) - 1
        assert features.shape[-2:] == (35 >> shift, 61 >> shift)


@pytest.mark.parametrize(("layer", "smallest"), [("relu1_2", 1), ("relu3_1", 4), ("relu5_1", 16)])
@pytest.mark.parametrize("padding", ["zeros", "replicate", "reflect"])
def test_the_smallest_picture_passes_and_a_smaller_one_is_refused(
    random_vgg, layer, smallest, padding
):
    encoder = random_vgg(depth=layer, padding=padding)
    for size in [(smallest, 40), (40, smallest), (smallest, smallest)]:
        features = encoder(torch.rand(1, 3, *size), [layer])[layer]
        assert min(features.shape[-2:]) == 1
        assert torch.isfinite(features).all()
    if smallest > 1:
        with pytest.raises(ValueError, match=rf"40 x {smallest - 1} px.*{layer}.*{smallest} px"):
            encoder(torch.rand(1, 3, smallest - 1, 40), [layer])


def test_layers_that_were_not_built_are_refused(random_vgg):
    encoder = random_vgg(depth="relu3_1")
    for name in ("relu3_2", "relu9_9"):
        with pytest.raises(ValueError, match=name):
            encoder(torch.rand(1, 3, 32, 32), [name])


def test_nothing_after_the_deepest_layer_is_built_or_computed(random_vgg):
    assert list(VGG(depth="relu2_1").convolutions) == ["relu1_1", "relu1_2", "relu2_1"]
    # 8 px are too few for relu5_1, but that is not asked for.
    assert list(random_vgg()(torch.rand(1, 3, 8, 8), ["relu2_1"])) == ["relu2_1"]


def test_asking_for_more_layers_changes_none(random_vgg):
    # Rectifiers work in place: what is handed out must not be overwritten by later layers.
    encoder = random_vgg()
    image = torch.rand(1, 3, 32, 40)
    together = encoder(image, LAYERS[:13])
    for layer in LAYERS[:13]:
        torch.testing.assert_close(encoder(image, [layer])[layer], together[layer])


@pytest.mark.parametrize("pooling", ["max", "avg", "l2"])
@pytest.mark.parametrize("padding", ["zeros", "replicate", "reflect"])
def test_channels_last_gives_the_same(random_vgg, pooling, padding):
    plain = random_vgg(pooling=pooling, padding=padding)
    last = random_vgg(pooling=pooling, padding=padding).to(memory_format=torch.channels_last)
    image = torch.rand(2, 3, 37, 34)
    wanted = ["relu1_1", "relu3_1", "relu5_1"]
    expected = plain(image, wanted)
    found = last(image.contiguous(memory_format=torch.channels_last), wanted)
    for layer in wanted:
        torch.testing.assert_close(found[layer], expected[layer], rtol=1e-4, atol=1e-5)


def test_pictures_of_a_batch_do_not_see_each_other(random_vgg):
    encoder = random_vgg(dtype=torch.float64)
    images = torch.rand(3, 3, 32, 32, dtype=torch.float64)
    together = encoder(images, ["relu5_1"])["relu5_1"]
    for i in range(3):
        alone = encoder(images[i : i + 1], ["relu5_1"])["relu5_1"]
        torch.testing.assert_close(alone[0], together[i])


@pytest.mark.parametrize("mode", ["replicate", "reflect"])
@pytest.mark.parametrize("size", [(5, 8), (2, 2), (3, 2)])
def test_padding_equals_torchs_own(mode, size):
    x = torch.rand(2, 3, *size, dtype=torch.float64, requires_grad=True)
    reference = F.pad(x, (1, 1, 1, 1), mode=mode)
    torch.testing.assert_close(pad(x, mode), reference)
    weight = torch.rand_like(reference)
    (own,) = torch.autograd.grad((pad(x, mode) * weight).sum(), x)
    (expected,) = torch.autograd.grad((reference * weight).sum(), x)
    torch.testing.assert_close(own, expected)


def test_l2_pooling_is_the_scaled_root_of_the_sum_of_squares():
    x = torch.rand(2, 3, 7, 6, dtype=torch.float64)
    windows = x[:, :, :6].reshape(2, 3, 3, 2, 3, 2)
    expected = 0.78 * windows.square().sum((3, 5)).sqrt()
    torch.testing.assert_close(pool(x, "l2"), expected, rtol=1e-6, atol=1e-6)


def test_l2_pooling_has_a_finite_gradient_at_zeros():
    x = torch.zeros(1, 2, 4, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(pool(x, "l2").sum(), x)
    assert torch.isfinite(gradient).all()


def test_weights_are_frozen_and_the_picture_is_not(random_vgg):
    encoder = random_vgg()
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    image = torch.rand(1, 3, 32, 32, requires_grad=True)
    (gradient,) = torch.autograd.grad(encoder(image, ["relu5_1"])["relu5_1"].sum(), image)
    assert gradient.abs().max() > 0


def test_loading_names_the_missing_or_misshapen_key(state):
    encoder = VGG(depth="relu2_1")
    with pytest.raises(KeyError, match=r"features\.5\.bias"):
        encoder.load_torchvision({k: v for k, v in state.items() if k != "features.5.bias"})
    narrow = {**state, "features.2.weight": torch.zeros(8, 64, 3, 3)}
    with pytest.raises(ValueError, match=r"features\.2\.weight .*8, 64, 3, 3.*64, 64, 3, 3"):
        encoder.load_torchvision(narrow)


def test_default_widths_are_vgg19s():
    assert VGG(depth="relu1_1").widths == VGG19_WIDTHS


def test_half_precision_gives_nearly_the_same(random_vgg):
    image = torch.rand(1, 3, 48, 40, generator=torch.Generator().manual_seed(1))
    layers = ["relu1_1", "relu3_2", "relu5_1"]
    encoder = random_vgg()
    wanted = encoder(image, layers)
    encoder.halve()
    for layer, found in encoder(image, layers).items():
        assert found.dtype == torch.bfloat16
        error = (found.float() - wanted[layer]).norm() / wanted[layer].norm()
        assert error < 0.02
