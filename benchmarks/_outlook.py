"""A run on a large cluster, job by job, from what planning, submitting and a job's start cost."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.optimize import nnls

MEMORY_GB = 16
"""Memory that a login node commonly gives to one person: an assumption."""

FILES = 10**6
"""Files that a project's folder on a shared file system commonly may hold: an assumption."""

POLL = 180.0
"""Seconds between two looks at the jobs: what Snakemake's executor for Slurm slows down to."""


@dataclass(frozen=True)
class Costs:
    """What a run costs besides optimization, in seconds unless it says otherwise.

    Attributes:
        job: of a stylizing job besides its cells' optimization, on a small grid.
        submit: between two submissions.
        plan_start, plan_cell, plan_batch: of Snakemake's start; at all, for a cell, for a batch.
        plan_pair: for each ordered pair of cells in one folder, of which each is compared with each.
        plan_batch_pair: for each ordered pair of batches.
        read_cell: of one start of Snakemake in a job, for each cell of the grid.
        end_start, end_cell: of tables, sheets and report; at all, for each cell.
        memory_start, memory_cell, memory_batch: of the Snakemake that plans, in MB.
        files_cell: files for each cell, in the run, in the store and in Snakemake's own folder.
    """

    job: float = 0.0
    submit: float = 0.0
    plan_start: float = 0.0
    plan_cell: float = 0.0
    plan_batch: float = 0.0
    plan_pair: float = 0.0
    plan_batch_pair: float = 0.0
    read_cell: float = 0.0
    end_start: float = 0.0
    end_cell: float = 0.0
    memory_start: float = 0.0
    memory_cell: float = 0.0
    memory_batch: float = 0.0
    files_cell: float = 0.0

    def plan_seconds(self, cells: int, batches: int, folder: int) -> float:
        """Until the first job is submitted.

        Args:
            cells: of the run.
            batches: of the run.
            folder: cells of one content and style.
        """
        return (
            self.plan_start
            + self.plan_cell * cells
            + self.plan_batch * batches
            + self.plan_pair * cells * min(folder, cells)
            + self.plan_batch_pair * batches**2
        )

    def plan_gb(self, cells: int, batches: int) -> float:
        """Memory of the Snakemake that plans and looks after a run."""
        return 1e-3 * (self.memory_start + self.memory_cell * cells + self.memory_batch * batches)


PARTS: dict[str, tuple[str, ...]] = {
    "planning": ("plan_start", "plan_cell", "plan_batch", "plan_pair", "plan_batch_pair"),
    "submissions": ("submit",),
    "start of jobs": ("job",),
    "reading the plan in jobs": ("read_cell",),
    "tables, sheets, report": ("end_start", "end_cell"),
}
"""What takes time from the GPUs -> its costs."""


@dataclass(frozen=True)
class Grid:
    """A grid, the cluster it runs on, and how it is shared out.

    Attributes:
        cells: of the grid.
        gpus: of the cluster.
        cell_seconds: of one cell's optimization on one GPU.
        batch_cells: cells of a job.
        folder: cells of one content and style.
        queue: most jobs of a run in Slurm's queue; Snakemake's ``--jobs``.
        runs: how many runs the grid is divided into, which share one store.
        at_once: how many of these are under way at the same time.
    """

    cells: int
    gpus: int
    cell_seconds: float
    batch_cells: int
    folder: int = 1
    queue: int = 200
    runs: int = 1
    at_once: int = 1


@dataclass(frozen=True)
class Outlook:
    """A simulated run: its seconds, and the share of the GPUs' time that is optimization."""

    seconds: float
    efficiency: float
    batches: int


@dataclass
class _Run:
    """One Snakemake: what it has not submitted, and the ends of jobs that it has not seen."""

    cells: int
    left: int
    unseen: list[float] = field(default_factory=list)
    last: float = 0.0


