"""What the benchmarks share: the machine's name, tables, and what whole processes cost."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from nstcore.core.encoders.compact import load_compact
from nstcore.core.encoders.vgg import VGG, read_state
from nstcore.resources.device_memory import keep_freed_memory
from nstcore.store.files import write_json, write_text

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"

NST = (sys.executable, "-c", "import sys; from nstcore.cli import main; sys.exit(main())")
"""``nst`` of this very checkout, with this very Python."""

SAMPLE_EVERY = 0.1
"""Seconds between two looks at the memory of a process."""


def machine_name(device: str) -> str:
    """What the figures were measured on."""
    if device != "cpu":
        return f"{torch.cuda.get_device_name()}"
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text("utf-8") if cpuinfo.is_file() else ""
    lines = [line.partition(":") for line in text.splitlines()]
    facts = {name.strip(): value.strip() for name, _, value in lines}
    name = facts.get("model name", platform.processor())
    if "cpu family" in facts:
        # Virtual machines often keep the generation from the name.
        name += f" (family {facts['cpu family']}, model {facts['model']})"
    threads = torch.get_num_threads()
    return f"{name}, {threads} thread" + "s" * (threads != 1)


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that every benchmark has."""
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=cores(), help="CPU threads (default: all)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")


def use_threads(threads: int) -> None:
    """Keep this process, and every process it starts, to so many cores and threads."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    torch.set_num_threads(threads)
    # As the engine does it.
    keep_freed_memory()


def synchronize(device: str) -> None:
    """Wait until the device has done what it was told."""
    if device != "cpu":
        torch.cuda.synchronize()


def take_turns(
    functions: Mapping[str, Callable[[], Any]], rounds: int, device: str = "cpu", repeat: int = 1
) -> dict[str, float]:
    """Median seconds of a call of each function.

    They take turns, so that a machine that is slower for a while is slower for all of them.

    Args:
        functions: what is measured, by name.
        rounds: measured rounds, after one that is not.
        device: where they compute.
        repeat: calls in a turn, for functions that take less than a millisecond.
    """
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(rounds + 1):
        for name, function in functions.items():
            synchronize(device)
            began = time.perf_counter()
            for _ in range(repeat):
                function()
            synchronize(device)
            if turn:
                taken[name].append((time.perf_counter() - began) / repeat)
    return {name: statistics.median(values) for name, values in taken.items()}


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """The lines of a Markdown table; None is shown as a dash."""
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in rows:
        lines.append("| " + " | ".join("–" if cell is None else str(cell) for cell in row) + " |")
    return lines


def show(value: float | None, digits: int = 3) -> str | None:
    """A number with so many significant digits, without exponents."""
    if value is None:
        return None
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - int(np.floor(np.log10(abs(value)))))
    return f"{value:.{decimals}f}"


def met(value: float | None, goal: float, *, least: bool = False) -> str:
    """Whether a figure is at most (or ``least``: at least) its goal."""
    if value is None:
        return "not measured"
    return "yes" if (value >= goal if least else value <= goal) else "no"


def save(name: str, result: Mapping[str, Any], lines: Sequence[str], folder: Path) -> None:
    """Write ``<name>.json`` and ``<name>.md``, and show the latter."""
    text = "\n".join(lines) + "\n"
    write_json(folder / f"{name}.json", result)
    write_text(folder / f"{name}.md", text)
    print(text)


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    """A made-up picture (H, W, 3) in [0, 1]: waves with some noise on them."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [
        0.5 + 0.4 * np.sin(x * random.uniform(3, 30) + y * random.uniform(3, 30)) for _ in range(3)
    ]
    noise = random.normal(0, 0.05, (height, width, 3))
    return (np.stack(waves, axis=-1) + noise).clip(0, 1).astype(np.float32)


def make_encoder(name: str, weights: Path | None, depth: str, device: str) -> VGG:
    """An encoder to be timed.

    Args:
        name: ``vgg19`` or ``compact``.
        weights: VGG-19's; without, they are random (He et al. 2015, eq. 10), which takes as long.
        depth: the deepest layer.
        device: where it shall compute.
    """
    encoder: VGG
    if name == "compact":
        encoder = load_compact(depth=depth)
    else:
        encoder = VGG(depth=depth)
        if weights is not None:
            encoder.load_torchvision(read_state(weights))
        else:
            random = torch.Generator().manual_seed(0)
            for parameter in encoder.parameters():
                if parameter.ndim == 1:
                    parameter.zero_()
                else:
                    scale = (2 / (9 * parameter.shape[1])) ** 0.5
                    parameter.copy_(scale * torch.randn(parameter.shape, generator=random))
    encoder.to(device)
    encoder.to(memory_format=torch.channels_last)
    return encoder


@dataclass
class Cost:
    """What a process cost with all that it started.

    Attributes:
        seconds: from its start to its end.
        largest_mb: peak memory of the largest single process.
        together_mb: peak of the sum over all processes alive at the same time; memory that they
            share is counted for each.
        output: what it said.
    """

    seconds: float = 0.0
    largest_mb: float = 0.0
    together_mb: float = 0.0
    output: str = ""


@dataclass
class _Watch:
    """Looks at the memory of a process and its descendants until it is told to stop."""

    root: psutil.Process
    cost: Cost
    stop: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> None:
        while not self.stop.wait(SAMPLE_EVERY):
            together = 0.0
            for process in self._alive():
                try:
                    now, peak = process.memory_info().rss / 1e6, _high_water_mb(process.pid)
                except (psutil.Error, OSError):
                    continue
                together += now
                self.cost.largest_mb = max(self.cost.largest_mb, now, peak)
            self.cost.together_mb = max(self.cost.together_mb, together)

    def _alive(self) -> list[psutil.Process]:
        try:
            return [self.root, *self.root.children(recursive=True)]
        except psutil.Error:
            return []


def _high_water_mb(pid: int | str) -> float:
    """Peak memory of a process, where the system keeps it (0 elsewhere).

    Not ``ru_maxrss``: on Linux a child inherits there what its parent held when it was started.
    """
    status = Path(f"/proc/{pid}/status")
    if not status.is_file():
        return 0.0
    for line in status.read_text("ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def own_peak_mb(device: str) -> float:
    """Peak memory so far: of the GPU, or of this process."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 1e6
    return _high_water_mb("self") or psutil.Process().memory_info().rss / 1e6


def timed_process(
    command: Sequence[str],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> Cost:
    """Run a command to its end and say what it cost.

    Args:
        command: its words.
        folder: where it runs.
        environment: variables on top of this process's own; this checkout comes first in
            ``PYTHONPATH`` unless given.
        timeout: seconds after which it is ended.

    Raises:
        RuntimeError: if it fails, with the end of what it said.
        TimeoutError: if it takes too long.
    """
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
    cost = Cost()
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=surroundings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    watch = _Watch(psutil.Process(process.pid), cost)
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        cost.output, _ = process.communicate(timeout=timeout)
        cost.seconds = time.perf_counter() - began
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise TimeoutError(f"{command[0]} took more than {timeout:.0f} s") from None
    finally:
        watch.stop.set()
        watcher.join()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{cost.output[-2000:]}")
    return cost
