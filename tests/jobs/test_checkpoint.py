"""States on disk: whole or not at all, two of them, and what a batch has in common."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from nstcore.core.history import OptimizerState
from nstcore.errors import Preempted
from nstcore.jobs.checkpoint import (
    FileCheckpointer,
    common_position,
    positions,
    read_state,
    write_states,
)


def write_state(folder: Path, position: tuple[int, int], tensors, metadata) -> Path:
    (path,) = write_states([folder], position, [tensors], [metadata])
    return path


def _state(value: float) -> dict[str, torch.Tensor]:
    return {"x": torch.full((3, 4, 5), value), "count": torch.tensor(7), "flag": torch.tensor(True)}


def _saved(level: int, iteration: int, *values: float) -> OptimizerState:
    facts = [{"levels": [], "trace": {"total_loss": [float("inf")]}, "number": v} for v in values]
    return OptimizerState(level, iteration, [_state(v) for v in values], facts, 1.5)


def test_what_is_written_is_read(tmp_path: Path):
    path = write_state(tmp_path, (2, 30), _state(0.25), {"a": [1, "ü"]})
    found = read_state(path)
    assert found is not None
    tensors, facts = found
    assert facts == {"a": [1, "ü"]}
    for name, value in _state(0.25).items():
        assert torch.equal(tensors[name], value)
        assert tensors[name].dtype == value.dtype


def test_a_row_of_a_batch_does_not_take_the_whole_batch_along(tmp_path: Path):
    batch = torch.zeros(64, 1000)
    path = write_state(tmp_path, (0, 1), {"x": batch[5]}, {})
    assert path.stat().st_size < 8000


def test_a_file_is_as_the_package_writes_it(tmp_path: Path):
    state = {
        **_state(0.5),
        "wide": torch.rand(3, 2, dtype=torch.float64),
        "turned": torch.rand(4, 6).mT,
        "none": torch.zeros(0, 3),
    }
    path = write_state(tmp_path, (0, 1), state, {"a": 1})
    own = {name: value.contiguous() for name, value in state.items()}
    assert path.read_bytes() == save(own, metadata={"facts": '{"a": 1}'})


def test_saving_takes_no_copy_of_the_state(tmp_path: Path):
    size = 64 << 20
    batch = torch.rand(2, size // 4)
    with torch.profiler.profile(profile_memory=True) as profile:
        write_state(tmp_path, (0, 1), {"x": batch[1]}, {})
    tracemalloc.start()
    write_state(tmp_path, (0, 2), {"x": batch[1]}, {})
    _, by_python = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    by_torch = sum(max(event.self_cpu_memory_usage, 0) for event in profile.events())
    assert by_python + by_torch < size / 2


def test_the_two_newest_are_kept(tmp_path: Path):
    for iteration in (10, 20, 30):
        write_state(tmp_path, (0, iteration), _state(iteration), {})
    write_state(tmp_path, (1, 5), _state(5), {})
    assert sorted(positions(tmp_path)) == [(0, 30), (1, 5)]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_state_is_left_for_the_one_before(tmp_path: Path, damage: str, caplog):
    checkpointer = FileCheckpointer([tmp_path / "a", tmp_path / "b"], 60)
    checkpointer.save(_saved(0, 10, 1.0, 2.0))
    checkpointer.save(_saved(0, 20, 3.0, 4.0))
    path = positions(tmp_path / "b")[0, 20]
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes({"cut": data[:-10], "changed": data, "empty": b""}[damage])
    found = checkpointer.load()
    assert found is not None
    assert (found.level, found.iteration, found.seconds) == (0, 10, 1.5)
    assert [float(row["x"][0, 0, 0]) for row in found.images] == [1.0, 2.0]
    assert [facts["number"] for facts in found.history] == [1.0, 2.0]
    assert "damaged" in caplog.text


def test_a_kill_between_two_pictures_leaves_the_state_both_have(tmp_path: Path):
    folders = [tmp_path / "a", tmp_path / "b"]
    checkpointer = FileCheckpointer(folders, 60)
    for iteration in (10, 20):
        checkpointer.save(_saved(0, iteration, 1.0, 2.0))
    write_state(folders[0], (0, 30), _state(9.0), {"journal": {}, "seconds": 0.0})
    assert common_position(folders) == (0, 20)


def test_a_state_that_one_picture_cannot_write_is_written_for_none(tmp_path: Path, caplog):
    folders = [tmp_path / "a", tmp_path / "b"]
    folders[1].write_text("a file where a folder is needed")
    checkpointer = FileCheckpointer(folders, 60)
    checkpointer.save(_saved(0, 10, 1.0, 2.0))
    assert "could not be saved" in caplog.text
    assert positions(folders[0]) == {}
    assert list(folders[0].iterdir()) == [], "nothing half is left"
    folders[1].unlink()
    checkpointer.save(_saved(0, 20, 1.0, 2.0))
    assert common_position(folders) == (0, 20)


def test_no_state_has_its_name_before_all_are_written(tmp_path: Path, monkeypatch):
    folders = [tmp_path / name for name in "abc"]
    written = []

    def replace(source: Path, destination: Path) -> None:
        # What a kill here would find: every state whole, if only under its passing name.
        written.append(sum(1 for folder in folders for path in folder.iterdir()))
        real(source, destination)

    real = os.replace
    monkeypatch.setattr("nstcore.store.files.os.replace", replace)
    FileCheckpointer(folders, 60).save(_saved(0, 10, 1.0, 2.0, 3.0))
    assert written == [3, 3, 3]


def test_without_states_there_is_nothing_to_go_on_from(tmp_path: Path):
    assert FileCheckpointer([tmp_path / "a"], 60).load() is None
    write_state(tmp_path / "a", (0, 1), _state(1), {"journal": {}, "seconds": 0.0})
    assert FileCheckpointer([tmp_path / "a", tmp_path / "b"], 60).load() is None


def test_it_is_due_by_time_and_when_the_work_has_to_end(tmp_path: Path):
    now, why = [0.0], [None]
    checkpointer = FileCheckpointer([tmp_path / "a"], 60, stop=lambda: why[0], clock=lambda: now[0])
    assert not checkpointer.due()
    now[0] = 61
    assert checkpointer.due()
    checkpointer.save(_saved(0, 1, 1.0))
    assert not checkpointer.due()
    why[0] = "SIGTERM was received"
    assert checkpointer.due()
    with pytest.raises(Preempted, match="SIGTERM"):
        checkpointer.save(_saved(0, 2, 1.0))
    assert (0, 2) in positions(tmp_path / "a")


def test_a_state_that_cannot_be_saved_costs_no_picture(tmp_path: Path, caplog):
    (tmp_path / "a").write_text("a file, where the folder of the states should be")
    checkpointer = FileCheckpointer([tmp_path / "a"], 0)
    checkpointer.save(_saved(0, 10, 1.0))
    assert "could not be saved" in caplog.text
    ending = FileCheckpointer([tmp_path / "a"], 0, lambda: "SIGTERM was received")
    with pytest.raises(Preempted, match="could not be saved"):
        ending.save(_saved(0, 10, 1.0))
