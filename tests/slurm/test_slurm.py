"""Runs on a real Slurm cluster of two nodes: what they give, and what becomes of jobs that end early."""

from __future__ import annotations

import itertools
import signal
import subprocess
import time
from collections.abc import Callable

import numpy as np
import pytest
from slurm_bench import THREADS, Attempt, SlurmBench
from slurm_cluster import Cluster

from nstcore.core.encoders import VGG19
from nstcore.core.encoders.compact import load_compact
from nstcore.core.settings import Settings
from nstcore.core.stylize import StylizeTask, stylize
from nstcore.core.targets import image_moments
from nstcore.store.cells import Store

pytestmark = [pytest.mark.slow, pytest.mark.slurm]

Make = Callable[..., SlurmBench]
Started = tuple[SlurmBench, "subprocess.Popen[str]"]

GPU = ("--set-resources", "stylize:gpu=1")
"""A GPU for each batch, which then computes on the CPU: `device: cpu` asks for none by itself."""


def wait_for_iterations(bench: SlurmBench, content: str, attempt: int = 1) -> Attempt:
    """Until an attempt at a content's batch has begun to iterate, and a second more."""
    end = time.monotonic() + 180
    while time.monotonic() < end:
        found = bench.attempts(content)
        if len(found) >= attempt and "images on cpu" in found[attempt - 1].text:
            time.sleep(1)
            return found[attempt - 1]
        time.sleep(0.1)
    raise AssertionError(bench.logs() + bench.cluster.logs())


@pytest.fixture(scope="module")
def speed() -> float:
    """Iterations of one tiny picture in a second of a core, whatever else the machine does."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    settings = Settings(size=32, pyramid_start=32, iterations=200, tolerance=0)
    encoder = load_compact(depth=VGG19.deepest(settings.layers))
    random = np.random.default_rng(0)
    content, style = random.random((2, 28, 32, 3), np.float32)
    moments = image_moments(encoder, style, 32, list(settings.style_layers), torch.device("cpu"))
    began = time.process_time()
    stylize(encoder, [StylizeTask(content, [moments], settings)], device="cpu")
    seconds = time.process_time() - began
    torch.set_num_threads(threads)
    return 200 / seconds


@pytest.fixture(scope="module")
def long(make_slurm_bench: Make, speed: float) -> Started:
    """A batch that takes longer than Slurm's shortest time limit; it runs beside the other tests."""
    bench = make_slurm_bench("long", checkpoint_seconds=3600)
    bench.write_long(int(60 * speed))
    bench.prepare()
    limits = ["--set-resources", "stylize:mem_mb=1500", "stylize:runtime=attempt"]
    place = ["--default-resources", "slurm_extra=--nodelist=n2"]
    return bench, bench.start_slurm("--until", "stylize", *limits, *place)


@pytest.fixture(scope="module")
def grids(make_slurm_bench: Make, long: Started) -> tuple[SlurmBench, SlurmBench, SlurmBench]:
    """One grid three times: through Slurm, at the same time for another user of its store, and here."""
    names = ("one", "three", "two")
    first = make_slurm_bench(*names)
    first.write(store=str(first.folder / "shared"))
    second = make_slurm_bench(*names, store=str(first.folder / "shared"))
    local = make_slurm_bench(*names)
    second.prepare()
    processes = [first.start_slurm(*GPU), second.start_slurm(*GPU, "--until", "stylize")]
    local.run(*THREADS)
    for bench, process in zip((first, second), processes, strict=True):
        bench.end(process)
    return first, second, local


class TestGrid:
    def test_it_equals_the_same_grid_run_locally(
        self, grids: tuple[SlurmBench, SlurmBench, SlurmBench]
    ) -> None:
        through_slurm, _, local = grids
        assert len(local.pictures()) == 6
        assert through_slurm.pictures() == local.pictures()
        records, others = through_slurm.records(), local.records()
        assert {name: record["key"] for name, record in records.items()} == {
            name: record["key"] for name, record in others.items()
        }
        assert (through_slurm.run_dir / "report" / "index.html").is_file()
        assert len((through_slurm.run_dir / "metrics.csv").read_text().splitlines()) == 7

    def test_two_runs_that_share_a_store_do_not_harm_one_another(
        self, grids: tuple[SlurmBench, SlurmBench, SlurmBench]
    ) -> None:
        first, second, _ = grids
        assert first.pictures() == second.pictures()
        store = Store(first.folder / "shared")
        keys = {record["key"] for record in first.records().values()}
        assert len(keys) == 6
        assert all(store.find(key) is not None for key in keys), "every picture matches its digest"
        pictures = list((first.folder / "shared" / "cells").glob("*/*.png"))
        assert len(pictures) == 6, "each was made once"
        assert not list((first.folder / "shared" / "claims").glob("*/*"))
        states = (first.folder / "shared" / "checkpoints").rglob("*.safetensors")
        assert not list(states), "none is left over"

    def test_jobs_never_share_a_gpu_and_each_log_tells_where_it_ran(
        self, grids: tuple[SlurmBench, SlurmBench, SlurmBench]
    ) -> None:
        first, second, _ = grids
        jobs = [
            attempt
            for bench in (first, second)
            for content in ("one", "two", "three")
            for attempt in bench.attempts(content)
        ]
        assert len(jobs) == 6
        assert {(job.node, job.gpu) for job in jobs} <= {
            (node, gpu) for node in ("n1", "n2") for gpu in ("0", "1")
        }
        # Six jobs on four GPUs: some came after one another, none at the same time.
        for one, other in itertools.combinations(jobs, 2):
            if (one.node, one.gpu) == (other.node, other.gpu):
                assert one.span[1] <= other.span[0] or other.span[1] <= one.span[0]


