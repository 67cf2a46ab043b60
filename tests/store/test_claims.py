"""Claims: who makes a cell now, told without locks and without a common clock."""

from __future__ import annotations

import json
import os
import platform
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nstcore.store import claims as claims_module
from nstcore.store.cells import Store
from nstcore.store.claims import EXPIRY_SECONDS, Claims, pid_namespace
from nstcore.store.gc import LEFTOVER_AGE, find_garbage

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def claim_file(store: Store, key: str) -> Path:
    return store.path("claims", key, ".json")


def left_by(store: Store, key: str, *, host: str, pid: int, age: float = 0) -> Path:
    """The claim of somebody who does not touch it any more."""
    path = claim_file(store, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    claim = {"host": host, "space": pid_namespace(), "pid": pid, "job": "17"}
    path.write_text(json.dumps(claim))
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_each_gets_what_is_free(store: Store) -> None:
    with Claims(store, "12") as one, Claims(store) as other:
        assert one.take([B]) == {}
        assert one.take([A, B]) == {}, "what one holds one may take again"
        holder = f"process {os.getpid()} on {platform.node()}, job 12"
        assert other.take([C, B]) == {B: holder}
        assert one.take([C]) != {}
        other.release([B])
        assert claim_file(store, B).exists(), "nobody gives back what another holds"
        one.release([B])
        assert other.take([C, B]) == {}
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


def test_all_or_none_where_they_belong_together(store: Store) -> None:
    with Claims(store) as one, Claims(store) as other:
        one.take([B])
        assert list(other.take([A, B, C], whole=True)) == [B]
        assert not claim_file(store, A).exists()
        assert one.take([A, B, C], whole=True) == {}
        assert list(other.take([C, A], whole=True)) == [A]


def test_a_process_that_is_gone_holds_nothing(store: Store) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left_by(store, A, host=platform.node(), pid=gone.pid)
    left_by(store, B, host="elsewhere", pid=gone.pid)
    with Claims(store) as claims:
        assert claims.take([A, B]) == {B: f"process {gone.pid} on elsewhere, job 17"}
        assert json.loads(claim_file(store, A).read_text())["pid"] == os.getpid()


def test_numbers_of_processes_mean_nothing_in_another_container(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left_by(store, A, host=platform.node(), pid=gone.pid)
    monkeypatch.setattr(claims_module, "pid_namespace", lambda: "pid:[4026539999]")
    with Claims(store) as claims:
        assert list(claims.take([A])) == [A]


def test_claims_that_are_not_touched_are_stale_after_a_while_all_at_once(store: Store) -> None:
    now = [1000.0]
    path = left_by(store, A, host="elsewhere", pid=1)
    left_by(store, B, host="elsewhere", pid=1)
    left_by(store, C, host="elsewhere", pid=1)
    with Claims(store, stale=120, clock=lambda: now[0]) as claims:
        for seconds in (0, 100, 19):
            now[0] += seconds
            assert claims.take([A, B, C], whole=True)
        os.utime(path, (5, time.time() + 500))  # their clock is ahead of ours
        now[0] += 2
        assert list(claims.take([A, B, C])) == [A], "it has been touched"
        now[0] += 119
        assert list(claims.take([A])) == [A]
        now[0] += 2
        assert claims.take([A]) == {}


def test_an_old_claim_is_stale_at_once_and_garbage_after_a_day(
    store: Store, tmp_path: Path
) -> None:
    left_by(store, A, host="elsewhere", pid=1, age=EXPIRY_SECONDS + 1)
    old = left_by(store, B, host="elsewhere", pid=1, age=LEFTOVER_AGE + 1)
    assert find_garbage(store, set()).files == (old,)
    with Claims(store) as claims:
        assert claims.take([A, B]) == {}


@pytest.mark.parametrize("text", ["", "[1]", '{"host": HERE, "space": null, "pid": null}'])
def test_a_claim_that_says_nothing_is_respected_and_not_for_ever(store: Store, text: str) -> None:
    now = [0.0]
    text = text.replace("HERE", json.dumps(platform.node()))
    left_by(store, A, host="elsewhere", pid=1).write_text(text)
    with Claims(store, clock=lambda: now[0]) as claims:
        assert claims.take([A]) == {A: "another process"}
        now[0] += 1000
        assert claims.take([A]) == {}


def test_what_is_held_stays_fresh(store: Store) -> None:
    with Claims(store, refresh=0.01) as claims:
        claims.take([A, B])
        os.utime(claim_file(store, A), (0, 0))
        claim_file(store, B).unlink()  # somebody thought we were gone
        end = time.monotonic() + 30
        while claim_file(store, A).stat().st_mtime == 0 and time.monotonic() < end:
            time.sleep(0.01)
        assert claim_file(store, A).stat().st_mtime > 0
        assert not claim_file(store, B).exists()


def test_what_another_took_over_is_not_given_back(store: Store) -> None:
    with Claims(store) as claims:
        claims.take([A])
        path = left_by(store, A, host="elsewhere", pid=1)
    assert path.exists()


def test_without_a_place_for_claims_everything_is_made(store: Store) -> None:
    store.root.mkdir()
    (store.root / "claims").write_text("a file")
    with Claims(store) as claims:
        assert claims.take([A]) == {}
        claims.release([A])
    assert (store.root / "claims").read_text() == "a file"


def test_a_disk_that_is_full_leaves_no_claim_behind(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with Claims(store) as claims:
        with monkeypatch.context() as patch:
            patch.setattr(claims_module.json, "dump", fail)
            assert claims.take([A]) == {}
        assert not claim_file(store, A).exists()


@pytest.mark.parametrize("whole", [False, True])
def test_of_many_at_once_each_cell_has_one_holder(store: Store, whole: bool) -> None:
    keys = [f"{number:064x}" for number in range(6)]
    holders: dict[str, int] = {}
    taken: list[int] = []
    wrong: list[str] = []

    def work(number: int) -> None:
        chance = random.Random(number)
        end = time.monotonic() + 60
        with Claims(store) as claims:
            mine = 0
            while mine < 10 and time.monotonic() < end:
                wanted = chance.sample(keys, 3)
                refused = claims.take(wanted, whole=whole)
                got = [key for key in wanted if key not in refused]
                if whole and refused:
                    got = []
                mine += bool(got)
                for key in got:
                    if holders.setdefault(key, number) != number:
                        wrong.append(key)
                time.sleep(0.001)
                for key in got:
                    holders.pop(key, None)
                claims.release(got)
            taken.append(mine)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert taken == [10] * 4
