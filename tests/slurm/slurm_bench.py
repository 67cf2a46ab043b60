"""A working folder whose runs go to a Slurm cluster."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from slurm_cluster import Cluster
from workbench import ROOT, Bench

from nstcore.cli.run_command import command

LAUNCHER = Path(__file__).with_name("quick_snakemake.py")
THREADS = ("--max-threads", "1")
SITE = (
    "--slurm-no-account",
    *("--slurm-init-seconds-before-status-checks", "1"),
    *("--latency-wait", "10"),
    *THREADS,
)
"""What is different here from a site that profiles/slurm is written for."""


@dataclass(frozen=True)
class Attempt:
    """What a job's log says of one attempt.

    Attributes:
        node: where it ran.
        slurm_job: its id.
        gpu: the number of its GPU there, or None.
        first, last: iterations done when it began and when it ended.
        span: the times of its first and last line, as text that sorts.
        text: its part of the log.
    """

    node: str
    slurm_job: str
    gpu: str | None
    first: int
    last: int
    span: tuple[str, str]
    text: str


def attempts(log: str) -> list[Attempt]:
    """The attempts that the log of a batch of one level tells of, in order."""
    found = []
    for part in re.split(r"(?m)^(?=.* nstcore\.jobs\.job: on node )", log):
        place = re.search(r"on node (\S+), Slurm job (\d+)(?:, GPU (\d+))?", part)
        if place is None:
            continue
        start = re.search(r"continuing at level \d+, iteration (\d+)", part)
        ends = re.findall(r"iteration (\d+): state saved|: (\d+) iterations in", part)
        times = re.findall(r"(?m)^(\d{4}-\S+ \S+) ", part)
        first = int(start[1]) if start else 0
        last = max((int(saved or done) for saved, done in ends), default=first)
        found.append(Attempt(*place.groups(), first, last, (times[0], times[-1]), part))
    return found


class SlurmBench(Bench):
    """A working folder whose runs go to a cluster, as profiles/slurm says."""

    cluster: Cluster

    def write_long(self, iterations: int) -> None:
        """One picture for each content, of so many iterations."""
        settings = {**self.config["settings"], "iterations": iterations}
        self.write(settings=settings, sweep={"axes": {"style_weight": [10]}})

    def slurm_words(self, *options: str) -> list[str]:
        """``nst run --slurm`` as a command that looks after its jobs more often."""
        words = command(Path(self.file.name), [*SITE, *options], ROOT, slurm=True, verbose=True)
        assert words[1:3] == ["-m", "snakemake"]
        return [sys.executable, str(LAUNCHER), *words[3:]]

    def start_slurm(self, *options: str) -> subprocess.Popen[str]:
        """Start a run whose jobs go to the cluster."""
        return self.start(*self.slurm_words(*options), extra=self.cluster.environment())

    def end(self, process: subprocess.Popen[str], timeout: float = 400) -> str:
        """Wait for a run, which has to succeed; returns what it said."""
        try:
            said, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        assert process.returncode == 0, said + self.logs() + self.cluster.logs()
        return said

    def prepare(self) -> None:
        """Make on this machine what the batches need."""
        self.run(*THREADS, "--until", "prepare_contents", "style_targets", "grid")

    def attempts(self, content: str) -> list[Attempt]:
        """At the batch of a content."""
        return attempts(self.stylize_logs().get(f"{content}.log", ""))

    def queued(self) -> list[str]:
        """Ids of this folder's jobs that wait, run, or are just ending."""
        lines = self.cluster.call("squeue", "-h", "-o", "%i %Z").splitlines()
        return [line.split()[0] for line in lines if line.split()[1] == str(self.folder)]

    def pictures(self) -> dict[str, str]:
        """The digest of every picture's pixels; its file also holds how long it took."""
        found = {}
        for path in sorted((self.run_dir / "cells").rglob("*.png")):
            with Image.open(path) as image:
                found[str(path.relative_to(self.run_dir))] = hashlib.sha256(
                    image.tobytes()
                ).hexdigest()
        return found
