"""Collecting garbage removes what no run refers to, and nothing else."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from nstcore.cli.results_commands import referenced_keys
from nstcore.store.cells import Store, link
from nstcore.store.files import atomic_path
from nstcore.store.gc import GarbageReport, remove_garbage
from nstcore.store.gc import find_garbage as find_unreferenced


def find_garbage(store: Store, results: list[Path]) -> GarbageReport:
    return find_unreferenced(store, referenced_keys(results))


KEYS = [hashlib.sha256(bytes([number])).hexdigest() for number in range(6)]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Six cells: two planned by run a, one more with a record in run b, three forgotten."""
    results = tmp_path / "results"
    store = Store(results / ".store")
    for key in KEYS:
        record: dict[str, Any] = {"key": key, "image": {"width": 1, "height": 1, "bits": 8}}
        data = key.encode()
        stored = store.put(key, ".png", lambda p, d=data: p.write_bytes(d) and None, record)
        checksum = stored.record["image"]["sha256"]
        store.write("metrics", hashlib.sha256(data).hexdigest(), {"image": checksum, "metrics": {}})
    (results / "a").mkdir()
    rows = "".join(f"night\t{key}\n" for key in KEYS[:2])
    (results / "a" / "grid.tsv").write_text("style\tkey\n" + rows)
    cells = results / "b" / "cells" / "night" / "cat"
    cells.mkdir(parents=True)
    (cells / "default.json").write_text(json.dumps({"key": KEYS[2]}))
    (cells / "damaged.json").write_text("{")
    (cells / "foreign.json").write_text("[1]")
    return results


def all_files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_only_runs_are_asked(results: Path) -> None:
    assert referenced_keys([results]) == set(KEYS[:3])


def test_refined_cells_are_referred_to(results: Path) -> None:
    refined = results / "b" / "refined" / "night" / "cat"
    refined.mkdir(parents=True)
    (refined / "default.json").write_text(json.dumps({"key": KEYS[4]}))
    assert referenced_keys([results]) == {*KEYS[:3], KEYS[4]}


def test_looking_removes_nothing(results: Path) -> None:
    before = all_files(results)
    garbage = find_garbage(Store(results / ".store"), [results])
    assert set(garbage.keys) == set(KEYS[3:])
    assert garbage.kept == 3
    assert garbage.bytes == sum(path.stat().st_size for path in garbage.files)
    assert all_files(results) == before


def test_removing_keeps_what_is_referred_to(results: Path) -> None:
    store = Store(results / ".store")
    outside = {p for p in all_files(results) if ".store" not in p.parts}
    remove_garbage(find_garbage(store, [results]))
    assert list(store.keys()) == sorted(KEYS[:3])
    assert all(store.find(key) is not None for key in KEYS[:3])
    assert all(store.find(key) is None for key in KEYS[3:])
    assert len(list((store.root / "metrics").glob("*/*.json"))) == 3
    assert outside <= all_files(results)
    again = find_garbage(store, [results])
    assert (again.keys, again.files, again.bytes) == ((), (), 0)


def test_a_linked_picture_survives_its_cell(results: Path) -> None:
    store = Store(results / ".store")
    found = store.find(KEYS[5])
    assert found is not None
    mine = results / "mine.png"
    link(found.image, mine)
    remove_garbage(find_garbage(store, [results]))
    assert mine.read_bytes() == KEYS[5].encode()


def test_what_killed_processes_left_goes_when_it_is_old(results: Path) -> None:
    store = Store(results / ".store")
    folder = store.path("cells", KEYS[0], "").parent
    names = [f"{KEYS[0]}.0123abcd.png", ".half.tmp.png", f"{KEYS[0][:2]}{'0' * 62}.ff.png"]
    for name in names:
        (folder / name).write_bytes(b"half a pic")
    assert not set(find_garbage(store, [results]).files) & {folder / name for name in names}
    for path in folder.iterdir():
        os.utime(path, (1, 1))
    remove_garbage(find_garbage(store, [results]))
    assert not any((folder / name).exists() for name in names)
    assert store.find(KEYS[0]) is not None


@pytest.mark.parametrize("kind", ["cells", "metrics"])
def test_what_a_run_is_writing_stays(results: Path, kind: str) -> None:
    store = Store(results / ".store")
    finished = list(store.keys())
    target = store.objects(kind)[0]
    with atomic_path(target) as half:
        half.write_text("{")
        (results / "b" / "cells" / half.name).write_text("{")
        assert list(store.keys()) == finished
        garbage = find_garbage(store, [results])
        assert half not in garbage.files
        os.utime(half, (1, 1))
        assert half in find_garbage(store, [results]).files, "of a process that was killed long ago"
        half.write_text("{}")


def test_several_results_folders_share_a_store(results: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "c").mkdir(parents=True)
    (other / "c" / "grid.tsv").write_text(f"style\tkey\nnight\t{KEYS[4]}\n")
    garbage = find_garbage(Store(results / ".store"), [results, other])
    assert set(garbage.keys) == {KEYS[3], KEYS[5]}


def test_states_go_of_pictures_that_are_finished_or_forgotten(results: Path) -> None:
    store = Store(results / ".store")
    waiting = hashlib.sha256(b"planned, not finished").hexdigest()
    with open(results / "a" / "grid.tsv", "a", encoding="utf-8") as grid:
        grid.write(f"night\t{waiting}\n")
    forgotten = hashlib.sha256(b"of no run").hexdigest()
    for key in (KEYS[0], waiting, forgotten):
        state = store.checkpoints(key) / "v1-00-000010-0.safetensors"
        state.parent.mkdir(parents=True)
        state.write_bytes(b"state")
    remove_garbage(find_garbage(store, [results]))
    left = {path.parent.name for path in (store.root / "checkpoints").rglob("*.safetensors")}
    assert left == {waiting}