@pytest.fixture(scope="module")
def ended(make_slurm_bench: Make, cluster: Cluster) -> SlurmBench:
    """Three batches: one is cancelled, one is put back into the queue, one gets too little memory."""
    bench = make_slurm_bench("cancelled", "requeued", "tight", checkpoint_seconds=3600)
    bench.write_long(1200)
    bench.prepare()
    little = "350 if wildcards.part == 'tight' and attempt == 1 else 1500"
    resources = ["--set-resources", f"stylize:mem_mb={little}"]
    process = bench.start_slurm("--until", "stylize", *resources)
    requeued = wait_for_iterations(bench, "requeued")
    cluster.call("scontrol", "requeue", requeued.slurm_job)
    cancelled = wait_for_iterations(bench, "cancelled")
    cluster.call("scancel", cancelled.slurm_job)
    bench.end(process)
    return bench


class TestEndings:
    """Jobs that are told to end, and jobs that are not even told."""

    @pytest.mark.parametrize("content", ["cancelled", "requeued"])
    def test_the_next_attempt_goes_on_where_the_last_one_ended(
        self, ended: SlurmBench, content: str
    ) -> None:
        first, second = ended.attempts(content)
        assert 0 < first.last == second.first
        assert second.last == ended.config["settings"]["iterations"]
        assert "SIGTERM was received" in first.text
        assert (first.slurm_job == second.slurm_job) == (content == "requeued")

    def test_what_was_interrupted_looks_as_if_it_had_not_been(
        self, ended: SlurmBench, make_slurm_bench: Make
    ) -> None:
        here = make_slurm_bench("cancelled")
        here.write_long(ended.config["settings"]["iterations"])
        here.run(*THREADS, "--until", "stylize")
        [(name, picture)] = here.pictures().items()
        assert ended.pictures()[name] == picture

    def test_a_job_that_exceeds_its_memory_gets_more(self, ended: SlurmBench) -> None:
        logs = ended.folder / ".snakemake" / "slurm_logs" / "rule_stylize" / "tight"
        said = "".join(path.read_text() for path in logs.glob("*.log"))
        assert "exceeded memory limit" in said.lower()
        assert ended.attempts("tight")[-1].last == ended.config["settings"]["iterations"]

    def test_a_run_goes_on_after_ctrl_c_preemption_and_the_failure_of_a_node(
        self, make_slurm_bench: Make, cluster: Cluster
    ) -> None:
        bench = make_slurm_bench("stopped", checkpoint_seconds=5)
        bench.write_long(1200)
        bench.prepare()
        options = ("--until", "stylize", "--default-resources", "slurm_extra=--nodelist=n1")
        process = bench.start_slurm(*options)
        wait_for_iterations(bench, "stopped")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode != 0
        cluster.wait(lambda: not bench.queued(), 30)
        # A job has left the queue before its last words stand in its log.
        cluster.wait(lambda: "SIGTERM was received" in bench.attempts("stopped")[0].text, 30)
        [first] = bench.attempts("stopped")

        process = bench.start_slurm(*options)
        wait_for_iterations(bench, "stopped", attempt=2)
        urgent = ["-p", "urgent", "--nodelist=n1", "--exclusive", "--output=/dev/null"]
        cluster.call("sbatch", *urgent, "--wrap", "sleep 1")
        wait_for_iterations(bench, "stopped", attempt=3)
        cluster.kill_node("n1")
        cluster.start_node("n1")
        bench.end(process)
        _, second, third, fourth = bench.attempts("stopped")
        assert second.first == first.last > 0
        assert "SIGTERM was received" in second.text
        assert second.slurm_job == third.slurm_job, "Slurm itself put it into the queue again"
        assert third.first == second.last > second.first
        assert fourth.first >= third.first, (
            "what was saved before the node failed is not done again"
        )
        assert fourth.last == bench.config["settings"]["iterations"]

    def test_a_job_shorter_than_its_work_is_continued(self, long: Started) -> None:
        bench, process = long
        said = bench.end(process)
        attempts = bench.attempts("long")
        assert len(attempts) > 1
        assert said.count("Trying to restart job") == len(attempts) - 1
        for earlier, later in itertools.pairwise(attempts):
            assert "before the job's time limit" in earlier.text
            assert earlier.last == later.first, "nothing is done twice or left out"
        done = [attempt.last - attempt.first for attempt in attempts]
        assert min(done) > 0
        assert sum(done) == bench.config["settings"]["iterations"]
        [record] = bench.records().values()
        assert record["optimization"]["iterations"] == sum(done)
