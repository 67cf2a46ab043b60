"""What ``nst plan`` says of a run's jobs on a cluster, and of the machine that would do them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from nstcore.errors import ImageError
from nstcore.plan.plan import Cell, Plan
from nstcore.plan.snapshot import read_plan
from nstcore.plan.values import format_duration, format_size
from nstcore.resources.requests import expected_seconds, gpu_mb, host_mb, runtime_minutes


@dataclass(frozen=True)
class JobEstimate:
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


def jobs_of(plan: Plan) -> dict[str, JobEstimate]:
    """Batch -> its job, as if nothing were finished."""
    batches: dict[str, list[Cell]] = {}
    for cell in plan.cells():
        batches.setdefault(cell.batch, []).append(cell)
    return {
        name: JobEstimate(
            len(cells),
            expected_seconds(plan, cells),
            runtime_minutes(plan, cells),
            host_mb(plan, cells),
            gpu_mb(plan, cells),
        )
        for name, cells in batches.items()
    }


def job_line(jobs: Mapping[str, JobEstimate]) -> str:
    """All jobs in a sentence."""
    seconds = [job.seconds for job in jobs.values()]
    longest = max(job.runtime for job in jobs.values())
    memory = format_size(1e6 * max(job.mem_mb for job in jobs.values()))
    gpu = max(job.gpu_mem_mb for job in jobs.values())
    on_gpu = f", {format_size(1e6 * gpu)} of the GPU" if gpu else ""
    return (
        f"jobs by `cluster.tflops`: {len(jobs)}, each about {format_duration(fmean(seconds))} "
        f"({format_duration(min(seconds))} to {format_duration(max(seconds))}); they ask for up to "
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
    from nstcore.resources.estimate import InputSizes, Machine, as_yaml, measured_tflops

    plan = read_plan(config)
    sizes = InputSizes.of(plan)
    if sizes.problems:
        raise ImageError("\n".join(sizes.problems))
    machine = Machine.here(plan.config)
    rates = measure_machine(plan, machine)
    sys.stdout.write(as_yaml(measured_tflops(plan, sizes, machine, rates), rates.device))
    return 0
