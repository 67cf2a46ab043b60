"""Signals and deadlines."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from nstcore.jobs.job import ShutdownSignal, slurm_end


@pytest.fixture(autouse=True)
def _heard_again() -> Iterator[None]:
    """Who was told to end hears nothing more; this process goes on."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_sets_a_flag(number):
    before = signal.getsignal(number)
    stop = ShutdownSignal()
    with stop.listening():
        assert stop.reason() is None
        signal.raise_signal(number)
        assert signal.Signals(number).name in str(stop.reason())
    assert (signal.getsignal(number) is before) == (number == signal.SIGINT)
    assert stop.reason() is not None


def test_who_was_told_to_end_is_not_cut_off_while_it_ends():
    """A second SIGTERM came from Slurm after the state was saved and before the log said why."""
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: ended.append(number))
    stop = ShutdownSignal()
    with stop.listening([signal.SIGTERM]), stop.listening():
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    assert ended == []


def test_who_was_not_told_to_end_can_be_told_afterwards():
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: ended.append(number))
    with ShutdownSignal().listening():
        pass
    signal.raise_signal(signal.SIGTERM)
    assert ended == [signal.SIGTERM]


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_ctrl_c_after_a_signal_interrupts_and_sigterm_changes_nothing(first):
    stop = ShutdownSignal()
    with stop.listening():
        signal.raise_signal(first)
        signal.raise_signal(signal.SIGTERM)
        assert first.name in str(stop.reason())
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_only_some_signals_may_be_listened_to():
    before = signal.getsignal(signal.SIGINT)
    stop = ShutdownSignal()
    with stop.listening([signal.SIGTERM]):
        assert signal.getsignal(signal.SIGINT) is before
        signal.raise_signal(signal.SIGTERM)
    assert "SIGTERM" in str(stop.reason())


def test_the_deadline_comes_from_the_environment_or_from_slurm():
    asked: list[str] = []

    def end(job: str) -> float | None:
        asked.append(job)
        return 7.0 if job == "12" else None

    def deadline(**environment: str) -> float | None:
        return ShutdownSignal.of(environment, ask=end).deadline

    assert deadline() is None
    assert deadline(SLURM_JOB_END_TIME="1700000000", SLURM_JOB_ID="12") == 1.7e9
    assert deadline(NST_DEADLINE="5", SLURM_JOB_END_TIME="9") == 5
    assert asked == [], "nobody is asked what is known"
    assert deadline(SLURM_JOB_END_TIME="never") is None
    assert deadline(SLURM_JOB_ID="12") == 7
    assert deadline(SLURM_JOB_ID="13") is None
    assert asked == ["12", "13"]


def test_slurm_is_asked_for_the_end_in_seconds(tmp_path, monkeypatch):
    squeue = tmp_path / "squeue"
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    squeue.write_text('#!/bin/sh\n[ "$SLURM_TIME_FORMAT" = %s ] && echo 1700000000\n')
    squeue.chmod(0o755)
    assert slurm_end("12") == 1.7e9
    squeue.write_text("#!/bin/sh\necho N/A\n")
    assert slurm_end("12") is None
    squeue.write_text("#!/bin/sh\nexit 1\n")
    assert slurm_end("12") is None


@pytest.mark.parametrize(("left", "margin"), [(3600.0, 90.0), (60.0, 15.0), (-5.0, 0.0)])
def test_a_short_job_gets_somewhere_too(left, margin):
    stop = ShutdownSignal.of({"NST_DEADLINE": str(1000 + left)}, clock=lambda: 1000.0)
    assert stop.margin == margin
    assert (stop.reason() is None) == (left > 0)


def test_it_ends_a_margin_before_the_deadline():
    now = [0.0]
    stop = ShutdownSignal(100.0, margin=30, clock=lambda: now[0])
    assert stop.reason() is None
    now[0] = 69.9
    assert stop.reason() is None
    now[0] = 70.1
    assert "time limit" in str(stop.reason())


def test_a_save_that_takes_long_gets_its_time_before_the_deadline():
    now = [0.0]
    stop = ShutdownSignal(1000.0, margin=90, clock=lambda: now[0])
    stop.leave_time_for(20)
    assert stop.margin == 90
    stop.leave_time_for(150)
    now[0] = 699.0
    assert stop.reason() is None
    now[0] = 701.0
    assert "300 s are left" in str(stop.reason())
    stop.leave_time_for(10)
    assert stop.margin == 300, "the next may take as long again"
