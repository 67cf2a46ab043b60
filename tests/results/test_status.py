"""How far a run is: counted from what is on disk, with a rate that weighs cells by their cost."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from plans import make_plan

from nstcore.cli.results_commands import status_lines
from nstcore.errors import UserError
from nstcore.jobs import heartbeat
from nstcore.jobs.heartbeat import Heartbeat, heartbeat_file, read_heartbeats, write_heartbeats
from nstcore.plan import paths
from nstcore.plan.plan import Cell, Plan
from nstcore.plan.snapshot import write_snapshot
from nstcore.results.status import SILENT, Status, Watcher
from nstcore.store.files import write_json

START = 1_800_000_000.0
"""When the run started; its clock is told."""

Look = Callable[[float], Status]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Twelve cells of two sizes, in two batches."""
    plan = make_plan(
        tmp_path,
        sweep={"axes": {"size": [256, 1024], "style_weight": [1, 2, 3, 4, 5, 6]}},
        batch_by=["size"],
    )
    config = write_snapshot(plan)
    os.utime(config, (START, START))
    return plan


@pytest.fixture
def look(plan: Plan) -> Look:
    watcher = Watcher(Path(plan.config.run_dir))
    return lambda minutes: watcher.look(START + 60 * minutes)


def record(plan: Plan, cell: Cell, minutes: float, status: str = "ok") -> None:
    created = datetime.datetime.fromtimestamp(START + 60 * minutes, datetime.UTC)
    path = paths.record_path(Path(plan.config.run_dir) / cell.image)
    reason = None if status == "ok" else "it diverged"
    made = {"key": "0", "status": status, "reason": reason, "created": created.isoformat()}
    write_json(path, made)


def beat(plan: Plan, batch: str, minutes: float, **more: Any) -> None:
    started, updated = START, START + 60 * minutes
    state = Heartbeat(batch, 6, "elsewhere", 1, "77", started, updated, "cuda:0", "a cell", 3, 40)
    write_json(heartbeat_file(Path(plan.config.run_dir), batch), asdict(replace(state, **more)))


def small_and_large(plan: Plan) -> tuple[list[Cell], list[Cell]]:
    cells = list(plan.cells())
    return (
        [cell for cell in cells if cell.settings.size == 256],
        [cell for cell in cells if cell.settings.size == 1024],
    )


def test_every_cell_is_counted_once(plan: Plan, look: Look) -> None:
    small = small_and_large(plan)[0]
    for cell in small[:2]:
        record(plan, cell, 5)
    record(plan, small[2], 5, "diverged")
    beat(plan, small[0].batch, 10)
    status = look(10)
    assert (status.cells, status.done, status.failed) == (12, 2, 1)
    assert (status.running, status.waiting) == (3, 6)
    assert status.failures == [(small[2].image, "it diverged")]
    [job] = status.jobs
    assert (job.state, job.done, job.beat.job) == ("running", 3, "77")
    assert not status.finished
    said = "\n".join(status_lines(status))
    assert "12 cells: 2 done, 1 failed, 3 running, 6 waiting" in said
    assert "elsewhere, job 77, cuda:0; iteration 3 of 40; 3 of 6 cells done" in said
    assert "it diverged" in said


def test_the_rate_is_that_of_the_last_hour_or_since_the_start(plan: Plan, look: Look) -> None:
    small, _ = small_and_large(plan)
    assert look(10).per_hour is None
    for index, cell in enumerate(small[:4]):
        record(plan, cell, 5 + 5 * index)
    assert look(30).per_hour == pytest.approx(8)
    # An hour later only what was made from minute 10 on counts.
    assert look(70.5).per_hour == pytest.approx(2)
    assert look(500).per_hour is None
    # From the store, computed before this run.
    record(plan, small[4], -100)
    assert look(30).per_hour == pytest.approx(8)


