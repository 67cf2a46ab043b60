"""What the store gives back is what was put in, or nothing."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nstcore.store.cells import Store, StoredCell, link
from nstcore.store.files import file_sha256

KEY = hashlib.sha256(b"a cell").hexdigest()
RECORD: dict[str, Any] = {"key": KEY, "image": {"width": 4, "height": 3, "bits": 8}, "trace": {}}


def writer(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data) and None


def put(store: Store, data: bytes = b"picture", key: str = KEY) -> StoredCell:
    return store.put(key, ".png", writer(data), {**RECORD, "key": key})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_was_put_is_found(store: Store) -> None:
    assert store.find(KEY) is None
    assert not store.has(KEY)
    kept = put(store)
    found = store.find(KEY)
    assert found is not None
    assert found == kept
    assert found.image.read_bytes() == b"picture"
    assert found.record["image"]["sha256"] == hashlib.sha256(b"picture").hexdigest()
    assert found.record["image"]["width"] == 4
    assert store.has(KEY)
    assert list(store.keys()) == [KEY]


def test_a_picture_that_cannot_be_saved_leaves_nothing(store: Store) -> None:
    def fails(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        store.put(KEY, ".png", fails, RECORD)
    assert store.find(KEY) is None
    assert files(store.root) == []


@pytest.mark.parametrize("damage", [b"pictur", b"picturE", b"", b"picture and more", None])
def test_a_picture_that_changed_is_dropped(store: Store, damage: bytes | None) -> None:
    image = put(store).image
    image.chmod(0o644)
    if damage is None:
        image.unlink()
    else:
        image.write_bytes(damage)
    assert store.find(KEY) is None
    assert not store.has(KEY), "the cell would never be computed again"
    again = put(store)
    assert store.find(KEY) == again


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", "{}", '{"image": null}', '{"image": {"file": "x.png"}}', "\xff"]
)
def test_a_damaged_record_is_dropped(store: Store, text: str) -> None:
    put(store)
    store.path("cells", KEY, ".json").write_bytes(text.encode("latin-1"))
    assert store.find(KEY) is None
    assert not store.has(KEY)
    put(store)
    assert store.find(KEY) is not None


def test_no_picture_outside_the_store_is_taken_for_a_cell(store: Store, tmp_path: Path) -> None:
    put(store)
    other = tmp_path / "other.png"
    other.write_bytes(b"other")
    path = store.path("cells", KEY, ".json")
    record = json.loads(path.read_text())
    record["image"] = {"file": str(other), "sha256": file_sha256(other)}
    path.write_text(json.dumps(record))
    found = store.find(KEY)
    assert found is None or found.image.parent == path.parent
    assert other.exists()


@given(data=st.binary(max_size=64), other=st.binary(max_size=64))
def test_the_last_of_two_wins_whole(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, other: bytes
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    put(store, data)
    put(store, other)
    found = store.find(KEY)
    assert found is not None
    assert found.image.read_bytes() == other


class TestLink:
    def test_it_is_the_same_picture(self, store: Store, tmp_path: Path) -> None:
        image = put(store).image
        destination = tmp_path / "run" / "cells" / "a.png"
        assert link(image, destination) in ("reflink", "hardlink", "copy")
        assert destination.read_bytes() == image.read_bytes()
        assert os.listdir(destination.parent) == ["a.png"]

    def test_it_can_be_made_again(self, store: Store, tmp_path: Path) -> None:
        image = put(store).image
        for _ in range(3):
            link(image, tmp_path / "run" / "a.png")
        assert os.listdir(tmp_path / "run") == ["a.png"]

    def test_it_takes_the_place_of_another_picture(self, store: Store, tmp_path: Path) -> None:
        image = put(store).image
        destination = tmp_path / "a.png"
        destination.write_bytes(b"a placeholder")
        link(image, destination)
        assert destination.read_bytes() == b"picture"

    def test_a_shared_picture_cannot_be_edited_by_mistake(
        self, store: Store, tmp_path: Path
    ) -> None:
        image = put(store).image
        destination = tmp_path / "a.png"
        how = link(image, destination)
        if how == "hardlink":
            mode = stat.S_IMODE(destination.stat().st_mode)
            assert mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH) == 0

    def test_an_edit_in_place_poisons_no_other_run(self, store: Store, tmp_path: Path) -> None:
        image = put(store).image
        mine = tmp_path / "mine.png"
        link(image, mine)
        mine.chmod(0o644)
        mine.write_bytes(b"painted over")
        found = store.find(KEY)
        assert found is None or found.image.read_bytes() == b"picture"

    def test_replacing_a_linked_picture_leaves_the_store_alone(
        self, store: Store, tmp_path: Path
    ) -> None:
        image = put(store).image
        mine = tmp_path / "mine.png"
        link(image, mine)
        mine.unlink()
        mine.write_bytes(b"my own")
        found = store.find(KEY)
        assert found is not None
        assert found.image.read_bytes() == b"picture"

    def test_without_links_it_is_a_copy(
        self, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_links(*_: object, **__: object) -> None:
            raise OSError(18, "Invalid cross-device link")

        monkeypatch.setattr(os, "link", no_links)
        image = put(store).image
        destination = tmp_path / "a.png"
        assert link(image, destination) in ("reflink", "copy")
        assert destination.read_bytes() == b"picture"
        assert destination.stat().st_ino != image.stat().st_ino

    def test_it_is_not_older_than_its_own_making(self, store: Store, tmp_path: Path) -> None:
        """A workflow compares dates: a picture linked now was made now."""
        image = put(store).image
        os.utime(image, (1, 1))
        prepared = tmp_path / "input.png"
        prepared.write_bytes(b"prepared for this run")
        destination = tmp_path / "a.png"
        link(image, destination)
        assert destination.stat().st_mtime >= prepared.stat().st_mtime


def _put_often(root: str, name: int, barrier: Any) -> None:
    store = Store(root)
    for turn in range(40):
        barrier.wait()
        put(
            store,
            f"made by {name} in turn {turn}".encode(),
            key=hashlib.sha256(b"%d" % turn).hexdigest(),
        )


def test_two_processes_may_put_the_same_cell_at_once(store: Store) -> None:
    """Their pictures differ in their embedded dates; whichever stays fits its record."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    workers = [
        context.Process(target=_put_often, args=(str(store.root), name, barrier))
        for name in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    for turn in range(40):
        key = hashlib.sha256(b"%d" % turn).hexdigest()
        assert store.find(key) is not None, f"cell {turn} was lost"


def test_objects_of_other_kinds(store: Store) -> None:
    assert store.read("metrics", KEY) is None
    store.write("metrics", KEY, {"ssim": 0.5})
    assert store.read("metrics", KEY) == {"ssim": 0.5}
    store.path("metrics", KEY, ".json").write_text("{")
    assert store.read("metrics", KEY) is None
