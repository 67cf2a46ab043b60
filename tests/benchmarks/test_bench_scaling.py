from __future__ import annotations

import pytest
from _common import Cost
from scaling import grid_shape, measure_growth, measure_point, overheads, run_figures


@pytest.mark.parametrize("cells", [1, 8, 100, 1000, 12, 7])
def test_grids_have_the_cells_that_were_asked_for(cells):
    pairs, weights = grid_shape(cells)
    assert pairs * pairs * weights == cells


@pytest.mark.parametrize(("device", "seconds"), [("cpu", 4.0), ("cuda", 8.0)])
def test_what_is_not_optimization_is_the_rest_of_the_wall_clock(device, seconds):
    """A job with one thread of two occupies half of the machine."""
    facts = {"seconds": 2.0, "iterations": 10, "threads": 1, "device": device}
    found = run_figures(Cost(seconds=10.0), [{"optimization": facts}] * 4, threads=2)
    assert found["optimization_seconds"] == seconds
    assert found["other_seconds_per_cell"] == pytest.approx((10 - seconds) / 4)
    assert found["other_share"] == pytest.approx(1 - seconds / 10)
    assert found["throughput"] == 4.0


def test_the_other_seconds_of_a_cell_count_beside_the_demos_optimization_of_one():
    demo = {"version": "this", "optimization_seconds": 36.0, "cells": 18, "other_share": 0.4}
    old = {**demo, "version": "before", "other_share": 0.1}
    cells = {"version": "this", "cells": 1000, "jobs": 10, "other_seconds_per_cell": 0.5}
    assert overheads({"demo": [demo, old], "cells": [cells]}) == [
        ["this", "the demo", "< 15%", "40.0%", "no"],
        ["this", "1000 cells in 10 jobs", "< 4%", "20.0%", "no"],
        ["before", "the demo", "< 15%", "10.0%", "yes"],
    ]


def test_a_point_that_is_bound_to_take_too_long_is_left_out(monkeypatch):
    measured = []

    def run_point(point):
        measured.append(point["size"])
        return {**point, "seconds_per_iteration": point["size"] ** 2 / 4}

    monkeypatch.setattr("scaling.run_point", run_point)
    points = [
        {"encoder": "compact", "size": size, "batch": 1, "budget": 5.0} for size in (1, 2, 4, 8)
    ]
    rows = measure_growth(points)
    assert measured == [1, 2, 4]
    assert rows[-1]["failed"] == "over the budget"


def test_a_point_is_measured(monkeypatch):
    monkeypatch.setattr("resource.setrlimit", lambda *_: None)  # it would hold for all later tests
    point = {"encoder": "compact", "size": 48, "batch": 2, "device": "cpu", "budget": 0.2}
    found = measure_point(point)
    assert found["throughput"] == pytest.approx(2 / found["seconds_per_iteration"])
    assert found["peak_with_history_mb"] >= found["peak_mb"] >= found["base_mb"] > 0
