"""A run whose Snakemake is killed: no orphan computes on, and the same command goes on from there."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import psutil
import pytest
from test_interruptions import stylize_process, wait_until
from workbench import CORES, NST, Bench

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bench(make_bench: Callable[..., Bench]) -> Bench:
    bench = make_bench(contents=1, styles=1, batch_size=1)
    settings = {**bench.config["settings"], "iterations": 400}
    return bench.write(settings=settings, sweep={"axes": {"style_weight": [1, 10, 100]}}) and bench


def test_the_job_ends_and_the_next_run_removes_the_lock(bench: Bench) -> None:
    process = bench.start(*NST, "run", bench.file.name, *CORES)
    job = stylize_process(process)
    wait_until(lambda: len(bench.stored()) >= 1, process)
    # Meanwhile nobody else may make the same run, though a dry run may look.
    status, said = bench.nst("run", bench.file.name, *CORES)
    assert status == 1
    assert said.count("\n") == 1
    assert f"process {process.pid} on" in said
    assert bench.nst("run", bench.file.name, "-n")[0] == 0
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    psutil.wait_procs([job], timeout=60)
    assert not job.is_running(), "an orphan goes on computing"
    before = bench.stored()
    assert 1 <= len(before) < 3, "it was killed in the middle"
    said = bench.run()
    assert "ended without unlocking this run; its lock is removed" in said
    assert {key: bench.stored()[key] for key in before} == before
    assert len(bench.records()) == 3
    assert "Nothing to be done" in bench.run()


def test_all_of_it_killed_before_any_cell(bench: Bench) -> None:
    bench.write(run="other", styles={"again": "paintings/painting1.png"}, contents="photos")
    process = bench.start(*NST, "run", bench.file.name, *CORES)
    locks = bench.folder / ".snakemake" / "locks"
    wait_until(lambda: (bench.run_dir / ".owner.json").is_file(), process)
    for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
        one.kill()
    process.communicate(timeout=60)
    assert list(locks.iterdir())
    assert "its lock is removed" in bench.run()
    assert len(bench.records()) == 3
