"""Jobs side by side take a GPU each: real processes that contend for GPUs with made-up names."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from nstcore.errors import UserError
from nstcore.resources import device
from nstcore.resources.device import Claim, choose_device, claim, lock_folder, visible_gpus

NAMES = ["GPU-0a", "GPU-1b"]

# A job that takes a GPU, says which, and works on it until its input ends.
JOB = """
import sys
from pathlib import Path
from nstcore.resources.device import claim
taken = claim(sys.argv[2:], Path(sys.argv[1]))
print(taken.index, taken.others, flush=True)
sys.stdin.read()
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    jobs: list[subprocess.Popen[str]] = []

    def begin(*names: str) -> subprocess.Popen[str]:
        job = subprocess.Popen(
            [sys.executable, "-c", JOB, str(tmp_path), *(names or NAMES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        jobs.append(job)
        return job

    yield begin
    for job in jobs:
        job.kill()
        job.communicate()


def taken_by(job: subprocess.Popen[str]) -> tuple[int, int]:
    """Which GPU a job took, and how many others were on it."""
    assert job.stdout is not None
    index, others = job.stdout.readline().split()
    return int(index), int(others)


def test_each_job_has_its_own_and_one_too_many_shares(start: Start, tmp_path: Path) -> None:
    jobs = [start() for _ in range(3)]  # all at once: they race for the first
    taken = {job: taken_by(job) for job in jobs}
    assert sorted(others for _, others in taken.values()) == [0, 0, 1]
    owners = {index: job for job, (index, others) in taken.items() if others == 0}
    assert set(owners) == {0, 1}
    # A job that is killed cannot give its GPU back; the kernel does.
    shared = next(index for index, others in taken.values() if others == 1)
    victim = owners[1 - shared]
    victim.kill()
    victim.wait()
    assert taken_by(start()) == (1 - shared, 0)
    # Now one GPU has two jobs and the other has one: the next comes to that one.
    assert taken_by(start()) == (1 - shared, 1)


def test_a_job_that_ends_gives_its_gpu_back(start: Start) -> None:
    first = start()
    assert taken_by(first) == (0, 0)
    assert taken_by(start()) == (1, 0)
    first.communicate("")
    assert taken_by(start()) == (0, 0)


def test_a_gpu_is_known_by_its_name_and_not_its_number(start: Start) -> None:
    """Two jobs with different CUDA_VISIBLE_DEVICES see the GPUs in different orders."""
    assert taken_by(start("GPU-0a", "GPU-1b")) == (0, 0)
    assert taken_by(start("GPU-1b", "GPU-0a")) == (0, 0)
    assert taken_by(start("GPU-2c", "GPU-0a")) == (0, 0)


def test_the_fewest_jobs_count_and_not_the_lowest_place(tmp_path: Path) -> None:
    held = [claim(["a"], tmp_path) for _ in range(3)]
    other = claim(["b"], tmp_path)
    held[0].release()
    held[0].release()  # twice does nothing
    chosen = claim(["a", "b"], tmp_path)
    assert (chosen.index, chosen.others) == (1, 1)
    for one in (*held, other, chosen):
        one.release()
    assert claim(["a", "b"], tmp_path).others == 0


def test_nobody_waits_for_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it waited"))
    held = [claim(NAMES, tmp_path) for _ in range(6)]
    assert [one.others for one in held] == [0, 0, 1, 1, 2, 2]
    for one in held:
        one.release()


def test_the_folder_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv(device.FOLDER_VARIABLE, raising=False)
    folder = lock_folder()
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "gone"))
    monkeypatch.setattr(device.tempfile, "gettempdir", lambda: str(tmp_path))
    assert lock_folder() == tmp_path / f"nstcore-gpus-{os.getuid()}"
    monkeypatch.setattr(device.os, "getuid", lambda: 12345)
    (tmp_path / "nstcore-gpus-12345").mkdir()
    with pytest.raises(PermissionError, match="another user"):
        lock_folder()
    monkeypatch.setenv(device.FOLDER_VARIABLE, str(tmp_path / "deep" / "locks"))
    assert lock_folder() == tmp_path / "deep" / "locks"


class Cuda:
    """In place of CUDA: GPUs with UUIDs, and which one is the current one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, uuids: list[str | None]) -> None:
        self.current: list[int] = []
        shown = [SimpleNamespace() if u is None else SimpleNamespace(uuid=u) for u in uuids]
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(shown))
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: shown[index])
        monkeypatch.setattr(torch.cuda, "set_device", self.current.append)
        self.refused: list[int] = []
        monkeypatch.setattr(torch, "zeros", self.open)
        monkeypatch.setattr(device, "_own", None)

    def open(self, *_: object, device: torch.device) -> None:
        if device.index in self.refused:
            raise RuntimeError(
                "CUDA error: CUDA-capable device(s) is/are busy or unavailable\nmore"
            )


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A program of that name that says what a test wants."""

    def says(text: str) -> None:
        program = tmp_path / "bin" / "nvidia-smi"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    return says


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(device.FOLDER_VARIABLE, str(tmp_path))
    return tmp_path


def release_own() -> None:
    assert isinstance(device._own, Claim)
    device._own.release()


@pytest.mark.parametrize("wanted", ["auto", "cuda"])
def test_a_process_keeps_the_gpu_it_took(
    monkeypatch: pytest.MonkeyPatch, locks: Path, start: Start, wanted: str
) -> None:
    cuda = Cuda(monkeypatch, ["0a", "1b"])
    assert taken_by(start("0a", "1b")) == (0, 0)
    assert choose_device(wanted) == torch.device("cuda", 1)
    assert choose_device(wanted) == torch.device("cuda", 1), "one claim for the whole process"
    assert set(cuda.current) == {1}
    assert taken_by(start("0a", "1b")) == (0, 1), "both are taken by now"
    release_own()


def test_one_visible_gpu_leaves_nothing_to_choose(
    monkeypatch: pytest.MonkeyPatch, locks: Path
) -> None:
    Cuda(monkeypatch, ["0a"])
    assert choose_device("auto") == torch.device("cuda", 0)
    assert list(locks.iterdir()) == []


def test_without_uuids_the_visible_numbers_are_the_names(
    monkeypatch: pytest.MonkeyPatch, locks: Path
) -> None:
    Cuda(monkeypatch, [None, None])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, 6")
    assert visible_gpus() == ["4", "6"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_gpus() == ["0", "1"]


def test_sharing_is_said(
    monkeypatch: pytest.MonkeyPatch, locks: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held = [claim(NAMES, locks) for _ in range(2)]
    with caplog.at_level(logging.WARNING):
        chosen = device.choose(NAMES)
    assert "all 2 GPUs are taken" in caplog.text
    for one in (*held, chosen):
        one.release()


def test_without_locks_the_first_gpu_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv(device.FOLDER_VARIABLE, str(file / "below"))
    assert device.choose(NAMES).index == 0
    assert "cannot be shared out" in caplog.text


def test_the_gpu_that_other_programs_use_least_comes_first(
    tmp_path: Path, nvidia_smi: Callable[[str], None]
) -> None:
    nvidia_smi("GPU-0a, 40000\nGPU-1b, 300\nGPU-2c, 18")
    names = ["0a", "1b", "2c"]  # as torch calls them
    taken = [claim(names, tmp_path / "locks") for _ in range(3)]
    assert [one.index for one in taken] == [1, 2, 0], "the megabytes of a screen do not count"
    for one in taken:
        one.release()


@pytest.mark.parametrize("text", ["", "No devices were found", "GPU-0a, [N/A]"])
def test_where_nobody_knows_the_memory_the_first_is_taken(
    text: str, tmp_path: Path, nvidia_smi: Callable[[str], None]
) -> None:
    nvidia_smi(text)
    taken = claim(NAMES, tmp_path / "locks")
    assert taken.index == 0
    taken.release()


def test_a_gpu_that_another_process_has_for_itself_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, locks: Path
) -> None:
    cuda = Cuda(monkeypatch, ["0a", "1b", "2c"])
    cuda.refused = [0, 1]
    assert choose_device("cuda") == torch.device("cuda", 2)
    assert cuda.current[-1] == 2
    assert claim(["0a"], locks).others == 0, "what was refused is given back"
    release_own()
    for uuids in (["0a", "1b"], ["0a"]):
        Cuda(monkeypatch, list(uuids)).refused = [0, 1]
        with pytest.raises(UserError, match="every GPU is refused"):
            choose_device("cuda")


PARTS = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5b)
  MIG 3g.20gb     Device  0: (UUID: MIG-c7384736)
  MIG 3g.20gb     Device  1: (UUID: MIG-a28ad590)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-77aa)"""


def test_jobs_on_divided_gpus_have_a_part_each(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, nvidia_smi: Callable[[str], None]
) -> None:
    nvidia_smi(PARTS)
    monkeypatch.setenv(device.FOLDER_VARIABLE, str(tmp_path / "locks"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    job = """
import os, sys
from nstcore.resources.device import choose_part
choose_part()
print(os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
sys.stdin.read()
"""
    words = [sys.executable, "-c", job]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    jobs = [subprocess.Popen(words, **pipes) for _ in range(3)]  # type: ignore[call-overload]
    seen = {one.stdout.readline().strip() for one in jobs}
    given = subprocess.run(
        words,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "1"},
        input="",
        capture_output=True,
        text=True,
        check=True,
    )
    for one in jobs:
        one.communicate("")
    assert seen == {"MIG-c7384736", "MIG-a28ad590", "GPU-77aa"}
    assert given.stdout == "1\n"


def test_whole_gpus_are_left_to_cuda(
    monkeypatch: pytest.MonkeyPatch, nvidia_smi: Callable[[str], None]
) -> None:
    nvidia_smi("GPU 0: NVIDIA A100 (UUID: GPU-5d5b)\nGPU 1: NVIDIA A100 (UUID: GPU-77aa)")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    device.choose_part()
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
