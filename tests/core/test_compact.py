"""The packaged compact encoder: it is what it says, and VGG-19 agrees with what it makes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from nstcore.core.batched import to_tensor
from nstcore.core.encoders import (
    COMPACT,
    COMPACT_FILE,
    COMPACT_SHA256,
    COMPACT_WIDTHS,
    EVAL_CONTENT_LAYER,
    EVAL_HELD_OUT_LAYERS,
    EVAL_STYLE_LAYERS,
    VGG19,
    VGG19_WIDTHS,
    channels,
    stage,
)
from nstcore.core.encoders.compact import (
    CompactEncoder,
    load_compact,
)
from nstcore.core.encoders.vgg import VGG, read_state
from nstcore.core.losses.base import relative_error
from nstcore.core.moments import gram_matrix
from nstcore.core.settings import Settings
from nstcore.core.stylize import StylizeTask, stylize
from nstcore.core.targets import image_moments
from nstcore.errors import WeightsError
from nstcore.images import fit_size, load_float, resize
from nstcore.store.files import file_sha256

SHARED = Path(os.environ.get("NST_SHARED", Path(__file__).parents[3] / "shared"))
TEACHER = SHARED / "weights" / "vgg19_oxford_features_fp16.pth"

needs_shared = pytest.mark.skipif(not TEACHER.is_file(), reason=f"{TEACHER} is not here")


@pytest.fixture(scope="module")
def encoder() -> CompactEncoder:
    return load_compact()


def test_the_packaged_file_is_the_one_that_was_measured() -> None:
    assert file_sha256(COMPACT_FILE) == COMPACT_SHA256
    assert COMPACT_FILE.stat().st_size <= 4_000_000


def test_it_costs_about_a_sixteenth_of_vgg19() -> None:
    assert VGG19.convolution_flops("relu5_1", 512, 512) > 15 * COMPACT.convolution_flops(
        "relu5_1", 512, 512
    )


def test_layers_have_the_sizes_that_vgg19_has(encoder: CompactEncoder) -> None:
    features = encoder(torch.rand(2, 3, 50, 66), COMPACT.names)
    for layer, value in features.items():
        scale = 2 ** (stage(layer) - 1)
        expected = (2, channels(layer, COMPACT_WIDTHS), 50 // scale, 66 // scale)
        assert tuple(value.shape) == expected
        assert float(value.min()) >= 0
        assert bool(value.isfinite().all())


def test_adapters_lead_to_vgg19s_channels(encoder: CompactEncoder) -> None:
    assert set(encoder.adapters) == set(COMPACT.names)
    for layer, (weight, bias) in encoder.adapters.items():
        assert tuple(weight.shape) == (
            channels(layer, VGG19_WIDTHS),
            channels(layer, COMPACT_WIDTHS),
        )
        assert tuple(bias.shape) == (channels(layer, VGG19_WIDTHS),)


def test_a_shallow_encoder_answers_like_the_whole_one(encoder: CompactEncoder) -> None:
    image = torch.rand(1, 3, 40, 40)
    shallow = load_compact(depth="relu2_2")
    assert shallow.layers[-1] == "relu2_2"
    found = shallow(image, ["relu2_1"])["relu2_1"]
    assert torch.allclose(found, encoder(image, ["relu2_1"])["relu2_1"], atol=1e-5)


def test_weights_receive_no_gradient(encoder: CompactEncoder) -> None:
    image = torch.rand(1, 3, 32, 32, requires_grad=True)
    encoder(image, ["relu5_1"])["relu5_1"].sum().backward()
    assert image.grad is not None
    assert float(image.grad.abs().sum()) > 0
    assert all(p.grad is None and not p.requires_grad for p in encoder.parameters())


def test_adapters_move_with_the_encoder() -> None:
    weight, bias = load_compact(depth="relu1_1").double().adapters["relu1_1"]
    assert weight.dtype == bias.dtype == torch.float64


def test_a_layer_too_deep_is_refused(encoder: CompactEncoder) -> None:
    with pytest.raises(ValueError, match="relu5_1"):
        CompactEncoder(depth="relu5_2")
    with pytest.raises(ValueError, match="relu5_2"):
        encoder.lift("relu5_2")


def test_wrong_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"absent\.safetensors"):
        load_compact(tmp_path / "absent.safetensors")
    garbage = tmp_path / "garbage.safetensors"
    garbage.write_bytes(b"no tensors here")
    with pytest.raises(WeightsError, match=r"garbage\.safetensors"):
        load_compact(garbage)
    other = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, other)
    with pytest.raises(WeightsError, match="not the weights"):
        load_compact(other)
    cut = tmp_path / "cut.safetensors"
    save_file({"x": torch.zeros(1)}, cut, {"name": "compact", "widths": "[16, 32, 64, 128, 192]"})
    with pytest.raises(WeightsError, match=r"relu1_1\.weight"):
        load_compact(cut)


@needs_shared
def test_features_explain_vgg19_better_than_the_reference_encoder(encoder: CompactEncoder) -> None:
    """The published 16 times smaller encoder leaves these shares of VGG-19's energy unexplained."""
    reference = {
        "relu1_1": 0.04,
        "relu2_1": 0.17,
        "relu3_1": 0.30,
        "relu4_1": 0.28,
        "relu4_2": 0.49,
        "relu5_1": 0.64,
    }
    teacher = VGG(depth="relu5_1")
    teacher.load_torchvision(read_state(TEACHER))
    left = dict.fromkeys(reference, 0.0)
    total = dict.fromkeys(reference, 0.0)
    for path in sorted((SHARED / "images" / "contents").glob("*.jpg")):
        pixels = load_float(path)
        height, width = pixels.shape[:2]
        image = to_tensor(resize(pixels, fit_size((width, height), 256)))
        with torch.no_grad():
            target, found = teacher(image, reference), encoder(image, reference)
            for layer in reference:
                lifted = encoder.lift(layer)(found[layer])
                left[layer] += float((lifted - target[layer]).square().sum())
                total[layer] += float(target[layer].square().sum())
    unexplained = {layer: left[layer] / total[layer] for layer in reference}
    mean = np.mean(list(unexplained.values()))
    assert mean < np.mean(list(reference.values())), unexplained


