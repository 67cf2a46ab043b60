"""Starting the Snakemake workflow from anywhere."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import nstcore
from nstcore.errors import UserError
from nstcore.plan.snapshot import read_plan


def workflow_root() -> Path:
    """The folder with the Snakefile: a checkout's top level, or inside the installed package.

    Raises:
        UserError: if it is in neither place.
    """
    package = Path(nstcore.__file__).resolve().parent
    for root in (package / "_workflow", package.parent):
        if (root / "Snakefile").is_file() and (root / "workflow").is_dir():
            return root
    raise UserError(f"no Snakefile beside {package}; install nstcore again")


def share_checkout(root: Path) -> None:
    """Let a job that runs in a Python of its own import ``nstcore`` from a checkout.

    Does nothing for an installed package: another Python could not use what stands beside it.
    """
    if (root / "nstcore").is_dir():
        known = os.environ.get("PYTHONPATH")
        if str(root) not in (known or "").split(os.pathsep):
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), known]))


def command(config: Path, options: Sequence[str], root: Path, *, slurm: bool = False) -> list[str]:
    """The Snakemake command that runs a configuration in the current folder.

    Args:
        config: the configuration.
        options: a person's own; they come last and so win.
        root: the folder with the Snakefile.
        slurm: whether the jobs go to a Slurm cluster: as the folder ``profiles/slurm`` says, the one here
            if there is one, else the one beside the Snakefile.
    """
    words = [
        *(sys.executable, "-m", "snakemake"),
        *("--snakefile", str(root / "Snakefile")),
        *("--configfile", str(config)),
    ]
    own_profile = [o for o in options if o.split("=")[0] in ("--workflow-profile", "--profile")]
    if slurm:
        here = Path("profiles", "slurm")
        profile = here.resolve() if here.is_dir() else root / here
        words += ["--workflow-profile", str(profile)]
    elif not own_profile:
        words += ["--workflow-profile", str(root / "profiles" / "default")]
    return [*words, *options]


def check_slurm() -> None:
    """Whether jobs can be sent to Slurm from here.

    Raises:
        UserError: if not, with what would help.
    """
    if find_spec("snakemake_executor_plugin_slurm") is None:
        raise UserError(
            "--slurm: Snakemake's executor for Slurm is not installed; "
            "pip install 'snakemake-executor-plugin-slurm>=2.8'"
        )
    if shutil.which("sbatch") is None:
        raise UserError("--slurm: there is no sbatch here; start the run where jobs are submitted")


def run_workflow(config: Path, options: Sequence[str], *, slurm: bool = False) -> NoReturn:
    """Check a configuration, then become Snakemake, so that signals reach it and nobody else."""
    # Snakemake would show the same mistakes, wrapped in its own words and a traceback.
    read_plan(config, starting=True)
    if slurm:
        check_slurm()
    words = command(config, options, workflow_root(), slurm=slurm)
    sys.stdout.flush()
    os.execv(words[0], words)
