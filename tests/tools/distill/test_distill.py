"""The distillation: its parts against what they claim, and the whole on a handful of images."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nstcore.core.encoders import EVAL_STYLE_LAYERS
from nstcore.core.encoders.compact import CompactEncoder, load_compact
from nstcore.core.encoders.vgg import VGG, required_keys
from nstcore.core.moments import gram_matrix
from nstcore.errors import ImageError, UserError, WeightsError
from tools.distill import Progress, TrainingPlan, distill
from tools.distill.__main__ import make_plan
from tools.distill.augment import blur, jitter_colour, perturb
from tools.distill.initial import rectified_regression, ridge, select_channels
from tools.distill.matching import lifted_gram, make_targets, matching_loss, slope_error
from tools.distill.replay import SNAPSHOTS, Replay, stylize
from tools.distill.teacher import load_teacher
from tools.distill.training_images import Photos, Pool, draw_image, procedural, to_tensor

SMALL = TrainingPlan(
    widths=(4, 4, 8, 8, 8),
    pixels=8 * 64 * 64,
    sizes=(64,),
    size_shares=(1.0,),
    initial_batches=2,
    replay_capacity=16,
    replay_size=64,
    replay_first_step=4,
    replay_every=6,
    replay_batch=2,
    replay_iterations=SNAPSHOTS,
    reuse_batches=6,
    warm_up_steps=2,
    rate=2e-3,
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(3)
    for index in range(24):
        Image.fromarray(procedural(generator, 96)).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VGG-19 with random weights that keep the energy from layer to layer (He et al., 2015)."""
    torch.manual_seed(0)
    network = VGG(depth="relu5_1")
    for layer, convolution in network.convolutions.items():
        torch.nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        torch.nn.init.uniform_(convolution.bias, 0.0, 0.1)
        if layer == "relu1_1":
            convolution.weight.mul_(4.0)
    tensors = [t for c in network.convolutions.values() for t in (c.weight, c.bias)]
    path = tmp_path_factory.mktemp("teacher") / "vgg.pth"
    torch.save(dict(zip(required_keys("relu5_1"), tensors, strict=True)), path)
    return path


@pytest.fixture
def student() -> CompactEncoder:
    torch.manual_seed(1)
    encoder = CompactEncoder((4, 4, 8, 8, 8))
    for layer in encoder.layers:
        torch.nn.init.normal_(encoder.lift(layer).weight, 0, 0.3)
        torch.nn.init.normal_(encoder.lift(layer).bias, 0, 0.3)
    return encoder


def test_lifted_gram_is_the_gram_matrix_of_lifted_activations(student: CompactEncoder) -> None:
    adapter = student.lift("relu3_1").double()
    features = torch.rand(3, 8, 5, 7, dtype=torch.float64)
    expected = gram_matrix(adapter(features))
    assert torch.allclose(lifted_gram(adapter, features), expected, rtol=1e-10, atol=1e-12)


def test_slope_error_is_0_for_the_right_change_and_large_for_the_wrong_sign() -> None:
    target = torch.rand(4, 3, 5, 5)
    offset = torch.rand(1, 3, 5, 5)
    assert float(slope_error(target + offset, target)) < 1e-10
    assert float(slope_error(-target, target)) > float(slope_error(torch.zeros(4, 3, 5, 5), target))


def test_the_loss_of_a_perfect_student_is_the_least(teacher_file: Path) -> None:
    """VGG-19 itself, seen as a student with identity adapters, makes no error."""
    teacher = load_teacher(teacher_file)
    twin = CompactEncoder((64, 128, 256, 512, 512))
    for layer in twin.layers:
        source, copy = teacher.network.convolutions[layer], twin.convolutions[layer]
        copy.weight.copy_(source.weight)
        copy.bias.copy_(source.bias)
        twin.lift(layer).weight.copy_(torch.eye(len(source.bias)))
    images = torch.rand(2, 3, 32, 32)
    targets = make_targets(teacher.network(images, twin.layers), teacher.scale, (0.3, 0.9))
    _, parts = matching_loss(twin, twin(images, twin.layers), targets, SMALL.loss)
    assert max(parts.values()) < 0.02


