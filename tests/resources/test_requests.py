"""What jobs ask for follows from their cells, and is enough for what the engine will do with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from plans import make_plan, save

from nstcore.plan.plan import Plan
from nstcore.resources.estimate import PROCESS_BYTES, InputSizes, Machine, estimate_batch
from nstcore.resources.requests import (
    MEMORY_FACTOR,
    SNAKEMAKE_BYTES,
    expected_seconds,
    gpu_mb,
    host_mb,
    light_mb,
    light_minutes,
    runtime_minutes,
    target_mb,
)


def of(folder: Path, seeds: int = 1, **more: Any) -> tuple[Plan, list[Any]]:
    settings = {"init": "noise", **more.pop("settings", {})}
    plan = make_plan(folder, settings=settings, sweep={"seeds": seeds}, **more)
    return plan, list(plan.cells())


def test_more_and_larger_cells_of_a_larger_encoder_get_more_time(tmp_path: Path) -> None:
    slow = {"cluster": {"tflops": 0.01}}
    one = expected_seconds(*of(tmp_path, **slow))
    for larger in (
        of(tmp_path, seeds=3, **slow),
        of(tmp_path, settings={"size": 1024}, **slow),
        of(tmp_path, settings={"encoder": "vgg19"}, **slow),
        of(tmp_path, cluster={"tflops": 0.001}),
    ):
        assert expected_seconds(*larger) > 2 * one
        assert runtime_minutes(*larger) > runtime_minutes(*of(tmp_path, **slow))


def test_time_has_a_margin_and_grows_up_to_the_partitions_limit(tmp_path: Path) -> None:
    plan, cells = of(tmp_path, 20, cluster={"tflops": 0.01})
    asked = [runtime_minutes(plan, cells, attempt) for attempt in (1, 2, 3)]
    assert 60 * asked[0] > 1.4 * expected_seconds(plan, cells)
    assert asked[0] < asked[1] < asked[2]
    limited, same = of(tmp_path, 20, cluster={"tflops": 0.01, "max_minutes": asked[0] - 1})
    assert {runtime_minutes(limited, same, attempt) for attempt in (1, 3)} == {asked[0] - 1}


def test_memory_grows_with_size_and_attempt_and_keeps_to_what_is_given(tmp_path: Path) -> None:
    small = host_mb(*of(tmp_path, settings={"size": 256}))
    large = host_mb(*of(tmp_path, settings={"size": 1024}))
    assert small < large < host_mb(*of(tmp_path, settings={"size": 1024}), 2)
    # A hundred pictures at the same time would take a hundred times as much.
    many = host_mb(*of(tmp_path, 100, settings={"size": 1024}))
    processes = MEMORY_FACTOR * (PROCESS_BYTES + SNAKEMAKE_BYTES) / 1e6
    assert large < many < 8000 + processes + 500
    assert many > host_mb(*of(tmp_path, 100, settings={"size": 1024}, cluster={"memory_gb": 4}))


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_of_many_contents_a_job_holds_a_few(tmp_path: Path, device: str) -> None:
    photo = save(tmp_path / "photo.png", (40, 30))
    asked = [
        host_mb(*of(tmp_path, device=device, contents={f"c{n}": photo for n in range(number)}))
        for number in (1, 200, 400)
    ]
    assert asked[0] < asked[1] == asked[2]


@pytest.mark.parametrize("size", [256, 1024, 3000])
@pytest.mark.parametrize("size_by", ["long", "area"])
def test_what_is_granted_holds_what_was_counted(tmp_path: Path, size: int, size_by: str) -> None:
    """The engine shares out what it finds; with the job's memory it has no need to cut anything."""
    plan, cells = of(tmp_path, 12, settings={"size": size, "size_by": size_by})
    free = 1e6 * host_mb(plan, cells) - PROCESS_BYTES - SNAKEMAKE_BYTES
    granted = Machine("cpu", free)
    batches = estimate_batch(plan, cells, InputSizes.of(plan), granted).micro_batches
    assert all(batch.fits for batch in batches)
    assert {batch.history for batch in batches} == {cells[0].settings.history}
    planned = Machine("cpu", 1e9 * plan.config.cluster.memory_gb)
    square = InputSizes({"photo": (3000, 3000)}, {}, ())
    (first, *_) = estimate_batch(plan, cells, square, planned).micro_batches
    assert len(batches[0].items) >= len(first.items)


def test_a_gpus_memory_is_asked_apart(tmp_path: Path) -> None:
    on_cpu, on_gpu = (of(tmp_path, device=device) for device in ("cpu", "auto"))
    assert gpu_mb(*on_cpu) == 0
    assert gpu_mb(*on_gpu) > 100
    assert gpu_mb(*on_gpu, 2) > gpu_mb(*on_gpu)
    bigger = of(tmp_path, device="auto", settings={"size": 1024})
    assert gpu_mb(*bigger) > gpu_mb(*on_gpu)


def test_light_jobs_ask_for_little_and_more_each_time() -> None:
    for ask in (light_mb, light_minutes, target_mb):
        assert 0 < ask(1) < ask(2) < ask(3)
    assert light_mb() < target_mb()


def test_a_front_end_counts_without_torch_and_without_pictures(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from nstcore.config.loader import parse_config\n"
        "from nstcore.plan.plan import Plan\n"
        "from nstcore.resources.requests import gpu_mb, host_mb, runtime_minutes\n"
        "from nstcore.cli.plan_command import job_requests, job_summary\n"
        "import nstcore.cli.plan_command, nstcore.cli.results_commands\n"
        "import nstcore.resources.preflight, nstcore.report.outputs\n"
        "raw = {'contents': {'a': 'a.png'}, 'styles': {'b': 'a.png'}, 'cluster': {}}\n"
        "plan = Plan(parse_config(raw)); cells = list(plan.cells())\n"
        "print(job_summary(job_requests(plan)), gpu_mb(plan, cells))\n"
    )
    (tmp_path / "a.png").touch()  # no picture: opening it would be an error
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("jobs by `cluster.tflops`: 1, each about")
