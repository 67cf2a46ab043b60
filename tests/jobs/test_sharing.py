"""Jobs that want the same cells at the same time: each cell is made once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import yaml
from PIL import Image
from workbench import write_picture

from nstcore.config.loader import parse_config
from nstcore.config.yaml_files import read_yaml
from nstcore.jobs.cell_inputs import RunInputs
from nstcore.jobs.checkpoint import positions
from nstcore.jobs.job import EXIT_PREEMPTED
from nstcore.jobs.prepare import prepare_inputs
from nstcore.jobs.targets import make_targets
from nstcore.plan.plan import Plan
from nstcore.store.cells import Store

ROOT = Path(__file__).resolve().parents[2]

JOB = """
import logging, sys
from nstcore.config.loader import parse_config
from nstcore.config.yaml_files import read_yaml
from nstcore.plan.plan import Plan
from nstcore.jobs.stylize import stylize_batch
from nstcore.errors import Preempted
from nstcore.jobs.job import EXIT_PREEMPTED

logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
plan = Plan(parse_config(read_yaml(sys.argv[1])))
try:
    outcome = stylize_batch(plan, list(plan.cells()), threads=1)
except Preempted:
    sys.exit(EXIT_PREEMPTED)
print(outcome.linked, outcome.computed, outcome.failed)
"""

Start = Callable[[Plan], subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a job that makes all cells of a run."""
    started = []

    def start(plan: Plan) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", JOB, str(Path(plan.config.run_dir, "config.yaml"))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def make_plan(
    folder: Path,
    run: str,
    *,
    iterations: int,
    weights: Sequence[float] = (1, 3, 10, 30),
    together: int = 1,
) -> Plan:
    """A cell for each style weight, some at a time, in a store that all runs below a folder share."""
    for seed, name in enumerate(("photo.png", "painting.png")):
        if not (folder / name).exists():
            write_picture(folder / name, seed=seed)
    config = {
        "run": run,
        "results": str(folder / "results"),
        "contents": {"photo": str(folder / "photo.png")},
        "styles": {"painting": str(folder / "painting.png")},
        "settings": {"size": 32, "pyramid_start": 32, "iterations": iterations, "tolerance": 0},
        "sweep": {"axes": {"style_weight": list(weights)}},
        "evaluation": {"size": 64},
        "device": "cpu",
        "batch_size": together,
        "checkpoint_seconds": 0.1,
    }
    path = folder / "results" / run / "config.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(config))
    plan = Plan(parse_config(read_yaml(path)))
    prepare_inputs(plan)
    make_targets(plan, "painting")
    return plan


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def pictures(plan: Plan) -> list[Path]:
    return [Path(plan.config.run_dir) / cell.image for cell in plan.cells()]


def pixels(plan: Plan) -> list[bytes]:
    found = []
    for path in pictures(plan):
        with Image.open(path) as image:
            found.append(image.tobytes())
    return found


def outcome(process: subprocess.Popen[str]) -> tuple[tuple[int, ...], str]:
    """How many cells a job linked, computed, and failed at; and its log."""
    said, log = process.communicate(timeout=300)
    assert process.returncode == 0, log
    return tuple(int(word) for word in said.split()), log


def claimed(plan: Plan) -> list[str]:
    return [path.stem for path in Store(plan.config.store_dir).objects("claims")]


@pytest.mark.slow
def test_two_jobs_share_the_work(tmp_path: Path, start: Start) -> None:
    plans = [make_plan(tmp_path, run, iterations=150) for run in ("one", "two")]
    processes = [start(plan) for plan in plans]
    results = [outcome(process) for process in processes]
    assert [sum(found) for found, _ in results] == [4, 4]
    assert sum(computed for (_, computed, _), _ in results) == 4, results
    assert all(failed == 0 for (_, _, failed), _ in results)
    assert pixels(plans[0]) == pixels(plans[1])
    assert len(set(pixels(plans[0]))) == 4
    assert claimed(plans[0]) == []
    assert len(list(Path(plans[0].config.store_dir, "cells").glob("*/*.png"))) == 4


@pytest.mark.slow
def test_who_waits_makes_all_else_and_takes_over_from_who_is_killed(
    tmp_path: Path, start: Start
) -> None:
    plan = make_plan(tmp_path, "one", iterations=500, weights=[3])
    other = make_plan(tmp_path, "two", iterations=500, weights=[1, 3, 10], together=3)
    store = Store(plan.config.store_dir)
    [cell] = plan.cells()
    key = RunInputs(plan).of(cell).key()
    first = start(plan)
    claim = store.path("claims", key, ".json")
    wait_for(lambda: claim.exists() and str(first.pid) in claim.read_text())
    first.send_signal(signal.SIGSTOP)  # it lives, and is not done before the other has begun
    second = start(other)
    assert second.stderr is not None
    for line in second.stderr:
        if "waiting for" in line:
            break
    assert f"waiting for process {first.pid} on" in line
    wait_for(lambda: claimed(plan) == [key])
    assert sum(path.exists() for path in pictures(other)) == 2, "the others are made"
    # It had nothing saved when the other planned its batches.
    first.send_signal(signal.SIGCONT)
    wait_for(lambda: positions(store.checkpoints(key)))
    first.send_signal(signal.SIGKILL)
    first.communicate()
    reached = max(positions(store.checkpoints(key)))
    found, log = outcome(second)
    assert found == (0, 3, 0)
    assert f"iteration {reached[1]}" in log, "it goes on from the last state"
    stored = store.find(key)
    assert stored is not None
    assert stored.record["optimization"]["iterations"] == 500
    assert claimed(plan) == []


@pytest.mark.slow
def test_who_waits_can_be_told_to_end(tmp_path: Path, start: Start) -> None:
    plan = make_plan(tmp_path, "one", iterations=5)
    for cell in plan.cells():
        path = Store(plan.config.store_dir).path("claims", RunInputs(plan).of(cell).key(), ".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "job": None}))
    process = start(plan)
    assert process.stderr is not None
    for line in process.stderr:
        if "waiting for" in line:
            break
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == EXIT_PREEMPTED
    assert len(claimed(plan)) == 4, "they are the other's"
