"""Locks whose owner is gone are removed, and no other ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nstcore.errors import UserError
from nstcore.jobs.run_process import (
    LOCKS,
    OWNER,
    RUN_PROCESS,
    end_with_run,
    is_alive,
    note_owner,
    own_process,
    remove_dead_lock,
)

RUN = Path("results/one")


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The lock of the run, and that of another one whose name begins the same."""
    monkeypatch.chdir(tmp_path)
    LOCKS.mkdir(parents=True)
    RUN.mkdir(parents=True)
    found = [LOCKS / "0.output.lock", LOCKS / "1.output.lock"]
    for lock, run in zip(found, ("results/one", "results/one_more"), strict=True):
        lock.write_text(f"{run}/grid.tsv\n{run}/metrics.csv\n")
        os.utime(lock, (time.time() - 100, time.time() - 100))
    return found


def dead_process() -> dict[str, Any]:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return {**own_process(), "pid": process.pid}


def note(owner: dict[str, Any]) -> None:
    (RUN / OWNER).write_text(json.dumps(owner))


def test_without_a_lock_there_is_nothing_to_do(locks: list[Path]) -> None:
    locks[0].unlink()
    assert remove_dead_lock(RUN) is None
    assert locks[1].is_file()


def test_the_lock_of_a_dead_process_is_removed(locks: list[Path]) -> None:
    owner = dead_process()
    note(owner)
    said = remove_dead_lock(RUN)
    assert said is not None
    assert f"process {owner['pid']}" in said
    assert not locks[0].exists()
    assert locks[1].is_file(), "another run keeps its own"


def test_the_number_of_a_dead_process_may_be_taken(locks: list[Path]) -> None:
    note({**own_process(), "started": own_process()["started"] - 1000})
    assert remove_dead_lock(RUN)
    assert not locks[0].exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "is making this run"),
        ({"host": "elsewhere"}, "nobody can see whether it still works"),
        ({"space": "pid:[1]"}, "nobody can see whether it still works"),
    ],
)
def test_any_other_lock_is_kept(locks: list[Path], change: dict[str, str], words: str) -> None:
    note({**own_process(), **change})
    with pytest.raises(UserError, match=words) as refused:
        remove_dead_lock(RUN)
    assert "\n" not in str(refused.value)
    assert locks[0].is_file()


@pytest.mark.parametrize("text", [None, "", "[]", "{}"])
def test_a_lock_without_a_note_is_kept(locks: list[Path], text: str | None) -> None:
    if text is not None:
        (RUN / OWNER).write_text(text)
    with pytest.raises(UserError, match="give --unlock once"):
        remove_dead_lock(RUN)
    assert locks[0].is_file()


def test_a_note_older_than_the_lock_is_of_another_process(locks: list[Path]) -> None:
    note(dead_process())
    os.utime(RUN / OWNER, (time.time() - 1000, time.time() - 1000))
    os.utime(locks[0])
    with pytest.raises(UserError, match="another process is making this run"):
        remove_dead_lock(RUN)
    # Nobody takes a minute from the lock to the note.
    os.utime(locks[0], (time.time() - 100, time.time() - 100))
    assert remove_dead_lock(RUN)


def test_the_owner_is_noted(locks: list[Path]) -> None:
    note_owner(RUN)
    owner = json.loads((RUN / OWNER).read_text())
    assert owner["pid"] == os.getpid()
    assert is_alive(owner)


def test_a_job_ends_with_its_run_and_a_schedulers_does_not() -> None:
    program = """if True:
        import signal, sys, time
        from nstcore.jobs.run_process import end_with_run
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
        end_with_run()
        time.sleep(float(sys.argv[1]))
    """

    def ends(seconds: str, **more: str) -> int:
        own = {RUN_PROCESS: json.dumps(dead_process()), **more}
        words = [sys.executable, "-c", program, seconds]
        return subprocess.run(words, env={**os.environ, **own}, timeout=60, check=False).returncode

    assert ends("50") == 7
    assert ends("0.5", SLURM_JOB_ID="3") == 0
    assert ends("0.5", **{RUN_PROCESS: json.dumps(own_process())}) == 0
    assert end_with_run({}) is None
