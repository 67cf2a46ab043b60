"""Where to compute, and with how many threads."""

from __future__ import annotations

import gc
import os
import weakref

import pytest
import torch

from nstcore.errors import UserError
from nstcore.resources.device import bind_threads, choose_device
from nstcore.resources.device_memory import forget_failure


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


class _Step(torch.autograd.Function):
    """A step of a graph that holds something, and may fail on the way back."""

    @staticmethod
    def forward(ctx, x, held):
        ctx.held = held
        return x * 1

    @staticmethod
    def backward(ctx, slope):
        if ctx.held is None:
            raise MemoryError("no room")
        return slope, None


class _Activations:
    pass


def test_a_failed_backward_pass_is_forgotten_with_its_activations() -> None:
    leaf = torch.zeros(1, requires_grad=True)
    activations = _Activations()
    kept = weakref.ref(activations)
    # What is made last is undone first: the other branch is still to be done when it fails.
    total = _Step.apply(leaf, activations).exp() + _Step.apply(leaf, None)
    with pytest.raises(MemoryError):
        torch.autograd.grad(total, leaf)
    del total, activations
    gc.collect()
    assert kept() is not None, "torch forgets by itself: forget_failure() need not do it any more"
    forget_failure(torch.device("cpu"))
    assert kept() is None
