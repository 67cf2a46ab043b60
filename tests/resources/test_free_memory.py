"""What is free: the least that the machine, control groups and ``ulimit -v`` leave."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from nstcore.resources import device_memory
from nstcore.resources.device_memory import (
    cgroup_free_bytes,
    free_bytes,
    process_peak_bytes,
    slurm_free_bytes,
)

GB = 10**9

Group = Callable[..., None]


@pytest.fixture
def group(tmp_path: Path) -> Group:
    """Write one group of either version; a limit of None is none."""

    def write(path: str, limit: int | None, usage: int, cache: int = 0, version: int = 2) -> None:
        folder = tmp_path / "fs" / path
        folder.mkdir(parents=True, exist_ok=True)
        if version == 2:
            (folder / "memory.max").write_text("max\n" if limit is None else f"{limit}\n")
            (folder / "memory.current").write_text(f"{usage}\n")
            (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cache}\n")
        else:
            unlimited = 2**63 - 4096
            text = f"{unlimited if limit is None else limit}\n"
            (folder / "memory.limit_in_bytes").write_text(text)
            (folder / "memory.usage_in_bytes").write_text(f"{usage}\n")
            stat = f"inactive_file 1\ntotal_inactive_file {cache}\n"
            (folder / "memory.stat").write_text(stat)

    return write


def left(tmp_path: Path, own: str) -> float:
    (tmp_path / "own").write_text(own)
    return cgroup_free_bytes(tmp_path / "fs", tmp_path / "own")


def test_version_2_and_what_the_kernel_can_drop(group: Group, tmp_path: Path) -> None:
    group("job/step", 8 * GB, 6 * GB, cache=3 * GB)
    assert left(tmp_path, "0::/job/step\n") == 5 * GB


def test_a_limit_further_up_counts(group: Group, tmp_path: Path) -> None:
    group("job/step", None, 1 * GB)
    group("job", 4 * GB, 3 * GB)
    group(".", 100 * GB, 1 * GB)
    assert left(tmp_path, "0::/job/step\n") == 1 * GB
    group("job/step", 2 * GB, 2 * GB - 5)
    assert left(tmp_path, "0::/job/step\n") == 5


def test_version_1_beside_other_controllers(group: Group, tmp_path: Path) -> None:
    group("memory/box", 3 * GB, 2 * GB, cache=GB // 2, version=1)
    group("memory", None, 2 * GB, version=1)
    assert left(tmp_path, "9:cpu,cpuacct:/x\n4:hugetlb,memory:/box\n0::/\n") == 1.5 * GB


def test_in_a_container_the_mount_is_the_own_group(group: Group, tmp_path: Path) -> None:
    """There the path is often the host's, and is not to be found."""
    group("memory", 2 * GB, GB, version=1)
    assert left(tmp_path, "4:memory:/docker/0123\n") == GB
    group("unified", 2 * GB, 2 * GB - 7)
    assert left(tmp_path, "0::/\n") == 7


def test_no_limit_and_no_groups(group: Group, tmp_path: Path) -> None:
    group("job", None, GB)
    group("memory/job", None, GB, version=1)
    assert left(tmp_path, "0::/job\n4:memory:/job\n") == math.inf
    assert cgroup_free_bytes(tmp_path / "gone", tmp_path / "gone") == math.inf


def test_the_least_of_all_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(
        device_memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=9 * GB)
    )
    monkeypatch.setattr(device_memory, "cgroup_free_bytes", lambda: math.inf)
    monkeypatch.setattr(device_memory, "address_space_free_bytes", lambda: math.inf)
    monkeypatch.setattr(device_memory, "slurm_free_bytes", lambda: math.inf)
    assert free_bytes(cpu) == 9 * GB
    monkeypatch.setattr(device_memory, "cgroup_free_bytes", lambda: 3.0)
    assert free_bytes(cpu) == 3
    monkeypatch.setattr(device_memory, "address_space_free_bytes", lambda: -5.0)
    assert free_bytes(cpu) == 0


def test_a_gpu_is_asked_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5 * GB, 80 * GB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3 * GB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 1 * GB)
    assert free_bytes(torch.device("cuda", 0)) == 7 * GB


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space")
def test_a_limit_of_the_shell_counts() -> None:
    script = (
        "import resource, psutil, torch\n"
        "from nstcore.resources.device_memory import free_bytes\n"
        "held = psutil.Process().memory_info().vms\n"
        "resource.setrlimit(resource.RLIMIT_AS, (held + 10**9, resource.RLIM_INFINITY))\n"
        "print(free_bytes(torch.device('cpu')))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert 0.9 * GB < float(run.stdout) <= GB


PEAK = "from nstcore.resources.device_memory import process_peak_bytes as peak; print(peak())"


def test_the_peak_is_the_process_s_own() -> None:
    """And not that of the one that started it, which may be large."""
    ballast = bytearray(400_000_000)
    child = subprocess.run([sys.executable, "-c", PEAK], check=True, capture_output=True)
    assert 0 < int(child.stdout) < len(ballast)


def test_the_peak_is_the_kernels_high_water_mark(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    status = tmp_path / "status"
    monkeypatch.setattr(device_memory, "STATUS", status)
    status.write_text("VmPeak:\t  900 kB\nVmHWM:\t  700 kB\nVmRSS:\t  500 kB\n")
    assert process_peak_bytes() == 700 * 1024


def test_the_peak_without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(device_memory, "STATUS", tmp_path / "status")
    used = SimpleNamespace(ru_maxrss=3000)
    monkeypatch.setattr(device_memory.resource, "getrusage", lambda who: used)
    monkeypatch.setattr(sys, "platform", "linux")
    assert process_peak_bytes() == 3000 * 1024
    monkeypatch.setattr(sys, "platform", "darwin")
    assert process_peak_bytes() == 3000


def test_what_slurm_granted_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    held = SimpleNamespace(rss=10**9)
    monkeypatch.setattr(psutil.Process, "memory_info", lambda self: held)
    granted = slurm_free_bytes({"SLURM_MEM_PER_NODE": "5000"})
    assert granted == 5000 * 2**20 - held.rss
    per_cpu = {"SLURM_MEM_PER_CPU": "1250", "SLURM_CPUS_ON_NODE": "4"}
    assert slurm_free_bytes(per_cpu) == pytest.approx(granted, rel=0.02)
    # Per node comes first, 0 is the whole node, and outside of a job there is no limit.
    assert slurm_free_bytes({"SLURM_MEM_PER_NODE": "1", **per_cpu}) < 0
    for nothing in ({"SLURM_MEM_PER_NODE": "0"}, {}, {"SLURM_MEM_PER_NODE": "8G"}):
        assert slurm_free_bytes(nothing) == math.inf
    monkeypatch.setattr(device_memory, "slurm_free_bytes", lambda: 11.0)
    assert free_bytes(torch.device("cpu")) <= 11
