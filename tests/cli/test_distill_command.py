"""``nst distill``: from a checkout only, since its code is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import nstcore
from nstcore.cli import main


def test_an_installed_wheel_says_that_it_needs_a_checkout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nstcore, "__file__", str(tmp_path / "nstcore" / "__init__.py"))
    assert main(["distill", "--photos", "photos", "--out", "out.safetensors"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "needs a checkout" in line


def test_a_checkout_finds_it_from_any_folder(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    program = f"import sys; sys.path.insert(0, {str(root)!r}); from nstcore.cli import main; main()"
    finished = subprocess.run(
        [
            sys.executable,
            "-c",
            program,
            "distill",
            "--set=nonsense=1",
            "--teacher=t",
            "--photos=p",
            "--out=o",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "--set nonsense=1: no number 'nonsense'" in finished.stderr
