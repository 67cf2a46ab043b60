"""Real Snakemake runs in a folder of their own, with real but random weights and tiny pictures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from nstcore.store.cells import Store

ROOT = Path(__file__).resolve().parents[2]
NST = [sys.executable, "-c", "import sys; from nstcore.cli import main; sys.exit(main())"]

CORES = ["--cores", "2", "--set-threads", "stylize=1", "style_targets=1"]


def write_picture(path: Path, seed: int, size: tuple[int, int] = (72, 64)) -> Path:
    """A smooth random picture, different for every seed."""
    random = np.random.default_rng(seed)
    width, height = size
    coarse = random.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


@dataclass
class Bench:
    """A working folder in which a configuration is run."""

    folder: Path
    weights: Path
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def run_dir(self) -> Path:
        return self.folder / "results" / str(self.config["run"])

    def write(self, **changes: Any) -> Path:
        self.config.update(changes)
        self.file.write_text(yaml.safe_dump(self.config, sort_keys=False))
        return self.file

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        own = {
            # A node's own Python is the one with Snakemake.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(ROOT),
            "XDG_CACHE_HOME": str(self.folder.parent / "cache"),
            "COLUMNS": "200",
        }
        return {**os.environ, **own, **(extra or {})}

    def without_torch(self) -> dict[str, str]:
        """An environment in which ``import torch`` fails."""
        fake = self.folder / "without_torch"
        (fake / "torch").mkdir(parents=True, exist_ok=True)
        (fake / "torch" / "__init__.py").write_text("raise SystemExit('torch was imported')\n")
        return {"PYTHONPATH": os.pathsep.join([str(fake), str(ROOT)])}

    def start(self, *words: str, extra: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            words,
            cwd=self.folder,
            env=self.environment(extra),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def call(
        self, *words: str, extra: Mapping[str, str] | None = None, timeout: float = 300
    ) -> tuple[int, str]:
        """Run a command; returns its exit status and all it said."""
        with self.start(*words, extra=extra) as process:
            try:
                said, _ = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return process.returncode, said

    def nst(self, *words: str, extra: Mapping[str, str] | None = None) -> tuple[int, str]:
        return self.call(*NST, *words, extra=extra)

    def run(self, *options: str, extra: Mapping[str, str] | None = None) -> str:
        """``nst run``, which has to succeed; returns what it said."""
        status, said = self.try_run(*options, extra=extra)
        assert status == 0, said + self.logs()
        return said

    def try_run(self, *options: str, extra: Mapping[str, str] | None = None) -> tuple[int, str]:
        """``nst run`` with one thread a job, so that jobs do not fight for a small machine."""
        return self.nst("run", self.file.name, "--verbose", *CORES, *options, extra=extra)

    def logs(self) -> str:
        """All logs of jobs, for a failed assertion."""
        files = sorted((self.run_dir / "logs").rglob("*.log"))
        return "\n".join(f"== {file}\n{file.read_text()}" for file in files)

    def stylize_logs(self) -> dict[str, str]:
        folder = self.run_dir / "logs" / "stylize"
        return {
            str(file.relative_to(folder)): file.read_text()
            for file in sorted(folder.rglob("*.log"))
        }

    def records(self) -> dict[str, dict[str, Any]]:
        cells = self.run_dir / "cells"
        return {
            str(file.relative_to(cells).with_suffix("")): json.loads(file.read_text())
            for file in sorted(cells.rglob("*.json"))
            # A kill may leave the half of one that was being written, under a name of its own.
            if not file.name.startswith(".")
        }

    def stored(self) -> dict[str, int]:
        """Key -> time of writing, of every finished cell in the store."""
        store = Store(self.folder / "results" / ".store")
        return {file.stem: file.stat().st_mtime_ns for file in store.objects("cells")}
