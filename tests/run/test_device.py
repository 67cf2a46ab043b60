"""Where to compute, and how many pictures fit."""

from __future__ import annotations

import os

import pytest
import torch

from nstcore.config.settings import Settings
from nstcore.encoders.layers import EncoderName
from nstcore.errors import UserError
from nstcore.run import device
from nstcore.run.device import batch_size, bind_threads, choose_device, picture_bytes


def test_the_cpu_is_always_there() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("wanted", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match=f"device: {wanted} .*cpu"):
        choose_device(wanted)


def test_threads_are_what_the_job_was_granted() -> None:
    before = torch.get_num_threads()
    try:
        bind_threads(1)
        assert torch.get_num_threads() == 1
        bind_threads(None)
        if hasattr(os, "sched_getaffinity"):
            assert torch.get_num_threads() == len(os.sched_getaffinity(0))
    finally:
        torch.set_num_threads(before)


def test_what_costs_more_memory_is_estimated_to() -> None:
    base = picture_bytes(Settings(), 256, 256)
    assert picture_bytes(Settings(), 512, 256) == pytest.approx(2 * base)
    assert picture_bytes(Settings(history=100), 256, 256) > base
    assert picture_bytes(Settings(optimizer="adam"), 256, 256) < base
    assert picture_bytes(Settings(encoder="vgg19", history=1), 256, 256) > 3 * picture_bytes(
        Settings(history=1), 256, 256
    )
    layers = {"relu1_1": 1.0}
    shallow = Settings(encoder="vgg19", style_layers=layers, content_layers=layers)
    assert picture_bytes(shallow, 256, 256) < picture_bytes(Settings(encoder="vgg19"), 256, 256) / 2


@pytest.mark.parametrize("name", ["compact", "vgg19"])
def test_the_estimate_covers_what_autograd_keeps(name: EncoderName) -> None:
    """The saved activations of one pass, counted by torch itself."""
    from nstcore.encoders.compact import CompactEncoder
    from nstcore.encoders.vgg import VGG

    settings = Settings(encoder=name, history=1)
    encoder = CompactEncoder() if name == "compact" else VGG(depth="relu5_1")
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.requires_grad and tensor.shape[-1] == 3:
            return tensor  # a filter of the encoder, shared by all pictures
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        features = encoder(image, settings.layers)
    assert features
    assert sum(kept.values()) < picture_bytes(settings, 64, 64)


def test_at_least_one_picture_and_more_with_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    class Memory:
        available = 0.0

    monkeypatch.setattr(device.psutil, "virtual_memory", lambda: Memory)
    cpu = torch.device("cpu")
    assert batch_size(Settings(), 4000, 4000, cpu) == 1
    Memory.available = 8e9
    few = batch_size(Settings(), 256, 256, cpu)
    Memory.available = 16e9
    assert few > 1
    assert batch_size(Settings(), 256, 256, cpu) in (2 * few, 2 * few + 1)
