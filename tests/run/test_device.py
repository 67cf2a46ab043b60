"""Where to compute, and with how many threads."""

from __future__ import annotations

import os

import pytest
import torch

from nstcore.errors import UserError
from nstcore.run.device import bind_threads, choose_device


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
