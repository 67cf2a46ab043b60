"""``nst run``: the Snakemake workflow, from any folder."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import nstcore
from nstcore.errors import UserError
from nstcore.jobs.run_process import remove_dead_lock
from nstcore.plan.paths import LIVE_PAGE
from nstcore.plan.snapshot import read_plan

NO_RUN = ("-n", "--dry-run", "--dryrun", "--unlock", "--summary", "--report", "--lint")
"""Options with which Snakemake makes nothing."""


def add_parsers(commands: Any) -> None:
    """Add the command to ``nst``."""
    parser = commands.add_parser(
        "run",
        help="run a configuration's whole grid",
        description="Start the workflow with a configuration. All further options go to Snakemake: "
        "-n shows what would be done, --cores 4 uses four cores.",
    )
    parser.add_argument("config", type=Path, help="the configuration, a YAML file")
    parser.add_argument(
        "--slurm",
        action="store_true",
        help="send the jobs to a Slurm cluster: --workflow-profile slurm; see docs/cluster.md",
    )
    parser.add_argument(
        "--verbose",
        action="store_true",
        help="show Snakemake's own text in place of the live view; its log has it in any case",
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="keep a page, live/index.html in the run's folder, that shows cells as they are made",
    )
    parser.set_defaults(function=run_workflow, takes_rest=True)


def workflow_root() -> Path:
    """The folder with the Snakefile: a checkout's top level, or inside the installed package."""
    package = Path(nstcore.__file__).resolve().parent
    for root in (package / "_workflow", package.parent):
        if (root / "Snakefile").is_file() and (root / "workflow").is_dir():
            return root
    raise UserError(f"{package}: no Snakefile beside it; install nstcore again")


def share_checkout(root: Path) -> None:
    """Let jobs that run in another Python import ``nstcore`` from a checkout.

    Does nothing for an installed package: another Python could not use its dependencies.
    """
    if (root / "nstcore").is_dir():
        known = os.environ.get("PYTHONPATH")
        if str(root) not in (known or "").split(os.pathsep):
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), known]))


def command(
    config: Path,
    options: Sequence[str],
    root: Path,
    *,
    slurm: bool = False,
    verbose: bool = False,
) -> list[str]:
    """The Snakemake command that runs a configuration in the current folder.

    Args:
        config: the configuration.
        options: the user's own; they come last, so that they win.
        root: the folder with the Snakefile.
        slurm: whether jobs go to Slurm, with ``profiles/slurm`` of the current folder or of ``root``.
        verbose: whether Snakemake's own text is shown.
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
    if not verbose and not any(option.split("=")[0] == "--logger" for option in options):
        words += ["--logger", "nst"]
    return [*words, *options]


def check_slurm() -> None:
    """Raise a UserError unless jobs can be sent to Slurm from this machine."""
    if find_spec("snakemake_executor_plugin_slurm") is None:
        raise UserError(
            "--slurm: Snakemake's executor for Slurm is not installed; "
            "pip install 'snakemake-executor-plugin-slurm>=2.8'"
        )
    if shutil.which("sbatch") is None:
        raise UserError("--slurm: sbatch was not found; start the run where jobs are submitted")


def start_watching(run: Path) -> None:
    """Keep the page of a run, in a process that ends with this one, whatever it becomes."""
    log = run / "logs" / "live.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    words = ["report", str(run), "--watch", "--parent", str(os.getpid())]
    with log.open("w") as file:
        subprocess.Popen(
            [sys.executable, "-c", "import sys, nstcore.cli; sys.exit(nstcore.cli.main())", *words],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,  # Ctrl-C is for the run
        )
    sys.stderr.write(f"nst: open {run / LIVE_PAGE} to see cells as they are made\n")


def run_workflow(arguments: argparse.Namespace) -> NoReturn:
    """Check a configuration, then become Snakemake, so that signals reach only Snakemake."""
    # Snakemake would wrap the same mistakes in its own words and a traceback.
    plan = read_plan(arguments.config, starting=True)
    given = {option.partition("=")[0] for option in arguments.rest}
    makes = given.isdisjoint(NO_RUN)
    if makes and "--nolock" not in given and (said := remove_dead_lock(Path(plan.config.run_dir))):
        sys.stderr.write(f"nst: {said}\n")
    if arguments.slurm:
        check_slurm()
    root = workflow_root()
    words = command(
        arguments.config,
        arguments.rest,
        root,
        slurm=arguments.slurm,
        verbose=arguments.verbose,
    )
    if arguments.watch and makes:
        start_watching(Path(plan.config.run_dir))
    sys.stdout.flush()
    os.execv(words[0], words)
