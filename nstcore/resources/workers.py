"""How a run uses the machine that it starts on: how many jobs optimize at the same time."""

from __future__ import annotations

import math
import platform
import shutil
import sys
from pathlib import Path

import psutil

from nstcore.plan.plan import Plan
from nstcore.plan.snapshot import former_workers
from nstcore.resources.memory_model import MEMORY_SHARE
from nstcore.resources.requests import expected_seconds, host_mb

WORKER_SECONDS = 20.0
"""Least work for a worker, at the cautious speed of a CPU: each takes seconds to start."""


def adapt_to_machine(plan: Plan, cores: int, gpus: int) -> None:
    """Set what the configuration leaves open for a run on this machine: ``device`` and ``workers``.

    Without a GPU several jobs with few threads each make more than one job with many, whose threads wait
    for each other at every layer; beside other programs much more.

    Args:
        plan: the run; its batches may change.
        cores, gpus: what the run may use.
    """
    config = plan.config
    gpu = config.device != "cpu" and (config.device != "auto" or has_gpu())
    if not gpu:
        plan.divide_again(config.model_copy(update={"device": "cpu"}))
    if "workers" not in config.model_fields_set:
        workers = max(1, gpus) if gpu else _cpu_workers(plan, cores)
        # With fewer cores or less memory than before, no finished batch is divided anew.
        workers = max(workers, former_workers(plan))
        plan.divide_again(plan.config.model_copy(update={"workers": workers}))


def has_gpu() -> bool:
    """Whether this machine seems to have a GPU, as far as can be told without torch."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    drivers = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
    return shutil.which("nvidia-smi") is not None or any(Path(path).exists() for path in drivers)


def _cpu_workers(plan: Plan, cores: int) -> int:
    """As many as have some work, and whose largest images fit into memory side by side."""
    cells = list(plan.cells())
    largest = max(cells, key=lambda cell: cell.settings.size)
    # On a CPU a job asks for what its process takes.
    fitting = MEMORY_SHARE * psutil.virtual_memory().available / (1e6 * host_mb(plan, [largest]))
    working = math.ceil(expected_seconds(plan, cells) / WORKER_SECONDS)
    return max(1, min(cores, len(cells), int(fitting), working))
