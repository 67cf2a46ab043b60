"""What jobs ask a cluster for: time and memory, counted from what they will do.

Nothing here needs torch or opens an image: a scheduler's front end asks for every job of a run.  Each
``attempt`` to do a job, from 1 on, asks for more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from nstcore.core.geometry import area
from nstcore.plan.cost_model import SHAPES, cell_seconds, job_seconds
from nstcore.plan.plan import Cell, Plan
from nstcore.resources.estimate import PROCESS_BYTES, InputSizes, Machine, estimate_batch
from nstcore.resources.memory_model import MEMORY_SHARE, MicroBatch

IMAGES_KEPT = 4
"""Images of a kind that a job keeps in memory beside those that it works on."""

PENDING_WRITES = 2
"""Images that a job writes, or is about to write, while others are optimized."""

SHUTDOWN_MARGIN = 90.0
"""Seconds before its deadline when a job saves its state and ends."""

TIME_FACTOR = 1.5
"""Time that is asked for over the time that is expected: nodes differ, and file systems are busy."""

LEAST_MINUTES = 5

MEMORY_GROWTH = 1.5
"""What each further attempt asks for over the one before."""

GPU_HOST_BYTES = 4e9
"""Memory of the host that a job with a GPU takes before its first picture: torch, CUDA, libraries."""

SNAKEMAKE_BYTES = 4e8
"""Of the Snakemake that runs the job on its node, which a scheduler counts too; measured 145 MB each."""

MEMORY_FACTOR = 1.3
"""Memory of the processes of a CPU's job that is asked for over what is counted: a scheduler adds them
up, and counts in each what they share.  A job of two 64 px pictures was counted with 1.08 GB and killed
at 1.16."""

PIXEL_BYTES = 12
"""Of a picture in memory: three channels in single precision."""

LIGHT_MB = 2000
"""Memory of a job that only handles files."""

LIGHT_MINUTES = 20
"""Time that such a job asks for, and one that computes style targets; they take seconds."""

TARGET_MB = 3600
"""Of a job that computes style targets.  With VGG-19 and a style at 2048 px it was 2500, measured, and a
Snakemake stands beside it; larger styles are seen in tiles."""


def expected_seconds(plan: Plan, cells: Sequence[Cell]) -> float:
    """How long a job of one batch's cells is expected to take with the configuration's speed."""
    judge = plan.evaluation["encoder"]
    return job_seconds(cell_seconds(plan.config, cell.settings, judge) for cell in cells)


def runtime_minutes(plan: Plan, cells: Sequence[Cell], attempt: int = 1) -> int:
    """Time that a job asks for, in minutes: with a margin, and more at each attempt.

    Never more than ``cluster.max_minutes``: what is not finished by then goes on in the next attempt.
    """
    asked = TIME_FACTOR * attempt * expected_seconds(plan, cells) + SHUTDOWN_MARGIN
    minutes = max(LEAST_MINUTES, math.ceil(asked / 60))
    most = plan.config.cluster.max_minutes
    return minutes if most is None else min(minutes, most)


def host_mb(plan: Plan, cells: Sequence[Cell], attempt: int = 1) -> int:
    """Memory of the host that a job asks for, in MB."""
    batches = _micro_batches(plan, cells)
    held = PIXEL_BYTES * _held_pixels(batches) + SNAKEMAKE_BYTES
    growth = MEMORY_GROWTH ** (attempt - 1)
    if plan.config.device == "cpu":
        processes = MEMORY_FACTOR * (PROCESS_BYTES + held)
        needed = growth * (_device_bytes(batches) + processes)
    else:
        needed = growth * (GPU_HOST_BYTES + held)
    return math.ceil(needed / 1e6)


def gpu_mb(plan: Plan, cells: Sequence[Cell], attempt: int = 1) -> int:
    """Memory of the GPU that a job needs, in MB; 0 for a job without one."""
    if plan.config.device == "cpu":
        return 0
    growth = MEMORY_GROWTH ** (attempt - 1)
    return math.ceil(growth * _device_bytes(_micro_batches(plan, cells)) / 1e6)


def _micro_batches(plan: Plan, cells: Sequence[Cell]) -> list[MicroBatch[Cell]]:
    """How a job divides its cells, each content taken to have one shape."""
    kind = "cpu" if plan.config.device == "cpu" else "cuda"
    machine = Machine(kind, 1e9 * plan.config.cluster.memory_gb)
    found: list[MicroBatch[Cell]] = []
    for by, shape in SHAPES.items():
        members = [cell for cell in cells if cell.settings.size_by == by]
        sizes = InputSizes({cell.content: shape for cell in members}, {}, ())
        found += estimate_batch(plan, members, sizes, machine).micro_batches
    return found


def _device_bytes(batches: Sequence[MicroBatch[Cell]]) -> float:
    """Memory that a job takes where it computes, in bytes, with room for the estimate to be wrong."""
    # It takes this share of what it finds free, and leaves the rest for what was not counted.
    return max((batch.bytes for batch in batches), default=0.0) / MEMORY_SHARE


def _held_pixels(batches: Sequence[MicroBatch[Cell]]) -> float:
    """Pixels of all pictures that a job holds at the same time, whose cells come in the plan's order."""
    cells = [cell for batch in batches for cell in batch.items]
    together = max((len(batch.items) for batch in batches), default=0)
    largest = max((area(batch.size) for batch in batches), default=0)
    contents = len({(cell.content, cell.settings.size) for cell in cells})
    # Contents as they are read and as they are seen: of two batches, and what is kept; then results.
    sources = 2 * min(contents, 2 * together + IMAGES_KEPT)
    return largest * (sources + min(len(cells), together + PENDING_WRITES))


def light_mb(attempt: int = 1) -> int:
    """Memory that a job asks for which only handles files, in MB."""
    return LIGHT_MB << (attempt - 1)


def light_minutes(attempt: int = 1) -> int:
    """Time that a job asks for besides the batches, in minutes."""
    return LIGHT_MINUTES * attempt


def target_mb(attempt: int = 1) -> int:
    """Memory that a job asks for which computes style targets, in MB: torch, and tiles of the style."""
    return math.ceil(TARGET_MB * MEMORY_GROWTH ** (attempt - 1))
