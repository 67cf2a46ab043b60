"""A file is the old one or the new one, whatever happens in between."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from nstcore.store.files import atomic_path, write_bytes, write_json, write_text


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")

    def half_way() -> None:
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"half of the n")
            raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        half_way()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["picture.png"]


def test_a_writer_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.png"):
        pass
    assert os.listdir(tmp_path) == []


def test_the_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "a.png"
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"x")
        assert not path.exists()
        assert temporary.parent == path.parent, "another file system could not be renamed from"
        assert temporary.suffix == path.suffix, "libraries choose a format by it"
    assert path.read_bytes() == b"x"
    assert os.listdir(path.parent) == ["a.png"]


def test_a_reader_keeps_what_it_has_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with open(path) as reader:
        write_text(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("stem", ["a" * 250, "é" * 100, "x=1,y=" + "9" * 200])
def test_names_as_long_as_file_systems_allow(tmp_path: Path, stem: str) -> None:
    path = tmp_path / f"{stem}.png"
    write_bytes(path, b"x")
    assert path.read_bytes() == b"x"


def test_a_picture_of_the_store_is_read_only(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_bytes(path, b"x", mode=0o444)
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    write_bytes(path, b"y", mode=0o444)
    assert path.read_bytes() == b"y"


def test_text_has_unix_line_ends_in_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "ä\nb\n")
    assert (tmp_path / "a").read_bytes() == "ä\nb\n".encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_json_that_others_cannot_read_is_refused(tmp_path: Path, value: object) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, value)
    assert json.loads(path.read_text()) == {"a": 1}


@pytest.mark.parametrize(("umask", "wanted"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_what_a_library_writes_for_its_owner_alone_is_as_open_as_all_other_files(
    tmp_path: Path, umask: int, wanted: int
) -> None:
    path = tmp_path / "style.safetensors"
    before = os.umask(umask)
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"x")
            temporary.chmod(0o600)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == wanted
    assert os.listdir(tmp_path) == ["style.safetensors"]
