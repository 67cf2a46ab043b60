"""How much memory is free, whoever sets a limit besides the machine, and how much was used."""

from __future__ import annotations

import math
import os
import resource
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    import torch

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")

STATUS = Path("/proc/self/status")

NO_LIMIT = 1 << 60
"""Version 1 writes no limit as a number near 2**63."""


def free_bytes(device: torch.device) -> float:
    """Memory that this process may still take on a device, in bytes: the least that any limit leaves."""
    if device.type == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        # What torch holds without using it is not free for CUDA, but it is for us.
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(free + unused)
    return max(
        0.0,
        min(
            float(psutil.virtual_memory().available),
            cgroup_free_bytes(),
            address_space_free_bytes(),
            slurm_free_bytes(),
        ),
    )


def process_peak_bytes() -> int:
    """Most memory that this process has had, in bytes.

    On Linux the kernel's high-water mark of the process itself: getrusage starts from the peak of the
    process that started this one.
    """
    try:
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:  # no Linux
        pass
    # Linux counts in units of 1024 bytes, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def address_space_free_bytes() -> float:
    """What ``ulimit -v`` leaves, infinite where there is none."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return math.inf
    return float(limit - psutil.Process().memory_info().vms)


def slurm_free_bytes(environment: Mapping[str, str] = os.environ) -> float:
    """What is left of the memory that Slurm granted to this job here, infinite outside of one.

    Slurm need not enforce it by control groups: it may look from time to time, and kill.

    Args:
        environment: with Slurm's variables, in MB (1024 * 1024 bytes).
    """
    granted = _megabytes(environment, "SLURM_MEM_PER_NODE")
    if granted is None:
        granted = _megabytes(environment, "SLURM_MEM_PER_CPU")
        if granted is not None:
            granted *= _megabytes(environment, "SLURM_CPUS_ON_NODE") or 1
    # 0 is all that the node has.
    return granted * 2**20 - _job_bytes() if granted else math.inf


def _megabytes(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "")
    return int(text) if text.isdecimal() else None


def _job_bytes() -> float:
    """Memory of this process and of those that started it, as far as they are Slurm's job."""
    own = psutil.Process()
    held = float(own.memory_info().rss)
    above = 0.0
    try:
        for parent in own.parents():
            if parent.name() == "slurmstepd":
                return held + above
            above += parent.memory_info().rss
    except psutil.Error:  # another user's, or gone by now
        pass
    return held


def cgroup_free_bytes(cgroups: Path = CGROUPS, own: Path = OWN_CGROUPS) -> float:
    """What the control groups of this process leave, infinite where none sets a limit.

    A limit on any group above counts too.  Pages of files that the kernel can drop are free.

    Args:
        cgroups: where they are mounted, of version 1, 2 or both.
        own: the file that says which groups this process is in.
    """
    return min((_left(group) for group in _groups(cgroups, own)), default=math.inf)


def _groups(cgroups: Path, own: Path) -> Iterator[Path]:
    """Folders of every group that may limit this process's memory, up to the root."""
    try:
        lines = own.read_text().splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            roots = [cgroups, cgroups / "unified"]
        elif "memory" in controllers.split(","):
            roots = [cgroups / "memory"]
        else:
            continue
        for root in roots:
            # In a container the path may be the host's, and the mount's root is the own group.
            group = root / path.lstrip("/")
            yield from (group, *group.parents[: len(group.parts) - len(root.parts)])


def _left(group: Path) -> float:
    """What one group leaves: infinite where it sets no limit or is not there."""
    for limit_name, usage_name, cache_name in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            limit = int((group / limit_name).read_text())
            usage = int((group / usage_name).read_text())
        except (OSError, ValueError):  # not there; "max"
            continue
        if limit >= NO_LIMIT:
            continue
        return float(limit - max(0, usage - _statistic(group, cache_name)))
    return math.inf


def _statistic(group: Path, name: str) -> int:
    try:
        words = (line.split() for line in (group / "memory.stat").read_text().splitlines())
        return next((int(word[1]) for word in words if word[0] == name), 0)
    except (OSError, ValueError, IndexError):
        return 0