def test_what_is_left_counts_by_its_cost(plan: Plan, look: Look) -> None:
    small, large = small_and_large(plan)
    for cell in small[:3]:
        record(plan, cell, 1)
    for cell in large:
        record(plan, cell, -100)
    few = look(30)
    assert few.seconds_left == pytest.approx(30 * 60)
    for cell in large:
        paths.record_path(Path(plan.config.run_dir) / cell.image).unlink()
    many = look(30).seconds_left
    assert many is not None
    # Six more cells of 16 times the pixels: at least 2 * 16 times what was done.
    assert many > 20 * 30 * 60


def test_what_the_store_has_is_not_left(plan: Plan, look: Look) -> None:
    small, large = small_and_large(plan)
    record(plan, small[0], 1)
    keys = {cell.image: f"{number:064x}" for number, cell in enumerate(plan.cells())}
    rows = "".join(f"{image}\t{key}\n" for image, key in keys.items())
    Path(plan.config.run_dir, "grid.tsv").write_text("image\tkey\n" + rows)
    for cell in large:
        key = keys[cell.image]
        write_json(Path(plan.config.store_dir) / "cells" / key[:2] / f"{key}.json", {})
    status = look(30)
    assert (status.waiting, status.stored) == (11, 6)
    assert status.seconds_left == pytest.approx(5 * 30 * 60)
    assert "(6 of them in the store already)" in next(status_lines(status))


def test_a_job_that_says_nothing_is_told_apart(plan: Plan, look: Look) -> None:
    small, large = small_and_large(plan)
    beat(plan, small[0].batch, 10)
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    beat(plan, large[0].batch, 10, host=platform.node(), pid=process.pid)
    minutes = 10 + SILENT / 60 - 0.1
    states = {job.beat.batch: job.state for job in look(minutes).jobs}
    assert states == {small[0].batch: "running", large[0].batch: "gone"}
    assert look(minutes).running == 6
    later = look(minutes + 1)
    assert {job.beat.batch: job.state for job in later.jobs}[small[0].batch] == "silent"
    assert (later.running, later.waiting) == (0, 12)
    said = "\n".join(status_lines(later))
    assert "silent for" in said
    assert "its process ended unexpectedly" in said


def test_the_end_and_the_beginning(plan: Plan, look: Look, tmp_path: Path) -> None:
    for cell in plan.cells():
        record(plan, cell, 1)
    before = look(30)
    assert before.seconds_left == 0
    assert not before.finished
    write_json(Path(plan.config.run_dir) / "summary.json", {})
    assert look(30).finished
    with pytest.raises(UserError, match="no run has started there"):
        Watcher(tmp_path)


def test_half_a_record_is_none_and_half_a_state_too(plan: Plan, look: Look) -> None:
    small, _ = small_and_large(plan)
    path = paths.record_path(Path(plan.config.run_dir) / small[0].image)
    path.parent.mkdir(parents=True)
    path.write_text('{"status": "o')
    broken = heartbeat_file(Path(plan.config.run_dir), "b")
    broken.parent.mkdir()
    broken.write_text('{"batch": "b"}')
    status = look(1)
    assert (status.done, status.failed, status.jobs) == (0, 0, [])
    record(plan, small[0], 1)
    assert look(1).done == 1, "a record is read again when it has changed"


@pytest.mark.parametrize("allowed", [False, True])
def test_cells_that_failed_before_a_time_wait_unless_failures_are_allowed(
    tmp_path: Path, allowed: bool
) -> None:
    sweep = {"axes": {"style_weight": [1, 2, 3]}}
    plan = make_plan(tmp_path, sweep=sweep, allow_failures=allowed)
    write_snapshot(plan)
    first, second, *others = plan.cells()
    for cell, status, changed in ((first, "failed", 10), (second, "ok", 10)):
        record(plan, cell, 5, status)
        os.utime(paths.record_path(Path(plan.config.run_dir) / cell.image), (changed, changed))
    watcher = Watcher(Path(plan.config.run_dir), since=20)
    status = watcher.look()
    assert (status.done, status.failed) == (1, int(allowed))
    assert status.waiting == len(others) + (not allowed)
    record(plan, first, 6, "failed")
    assert watcher.look().failed == 1


# --- what jobs write ---------------------------------------------------------------------------------


