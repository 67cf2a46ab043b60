"""Starting the Snakemake workflow from anywhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import nstcore
from nstcore.errors import UserError
from nstcore.grid.freeze import read_plan


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


def command(config: Path, options: Sequence[str], root: Path) -> list[str]:
    """The Snakemake command that runs a configuration in the current folder.

    Args:
        config: the configuration.
        options: a person's own; they come last and so win.
        root: the folder with the Snakefile.
    """
    words = [
        *(sys.executable, "-m", "snakemake"),
        *("--snakefile", str(root / "Snakefile")),
        *("--configfile", str(config)),
    ]
    own_profile = [o for o in options if o.split("=")[0] in ("--workflow-profile", "--profile")]
    if not own_profile:
        words += ["--workflow-profile", str(root / "profiles" / "default")]
    return [*words, *options]


def run_workflow(config: Path, options: Sequence[str]) -> NoReturn:
    """Check a configuration, then become Snakemake, so that signals reach it and nobody else."""
    # Snakemake would show the same mistakes, wrapped in its own words and a traceback.
    read_plan(config, starting=True)
    words = command(config, options, workflow_root())
    sys.stdout.flush()
    os.execv(words[0], words)
