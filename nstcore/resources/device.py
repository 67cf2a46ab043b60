"""Where to compute, with how many threads, and how exactly."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import sys
from functools import cache
from typing import Any

import torch

from nstcore.errors import UserError
from nstcore.resources.free_memory import process_peak_bytes
from nstcore.resources.gpu_lock import Claim, choose

log = logging.getLogger(__name__)


def device_kind(wanted: str) -> str:
    """The kind of device that a configuration means.

    Args:
        wanted: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Raises:
        UserError: if it is not there.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted == "auto":
        wanted = next(name for name, there in available.items() if there)
    if not available[wanted]:
        there = ", ".join(name for name, has in available.items() if has)
        raise UserError(f"device: {wanted} is not available on this machine; there is: {there}")
    return wanted


def choose_device(wanted: str) -> torch.device:
    """The device that a configuration means; of several GPUs one that this process has to itself.

    Args:
        wanted: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Raises:
        UserError: if it is not there.
    """
    kind = device_kind(wanted)
    return own_gpu() if kind == "cuda" else torch.device(kind)


def convolves_in_half(precision: str, device: str) -> bool:
    """Whether pictures are made with convolutions in bfloat16.

    Args:
        precision: as in the configuration.
        device: its kind.
    """
    if precision == "auto":
        return device == "cuda" and torch.cuda.is_bf16_supported(False)
    return precision == "bfloat16"


def visible_gpus() -> list[str]:
    """One name for every GPU that CUDA shows to this process, in CUDA's order.

    The UUID where torch gives it: jobs with different ``CUDA_VISIBLE_DEVICES`` count differently.
    """
    listed = [word.strip() for word in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    names: list[str] = []
    for index in range(torch.cuda.device_count()):
        uuid = getattr(torch.cuda.get_device_properties(index), "uuid", None)
        if uuid is not None:
            names.append(str(uuid))
        else:
            names.append(listed[index] if any(listed) else str(index))
    return names


_own: Claim | None = None
"""The claim of this process; a second one would keep a GPU from the other jobs."""


def own_gpu() -> torch.device:
    """The GPU of this process: chosen once, held for the process's life, made CUDA's current one.

    Where only one is visible, because the machine has one or a scheduler gave one, there is
    nothing to choose.
    """
    global _own
    if _own is None:
        # Not even their names are asked for, where there is one.
        _own = choose(visible_gpus()) if torch.cuda.device_count() > 1 else Claim(0, 0)
    # What names no index shall not open a second GPU.
    torch.cuda.set_device(_own.index)
    return torch.device("cuda", _own.index)


def configure(device: torch.device, deterministic: bool) -> None:
    """Set what torch computes with, where torch's own defaults may change: before anything is computed.

    Products of matrices keep the full precision of float32, since Gram matrices and L-BFGS's curvature
    are differences of large sums.  Convolutions may use TF32 (10 bits of mantissa) on a GPU that
    has it.  cuDNN chooses its kernels by rule and not by timing them: a level is too short to earn the
    trials back, and what they choose changes from run to run.

    Args:
        device: where the run computes.
        deterministic: whether a repeat must give the same bytes; see :func:`make_deterministic`.
    """
    if device.type == "cpu":
        keep_freed_memory()
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = True
    if deterministic:
        make_deterministic()
        log.info("%s: repeats on this device and these versions give the same bytes", device.type)
    elif torch.are_deterministic_algorithms_enabled():
        # Only then: the call imports torch's compiler, which takes seconds and 200 MB.
        torch.use_deterministic_algorithms(False)


def make_deterministic() -> None:
    """Have torch choose only algorithms that give the same bits at every repeat, or raise an error.

    On a CPU this changes nothing: there a repeat with as many threads gives the same bits anyway.  To be
    called before CUDA multiplies its first matrices, because cuBLAS looks at its environment only then.
    """
    # With more workspaces cuBLAS hands work to several streams, in any order.  The user's choice stands.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    # TF32 repeats itself too, but differs between kinds of GPUs, where float32 hardly does.
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")


def bind_threads(threads: int | None) -> None:
    """Let torch use as many threads as the job was granted, and no more.

    Two jobs whose threads outnumber the cores slow one another several times.
    """
    if threads is None:
        threads = (
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        )
    torch.set_num_threads(max(1, threads or 1))


def arrange_memory(device: torch.device, tiled: bool) -> None:
    """What happens to freed memory from now on: in tiles memory is short, and large blocks are few."""
    if device.type == "cpu":
        keep_freed_memory(large=not tiled)


def release_memory(device: torch.device) -> None:
    """Give back what is kept of freed memory: other pictures need other blocks."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
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


def describe(device: torch.device) -> str:
    """The device's name for the record: ``cpu``, or ``cuda: NVIDIA H100``."""
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    return device.type


def instructions(device: torch.device) -> str | None:
    """The vector instructions that torch computes with on a CPU, such as ``AVX512``; else None.

    Kernels for others add up in another order.
    """
    return torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else None


# --- Memory that the process has freed stays with it and is used again. ---

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