CELLS = ["a cell", "b", "c", "d", "e", "f"]


def losses() -> Any:
    return SimpleNamespace(content=torch.ones(1), style=torch.ones(1))


def test_a_job_says_what_it_does_and_takes_it_back(plan: Plan) -> None:
    cells = small_and_large(plan)[0]
    run = Path(plan.config.run_dir)
    with write_heartbeats(
        plan, cells, interval=0.01, environment={"SLURM_JOB_ID": "12"}
    ) as progress:
        progress(CELLS, 7, 40, losses())
        [state] = until(lambda: [one for one in read_heartbeats(run) if one.iteration])
    assert (state.batch, state.cells, state.job) == (cells[0].batch, 6, "12")
    assert (state.host, state.pid) == (platform.node(), os.getpid())
    assert (state.label, state.iteration, state.iterations) == ("a cell and 5 more", 7, 40)
    assert state.images == CELLS
    assert state.device == "cpu"
    assert read_heartbeats(run) == []
    assert not any(thread.name == "heartbeat" for thread in threading.enumerate())


def test_a_job_says_at_which_level_of_the_pyramid_it_is(plan: Plan) -> None:
    [*_, cell] = small_and_large(plan)[1]
    iterations = cell.settings.level_iterations()
    assert len(iterations) > 1
    with write_heartbeats(plan, [cell], interval=0.01) as progress:
        progress([cell.image, "another"], iterations[0] + 1, sum(iterations), losses())
        run = Path(plan.config.run_dir)
        [state] = until(lambda: [one for one in read_heartbeats(run) if one.iteration])
    assert (state.level, state.levels) == (2, len(iterations))


@pytest.mark.parametrize(
    ("done", "total", "level"),
    [
        (0, 60, (1, 3)),
        (10, 60, (1, 3)),
        (11, 60, (2, 3)),
        (60, 60, (3, 3)),
        # The coarse levels of a panorama are left out.
        (20, 50, (1, 2)),
        (21, 50, (2, 2)),
        (30, 30, (1, 1)),
    ],
)
def test_the_level_follows_from_the_iteration(
    done: int, total: int, level: tuple[int, int]
) -> None:
    assert heartbeat.level_of([10, 20, 30], done, total) == level


def test_a_job_says_for_whom_it_waits_until_it_goes_on(plan: Plan) -> None:
    cells = small_and_large(plan)[0]
    run = Path(plan.config.run_dir)

    def lines() -> str:
        return "\n".join(status_lines(Watcher(run).look()))

    with write_heartbeats(plan, cells, interval=0.01) as watch:
        watch(["a cell"], 7, 40, losses())
        watch.waits("process 12 on n1")
        until(lambda: "waits for process 12 on n1, which makes the same cells" in lines())
        watch(["another cell"], 1, 40, losses())
        until(lambda: "iteration 1 of 40" in lines())
        assert "waits" not in lines()


def test_a_job_that_fails_takes_it_back_too(plan: Plan) -> None:
    run, cells = Path(plan.config.run_dir), list(plan.cells())

    def fail() -> None:
        with write_heartbeats(plan, cells, interval=0.01):
            until(lambda: read_heartbeats(run))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert read_heartbeats(run) == []


def test_no_job_fails_because_its_state_cannot_be_written(plan: Plan) -> None:
    (Path(plan.config.run_dir) / heartbeat.FOLDER).write_text("no folder")
    with write_heartbeats(plan, list(plan.cells()), interval=0.01) as progress:
        progress(["a cell"], 1, 2, losses())


def test_a_state_of_a_later_version_is_read_as_far_as_it_is_known(plan: Plan) -> None:
    beat(plan, "b", 1)
    path = heartbeat_file(Path(plan.config.run_dir), "b")
    path.write_text(json.dumps({**json.loads(path.read_text()), "mood": "good"}))
    assert [one.batch for one in read_heartbeats(Path(plan.config.run_dir))] == ["b"]


def until(find: Callable[[], Any]) -> Any:
    """What a function finds, once it does."""
    for _ in range(2000):
        found = find()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("it was never found")
