"""How many jobs a run starts side by side on the machine where it begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nstcore.config.loader import parse_config
from nstcore.plan.plan import Plan
from nstcore.plan.snapshot import write_snapshot
from nstcore.resources.workers import adapt_to_machine, has_gpu


@pytest.fixture(autouse=True)
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that no plan opens."""
    monkeypatch.chdir(tmp_path)
    for name in ("photo.png", "paint.png"):
        Path(name).touch()


def plan_of(**given: Any) -> Plan:
    raw: dict[str, Any] = {
        "contents": {"photo": "photo.png"},
        "styles": {"paint": "paint.png"},
        "sweep": {"axes": {"style_weight": list(range(1, 9))}},
        # Small, so that memory is no matter, and long.
        "settings": {"size": 64, "pyramid_start": 64},
        "cluster": {"tflops": 1e-3},
        "device": "cpu",
    }
    return Plan(parse_config({**raw, **given}))


def adapted(cores: int, gpus: int = 1, **given: Any) -> Plan:
    plan = plan_of(**given)
    adapt_to_machine(plan, cores, gpus)
    assert sorted(cell.image for cell in plan.cells()) == sorted(
        cell.image for cells in plan.batches.values() for cell in cells
    )
    return plan


def test_a_core_each_gets_the_same_number_of_cells() -> None:
    plan = adapted(4)
    assert plan.config.workers == 4
    assert [len(cells) for cells in plan.batches.values()] == [2, 2, 2, 2]


def test_no_more_than_cells_or_work() -> None:
    assert adapted(16).config.workers == 8
    tiny = adapted(16, cluster={})
    assert (tiny.config.workers, len(tiny.batches)) == (1, 1)


def test_no_more_than_fit_into_memory() -> None:
    assert adapted(8, settings={"size": 16384}).config.workers < 8


def test_what_the_configuration_says_is_kept() -> None:
    assert adapted(4, workers=2).config.workers == 2
    assert list(adapted(4, batch_by=["style"]).batches) == ["paint"]


def test_a_gpu_each() -> None:
    assert adapted(16, gpus=3, device="cuda").config.workers == 3


def test_a_machine_without_a_gpu_is_a_cpu() -> None:
    assert adapted(4, device="auto").config.device == ("auto" if has_gpu() else "cpu")


def test_a_run_that_goes_on_with_fewer_cores_has_its_former_batches() -> None:
    first = adapted(4)
    write_snapshot(first)
    assert adapted(2).batches.keys() == first.batches.keys()
    assert adapted(8).config.workers == 8, "more cores are used"
    changed = adapted(2, sweep={"axes": {"style_weight": [1, 2, 3, 4]}})
    assert changed.config.workers == 2
