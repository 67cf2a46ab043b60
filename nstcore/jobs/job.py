"""What every job of the workflow does around its work: a log, and readable errors."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from nstcore.errors import UserError
from nstcore.jobs.shutdown import EXIT_PREEMPTED, Preempted
from nstcore.plan.plan import Plan
from nstcore.plan.snapshot import open_snapshot, snapshot_of

if TYPE_CHECKING:
    from nstcore.core.losses.base import Losses

log = logging.getLogger(__name__)

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@contextmanager
def job(snapshot: str, log_file: str) -> Iterator[Plan]:
    """Open a run's plan and keep the job's log.

    Everything goes to the log file, an exception with its traceback; warnings also go to the
    terminal.  A user's mistake ends the process with one line.  All attempts of a job share its log
    until one of them succeeds.

    Args:
        snapshot: the snapshot of the run's configuration.
        log_file: the job's log.
    """
    Path(log_file).parent.mkdir(parents=True, exist_ok=True)
    attempts = _attempts_log(Path(log_file))
    to_file = _log_handler(Path(log_file), attempts)
    to_file.setFormatter(logging.Formatter(FORMAT))
    to_terminal = logging.StreamHandler(sys.stderr)
    to_terminal.setLevel(logging.WARNING)
    to_terminal.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[to_file, to_terminal], force=True)
    try:
        with _recording_interrupts():
            log.info("%s", describe_node())
            yield open_snapshot(snapshot)
        attempts.unlink(missing_ok=True)
    except UserError as error:
        log.error("%s", error)
        sys.exit(1)
    except Preempted as reason:
        log.warning("to be continued: %s; the next attempt continues from the last state", reason)
        sys.exit(EXIT_PREEMPTED)
    except KeyboardInterrupt:
        log.warning("interrupted; what is finished stays in the store")
        sys.exit(130)
    except Exception:
        log.exception("the job failed")
        raise


def run_job(snakemake: Any, work: Callable[..., None], **arguments: Any) -> None:
    """Do what a script of the workflow is for; see :func:`job`.

    Args:
        snakemake: the job, as Snakemake hands it to scripts.  Its configuration only says where the
            run's snapshot is: that is what the job reads.
        work: gets the run's plan and the other arguments.
        arguments: of that function.
    """
    with job(str(snapshot_of(snakemake.config)), snakemake.log[0]) as plan:
        work(plan, **arguments)


def describe_node(environment: Mapping[str, str] = os.environ) -> str:
    """Where this process runs, in words: the node, the Slurm job, the GPUs.

    Args:
        environment: of the process.
    """
    words = [f"on node {environment.get('SLURMD_NODENAME') or socket.gethostname()}"]
    if job_id := environment.get("SLURM_JOB_ID"):
        words.append(f"Slurm job {job_id}")
    if gpus := environment.get("CUDA_VISIBLE_DEVICES"):
        words.append(f"GPU {gpus}")
    return ", ".join(words)


def _attempts_log(log_file: Path) -> Path:
    """The log of all attempts until one succeeds: Snakemake removes the job's own before each."""
    return log_file.with_name(f".{log_file.name}.attempts")


def _log_handler(log_file: Path, attempts: Path) -> logging.FileHandler:
    """A log with two names, which continues that of the attempts before."""
    handler = logging.FileHandler(attempts, mode="a", encoding="utf-8")
    try:
        log_file.unlink(missing_ok=True)
        os.link(attempts, log_file)
    except OSError:  # a file system without hard links
        handler.close()
        attempts.unlink(missing_ok=True)
        handler = logging.FileHandler(log_file, mode="w", encoding="utf-8")
    return handler


_interrupts: list[int] = []
"""Interrupts of this process; one that arrives during an import may get lost there."""


@contextmanager
def _recording_interrupts() -> Iterator[None]:
    def record(number: int, _frame: FrameType | None) -> None:
        _interrupts.append(number)
        raise KeyboardInterrupt

    _interrupts.clear()
    before = signal.signal(signal.SIGINT, record)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def progress_log(interval: float = 10.0) -> Callable[[str, int, int, Losses], None]:
    """A progress callback that writes a line to the log from time to time.

    Args:
        interval: seconds between lines.
    """
    started = last = time.monotonic()
    current = ""

    def report(label: str, done: int, total: int, losses: Losses) -> None:
        nonlocal started, last, current
        if _interrupts:
            raise KeyboardInterrupt
        now = time.monotonic()
        if label != current:
            current, started, last = label, now, now
            return
        if now - last < interval and done < total:
            return
        last = now
        left = (now - started) * (total - done) / max(done, 1)
        log.info(
            "%s: iteration %d of %d, about %.0f s left, content %.4g, style %.4g",
            label,
            done,
            total,
            left,
            float(losses.content.mean()),
            float(losses.style.mean()),
        )

    return report
