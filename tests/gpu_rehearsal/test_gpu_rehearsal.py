"""What a GPU would be given, watched on one that is only pretended."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from gpu_rehearsal.scenarios import SCENARIOS, SMALL, Scenario, random_vgg

from nstcore.core.graphs import CALLS_BEFORE

pytestmark = pytest.mark.slow

LAUNCHES = {
    "adam": 410,
    "w2": 1020,
    "tiles": 1350,
    "two regions": 775,
    "two regions, w2": 1810,
    "luminance, l2, reflect": 700,
    "gatys": 545,
    "vgg19": 410,
    "vgg19, adam, w2": 875,
}
"""Most launches of an iteration; 520 for all other scenarios."""


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_vgg(tmp_path_factory.mktemp("weights"))


ON_MPS = ("compact", "adam", "balanced gradients", "two regions", "vgg19, adam, w2")


@pytest.mark.parametrize(
    ("name", "kind"),
    [*((name, "cuda") for name in SCENARIOS), *((name, "mps") for name in ON_MPS)],
)
def test_every_operation_is_one_that_the_device_has(
    name: str, kind: str, tmp_path: Path, vgg: Path
) -> None:
    device = SCENARIOS[name].run(kind, tmp_path, vgg)
    assert len(device.iterations) >= 10
    assert not device.faults, dict(device.faults)
    if name == "images leave early":
        return
    for number, iteration in enumerate(device.iterations, 1):
        if number % 10 == 0:
            continue  # losses are read
        assert len(iteration.launches) <= LAUNCHES.get(name, 520), iteration.by_part()
        assert not iteration.waits, dict(iteration.waits)


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != "images leave early"])
def test_an_iteration_is_one_launch_once_it_is_recorded(
    name: str, tmp_path: Path, vgg: Path
) -> None:
    device = SCENARIOS[name].run("cuda", tmp_path, vgg)
    assert not device.moved
    per_level = SMALL["iterations"]
    for number, iteration in enumerate(device.iterations):
        assert iteration.replayed == (number % per_level >= CALLS_BEFORE)


@pytest.mark.parametrize("regions", [0, 2])
def test_launches_are_those_of_one_image(regions: int, tmp_path: Path, vgg: Path) -> None:
    def launches(count: int) -> list[dict[str, int]]:
        folder = tmp_path / str(count)
        folder.mkdir()
        device = Scenario(count=count, regions=regions).run("cuda", folder, vgg)
        return [dict(iteration.by_part()) for iteration in device.iterations]

    assert launches(1) == launches(5)


def test_no_activations_are_multiplied_in_single_precision(tmp_path: Path, vgg: Path) -> None:
    device = SCENARIOS["vgg19"].run("cuda", tmp_path, vgg)
    for iteration in device.iterations:
        assert iteration.flops(torch.float32, "convolution") == 0
        half = iteration.flops(torch.bfloat16, "product")
        # What is left are L-BFGS's products of a few vectors.
        assert iteration.flops(torch.float32, "product") < 0.02 * half


def test_filters_are_rounded_once(tmp_path: Path, vgg: Path) -> None:
    device = SCENARIOS["vgg19"].run("cuda", tmp_path, vgg)
    convolutions = 13
    for iteration in device.iterations:
        copies = [one for one in iteration.launches if one.name == "_to_copy"]
        assert len(copies) < 2 * convolutions, "weights and biases"
