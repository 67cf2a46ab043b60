"""Where to compute, with how many threads, and how exactly; each job on a GPU of its own.

Snakemake counts GPUs but hands out no device ids, so all jobs would compute on the first one. They
agree through locks instead: each GPU has one lock file for each job on it, in a folder of the user's
on this machine. The kernel frees the lock of a process that ends, even of a killed one.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from nstcore.core.lazy import lazy_import
from nstcore.errors import UserError, first_line
from nstcore.resources.device_memory import keep_freed_memory

if TYPE_CHECKING:
    import torch
else:
    torch = lazy_import("torch")

log = logging.getLogger(__name__)

FOLDER_VARIABLE = "NST_GPU_LOCKS"
"""Environment variable with the folder of the locks."""


def device_kind(wanted: str) -> str:
    """The kind of device that a configuration means by ``auto``, ``cpu``, ``cuda`` or ``mps``.

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
    """The same as a device; of several GPUs, or parts of GPUs, one that this process has to itself."""
    if _own is None and wanted in ("auto", "cuda"):
        choose_part()
    kind = device_kind(wanted)
    return own_gpu() if kind == "cuda" else torch.device(kind)


def convolves_in_half(precision: str, device: str) -> bool:
    """Whether a configuration's ``precision`` means bfloat16 on this kind of device."""
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
        number = listed[index] if any(listed) else index
        names.append(str(getattr(torch.cuda.get_device_properties(index), "uuid", None) or number))
    return names


_own: Claim | None = None
"""The claim of this process; a second one would keep a GPU from the other jobs."""


_part: Claim | None = None
"""The same for a part of a GPU, which CUDA takes for a whole one."""


def own_gpu() -> torch.device:
    """The GPU of this process: chosen once, held for the process's life, made CUDA's current one.

    Where only one is visible, because the machine has one or a scheduler gave one, there is
    nothing to choose.

    Raises:
        UserError: other processes have every GPU for themselves (compute mode EXCLUSIVE_PROCESS).
    """
    global _own
    if _own is None:
        # Not even their names are asked for, where there is one.
        names = visible_gpus() if torch.cuda.device_count() > 1 else [""]
        left = dict(enumerate(names))
        while _own is None:
            if not left:
                raise UserError(
                    "device: cuda: every GPU is refused, because another process has it for itself "
                    "(`nvidia-smi -q -d COMPUTE` shows the compute mode); wait for it, or use device: cpu"
                )
            chosen = choose(list(left.values()))
            index = list(left)[chosen.index]
            if _opens(index):
                _own = replace(chosen, index=index)
            else:
                chosen.release()
                del left[index]
    # What names no index shall not open a second GPU.
    torch.cuda.set_device(_own.index)
    return torch.device("cuda", _own.index)


def _opens(index: int) -> bool:
    """Make a GPU the current one; False if another process has it for itself."""
    torch.cuda.set_device(index)
    try:
        torch.zeros(1, device=torch.device("cuda", index))
    except RuntimeError as error:
        if "busy or unavailable" not in str(error):
            raise
        log.info("GPU %d is refused: %s", index, first_line(error))
        return False
    return True


def choose_part() -> None:
    """Where GPUs are divided into parts (MIG) choose one for this process, before CUDA starts.

    CUDA shows a process one part at most, and without a choice the same to all.  What the user or a
    scheduler has set in ``CUDA_VISIBLE_DEVICES`` stands.
    """
    global _part
    if os.environ.get("CUDA_VISIBLE_DEVICES") is not None:
        return
    offered: list[str] = []
    for line in _nvidia_smi("-L").splitlines():
        if found := re.search(r"\(UUID: ((GPU|MIG)-[^)]+)\)", line):
            if found[2] == "MIG" and offered and offered[-1].startswith("GPU-"):
                offered.pop()  # the whole that this is a part of
            offered.append(found[1])
    if any(name.startswith("MIG-") for name in offered):
        _part = choose(offered)
        os.environ["CUDA_VISIBLE_DEVICES"] = offered[_part.index]


def gigabytes_used() -> dict[str, int]:
    """UUID, without its kind -> whole GiB that all processes use of a GPU; empty if nobody knows."""
    query = _nvidia_smi("--query-gpu=uuid,memory.used", "--format=csv,noheader,nounits")
    rows = (line.split(",") for line in query.splitlines() if line.count(",") == 1)
    return {
        name.strip().removeprefix("GPU-"): int(used) // 1024
        for name, used in rows
        if used.strip().isdigit()
    }


