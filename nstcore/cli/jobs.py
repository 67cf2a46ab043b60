"""What ``nst plan`` says of a run's jobs on a cluster, and of the machine that would do them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from nstcore.errors import ImageError
from nstcore.grid.freeze import read_plan
from nstcore.grid.plan import Cell, Plan
from nstcore.run.amounts import about_bytes, about_seconds
from nstcore.run.resources import expected_seconds, gpu_mb, host_mb, runtime_minutes


@dataclass(frozen=True)
class Job:
    """What the job of a batch takes, by the speed in the configuration, and asks for at first.

    Attributes:
        cells: of the batch.
        seconds: that it is expected to take.
        runtime: minutes that it asks for.
        mem_mb: memory of the host that it asks for.
        gpu_mem_mb: memory of the GPU that it needs; 0 without one.
    """

    cells: int
    seconds: float
    runtime: int
    mem_mb: int
    gpu_mem_mb: int


def jobs_of(plan: Plan) -> dict[str, Job]:
    """Batch -> its job, as if nothing were finished."""
    batches: dict[str, list[Cell]] = {}
    for cell in plan.cells():
        batches.setdefault(cell.batch, []).append(cell)
    return {
        name: Job(
            len(cells),
            expected_seconds(plan, cells),
            runtime_minutes(plan, cells),
            host_mb(plan, cells),
            gpu_mb(plan, cells),
        )
        for name, cells in batches.items()
    }


def job_line(jobs: Mapping[str, Job]) -> str:
    """All jobs in a sentence."""
    seconds = [job.seconds for job in jobs.values()]
    longest = max(job.runtime for job in jobs.values())
    memory = about_bytes(1e6 * max(job.mem_mb for job in jobs.values()))
    gpu = max(job.gpu_mem_mb for job in jobs.values())
    on_gpu = f", {about_bytes(1e6 * gpu)} of the GPU" if gpu else ""
    return (
        f"jobs by `cluster.tflops`: {len(jobs)}, each about {about_seconds(fmean(seconds))} "
        f"({about_seconds(min(seconds))} to {about_seconds(max(seconds))}); they ask for up to "
        f"{longest} min, {memory}{on_gpu}"
    )


def job_values(plan: Plan) -> dict[str, dict[str, float]]:
    """All jobs, for programs."""
    return {name: asdict(job) for name, job in jobs_of(plan).items()}


def show_calibration(config: Path) -> int:
    """Measure this machine and print the lines that tell a configuration how fast it is.

    Raises:
        UserError: if the configuration's device or a picture is not there.
    """
    from nstcore.cli.plan import measure_machine
    from nstcore.run.calibrate import as_yaml, measured_tflops
    from nstcore.run.estimate import Machine, Sizes

    plan = read_plan(config)
    sizes = Sizes.of(plan)
    if sizes.problems:
        raise ImageError("\n".join(sizes.problems))
    machine = Machine.here(plan.config)
    rates = measure_machine(plan, machine)
    sys.stdout.write(as_yaml(measured_tflops(plan, sizes, machine, rates), rates.device))
    return 0
