"""Time, memory and disk of a run, counted as the engine will go about it.

How good the estimate of time is, is measured by ``benchmarks/estimate.py``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from plans import make_plan

from nstcore.core.geometry import levels
from nstcore.core.settings import Settings
from nstcore.jobs import prepare
from nstcore.jobs.stylize import stylize_batch
from nstcore.jobs.targets import make_targets
from nstcore.plan.plan import Plan
from nstcore.resources.estimate import (
    JOB_SECONDS,
    BatchCost,
    InputSizes,
    Machine,
    estimate_batch,
    estimate_overhead,
    tiles_factor,
)
from nstcore.resources.memory_model import peak_bytes
from nstcore.resources.preflight import estimate_disk
from nstcore.resources.throughput import (
    IterationTime,
    Throughput,
    evaluation_key_of_encoder,
    iteration_key,
    measure_throughput,
)
from nstcore.store.cells import Store

PLENTY = Machine("cpu", 1e12)


def unit_rates(plan: Plan, **changes: Any) -> Throughput:
    """An iteration takes a second, and nothing else any time."""
    keys = {iteration_key(cell.settings, "float32") for cell in plan.cells()}
    judge = evaluation_key_of_encoder(plan.evaluation["encoder"], plan.evaluation["weights"])
    speed = IterationTime(1.0, 0.0, 0.0)
    rates = Throughput("cpu", 0.0, 0.0, 0.0, 0.0, 0.0, dict.fromkeys(keys, speed), {judge: 0.0})
    return replace(rates, **changes)


def cost(plan: Plan, machine: Machine, rates: Throughput | None = None) -> BatchCost:
    return estimate_batch(plan, plan.cells(), InputSizes.of(plan), machine, rates)


def test_every_iteration_of_every_level_counts_once_for_all_that_go_together(
    tmp_path: Path,
) -> None:
    settings = {"size": 512, "iterations": [50, 20, 10]}
    plan = make_plan(tmp_path, settings=settings, sweep={"axes": {"style_weight": [1, 2, 3]}})
    found = cost(plan, PLENTY, unit_rates(plan))
    # One batch of three: 50 + 20 + 10 iterations and one more a level for its targets.
    assert found.seconds == pytest.approx(83 + JOB_SECONDS)
    assert [len(batch.items) for batch in found.micro_batches] == [3]
    by_picture = unit_rates(plan, iterations={})
    for key in unit_rates(plan).iterations:
        by_picture.iterations[key] = IterationTime(0.0, 1.0, 0.0)
    assert cost(plan, PLENTY, by_picture).seconds == pytest.approx(3 * 83 + JOB_SECONDS)


def test_what_differs_in_more_than_weights_does_not_go_together(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, sweep={"axes": {"size": [64, 96], "style_weight": [1, 2]}})
    assert [len(batch.items) for batch in cost(plan, PLENTY).micro_batches] == [2, 2]


def test_less_memory_makes_smaller_batches_that_take_longer(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, sweep={"axes": {"style_weight": [1, 2, 3, 4]}})
    settings = next(plan.cells()).settings
    need = peak_bytes(settings, 512, 384, 2)
    rates = unit_rates(plan)
    ample = cost(plan, PLENTY, rates)
    tight = cost(plan, Machine("cpu", 1.01 * need / 0.6), rates)
    assert [len(batch.items) for batch in ample.micro_batches] == [4]
    assert [len(batch.items) for batch in tight.micro_batches] == [2, 2]
    assert tight.bytes == pytest.approx(need)
    assert ample.bytes > tight.bytes
    assert tight.seconds is not None
    assert ample.seconds is not None
    assert tight.seconds > ample.seconds


def test_a_gpu_is_estimated_where_there_is_none(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    rates = unit_rates(plan, process_bytes=1e12)
    on_gpu = cost(plan, Machine("cuda", 8e10), rates)
    assert on_gpu.bytes == cost(plan, Machine("cuda", 8e10)).bytes < 8e10, (
        "what the process takes is no memory of the GPU"
    )
    assert cost(plan, PLENTY, rates).bytes > 1e12


def test_the_configurations_batch_size_and_tiles_count(tmp_path: Path) -> None:
    axes = {"axes": {"style_weight": [1, 2, 3]}}
    plan = make_plan(tmp_path, sweep=axes, batch_size=2, tile=64)
    batches = cost(plan, PLENTY).micro_batches
    assert [len(batch.items) for batch in batches] == [2, 1]
    assert {batch.tile for batch in batches} == {64}


def test_tiles_cost_what_is_computed_twice() -> None:
    settings = Settings()
    assert tiles_factor((512, 512), None, settings) == 1
    assert tiles_factor((512, 512), 1024, settings) == 1
    # Two passes forward where one is a third of an iteration, over windows that overlap.
    assert tiles_factor((4096, 4096), 1024, settings) > 4 / 3
    large, small = (tiles_factor((4096, 4096), side, settings) for side in (1024, 256))
    assert small > large


def test_levels_are_those_of_the_pyramid() -> None:
    settings = Settings(size=512, iterations=[3, 2, 1])
    assert levels(settings, (512, 256)) == [((128, 64), 3), ((256, 128), 2), ((512, 256), 1)]
    # A panorama's coarse levels have nothing for the encoder to see.
    assert levels(settings, (512, 20)) == [((512, 20), 1)]


def test_an_unreadable_picture_costs_only_its_own_cells(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    whole = cost(plan, PLENTY)
    (tmp_path / "photo.png").write_bytes(b"no picture")
    sizes = InputSizes.of(plan)
    assert [line.split(":")[0] for line in sizes.problems] == ["contents.photo"]
    assert cost(plan, PLENTY).micro_batches == []
    assert whole.micro_batches


def test_what_stands_there_already_is_not_prepared_again(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, settings={"size": 64}, evaluation={"size": 64})
    sizes = InputSizes.of(plan)
    rates = unit_rates(plan, start=100.0, light_start=1.0)
    fresh = estimate_overhead(plan, sizes, rates, 1)
    for encoder in plan.encoders:
        prepare.prepare_encoder(plan, encoder)
    prepare.prepare_content(plan, "photo")
    prepare.prepare_style(plan, "paint", 0)
    make_targets(plan, "paint", threads=1)
    after = estimate_overhead(plan, sizes, rates, 1)
    # One start of torch, for the weights, and two without it.
    assert fresh - after == pytest.approx(102 + 3 * JOB_SECONDS, abs=0.1)
    assert estimate_overhead(plan, sizes, rates, 1, from_scratch=True) == pytest.approx(fresh)


@pytest.mark.parametrize(("form", "bits"), [("png", 8), ("png", 16), ("jpg", 8)])
def test_disk_is_never_less_than_what_a_run_leaves(tmp_path: Path, form: str, bits: int) -> None:
    plan = make_plan(
        tmp_path,
        settings={"size": 64, "pyramid_start": 64, "iterations": 2},
        evaluation={"size": 64},
        output={"format": form, "bits": bits},
    )
    cells, sizes = list(plan.cells()), InputSizes.of(plan)
    disk = estimate_disk(plan, cells, sizes, [])
    for encoder in plan.encoders:
        prepare.prepare_encoder(plan, encoder)
    prepare.prepare_content(plan, "photo")
    prepare.prepare_style(plan, "paint", 0)
    make_targets(plan, "paint", threads=1)
    run, store = Path(plan.config.run_dir), Path(plan.config.store_dir)
    inputs = bytes_below(run)
    assert inputs <= disk.inputs <= 3 * inputs
    stylize_batch(plan, cells, threads=1)
    images = [path for path in store.rglob("*") if path.suffix == f".{form}"]
    pictures = sum(path.stat().st_size for path in images)
    assert 0.8 * pictures <= disk.pictures <= 3 * pictures
    records = bytes_below(run / "cells", ".json") + bytes_below(store / "cells", ".json")
    assert records <= disk.records <= 4 * records


def bytes_below(folder: Path, suffix: str = "") -> int:
    return sum(p.stat().st_size for p in folder.rglob(f"*{suffix}") if p.is_file())


@pytest.mark.slow
def test_a_measurement_is_kept_only_in_a_store_that_exists(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    settings, judge, device = [Settings(history=2)], Settings(), torch.device("cpu")
    measure_throughput(settings, judge, device, threads=1, store=store)
    assert not store.root.exists()
    store.root.mkdir()
    first = measure_throughput(settings, judge, device, threads=1, store=store)
    files = [path for path in store.root.rglob("*") if path.is_file()]
    assert len(files) == 1
    again = measure_throughput(settings, judge, device, threads=1, store=store)
    assert again == first, "times are never twice the same unless they are kept"
    more = measure_throughput([Settings(history=3)], judge, device, threads=1, store=store)
    assert more.start == first.start
    assert len(more.iterations) == 2
    files[0].write_text('{"measured": 0, "rates": {}}')
    assert measure_throughput(settings, judge, device, threads=1, store=store).start != first.start
