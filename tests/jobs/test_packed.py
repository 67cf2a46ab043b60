"""Archives that take a batch to a node and back."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from nstcore.config.loader import parse_config
from nstcore.errors import UserError
from nstcore.jobs.packed import pack_batch, unpack
from nstcore.plan.plan import Plan
from nstcore.plan.snapshot import write_snapshot


def archive(folder: Path, *names: str) -> str:
    path = folder / "some.tar"
    with tarfile.open(path, "w") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size, member.mode = 3, 0o444
            tar.addfile(member, io.BytesIO(b"new"))
    return str(path)


def test_files_go_into_the_folders_that_are_asked_for(tmp_path: Path) -> None:
    path = archive(tmp_path, "run/cells/one.png", "store/cells/ab/abc.json", "work/start.png")
    unpack(path, {"run": tmp_path / "a", "work": tmp_path / "b"})
    assert (tmp_path / "a/cells/one.png").read_bytes() == b"new"
    assert (tmp_path / "b/start.png").read_bytes() == b"new"
    assert not list(tmp_path.rglob("abc.json"))


def test_what_a_store_has_stays(tmp_path: Path) -> None:
    for folder in ("run", "store"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "abc.json").write_bytes(b"old")
    path = archive(tmp_path, "run/abc.json", "store/abc.json", "store/abc.png")
    unpack(path, {"run": tmp_path / "run", "store": tmp_path / "store"})
    assert (tmp_path / "run/abc.json").read_bytes() == b"new"
    assert (tmp_path / "store/abc.json").read_bytes() == b"old"
    # Runs have links to it.
    assert (tmp_path / "store/abc.png").stat().st_mode & 0o777 == 0o444


def test_nothing_is_written_outside(tmp_path: Path) -> None:
    with pytest.raises(tarfile.OutsideDestinationError):
        unpack(archive(tmp_path, "run/../../out.txt"), {"run": tmp_path / "deep" / "run"})
    assert not (tmp_path / "out.txt").exists()


def test_an_image_to_start_from_must_be_within_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("cat", "night", "start"):
        Image.new("RGB", (8, 8)).save(f"{name}.png")
    settings = {"init": "file", "init_file": str(tmp_path / "start.png")}
    images = {"contents": {"cat": "cat.png"}, "styles": {"night": "night.png"}}
    plan = Plan(parse_config({**images, "settings": settings, "device": "cpu"}))
    write_snapshot(plan)
    with pytest.raises(UserError, match=r"init_file: .*start.png: without a shared file system"):
        pack_batch(plan, "batches", "all", str(tmp_path / "sent.tar"))
    assert not (tmp_path / "sent.tar").exists()