@needs_shared
@pytest.mark.slow
def test_vgg19_sees_the_style_in_a_picture_made_with_the_compact_encoder(
    encoder: CompactEncoder,
) -> None:
    """The style error falls to less than a third, on layers that nobody optimized too."""
    content = load_float(SHARED / "images" / "contents" / "tubingen.jpg")
    style = load_float(SHARED / "images" / "styles" / "starry_night.jpg")
    height, width = content.shape[:2]
    content = resize(content, fit_size((width, height), 160))
    settings = Settings(size=160, pyramid_start=64, iterations=60, style_weight=30.0)
    targets = [
        image_moments(encoder, style, size, EVAL_STYLE_LAYERS) for size in settings.level_sizes()
    ]
    picture = stylize(encoder, [StylizeTask(content, targets, settings)])[0].image
    teacher = VGG(depth="relu5_1")
    teacher.load_torchvision(read_state(TEACHER))
    seen = resize(style, fit_size((style.shape[1], style.shape[0]), 160))

    def errors(image: np.ndarray, layers: tuple[str, ...]) -> float:
        with torch.no_grad():
            found, target = teacher(to_tensor(image), layers), teacher(to_tensor(seen), layers)
        values = [
            float(relative_error(gram_matrix(found[layer]), gram_matrix(target[layer])))
            for layer in layers
        ]
        return float(np.mean(values))

    for layers in (EVAL_STYLE_LAYERS, EVAL_HELD_OUT_LAYERS):
        assert errors(picture, layers) < errors(content, layers) / 3
    with torch.no_grad():
        kept = teacher(to_tensor(picture), [EVAL_CONTENT_LAYER])[EVAL_CONTENT_LAYER]
        wanted = teacher(to_tensor(content), [EVAL_CONTENT_LAYER])[EVAL_CONTENT_LAYER]
    assert float(relative_error(kept, wanted)) < 1.5
