from __future__ import annotations

import threading

import pytest

from nstcore.jobs.background import BackgroundWriter, Prefetcher


def test_work_runs_beside_the_caller_and_is_followed_up_in_order():
    gate, found = threading.Event(), []
    with BackgroundWriter() as writer:
        writer.submit(lambda: gate.wait(60), found.append, pending=2)
        writer.submit(lambda: threading.current_thread().name, found.append, pending=2)
        assert found == []
        gate.set()
    assert found[0] is True
    assert found[1] != threading.current_thread().name


def test_what_follows_runs_in_the_thread_of_the_caller():
    names = []
    with BackgroundWriter() as writer:
        writer.submit(lambda: None, lambda _: names.append(threading.current_thread().name))
    assert names == [threading.current_thread().name]


def test_no_more_than_so_much_is_under_way():
    found = []
    with BackgroundWriter() as writer:
        for number in range(5):
            writer.submit(lambda number=number: number, found.append, pending=1)
            assert len(found) >= number
        writer.submit(lambda: 5, found.append)
        assert found == [0, 1, 2, 3, 4, 5]


def test_an_error_leaves_nothing_unfinished():
    gate, found = threading.Event(), []

    def leave() -> None:
        with BackgroundWriter() as writer:
            writer.submit(lambda: gate.wait(60), found.append, pending=2)
            gate.set()
            raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        leave()
    assert found == [True]


def test_an_error_of_the_work_reaches_the_caller():
    def fail() -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"), BackgroundWriter() as writer:
        writer.submit(fail, lambda _: None, pending=2)


def test_what_follows_is_read_while_the_caller_works():
    read, names = threading.Event(), {}

    def reading(name: str) -> str:
        names[name] = threading.current_thread().name
        if name == "b":
            read.set()
        return name.upper()

    with Prefetcher(reading) as ahead:
        assert ahead.take("a", "b") == "A"
        assert read.wait(60), "nobody has asked for it yet"
        assert ahead.take("b") == "B"
    assert names["a"] == threading.current_thread().name != names["b"]


def test_without_another_thread_everything_is_read_in_its_turn(monkeypatch):
    def fail(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    with Prefetcher(str.upper) as ahead:
        assert ahead.take("a", "b") == "A"
        assert ahead.take("b", "c") == "B"


def test_what_was_read_for_nothing_is_forgotten():
    names = []
    with Prefetcher(lambda name: names.append(name) or name) as ahead:
        ahead.take("a", "b")
        assert ahead.take("c", "d") == "c"
        assert ahead.take("b") == "b"
    assert names[0] == "a"
    assert names.count("b") == 2


def test_an_error_in_reading_comes_when_it_is_asked_for():
    def reading(name: str) -> str:
        if name == "bad":
            raise OSError("cannot be read")
        return name

    with Prefetcher(reading) as ahead:
        assert ahead.take("good", "bad") == "good"
        with pytest.raises(OSError, match="cannot be read"):
            ahead.take("bad", "next")
        assert ahead.take("next") == "next"