def _nvidia_smi(*options: str) -> str:
    """What NVIDIA's tool says; nothing without it."""
    try:
        words = ["nvidia-smi", *options]
        return subprocess.run(words, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def configure(device: torch.device, deterministic: bool) -> None:
    """Set what torch computes with, where torch's own defaults may change: before anything is computed.

    Products of matrices keep the full precision of float32, since Gram matrices and L-BFGS's curvature
    are differences of large sums.  Convolutions may use TF32 (10 bits of mantissa) on a GPU that
    has it.  cuDNN chooses its kernels by rule and not by timing them: a level is too short to earn the
    trials back, and what they choose changes from run to run.

    Args:
        device: where the run computes.
        deterministic: whether a repeat must give the same bytes; see `make_deterministic`.
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
        linux = hasattr(os, "sched_getaffinity")
        threads = len(os.sched_getaffinity(0)) if linux else os.cpu_count()
    torch.set_num_threads(max(1, threads or 1))


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


# --- Locks: which GPU a job gets. ---


@dataclass
class Claim:
    """A GPU that this process computes on, until `release` or the end of the process.

    Attributes:
        index: of the GPU among those that were offered.
        others: how many other processes used it when it was taken.
    """

    index: int
    others: int
    _lock: FileLock | None = None

    def release(self) -> None:
        """Free the GPU; a second call does nothing."""
        if self._lock is not None:
            self._lock.release()


def lock_folder() -> Path:
    """Return this user's lock folder on this machine; create it for the user alone if missing.

    ``$NST_GPU_LOCKS``, else a folder in ``$XDG_RUNTIME_DIR``, else one in the temporary folder.

    Raises:
        OSError: it cannot be created, or it belongs to another user.
    """
    chosen, runtime = os.environ.get(FOLDER_VARIABLE), os.environ.get("XDG_RUNTIME_DIR")
    if chosen:
        folder = Path(chosen)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder
    if runtime and os.access(runtime, os.W_OK):
        folder = Path(runtime) / "nstcore-gpus"
    else:
        folder = Path(tempfile.gettempdir()) / f"nstcore-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.lstat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user")
    return folder


def claim(identities: Sequence[str], folder: Path) -> Claim:
    """Take the GPU with the fewest jobs, among equals the one of whose memory other programs use least.

    It never waits for a GPU.

    Args:
        identities: at least one name, one for each GPU, the same in every process.
        folder: of the locks.

    Raises:
        OSError: files there cannot be locked.
    """
    memory = gigabytes_used()
    others = [memory.get(identity.removeprefix("GPU-"), 0) for identity in identities]
    # One process chooses at a time: two that look at once would both find the same GPU free.
    with _lock(folder / "choosing.lock", timeout=-1):
        used = [_count_held(folder, identity) for identity in identities]
        index = min(range(len(used)), key=lambda i: (used[i], others[i]))
        name = _file_name(identities[index])
        locks = (_try_lock(folder / f"{name}.{place}.lock") for place in itertools.count())
        return Claim(index, used[index], next(lock for lock in locks if lock is not None))


def choose(identities: Sequence[str]) -> Claim:
    """Take a GPU by `claim` in the user's folder and log it; the first GPU if locks do not work."""
    if len(identities) == 1:
        return Claim(0, 0)
    try:
        chosen = claim(identities, lock_folder())
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        log.warning("GPUs cannot be shared out between jobs, the first one is used: %s", error)
        return Claim(0, 0)
    if chosen.others:
        count = len(identities)
        text = (
            "all %d GPUs are taken; number %d is shared with %d other jobs. "
            "`--resources gpu=%d` starts no more jobs than there are GPUs"
        )
        log.warning(text, count, chosen.index, chosen.others, count)
    else:
        log.info("GPU %d of %d is free and taken", chosen.index, len(identities))
    return chosen


def _file_name(identity: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]", "_", identity)


def _lock(path: Path, timeout: float) -> FileLock:
    # Any thread may release it.
    return FileLock(path, timeout, mode=0o600, thread_local=False)


def _try_lock(path: Path) -> FileLock | None:
    """Lock a file, or return None while another process holds it."""
    lock = _lock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return None
    return lock


def _count_held(folder: Path, identity: str) -> int:
    """Count the running processes on one GPU."""
    locks = [_try_lock(path) for path in folder.glob(f"{_file_name(identity)}.*.lock")]
    for lock in filter(None, locks):
        lock.release()
    return locks.count(None)
