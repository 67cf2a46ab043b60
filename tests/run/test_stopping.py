"""Signals and deadlines."""

from __future__ import annotations

import signal

import pytest

from nstcore.run.stopping import Stop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_sets_a_flag_and_the_second_one_interrupts(number):
    before = signal.getsignal(number)
    stop = Stop()
    with stop.listening():
        assert stop.reason() is None
        signal.raise_signal(number)
        assert signal.Signals(number).name in str(stop.reason())
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before
    assert stop.reason() is not None


def test_the_deadline_comes_from_the_environment():
    assert Stop.of({}).deadline is None
    assert Stop.of({"SLURM_JOB_END_TIME": "1700000000"}).deadline == 1.7e9
    assert Stop.of({"SLURM_JOB_END_TIME": "never"}).deadline is None
    assert Stop.of({"NST_DEADLINE": "5", "SLURM_JOB_END_TIME": "9"}).deadline == 5


def test_it_ends_a_margin_before_the_deadline():
    now = [0.0]
    stop = Stop(100.0, margin=30, clock=lambda: now[0])
    assert stop.reason() is None
    now[0] = 69.9
    assert stop.reason() is None
    now[0] = 70.1
    assert "time limit" in str(stop.reason())