def test_channels_that_carry_everything_are_chosen() -> None:
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(5000, 3, generator=generator)
    mixed = source @ torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 2.0]])
    rows = torch.cat([1e-3 * torch.randn(5000, 2, generator=generator), source * 3, mixed], 1)
    chosen = select_channels(rows.T @ rows / len(rows), 3)
    assert len(set(chosen.tolist())) == 3
    assert set(chosen.tolist()).isdisjoint({0, 1})
    left = rows - rows[:, chosen] @ torch.linalg.lstsq(rows[:, chosen], rows).solution
    assert float(left.square().sum() / rows.square().sum()) < 1e-5


def test_rectified_regression_finds_a_rectified_map() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.cat([torch.randn(4000, 6, generator=generator), torch.ones(4000, 1)], 1)
    truth = torch.randn(7, 3, generator=generator)
    targets = rows @ truth
    # Where the rectifier hides them, targets may be anything below 0.
    spoiled = torch.where(targets > 0, targets, targets * 5 - 1)
    plain = ridge(rows.T @ rows, rows.T @ spoiled).float()
    found = rectified_regression(rows, spoiled, rounds=12)

    def error(weights: torch.Tensor) -> float:
        return float(((rows @ weights).relu() - targets.relu()).square().mean())

    assert error(found) < error(plain) / 5


def test_images_are_the_same_for_the_same_seed(photos: Path) -> None:
    source = Photos(photos)
    first = [draw_image(source, np.random.default_rng(i), 48) for i in range(12)]
    again = [draw_image(source, np.random.default_rng(i), 48) for i in range(12)]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(p.shape == (48, 48, 3) and p.dtype == np.uint8 for p in first)
    assert set(source.training).isdisjoint(source.held_out)


def test_too_few_photographs_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="0 photographs"):
        Photos(tmp_path)


def test_augmentation_keeps_shape_and_finiteness() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(24, 3, 32, 40)
    for changed in (jitter_colour(images, generator), perturb(images, generator)):
        assert changed.shape == images.shape
        assert bool(changed.isfinite().all())
        assert not torch.equal(changed, images)
    flat = torch.full((1, 3, 16, 16), 0.25)
    assert torch.allclose(blur(flat, 1.3), flat, atol=1e-6)


@pytest.mark.parametrize("method", ["adam", "lbfgs"])
def test_the_student_comes_nearer_to_a_style(student: CompactEncoder, method: str) -> None:
    generator = np.random.default_rng(0)
    content = to_tensor([procedural(generator, 32) for _ in range(2)])
    style = to_tensor([procedural(generator, 32) for _ in range(2)])
    weights = torch.full((len(EVAL_STYLE_LAYERS), 2), 1 / len(EVAL_STYLE_LAYERS))
    found = stylize(
        student,
        content,
        content,
        style,
        style_weight=torch.full((2,), 1e3),
        layer_weights=weights,
        iterations=20,
        method=method,
    )

    def error(image: torch.Tensor) -> float:
        layer = "relu1_1"
        adapter = student.lift(layer)
        grams = [lifted_gram(adapter, student(x, [layer])[layer]) for x in (image, style)]
        return float((grams[0] - grams[1]).square().sum())

    assert len(found) == SNAPSHOTS
    assert error(found[-1]) < 0.5 * error(content)


def test_the_replay_survives_and_overwrites_the_oldest(tmp_path: Path) -> None:
    replay = Replay(tmp_path, capacity=3, size=16)
    for value in range(4):
        replay.add(torch.full((1, SNAPSHOTS, 3, 16, 16), float(value)))
    assert len(Replay(tmp_path, capacity=3, size=16)) == 3
    first, second = Replay(tmp_path, 3, 16).draw_pairs(np.random.default_rng(0), 40, 8)
    assert tuple(first.shape) == (40, 3, 8, 8)
    assert torch.equal(first, second)
    assert set(first.unique().tolist()) == {1.0, 2.0, 3.0}


