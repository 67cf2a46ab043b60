"""``nst doctor``: what this machine has of what runs need, and what to do about the rest."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console

import nstcore
from nstcore.cli.run_command import check_slurm, workflow_root
from nstcore.core.encoders import ENCODERS
from nstcore.errors import UserError
from nstcore.plan.values import format_size

OK, ABSENT, LACKS = "ok", "absent", "LACKS"
"""States of a finding: there; not there, but only some runs need it; not there, and all runs need it."""

LEAST_BYTES = 1e9
"""Of free memory and of free disk space: a small run needs about as much."""

TORCH = """
import torch
print(f"torch: {torch.__version__}, {torch.get_num_threads()} threads on the CPU")
for n in range(torch.cuda.device_count()):
    gpu = torch.cuda.get_device_properties(n)
    print(f"cuda {n}: {gpu.name}, {gpu.total_memory / 1e9:.0f} GB")
if torch.backends.mps.is_available():
    print("mps: available")
ones = torch.ones(2, 2, device="cuda" if torch.cuda.is_available() else "cpu")
(ones @ ones).cpu()  # a driver that does not fit the GPU fails only now
"""
AGAIN = "install nstcore again"
REINSTALL = "install both from one index: pip install --force-reinstall torch torchvision"


@dataclass(frozen=True)
class Finding:
    """What was found of one thing, and what to do if it is not there."""

    name: str
    state: str
    text: str
    advice: str = ""


def add_parsers(commands: Any) -> None:
    """Add the command to ``nst``."""
    text = "show what this machine has of what runs need, and what to do about the rest"
    status = "Exit status: 0 if runs can start, 1 if something that they need is missing."
    parser = commands.add_parser("doctor", help=text, description=status)
    text = "the folder of all runs (default: results)"
    parser.add_argument("--results", type=Path, default=Path("results"), help=text)
    parser.add_argument("--store", type=Path, help="the store (default: .store in it)")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.set_defaults(function=examine)


def examine(arguments: argparse.Namespace) -> int:
    """Print every finding."""
    console, found = Console(soft_wrap=True, highlight=False, markup=False), []
    results: Path = arguments.results
    for finding in findings({"results": results, "store": arguments.store or results / ".store"}):
        found.append(finding)
        if not arguments.json:
            advice = f"\n{'':10}{finding.advice}" if finding.advice else ""
            console.print(f"{finding.state:8}{finding.name}: {finding.text}{advice}")
    lacking = [finding.name for finding in found if finding.state == LACKS]
    if arguments.json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in found], indent=1) + "\n")
    else:
        console.print(f"runs cannot start: {', '.join(lacking)}" if lacking else "runs can start")
    return int(bool(lacking))


def findings(folders: dict[str, Path]) -> Iterator[Finding]:
    """Look for everything. What breaks one check becomes its finding and hides no other.

    Args:
        folders: option -> a folder in which runs write.
    """
    checks: list[Callable[[], Iterator[Finding]]] = [
        check_packages,
        check_files,
        partial(check_space, folders),
        check_programs,
        check_torch,  # takes seconds
    ]
    for check in checks:
        try:
            yield from check()
        except Exception as error:
            what = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            yield Finding("a check failed", LACKS, f"{what}{error}")


def check_packages() -> Iterator[Finding]:
    """The versions of Python, of this program and of all packages that it needs."""
    from packaging.requirements import Requirement

    yield Finding("python", OK, f"{sys.version.split()[0]}, {sys.executable}")
    yield Finding("nstcore", OK, f"{nstcore.__version__}, {Path(nstcore.__file__).parent}")
    found, wrong = [], []
    for one in map(Requirement, metadata.requires("nstcore") or []):
        if one.marker is None or one.marker.evaluate():
            version = next((d.version for d in metadata.distributions(name=one.name)), "missing")
            found.append(f"{one.name} {version}")
            if version == "missing" or not one.specifier.contains(version, prereleases=True):
                wrong.append(f"'{one}'")
    advice = f"pip install {' '.join(wrong)}" if wrong else ""
    yield Finding("packages", LACKS if wrong else OK, ", ".join(found), advice)


def check_files() -> Iterator[Finding]:
    """The workflow, what shows a run on one screen, and the encoders' weights."""
    yield Finding("workflow", OK, str(workflow_root() / "Snakefile"))
    if find_spec("snakemake_logger_plugin_nst") is None:
        yield Finding("live view", LACKS, "snakemake_logger_plugin_nst is missing", AGAIN)
    for name, encoder in ENCODERS.items():
        path, state, advice = encoder.find(), OK, ""
        if not path.is_file():
            state, advice = LACKS, AGAIN
            if not encoder.packaged:
                state, advice = ABSENT, "a run that needs it downloads it; or give `weights: FILE`"
        yield Finding(f"encoder {name}", state, str(path), advice)


def check_space(folders: dict[str, Path]) -> Iterator[Finding]:
    """Cores, memory, and disk space where runs write."""
    from nstcore.resources.device_memory import free_host_bytes
    from nstcore.resources.preflight import existing

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("cores", OK, f"{usable} of {os.cpu_count()}")
    spaces = {"memory": (free_host_bytes(), "", "end other programs, or ask for more memory")}
    for name, folder in folders.items():
        place = existing(folder)
        free = shutil.disk_usage(place).free if os.access(place, os.W_OK) else 0.0
        spaces[name] = free, f" for us in {place}", f"remove files, or name another: --{name}"
    for name, (free, where, advice) in spaces.items():
        few = free < LEAST_BYTES
        text = f"{format_size(free)} free{where}"
        yield Finding(name, LACKS if few else OK, text, advice if few else "")


def check_programs() -> Iterator[Finding]:
    """What only some things need."""
    for name, programs, use in (
        ("chromium", ("chromium", "chromium-browser", "google-chrome"), "browser tests need"),
        ("ffmpeg", ("ffmpeg",), "films as MP4 need"),
    ):
        path = next(filter(None, map(shutil.which, programs)), None)
        advice = "" if path else f"only {use} it; install the system's package"
        yield Finding(name, OK if path else ABSENT, path or "not found", advice)
    try:
        check_slurm()
        yield Finding("slurm", OK, str(shutil.which("sbatch")))
    except UserError as error:
        yield Finding("slurm", ABSENT, "no jobs can be sent to a cluster", str(error))


def check_torch() -> Iterator[Finding]:
    """Whether torch computes, on which devices, and whether torchvision fits it."""
    lines, problem = run_python(TORCH)
    for line in lines:
        name, _, text = line.partition(": ")
        yield Finding(name, OK, text)
    if problem:
        yield Finding("torch", LACKS, problem, REINSTALL)
    elif shutil.which("nvidia-smi") and not any(line.startswith("cuda") for line in lines):
        advice = "install torch built for CUDA: https://pytorch.org/get-started/locally"
        yield Finding("cuda", ABSENT, "torch finds no GPU, but nvidia-smi is there", advice)
    if problem := run_python("import torchvision.models")[1]:
        advice = f"only the download of VGG-19 needs it; {REINSTALL}"
        yield Finding("torchvision", ABSENT, problem, advice)


def run_python(program: str) -> tuple[list[str], str]:
    """Run a program that may crash; its lines, and in one line why it failed."""
    done = subprocess.run([sys.executable, "-uc", program], capture_output=True, text=True)
    problem = ""
    if done.returncode < 0:
        problem = f"Python was ended by {signal.Signals(-done.returncode).name}"
    elif done.returncode:
        problem = next(reversed(done.stderr.strip().splitlines()), "Python ended without a word")
    return done.stdout.splitlines(), problem
