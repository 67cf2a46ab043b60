"""A job that is killed again and again ends in the very picture of one that was left alone."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

pytestmark = [pytest.mark.serial, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]

SERVER = """
import json, os, sys
from pathlib import Path
import torch  # once: what is tested begins after it
import nstcore.jobs.engine
from nstcore.config.loader import parse_config
from nstcore.config.yaml_files import read_yaml
from nstcore.plan.plan import Plan
from nstcore.jobs import prepare
from nstcore.jobs.stylize import stylize_batch
from nstcore.jobs.prepare import prepare_inputs
from nstcore.jobs.targets import make_targets
from nstcore.errors import Preempted

def work(config):
    plan = Plan(parse_config(read_yaml(config)))
    prepare_inputs(plan)
    make_targets(plan, "night")
    print(os.getpid(), flush=True)
    try:
        going = Path(config).with_name("going")
        stylize_batch(plan, list(plan.cells()), threads=1, progress=lambda *_: going.touch())
    except Preempted as why:
        Path(config).with_name("why.txt").write_text(str(why))
        return 75
    return 0

for line in sys.stdin:
    config, environment = json.loads(line)
    child = os.fork()
    if child == 0:
        os.environ.update(environment)
        os._exit(work(config))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Server:
    """A process with torch loaded that forks one for every life of a job."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.asks, self.says = self.process.stdin, self.process.stdout

    def start(self, config: Path, **environment: str) -> int:
        """Begin a life; returns its process id once it is about to stylize."""
        self.asks.write(json.dumps([str(config), environment]) + "\n")
        self.asks.flush()
        return int(self.says.readline())

    def end(self) -> int:
        """The exit status of the life that was begun, negative for a signal."""
        return int(self.says.readline())


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.asks.close()
    assert server.process.wait(60) == 0


def _configuration(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    numbers = np.random.default_rng(5)
    for name, shape in (("cat.png", (5, 7, 3)), ("night.png", (9, 8, 3))):
        coarse = Image.fromarray(numbers.integers(0, 256, shape, dtype=np.uint8))
        coarse.resize((96, 80), Image.Resampling.BICUBIC).save(folder / name)
    config = {
        "run": "killed",
        "results": str(folder / "results"),
        "contents": {"cat": str(folder / "cat.png")},
        "styles": {"night": str(folder / "night.png")},
        "settings": {
            "size": 96,
            "pyramid_start": 48,
            "iterations": [150, 150],
            "tolerance": 1e-6,
            "history": 8,
        },
        "sweep": {"axes": {"style_weight": [1, 30], "optimizer": ["lbfgs", "adam"]}},
        "device": "cpu",
        "checkpoint_seconds": 0.02,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def _pictures(config: Path) -> dict[str, bytes]:
    """Pixels by the cell's name."""
    cells = config.parent / "results" / "killed" / "cells"
    found = {}
    for path in sorted(cells.rglob("*.png")):
        assert json.loads(path.with_suffix(".json").read_text())["status"] == "ok"
        with Image.open(path) as image:
            found[str(path.relative_to(cells))] = image.tobytes()
    return found


@pytest.fixture(scope="module")
def expected(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    config = _configuration(tmp_path_factory.mktemp("alone"))
    server.start(config)
    assert server.end() == 0
    pictures = _pictures(config)
    assert len(pictures) == len(set(pictures.values())) == 4
    return pictures


@pytest.mark.parametrize("seed", [0, 1])
def test_ten_kills_at_random_moments(
    server: Server, tmp_path: Path, expected: dict[str, bytes], seed: int
):
    """Twenty in all; a descent that was lucky enough to finish is started anew elsewhere."""
    chance = random.Random(seed)
    kills, number, went_on = 0, 0, 0
    config = _configuration(tmp_path / "0")
    while kills < 10:
        went_on += any(config.parent.glob("results/.store/checkpoints/*/*/*"))
        child = server.start(config)
        time.sleep(chance.uniform(0.05, 0.8))
        os.kill(child, signal.SIGKILL)
        if server.end() == 0:
            assert _pictures(config) == expected
            number += 1
            config = _configuration(tmp_path / str(number))
        else:
            kills += 1
    server.start(config)
    assert server.end() == 0
    assert _pictures(config) == expected
    assert went_on >= 3, "most lives should find a state to go on from"
    left = [p for p in config.parent.glob("results/.store/checkpoints/*/*") if any(p.iterdir())]
    assert left == [], "states of finished pictures are removed"


@pytest.mark.parametrize("how", ["signal", "deadline"])
def test_a_job_that_has_to_end_says_so_and_is_continued(
    server: Server, tmp_path: Path, expected: dict[str, bytes], how: str
):
    config = _configuration(tmp_path)
    text = config.read_text().replace("checkpoint_seconds: 0.02", "checkpoint_seconds: 1000")
    config.write_text(text)
    environment = {"NST_DEADLINE": str(time.time() + 0.2)} if how == "deadline" else {}
    child = server.start(config, **environment)
    if how == "signal":
        while not (tmp_path / "going").exists():
            time.sleep(0.01)
        os.kill(child, signal.SIGTERM)
    assert server.end() == 75
    why = (tmp_path / "why.txt").read_text()
    assert ("SIGTERM" if how == "signal" else "time limit") in why
    server.start(config)
    assert server.end() == 0
    assert _pictures(config) == expected
