"""Around every job: a log, and errors in one line."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from nstcore.config.loader import parse_config
from nstcore.core.losses.base import Losses
from nstcore.errors import ImageError, Preempted
from nstcore.jobs.job import EXIT_PREEMPTED, describe_node, job, progress_log
from nstcore.plan.plan import Plan
from nstcore.plan.snapshot import write_snapshot


@pytest.fixture
def frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.chdir(tmp_path)
    Path("a.png").touch()
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield str(write_snapshot(Plan(parse_config({"contents": "a.png", "styles": "a.png"}))))
    for handler in root.handlers:
        handler.close()
    root.handlers[:], root.level = before


def test_a_job_gets_its_plan_and_keeps_a_log(
    frozen: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with job(frozen, "logs/deep/job.log") as plan:
        assert plan.cell_count == 1
        logging.getLogger("nstcore.x").info("half way")
        logging.getLogger("nstcore.x").warning("beware")
    text = Path("logs/deep/job.log").read_text()
    assert "half way" in text
    assert "beware" in text
    said = capsys.readouterr().err
    assert "half way" not in said
    assert "WARNING: beware" in said


def test_a_mistake_of_the_user_is_one_line(frozen: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught, job(frozen, "job.log"):
        raise ImageError("photos/cat.png: is damaged")
    assert caught.value.code == 1
    assert capsys.readouterr().err == "ERROR: photos/cat.png: is damaged\n"
    assert "Traceback" not in Path("job.log").read_text()


def test_a_fault_of_ours_keeps_its_traceback(frozen: str) -> None:
    with pytest.raises(ZeroDivisionError), job(frozen, "job.log"):
        _ = 1 / 0
    assert "Traceback" in Path("job.log").read_text()
    assert "ZeroDivisionError" in Path("job.log").read_text()


def test_a_run_that_was_not_started(frozen: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), job("nowhere/config.yaml", "job.log"):
        pass
    assert "nowhere/config.yaml" in capsys.readouterr().err


def test_an_interrupt_that_was_swallowed_is_remembered(
    frozen: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Some libraries catch everything while they are imported."""
    report = progress_log()
    numbers = torch.zeros(1)
    losses = Losses(numbers, numbers, numbers, numbers, {})
    before = signal.getsignal(signal.SIGINT)

    def work() -> None:
        report(["a picture"], 1, 10, losses)
        with contextlib.suppress(BaseException):
            signal.raise_signal(signal.SIGINT)
        report(["a picture"], 2, 10, losses)

    with pytest.raises(SystemExit) as caught, job(frozen, "job.log"):
        work()
    assert caught.value.code == 130
    assert "interrupted" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before
    with job(frozen, "job.log"):
        report("another job of this process", 1, 10, losses)


def test_attempts_share_a_log_until_one_of_them_gets_to_its_end(frozen: str) -> None:
    said = logging.getLogger("nstcore.x")

    def end_early() -> None:
        said.info("first")
        raise Preempted("SIGTERM was received")

    with pytest.raises(SystemExit) as caught, job(frozen, "job.log"):
        end_early()
    assert caught.value.code == EXIT_PREEMPTED
    Path("job.log").unlink()  # as Snakemake does
    with job(frozen, "job.log"):
        said.info("second")
    text = Path("job.log").read_text()
    assert "first" in text
    assert "second" in text
    with job(frozen, "job.log"):
        said.info("third")
    text = Path("job.log").read_text()
    assert "third" in text
    assert "second" not in text
    assert [path.name for path in Path().glob("*job.log*")] == ["job.log"]


def test_a_log_tells_where_it_was_written() -> None:
    environment = {"SLURMD_NODENAME": "n7", "SLURM_JOB_ID": "12", "CUDA_VISIBLE_DEVICES": "3"}
    assert describe_node(environment) == "on node n7, Slurm job 12, GPU 3"
    assert describe_node({}) == f"on node {socket.gethostname()}"
