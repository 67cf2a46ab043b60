"""What is missing is told with what to do about it, and nothing that is broken hides the rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import nstcore

PROGRAM = "import sys; from nstcore.cli import main; sys.exit(main())"


def doctor(*words: str, **environment: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Exit status, and name -> finding."""
    root = str(Path(nstcore.__file__).resolve().parents[1])
    path = os.pathsep.join([*environment.pop("first", "").split(), root])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "doctor", "--json", *words],
        env={**os.environ, **environment, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, {one["name"]: one for one in json.loads(done.stdout)}


def fake_package(folder: Path, name: str, text: str) -> str:
    (folder / "lib" / name).mkdir(parents=True)
    (folder / "lib" / name / "__init__.py").write_text(text)
    return str(folder / "lib")


def test_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    status, found = doctor(TORCH_HOME=str(tmp_path / "torch"))
    assert status == 0
    assert not [one for one in found.values() if one["state"] == "LACKS"]
    assert found["torch"]["text"].startswith(metadata.version("torch").split("+")[0])
    assert f"snakemake {metadata.version('snakemake')}" in found["packages"]["text"]
    assert found["encoder compact"]["state"] == "ok"
    assert found["encoder vgg19"]["state"] == "absent"
    assert "downloads" in found["encoder vgg19"]["advice"]
    for name in ("python", "nstcore", "workflow", "cores", "memory", "results", "store"):
        assert found[name]["state"] == "ok", found[name]
    for name in ("chromium", "ffmpeg", "slurm"):
        assert found[name]["state"] == "ok" or found[name]["advice"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("raise OSError('libcudart.so.13: cannot open')", "OSError: libcudart.so.13: cannot open"),
        ("import os\nos.kill(os.getpid(), 11)", "Python was ended by SIGSEGV"),
    ],
)
def test_a_torch_that_breaks_is_told_and_hides_nothing(
    tmp_path: Path, text: str, problem: str
) -> None:
    status, found = doctor(first=fake_package(tmp_path, "torch", text))
    assert status == 1
    assert found["torch"]["state"] == "LACKS"
    assert found["torch"]["text"] == problem
    assert "pip install" in found["torch"]["advice"]
    assert {"packages", "memory", "encoder compact", "slurm", "torchvision"} <= found.keys()


def test_a_torchvision_that_does_not_fit_stops_no_run(tmp_path: Path) -> None:
    text = "raise RuntimeError('operator torchvision::nms does not exist')"
    status, found = doctor(first=fake_package(tmp_path, "torchvision", text))
    assert status == 0
    assert found["torch"]["state"] == "ok"
    assert found["torchvision"]["state"] == "absent"
    assert "operator torchvision::nms" in found["torchvision"]["text"]


def test_a_full_disk_and_a_broken_check_are_told(tmp_path: Path) -> None:
    broken = fake_package(tmp_path, "torch", "raise ImportError('none')")
    fake_package(tmp_path, "packaging", "raise ValueError('broken')")
    # No file system is as full as /proc.
    status, found = doctor("--results", "/proc/results", "--store", str(tmp_path), first=broken)
    assert status == 1
    assert found["results"]["state"] == "LACKS"
    assert "--results" in found["results"]["advice"]
    assert found["store"]["state"] == "ok"
    assert found["a check failed"]["text"] == "ValueError: broken"