def simulate(costs: Costs, grid: Grid, *, poll: float = POLL) -> Outlook:
    """Follow every job from its submission to its end.

    A Snakemake plans, then submits one job after another as long as fewer than ``queue`` of its own
    are waiting or running; it learns of ends only every ``poll`` seconds.  Slurm starts a waiting job
    as soon as a GPU is free, first come first served.  Tables, sheets and report follow the last job of
    a run, then the next run begins.  Runs that are under way at the same time are started as far apart
    as one takes that has all GPUs: in step, all of them would leave the GPUs idle at once.

    Args:
        costs: as measured.
        grid: what runs where.
        poll: seconds between two looks at the jobs.
    """
    whole, more = divmod(grid.cells, grid.runs)
    waiting = deque(whole + (index < more) for index in range(grid.runs))
    free = [0.0] * grid.gpus
    turns: list[tuple[float, int, _Run]] = []
    batches = 0
    finish = 0.0

    def begin(now: float) -> None:
        cells = waiting.popleft()
        jobs = -(-cells // grid.batch_cells)
        planned = now + costs.plan_seconds(cells, jobs, grid.folder)
        heapq.heappush(turns, (planned, len(waiting), _Run(cells, cells)))

    apart = whole * grid.cell_seconds / grid.gpus
    for index in range(min(grid.at_once, grid.runs)):
        begin(index * apart)
    while turns:
        now, order, run = heapq.heappop(turns)
        if run.left == 0:
            finish = max(finish, now)
            if waiting:
                begin(now)
            continue
        if len(run.unseen) >= grid.queue:
            # Full as far as Snakemake knows: it looks again.
            now = max(now + poll, run.unseen[0])
            while run.unseen and run.unseen[0] <= now:
                heapq.heappop(run.unseen)
            heapq.heappush(turns, (now, order, run))
            continue
        size = min(grid.batch_cells, run.left)
        run.left -= size
        batches += 1
        # Two Snakemakes start one after the other in a job, and each reads the plan.
        work = costs.job + 2 * costs.read_cell * run.cells + size * grid.cell_seconds
        end = max(now, heapq.heappop(free)) + work
        heapq.heappush(free, end)
        heapq.heappush(run.unseen, end)
        run.last = max(run.last, end)
        following = now + costs.submit if run.left else run.last + poll / 2
        if run.left == 0:
            following += costs.end_start + costs.end_cell * run.cells
        heapq.heappush(turns, (following, order, run))
    useful = grid.cells * grid.cell_seconds
    return Outlook(finish, useful / (grid.gpus * finish), batches)


def breaks_first(costs: Costs, grid: Grid, *, poll: float = POLL) -> str:
    """What stops a run, or else what takes most of the GPUs' time from it."""
    cells = -(-grid.cells // grid.runs)
    memory = grid.at_once * costs.plan_gb(cells, -(-cells // grid.batch_cells))
    over = {
        f"memory of planning: {memory:.0f} GB": memory / MEMORY_GB,
        f"files: {1e-6 * costs.files_cell * grid.cells:.1f} million": costs.files_cell
        * grid.cells
        / FILES,
    }
    worst = max(over, key=lambda name: over[name])
    now = simulate(costs, grid, poll=poll).efficiency
    gains = {
        part: simulate(replace(costs, **dict.fromkeys(names, 0.0)), grid, poll=poll).efficiency
        - now
        for part, names in PARTS.items()
    }
    gains["Snakemake's looks at its jobs"] = simulate(costs, grid, poll=0).efficiency - now
    part = max(gains, key=lambda name: gains[name])
    taken = f"{part}: {100 * gains[part]:.0f} % of the GPUs' time"
    if gains[part] < 0.005:
        taken = "nothing takes 1 % of the GPUs' time"
    return f"{worst}; {taken}" if over[worst] > 1 else taken


def end_costs(cells: Sequence[float], seconds: Sequence[float]) -> dict[str, float]:
    """Tables, sheets and report: ``end_start`` and ``end_cell``, by the line through two or more runs."""
    return _fit({"end_start": np.ones(len(cells)), "end_cell": np.array(cells)}, seconds)


def growth_costs(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """What planning costs for a cell, a batch, and where it grows faster than these.

    Least squares of relative errors, without negative costs.

    Args:
        rows: measured grids of different shapes: ``cells``, ``batches``, ``folder`` (cells of one
            content and style), ``seconds``, ``mb``, ``read_seconds``.
    """
    cells, batches, folder = (
        np.array([row[name] for row in rows], dtype=np.float64)
        for name in ("cells", "batches", "folder")
    )
    one = np.ones(len(rows))
    found = _fit(
        {
            "plan_start": one,
            "plan_cell": cells,
            "plan_batch": batches,
            "plan_pair": cells * folder,
            "plan_batch_pair": batches**2,
        },
        [row["seconds"] for row in rows],
    )
    found |= _fit(
        {"memory_start": one, "memory_cell": cells, "memory_batch": batches},
        [row["mb"] for row in rows],
    )
    # What a start costs at all is in what a job costs.
    read = _fit({"start": one, "read_cell": cells}, [row["read_seconds"] for row in rows])
    return {**found, "read_cell": read["read_cell"]}


def _fit(terms: Mapping[str, np.ndarray], values: Sequence[float]) -> dict[str, float]:
    measured = np.array(values, dtype=np.float64)
    scales = {name: float(np.max(term)) for name, term in terms.items()}
    matrix = np.stack([term / scales[name] / measured for name, term in terms.items()], axis=1)
    weights, _ = nnls(matrix, np.ones(len(measured)))
    return {name: float(weight) / scales[name] for name, weight in zip(terms, weights, strict=True)}
