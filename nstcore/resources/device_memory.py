"""Memory of a device and of this process: how much is free, whoever sets a limit, and how much was used.

What the process has freed on a CPU stays with it and is used again, until it is given back.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import math
import os
import re
import resource
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from nstcore.core.lazy import lazy_import

if TYPE_CHECKING:
    import torch
else:
    torch = lazy_import("torch")

log = logging.getLogger(__name__)

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
STATUS = Path("/proc/self/status")

NO_LIMIT = 1 << 60
"""Version 1 writes no limit as a number near 2**63."""


def free_bytes(device: torch.device) -> float:
    """Memory that this process may still take on a device, in bytes: the least that any limit leaves."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch holds without using it is not free for CUDA, but it is for us.
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(free + unused)
    return free_host_bytes()


def free_host_bytes() -> float:
    """The same of the machine's own memory."""
    available = float(psutil.virtual_memory().available)
    limits = (cgroup_free_bytes(), address_space_free_bytes(), slurm_free_bytes())
    return max(0.0, min(available, *limits))


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
    Its variables are in MB of 1024 * 1024 bytes.
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


# --- Memory that was used, and what becomes of it. ---


def arrange_memory(device: torch.device, tiled: bool) -> None:
    """What happens to freed memory from now on: in tiles memory is short, and large blocks are few."""
    if device.type == "cpu":
        keep_freed_memory(large=not tiled)


def release_memory(device: torch.device) -> None:
    """Give back what is kept of freed memory: other pictures need other blocks."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
    else:
        give_back_freed_memory()


def forget_failure(device: torch.device) -> None:
    """Free what a computation that failed has left behind.

    Of a backward pass that was broken off torch keeps the steps that were still to be done, and with
    them all activations, until the next backward pass in the same thread.
    """
    # Frames may hold one another in circles.
    gc.collect()
    release_memory(device)
    try:
        leaf = torch.zeros(1, device=device, requires_grad=True)
        torch.autograd.grad(leaf.exp(), leaf)
    except (RuntimeError, MemoryError):
        log.info("not even one number fits into memory", exc_info=True)
    release_memory(device)


def reset_peak_memory(device: torch.device) -> None:
    """Start measuring the peak anew, where the device allows that."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_mb(device: torch.device) -> float:
    """Most memory used, in MB: of the GPU (since the last reset), or of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return process_peak_bytes() / 1e6


_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_THRESHOLD = -3
_M_MMAP_MAX = -4
_LARGEST_INT = 2**31 - 1
_STEP = 64 << 20
"""Bytes by which the heap grows: the fewer calls of the system the better."""

_LARGE = 32 << 20
"""Bytes of a large block: the most that glibc takes for its threshold."""

_MANY = 1 << 16
"""Blocks that may stand outside of the heap: glibc's own default."""


@cache
def _libc() -> Any:
    """The C library, if it is glibc."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None


def keep_freed_memory(*, large: bool = True) -> bool:
    """Have the C library keep what is freed from now on; returns whether it can.

    Called before the first large tensor: blocks that it got before are given back as they were.

    Args:
        large: keep blocks of 32 MB and more, too.
    """
    library = _libc()
    if library is None:
        return False
    options = {
        _M_MMAP_MAX: 0 if large else _MANY,
        _M_TRIM_THRESHOLD: _LARGEST_INT,
        _M_TOP_PAD: _STEP,
    }
    if not large:
        options[_M_MMAP_THRESHOLD] = _LARGE
    done = [library.mallopt(option, value) for option, value in options.items()]
    return all(done)


def give_back_freed_memory() -> None:
    """Return to the system what is free now: before other pictures, or where memory ran out."""
    library = _libc()
    if library is not None:
        library.malloc_trim(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was short, on any device, so that less of it may help."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and _SHORT.search(str(error)) is not None


_SHORT = re.compile(
    "out of memory"  # CUDA, MPS
    "|can't allocate memory|DefaultCPUAllocator"  # torch on a CPU
    "|std::bad_alloc"
    # oneDNN's kernels and scratch; without a descriptor the operation itself is at fault.
    "|could not (create|execute) a primitive(?! descriptor)|could not create a memory object"
    "|ALLOC(ATION)?_FAILED"  # cuBLAS and cuDNN
    # They need memory to begin, and cuDNN room to try a kernel in.
    "|CUBLAS_STATUS_NOT_INITIALIZED|unable to find an engine|unable to find a valid cuDNN algorithm",
    re.IGNORECASE,
)
