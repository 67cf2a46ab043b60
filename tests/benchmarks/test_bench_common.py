from __future__ import annotations

import sys
import time

import pytest
from _common import met, show, table, take_turns, timed_process


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.012345, "0.0123"), (123.456, "123"), (1234.5, "1234"), (0.0, "0"), (-2.5, "-2.50")],
)
def test_numbers_have_three_significant_digits_and_no_exponent(value, text):
    assert show(value) == text


def test_tables_show_what_was_not_measured_as_a_dash():
    assert table(["a", "b"], [[1, None]]) == ["| a | b |", "|---|---|", "| 1 | – |"]


def test_goals():
    assert met(0.8, 0.85) == "yes"
    assert met(0.8, 0.85, least=True) == "no"
    assert met(None, 0.85) == "not measured"


def test_functions_take_turns_and_the_first_round_is_not_counted(monkeypatch):
    calls, clock = [], [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    pauses = iter([100.0, 3.0, 5.0])

    def slow_at_first():
        calls.append("a")
        clock[0] += next(pauses)

    seconds = take_turns({"a": slow_at_first, "b": lambda: calls.append("b")}, rounds=2)
    assert calls == ["a", "b"] * 3
    assert seconds == {"a": 4.0, "b": 0.0}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep no peak of a process")
def test_the_peak_of_a_process_is_its_own():
    # What this process holds must not count: a child inherits the parent's ru_maxrss.
    ballast = bytearray(400_000_000)
    quiet = timed_process([sys.executable, "-c", "import time; time.sleep(0.5)"])
    assert len(ballast) == 400_000_000
    assert 0 < quiet.largest_mb < 200


def test_the_memory_of_a_process_includes_what_it_starts():
    inner = "x = bytearray(300_000_000); import time; time.sleep(1)"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    cost = timed_process([sys.executable, "-c", outer])
    assert 300 < cost.largest_mb < 500
    assert cost.together_mb > cost.largest_mb
    assert cost.seconds > 1


def test_a_process_that_fails_is_an_error_with_what_it_said():
    with pytest.raises(RuntimeError, match="the reason"):
        timed_process([sys.executable, "-c", "raise SystemExit('the reason')"])
    with pytest.raises(TimeoutError):
        timed_process([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.3)
