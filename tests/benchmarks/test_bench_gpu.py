"""The script for a machine with a GPU: on a CPU with hardly any packages, and its checks on a GPU."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from _common import ROOT
from _gpu_checks import CHECKS
from _gpu_studio import Studio
from _wheels import NEEDED, suits, use_wheels

THERE = ("torch", "torchvision", "numpy", "pandas", "pillow", "scikit-image", "safetensors")
"""What a machine with a GPU has of packages, beside what these require."""

CARRIED = ("filelock", "imagecodecs", "psutil", "pydantic", "pyyaml", "tifffile")


def with_requirements(names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            wanted = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # of another system
            continue
        found.add(name)
        waiting += [re.split(r"[^\w.-]", line)[0] for line in wanted if "extra ==" not in line]
    return found


def python_with(names: Iterable[str], folder: Path) -> Path:
    """A Python that has these packages of this one, with what they require, and no others."""
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in with_requirements(names):
        distribution = importlib.metadata.distribution(name)
        tops = {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}
        for top in tops:
            target = Path(str(distribution.locate_file(top)))
            if target.exists() and not (site / top).exists():
                (site / top).symlink_to(target)
    return folder / "bin" / "python"


def run(python: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [str(python), "benchmarks/gpu.py", "--device", "cpu", "--quick", "--out", str(out)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_every_part_runs_with_hardly_any_packages(tmp_path: Path) -> None:
    done = run(python_with([*THERE, *CARRIED], tmp_path / "poor"), tmp_path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found = json.loads((tmp_path / "gpu_cpu.json").read_text())
    assert list(found["parts"]) == ["checks", "speed", "precision", "share", "memory", "graphs"]
    assert all(part["rows"] and part["ended"] is None for part in found["parts"].values())
    passed = [row["result"] for row in found["parts"]["checks"]["rows"]]
    assert passed == ["passed"] * len(CHECKS) + ["not run: they need a GPU"]
    text = (tmp_path / "gpu_cpu.md").read_text()
    assert text.count("\n## ") == 6


@pytest.mark.slow
def test_a_part_that_breaks_or_takes_too_long_keeps_its_rows(tmp_path: Path) -> None:
    script = """
import gpu, sys, time
from argparse import Namespace
from pathlib import Path

def rows(studio, scale):
    yield {"encoder": scale.encoders[0]}
    if scale.encoders[0] == "first":
        raise RuntimeError("the kernel failed")

def endless(studio, scale):
    yield {"encoder": scale.encoders[0]}
    time.sleep(600)

folder = Path(sys.argv[1])
report = gpu.Report(Namespace(out=folder, device="cpu", quick=True), gpu.QUICK)
scale = gpu.replace(gpu.QUICK, encoders=("first", "second"))
for name, run, budget in (("share", rows, 60), ("memory", endless, 2)):
    gpu.PARTS[name] = part = gpu.Part(name, run, budget)
    report.run(name, part, budget, (folder, "cpu", scale))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "benchmarks")}
    command = [sys.executable, "-c", script, str(tmp_path)]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    parts = json.loads((tmp_path / "gpu_cpu.json").read_text())["parts"]
    assert parts["share"]["rows"] == [{"encoder": "first"}, {"encoder": "second"}]
    assert parts["share"]["ended"] == "RuntimeError: the kernel failed"
    assert parts["memory"]["rows"] == [{"encoder": "first"}]
    assert parts["memory"]["ended"] == "ended after its 2 seconds"
    assert "Not complete: ended after its 2" in (tmp_path / "gpu_cpu.md").read_text()


@pytest.mark.parametrize(
    ("wheel", "version", "expected"),
    [
        ("pydantic_core-2.50.5-cp312-cp312-manylinux2014_x86_64.whl", (3, 12), True),
        ("pydantic_core-2.50.5-cp312-cp312-manylinux2014_x86_64.whl", (3, 13), False),
        ("imagecodecs-2026.10.10-cp312-abi3-manylinux_2_28_x86_64.whl", (3, 13), True),
        ("imagecodecs-2026.10.10-cp312-abi3-manylinux_2_28_x86_64.whl", (3, 11), False),
        ("pydantic-2.14.4-py3-none-any.whl", (3, 12), True),
        ("six-1.17.0-py2.py3-none-any.whl", (3, 12), True),
    ],
)
def test_wheels_for_another_python_are_left(wheel, version, expected) -> None:
    assert suits(wheel, version) is expected


def test_what_is_missing_comes_from_wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", "kept")
    assert use_wheels(tmp_path, NEEDED) == []
    assert use_wheels(tmp_path, ["nst_absent"]) == ["nst_absent"]
    with zipfile.ZipFile(tmp_path / "nst_absent-1-py3-none-any.whl", "w") as archive:
        archive.writestr("nst_absent.py", "value = 3")
    assert use_wheels(tmp_path, ["nst_absent", "nst_other"]) == ["nst_other"]
    code = "import nst_absent; print(nst_absent.value)"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout == "3\n"
    assert os.environ["PYTHONPATH"].endswith(os.pathsep + "kept")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("check", list(CHECKS))
def test_on_a_gpu(check: str, tmp_path: Path) -> None:
    CHECKS[check](Studio(tmp_path, "cuda"), 96)
