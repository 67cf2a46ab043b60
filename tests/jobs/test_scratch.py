"""Copies on a node's own disk: made once, of the right version, and never in the way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from plans import make_plan

from nstcore.images import decode
from nstcore.jobs import input_cache, prepare
from nstcore.jobs.input_cache import Scratch
from nstcore.jobs.stylize import stylize_batch
from nstcore.jobs.targets import make_targets


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "shared" / "weights.safetensors"
    path.parent.mkdir()
    path.write_bytes(bytes(range(256)) * 1000)
    return path


def test_jobs_that_start_together_copy_a_file_once(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def counted(source: Path, destination: Path) -> None:
        made.append(str(source))
        destination.write_bytes(source.read_bytes())

    monkeypatch.setattr(input_cache.shutil, "copyfile", counted)
    nodes = [Scratch("$NODE/disk", {"NODE": str(tmp_path)}) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        copies = set(pool.map(lambda node: node.local(file), nodes))
    [copy] = copies
    assert made == [str(file)]
    assert copy != file
    assert copy.suffix == file.suffix
    assert copy.is_relative_to(tmp_path / "disk")
    assert copy.read_bytes() == file.read_bytes()
    assert (copy.parent.stat().st_mode & 0o077) == 0, "nobody else may exchange it"


def test_another_version_is_another_copy(tmp_path: Path, file: Path) -> None:
    before = Scratch(str(tmp_path)).local(file)
    file.write_bytes(b"new")
    after = Scratch(str(tmp_path)).local(file)
    assert before != after
    assert after.read_bytes() == b"new"


def test_half_a_copy_is_made_again(tmp_path: Path, file: Path) -> None:
    copy = Scratch(str(tmp_path)).local(file)
    copy.write_bytes(copy.read_bytes()[:100])
    assert Scratch(str(tmp_path)).local(file).read_bytes() == file.read_bytes()


def test_where_nothing_can_be_copied_the_file_itself_is_read(
    tmp_path: Path, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert Scratch(None).local(file) == file
    assert not caplog.records
    assert Scratch("$NOT_SET", {}).local(file) == file
    assert "NOT_SET" in caplog.text
    (tmp_path / "full").write_text("no folder")
    assert Scratch(str(tmp_path / "full")).local(file) == file
    assert "is read directly" in caplog.text


def test_a_batch_reads_its_inputs_there_and_makes_the_same_picture(tmp_path: Path) -> None:
    pictures = []
    for folder, cluster in (("shared", {}), ("local", {"scratch": str(tmp_path / "node")})):
        (tmp_path / folder).mkdir()
        plan = make_plan(
            tmp_path / folder,
            settings={"size": 64, "pyramid_start": 64, "iterations": 2},
            evaluation={"size": 64},
            cluster=cluster,
        )
        for encoder in plan.encoders:
            prepare.prepare_encoder(plan, encoder)
        prepare.prepare_content(plan, "photo")
        prepare.prepare_style(plan, "paint", 0)
        make_targets(plan, "paint", threads=1)
        [cell] = plan.cells()
        assert stylize_batch(plan, [cell], threads=1).computed == 1
        pictures.append(decode(Path(plan.config.run_dir) / cell.image).digest)
    copied = sorted(path.suffix for path in (tmp_path / "node").rglob("*") if path.is_file())
    assert ".safetensors" in copied
    assert ".png" in copied
    assert pictures[0] == pictures[1]
