"""A record survives being read and written, and what is not one is refused with one clear line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from synthetic import write_run

from nstcore.errors import StoreError
from nstcore.plan.record import CellRecord, FinishedRecord


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The record of a finished cell."""
    run = write_run(tmp_path, styles=["night"], contents=["cat"])
    return sorted(run.rglob("cells/**/*.json"))[0]


def test_reading_and_writing_changes_nothing(path: Path, tmp_path: Path) -> None:
    values = json.loads(path.read_text())
    values["mood"] = {"good": [1, None]}  # of a version that is still to come
    values["optimization"]["fans"] = 3
    values["inputs"]["style"][0]["guide"] = {"path": {"sky": "a.png"}, "digest": "9" * 64}
    values["together"] = [None, {"seed": 1, "settings": {"style_weight": 10.0}}]
    CellRecord.parse(values, path).write(tmp_path / "written.json")
    assert json.loads((tmp_path / "written.json").read_text()) == values


def test_members_are_the_cell_with_what_differs(path: Path) -> None:
    values = json.loads(path.read_text())
    other = {"path": "b.png", "digest": "1" * 64, "weight": 1.0}
    values["together"] = [
        {"seed": 5, "settings": {"size": 64}, "inputs": {"style": [other], "background": None}},
        None,
    ]
    record = FinishedRecord.parse(values, path)
    first, own = record.members()
    assert record.position == 1
    assert own is record
    assert (first.random_seed, first.settings["size"]) == (5, 64)
    assert first.inputs.style[0].to_json() == other
    assert first.inputs.content == record.inputs.content


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ("", "Invalid JSON"),
        ("[]", "Input should be an object"),
        ({"key": None}, "`key`"),
        ({"status": None}, "`status`"),
        ({"inputs": {}}, "`inputs.content` is missing"),
        ({"trace": {"iteration": ["one"]}}, "`trace.iteration.0`"),
    ],
)
def test_what_is_no_record(path: Path, changes: str | dict[str, Any], problem: str) -> None:
    values = json.loads(path.read_text())
    path.write_text(changes if isinstance(changes, str) else json.dumps({**values, **changes}))
    with pytest.raises(StoreError) as caught:
        CellRecord.read(path)
    assert str(caught.value).startswith(f"{path}: not a valid record (")
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_needs_a_status_and_the_store_does_not(path: Path) -> None:
    values = json.loads(path.read_text())
    del values["status"], values["reason"]
    assert CellRecord.parse(values, path).status == "ok"
    path.write_text(json.dumps(values))
    with pytest.raises(StoreError, match="`status` is missing"):
        CellRecord.read(path)


def test_a_missing_record_and_one_that_cannot_be_repeated(path: Path) -> None:
    values = json.loads(path.read_text())
    values["optimization"].pop("device")
    with pytest.raises(StoreError, match=r"`optimization\.device` is missing"):
        FinishedRecord.parse(values, path)
    path.unlink()
    with pytest.raises(StoreError, match="this record is missing; run the workflow again"):
        CellRecord.read(path)
