"""The process that runs a workflow: whether its lock is left over, and whether its jobs still have it.

Snakemake locks the files of a run and does not say for whom.  The workflow notes its process beside the
run as soon as it has the lock, so that the next one can tell a lock whose owner was killed from one
whose owner works.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from nstcore.errors import UserError
from nstcore.store.claims import pid_namespace
from nstcore.store.files import write_json

log = logging.getLogger(__name__)

OWNER = ".owner.json"
"""In a run's folder: the process that has, or had, its lock."""

LOCKS = Path(".snakemake/locks")

RUN_PROCESS = "NST_RUN_PROCESS"
"""Environment variable in which jobs find the process of their run."""

SECONDS_TO_NOTE = 60.0
"""Longest time between the lock and the note of its owner."""

LOOK_EVERY = 1.0
"""Seconds between two looks of a job at the process of its run."""


JOB_VARIABLES = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")
"""Environment variables in which schedulers put the id of a job."""


def scheduler_job(environment: Mapping[str, str] = os.environ) -> str | None:
    """The scheduler's id of the job of this process; None without one."""
    return next((environment[name] for name in JOB_VARIABLES if environment.get(name)), None)


def own_process() -> dict[str, Any]:
    """What tells this process from any other, also of another machine or container."""
    started = psutil.Process().create_time()
    host = {"host": platform.node(), "space": pid_namespace()}
    return {**host, "pid": os.getpid(), "started": started}


def is_alive(process: Mapping[str, Any]) -> bool | None:
    """Whether a process runs; None if that cannot be seen from here."""
    if (process["host"], process["space"]) != (platform.node(), pid_namespace()):
        return None
    try:
        found = psutil.Process(process["pid"])
        return abs(found.create_time() - process["started"]) < 2 and found.status() != "zombie"
    except psutil.NoSuchProcess:
        return False


def note_owner(run: Path) -> None:
    """Note that this process has the lock of a run."""
    write_json(run / OWNER, own_process())


def end_timers() -> None:
    """Let this process end at once: Snakemake waits for the timer of its limit of jobs a second."""
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.cancel()


def remove_dead_lock(run: Path) -> str | None:
    """Remove the lock of a run in the current folder if the process that had it is gone.

    Returns:
        What was done, in one line; None if there was nothing to do.

    Raises:
        UserError: the run is under way, or nobody can say from here.
    """
    locks = [path for path in LOCKS.glob("*.lock") if _locks(path, run)]
    if not locks:
        return None
    try:
        owner = json.loads((run / OWNER).read_text(encoding="utf-8"))
        noted = (run / OWNER).stat().st_mtime
        who, alive = f"process {owner['pid']} on {owner['host']}", is_alive(owner)
    except (OSError, ValueError, KeyError, TypeError):
        who, noted, alive = "a process that left no note", 0.0, None
    newest = max(path.stat().st_mtime for path in locks)
    if noted + 1 < newest and time.time() - newest < SECONDS_TO_NOTE:
        alive = True  # of another process, which has only just got it
        who = "another process"
    if alive:
        raise UserError(f"{run}: {who} is making this run; wait for it, or stop it first")
    if alive is None:
        raise UserError(
            f"{run}: {who} has locked this run, and from here nobody can see whether it still works; "
            "if it does not, give --unlock once"
        )
    for path in locks:
        path.unlink(missing_ok=True)
    return f"{run}: {who} ended without unlocking this run; its lock is removed"


def _locks(lock: Path, run: Path) -> bool:
    """Whether a file of Snakemake's locks names files of a run."""
    try:
        return f"\n{run}/" in "\n" + lock.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def share_run_process() -> None:
    """Tell the jobs that this process starts whose they are."""
    os.environ[RUN_PROCESS] = json.dumps(own_process())


def end_with_run(environment: Mapping[str, str] = os.environ) -> None:
    """End this job, as by SIGTERM, when the process of its run is gone.

    A job of a scheduler outlives that process on purpose: its images go into the store.
    """
    text = environment.get(RUN_PROCESS)
    if text is None or scheduler_job(environment) is not None:
        return
    process = json.loads(text)
    if is_alive(process) is None:
        return

    def watch() -> None:
        while is_alive(process):
            time.sleep(LOOK_EVERY)
        log.warning("the process of the run, %s, is gone; this job ends", process["pid"])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="run-process", daemon=True).start()
