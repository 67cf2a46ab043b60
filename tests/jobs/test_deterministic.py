"""The same bytes at every repeat, and one place where torch's precision is set."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from nstcore.config.loader import parse_config
from nstcore.config.run import Config
from nstcore.jobs.engine import Engine
from nstcore.resources.device import configure, make_deterministic

# A tiny picture, from the style's target to the last iteration, as a job makes it.
MAKE = """
import hashlib, sys
from pathlib import Path
import numpy as np
from nstcore.core.settings import Settings
from nstcore.core.encoders import COMPACT_FILE
from nstcore.core.stylize import StylizeTask
from nstcore.jobs.engine import Engine, StylizeRequest
folder, deterministic = Path(sys.argv[1]), sys.argv[2] == "True"
settings = Settings(size=48, pyramid_start=32, pyramid_factor=1.5, iterations=6, init_noise=0.1)
content, style = np.random.default_rng(5).random((2, 40, 48, 3), dtype=np.float32)
targets = [folder / f"{size}.safetensors" for size in settings.level_sizes()]
engine = Engine("cpu", 1, 1, deterministic=deterministic)
for target, size in zip(targets, settings.level_sizes(), strict=True):
    engine.style_target(
        target, style, size, settings, tuple(settings.style_layers), COMPACT_FILE, {}
    )
task = StylizeTask(content, (), settings, 3)
[(_, made)] = engine.make(
    [StylizeRequest("a picture", settings, (48, 40), targets, COMPACT_FILE, lambda: task)]
)
assert made.metadata["deterministic"] is deterministic
print(made.result.status, hashlib.sha256(made.result.image.tobytes()).hexdigest())
"""


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_cpu_repeats_itself_to_the_byte(tmp_path: Path, deterministic: bool) -> None:
    said = []
    for name in ("first", "again"):
        folder = tmp_path / name
        folder.mkdir()
        command = [sys.executable, "-c", MAKE, str(folder), str(deterministic)]
        said.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert said[0].startswith("ok ")
    assert said[0] == said[1]


@pytest.fixture(autouse=True)
def torch_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # so that it is put back in the end
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    yield
    configure(torch.device("cpu"), False)


def chosen() -> tuple[bool, bool, bool, str]:
    """What torch computes with: deterministic algorithms, timed kernels, TF32 twice."""
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.allow_tf32,
        torch.get_float32_matmul_precision(),
    )


def test_everything_is_set_whatever_was_before() -> None:
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("medium")
    configure(torch.device("cpu"), False)
    assert chosen() == (False, False, True, "highest")
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_deterministic_is_all_of_it(caplog: pytest.LogCaptureFixture) -> None:
    torch.backends.cudnn.benchmark = True
    with caplog.at_level(logging.INFO):
        configure(torch.device("cpu"), True)
    assert chosen() == (True, False, False, "highest")
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert "same bytes" in caplog.text
    configure(torch.device("cpu"), False)
    assert chosen() == (False, False, True, "highest"), "the next engine decides for itself"


def test_a_workspace_that_the_user_chose_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    make_deterministic()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def test_the_configuration_decides() -> None:
    given = {"contents": "a", "styles": "b"}
    config: Config = parse_config(given)
    assert config.deterministic is False
    assert parse_config({**given, "deterministic": True}).deterministic is True
    Engine("cpu", 1, deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()
