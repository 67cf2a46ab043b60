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

from nstcore.store.cells import Store
from nstcore.store.claims import ANCIENT, Claims
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
    path.write_text(json.dumps({"host": host, "pid": pid, "job": "17"}))
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_all_or_none(store: Store) -> None:
    with Claims(store, "12") as one, Claims(store) as other:
        assert one.take([B]) is None
        assert one.take([A, B]) is None, "what one holds one may take again"
        holder = other.take([C, B])
        assert holder == f"process {os.getpid()} on {platform.node()}, job 12"
        assert not claim_file(store, C).exists()
        other.release([B])
        assert claim_file(store, B).exists(), "nobody gives back what another holds"
        one.release([B])
        assert other.take([C, B]) is None
        assert one.take([A]) is None
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


def test_a_process_that_is_gone_holds_nothing(store: Store) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left_by(store, A, host=platform.node(), pid=gone.pid)
    left_by(store, B, host="elsewhere", pid=gone.pid)
    with Claims(store) as claims:
        assert claims.take([A]) is None
        assert json.loads(claim_file(store, A).read_text())["pid"] == os.getpid()
        assert claims.take([B]) == f"process {gone.pid} on elsewhere, job 17"


def test_a_claim_that_is_not_touched_is_stale_after_a_while(store: Store) -> None:
    now = [1000.0]
    path = left_by(store, A, host="elsewhere", pid=1)
    with Claims(store, stale=120, clock=lambda: now[0]) as claims:
        for seconds in (0, 100, 19):
            now[0] += seconds
            assert claims.take([A]) is not None
        os.utime(path, (5, time.time() + 500))  # their clock is ahead of ours
        for seconds in (2, 119):
            now[0] += seconds
            assert claims.take([A]) is not None, "it has been touched"
        now[0] += 2
        assert claims.take([A]) is None


def test_an_old_claim_is_stale_at_once_and_garbage_after_a_day(
    store: Store, tmp_path: Path
) -> None:
    left_by(store, A, host="elsewhere", pid=1, age=ANCIENT + 1)
    old = left_by(store, B, host="elsewhere", pid=1, age=LEFTOVER_AGE + 1)
    assert find_garbage(store, [tmp_path]).files == (old,)
    with Claims(store) as claims:
        assert claims.take([A, B]) is None


def test_a_claim_half_written_is_respected_and_not_for_ever(store: Store) -> None:
    now = [0.0]
    left_by(store, A, host="elsewhere", pid=1).write_text("")
    with Claims(store, clock=lambda: now[0]) as claims:
        assert claims.take([A]) == "another process"
        now[0] += 1000
        assert claims.take([A]) is None


def test_what_is_held_stays_fresh(store: Store) -> None:
    with Claims(store, every=0.01) as claims:
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
        assert claims.take([A]) is None
        claims.release([A])
    assert (store.root / "claims").read_text() == "a file"


def test_of_many_at_once_each_cell_has_one_holder(store: Store) -> None:
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
                if claims.take(wanted) is not None:
                    continue
                mine += 1
                for key in wanted:
                    if holders.setdefault(key, number) != number:
                        wrong.append(key)
                time.sleep(0.001)
                for key in wanted:
                    holders.pop(key, None)
                claims.release(wanted)
            taken.append(mine)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert taken == [10] * 4
