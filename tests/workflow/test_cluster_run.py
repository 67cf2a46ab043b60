"""A run in batches of a target length: watched from outside, and finished where there is no torch."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable

import pytest
from workbench import CORES, NST, ROOT, Bench

from nstcore.cli import main
from nstcore.results.status import Status, Watcher

pytestmark = pytest.mark.slow

FAST = {"target_minutes": 5, "tflops": 1}
SLOW = {"target_minutes": 0.1, "tflops": 0.0015, "scratch": "$NODE_DISK"}


@pytest.fixture(scope="module")
def bench(make_bench: Callable[..., Bench]) -> Bench:
    bench = make_bench(1, 2, sweep={"axes": {"style_weight": [1, 3, 10]}}, cluster=SLOW)
    del bench.config["batch_by"]
    bench.write()
    return bench


def without_torch(bench: Bench) -> dict[str, str]:
    """An environment in which torch is not installed."""
    folder = bench.folder / "no_torch"
    (folder / "torch").mkdir(parents=True, exist_ok=True)
    (folder / "torch" / "__init__.py").write_text("raise ImportError('there is no torch here')\n")
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}


def batches(bench: Bench) -> set[str]:
    rows = (bench.run_dir / "grid.tsv").read_text().splitlines()[1:]
    return {row.split("\t")[-2] for row in rows}


def test_a_plan_is_made_without_torch(bench: Bench) -> None:
    status, said = bench.nst("plan", bench.file.name, "--no-probe", extra=without_torch(bench))
    assert status == 0, said
    assert "torch is not installed" in said
    assert "6 to compute" in said
    assert "jobs by `cluster.tflops`: 2, each" in said


def test_a_run_can_be_watched_while_it_runs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(bench.folder)
    monkeypatch.setenv("COLUMNS", "200")
    seen: list[Status] = []
    node = {"NODE_DISK": str(bench.folder / "node")}
    run_dir = bench.run_dir.relative_to(bench.folder)
    with bench.start(*NST, "run", bench.file.name, "--verbose", *CORES, extra=node) as run:
        while run.poll() is None:
            if (run_dir / "config.yaml").is_file():
                seen.append(Watcher(run_dir).look())
            time.sleep(0.2)
        said = run.stdout.read() if run.stdout else ""
    assert run.returncode == 0, said + bench.logs()
    for one in seen:
        assert one.done + one.failed + one.running + one.waiting == one.cells == 6
    assert [one.done for one in seen] == sorted(one.done for one in seen)
    busy = [one for one in seen if one.running]
    assert busy, "jobs were seen at work"
    assert {job.beat.host for one in busy for job in one.jobs} == {platform.node()}
    assert not list((bench.run_dir / ".state").glob("*.json"))
    assert main(["status", str(run_dir)]) == 0
    told = capsys.readouterr().out
    assert "6 cells: 6 done, 0 failed, 0 running, 0 waiting" in told
    assert "finished" in told
    assert any((bench.folder / "node").rglob("*.safetensors")), "weights were read on the node"
    asked = [line for line in said.splitlines() if "gpu_mem_mb=0" in line]
    assert len(asked) == len(batches(bench)) == 2
    assert all("runtime=5" in line and "mem_mb=" in line for line in asked)


def test_another_length_is_linked_and_shown_without_torch(bench: Bench) -> None:
    """Tables, sheets and report need none either."""
    before = bench.stored()
    gone = [*(bench.run_dir / "sheets").iterdir()]
    gone += [bench.run_dir / name for name in ("metrics.csv", "report/index.html", "summary.json")]
    for file in gone:
        file.unlink()
    bench.write(cluster=FAST)
    bench.run(extra=without_torch(bench))
    assert bench.stored() == before
    assert batches(bench) == {"all"}
    assert all(file.is_file() for file in gone)


def test_the_jobs_of_two_gpus_share_the_cores(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(1, 2, device="cuda", sweep={"axes": {"style_weight": [1, 3, 10]}})
    del bench.config["batch_by"]
    bench.write()
    options = ("--cores", "4", "--resources", "gpu=2", "--dry-run")
    status, said = bench.nst("run", bench.file.name, "--verbose", *options)
    assert status == 0, said
    jobs = re.findall(r"rule stylize:\n(?:    .*\n)+", said)
    assert len(jobs) == 2
    for job in jobs:
        assert "    threads: 2\n" in job
        assert re.search(r"resources: .*\bgpu=1\b", job)