def test_a_pool_cuts_what_was_drawn(photos: Path) -> None:
    pool = Pool(Photos(photos), 0, count=5, side=48, device=torch.device("cpu"), threads=2)
    crops = pool.draw(np.random.default_rng(1), 30, 24)
    assert tuple(crops.shape) == (30, 3, 24, 24)
    assert 0 <= float(crops.min()) < float(crops.max()) <= 1
    assert len({tuple(crop.flatten().tolist()) for crop in crops}) > 20
    whole = pool.draw(np.random.default_rng(2), 1, 48)[0]
    candidates = [
        draw_image(Photos(photos), np.random.default_rng((0, 5, index)), 48) for index in range(5)
    ]
    images = to_tensor([*candidates, *(image[:, ::-1] for image in candidates)])
    assert any(torch.equal(whole, image) for image in images)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_training_on_a_gpu(teacher_file: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "compact.safetensors"
    small = replace(SMALL, pool_pictures=64, replay_first_step=4, replay_every=8)
    training = distill(teacher_file, photos, out, minutes=None, steps=24, plan=small, device="cuda")
    assert training.step == 24
    assert len(training.replay) > 0
    assert load_compact(out).widths == SMALL.widths


def test_a_teacher_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="absent"):
        load_teacher(tmp_path / "absent.pth")
    path = tmp_path / "other.pth"
    torch.save({"x": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match=r"features\.0\.weight"):
        load_teacher(path)


def test_the_plan_takes_numbers_by_name() -> None:
    assert make_plan(["rate=1e-4", "reuse=2"]).rate == 1e-4
    assert make_plan(["reuse=2"]).reuse == 2
    with pytest.raises(UserError, match="no number 'speed'"):
        make_plan(["speed=3"])
    with pytest.raises(UserError, match="'fast'"):
        make_plan(["rate=fast"])


@pytest.mark.slow
def test_training_lowers_the_validation_loss_and_goes_on_after_a_stop(
    teacher_file: Path, photos: Path, tmp_path: Path
) -> None:
    heard: list[Progress] = []
    out = tmp_path / "compact.safetensors"
    options = {"minutes": None, "folder": tmp_path / "work", "plan": SMALL, "device": "cpu"}
    first = distill(teacher_file, photos, out, steps=12, progress=heard.append, **options)
    assert first.step == 12
    second = distill(teacher_file, photos, out, steps=24, progress=heard.append, **options)
    assert second.step == 24
    losses = [entry["loss"] for entry in second.history]
    assert len(losses) == 2
    assert losses[1] < losses[0] < 1
    assert heard[-1].validation is not None
    encoder = load_compact(out)
    assert encoder.widths == SMALL.widths


@pytest.mark.slow
def test_a_killed_training_resumes(teacher_file: Path, photos: Path, tmp_path: Path) -> None:
    work, out = tmp_path / "work", tmp_path / "compact.safetensors"
    program = [
        sys.executable,
        "-m",
        "tools.distill",
        f"--teacher={teacher_file}",
        f"--photos={photos}",
        f"--out={out}",
        f"--folder={work}",
        "--set=initial_batches=1",
        "--set=replay_size=64",
        "--set=replay_capacity=16",
        "--set=pixels=4096",
        "--set=checkpoint_minutes=0.01",
    ]
    root = Path(__file__).parents[3]
    checkpoint = work / "checkpoint.pt"
    process = subprocess.Popen([*program, "--steps=10000"], cwd=root)
    try:
        deadline = time.monotonic() + 300
        step = 0
        while step < 2 and time.monotonic() < deadline:
            assert process.poll() is None, "the training ended by itself"
            time.sleep(0.3)
            if checkpoint.is_file():
                step = int(torch.load(checkpoint, weights_only=True)["step"])
    finally:
        process.kill()
        process.wait()
    assert step >= 2
    step = int(torch.load(checkpoint, weights_only=True)["step"])
    finished = subprocess.run([*program, f"--steps={step + 2}"], cwd=root, timeout=300, check=False)
    assert finished.returncode == 0
    assert int(torch.load(checkpoint, weights_only=True)["step"]) >= step + 2
    assert out.is_file()
