from __future__ import annotations

from dataclasses import replace

import pytest
from _outlook import Costs, Grid, breaks_first, end_costs, growth_costs, simulate
from cluster import run_figures

FREE = Costs()
GRID = Grid(cells=1000, gpus=4, cell_seconds=3.0, batch_cells=10, queue=50)


def test_without_costs_every_gpu_works_all_the_time():
    found = simulate(FREE, GRID, poll=0)
    assert found.efficiency == pytest.approx(1)
    assert found.seconds == pytest.approx(1000 * 3 / 4)
    assert found.batches == 100


def test_gpus_without_a_batch_of_their_own_idle():
    found = simulate(FREE, replace(GRID, gpus=400, queue=400), poll=0)
    assert found.efficiency == pytest.approx(100 / 400)


def test_a_queue_shorter_than_the_gpus_and_slow_news_let_them_idle():
    busy = simulate(FREE, replace(GRID, queue=8), poll=10)
    starved = simulate(FREE, replace(GRID, queue=2), poll=10)
    assert starved.efficiency < 0.55 < busy.efficiency


@pytest.mark.parametrize(
    "cost",
    [
        *("job", "submit", "read_cell", "end_start", "end_cell"),
        *("plan_start", "plan_cell", "plan_batch", "plan_pair", "plan_batch_pair"),
    ],
)
def test_every_cost_costs(cost):
    # Beside 30 s of work a submission has to take longer than that to be felt by four GPUs.
    spent = simulate(replace(FREE, **{cost: 8.0}), GRID, poll=0)
    assert spent.efficiency < simulate(FREE, GRID, poll=0).efficiency


def test_the_time_of_a_run_is_planning_its_jobs_and_its_end():
    costs = Costs(job=7, plan_start=11, plan_cell=0.1, end_start=5, end_cell=0.01, read_cell=0.001)
    found = simulate(costs, replace(GRID, gpus=1, batch_cells=1000, queue=1), poll=20)
    assert found.seconds == pytest.approx(11 + 100 + (7 + 2 + 3000) + 10 + 5 + 10)


def test_while_one_run_plans_another_keeps_the_gpus_busy():
    costs = Costs(plan_cell=1.0)
    one_by_one = simulate(costs, replace(GRID, runs=10), poll=0)
    assert one_by_one.seconds == pytest.approx(1000 + 900)
    side_by_side = simulate(costs, replace(GRID, runs=10, at_once=2), poll=0)
    assert side_by_side.batches == 100
    assert side_by_side.efficiency > 1.3 * one_by_one.efficiency


def test_runs_in_one_store_plan_less_where_planning_grows_faster_than_the_grid():
    costs = Costs(plan_batch_pair=0.1)
    whole, parts = simulate(costs, GRID, poll=0), simulate(costs, replace(GRID, runs=10), poll=0)
    # 100 batches of 30 s on 4 GPUs in 25 turns; 10 batches in 3 turns, ten times.
    assert whole.seconds == pytest.approx(1000 + 750)
    assert parts.seconds == pytest.approx(100 + 900)


def test_what_breaks_first():
    assert "submissions" in breaks_first(Costs(submit=60.0, job=1.0), GRID, poll=0)
    assert "start of jobs" in breaks_first(Costs(job=60.0, submit=0.1), GRID, poll=0)
    assert "nothing" in breaks_first(FREE, GRID, poll=0)
    assert "looks at its jobs" in breaks_first(FREE, replace(GRID, queue=4), poll=100)
    assert breaks_first(Costs(memory_cell=100.0), GRID, poll=0).startswith("memory of planning")
    assert breaks_first(Costs(files_cell=1e4), GRID, poll=0).startswith("files: 10.0 million")


def test_growth_along_each_direction_is_told_apart():
    true = Costs(
        plan_start=2,
        plan_cell=1e-3,
        plan_batch=0.02,
        plan_pair=1e-6,
        memory_start=150,
        memory_cell=0.1,
    )
    rows = [
        {
            "cells": contents * folder,
            "batches": contents,
            "folder": folder,
            "seconds": true.plan_seconds(contents * folder, contents, folder),
            "mb": 1e3 * true.plan_gb(contents * folder, contents),
            "read_seconds": 1 + 1e-4 * contents * folder,
        }
        for contents, folder in [(1, 1000), (1, 4000), (50, 20), (200, 50), (800, 5), (400, 5)]
    ]
    found = growth_costs(rows)
    for name in (
        "plan_start",
        "plan_cell",
        "plan_batch",
        "plan_pair",
        "memory_start",
        "memory_cell",
    ):
        assert found[name] == pytest.approx(getattr(true, name), rel=1e-3)
    assert found["plan_batch_pair"] == pytest.approx(0, abs=1e-9)
    assert found["read_cell"] == pytest.approx(1e-4, rel=1e-3)


def test_the_end_of_a_run_grows_by_the_line_through_two_runs():
    found = end_costs([1000, 200], [18.0, 14.0])
    assert found == pytest.approx({"end_start": 13.0, "end_cell": 0.005})


def test_the_end_of_a_run_never_shrinks_with_it():
    assert end_costs([1000, 200], [13.0, 14.0])["end_cell"] == 0


def test_figures_of_a_run_come_from_its_jobs_and_records():
    def job(rule, submitted, began, ended):
        return {"rule": rule, "submitted": submitted, "began": began, "ended": ended}

    jobs = [
        *(job("prepare_content", 103 + i, 104 + i, 109 + i) for i in range(3)),
        job("stylize_1", 112, 113, 133),
        job("stylize_2", 112, 113, 143),
        job("report", 144, 145, 152),
    ]
    records = [{"optimization": {"seconds": 2.5}}] * 4
    found = run_figures(jobs, records, 100.0, 60.0)
    assert (found["cells"], found["batches"], found["slurm_jobs"]) == (4, 2, 6)
    assert found["planning_seconds"] == 3
    assert found["optimization_seconds"] == 10
    assert found["share_of_jobs"] == pytest.approx(10 / 50)
    assert found["share_of_wall_clock"] == pytest.approx(10 / 120)
    assert found["light_job_seconds"] == 5
    assert found["end_seconds"] == 17
