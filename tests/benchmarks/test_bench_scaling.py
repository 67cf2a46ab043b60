from __future__ import annotations

import pytest
from _common import Cost
from scaling import grid_shape, measure_growth, measure_point, overheads, run_figures


@pytest.mark.parametrize("cells", [1, 8, 100, 1000, 12, 7])
def test_grids_have_the_cells_that_were_asked_for(cells):
    pairs, weights = grid_shape(cells)
    assert pairs * pairs * weights == cells


def test_what_is_not_optimization_is_the_rest_of_the_wall_clock():
    records = [{"optimization": {"seconds": 2.0, "iterations": 10}}] * 4
    found = run_figures(Cost(seconds=10.0), records)
    assert found["optimization_seconds"] == 8.0
    assert found["other_seconds_per_cell"] == pytest.approx(0.5)
    assert found["other_share"] == pytest.approx(0.2)
    assert found["throughput"] == 4.0


def test_the_other_seconds_of_a_cell_count_beside_the_demos_optimization_of_one():
    demo = {"optimization_seconds": 36.0, "cells": 18, "other_share": 0.4}
    cells = [{"cells": 1000, "jobs": 10, "other_seconds_per_cell": 0.5}]
    assert overheads({"demo": demo}) == [("the demo", 0.4)]
    assert overheads({"demo": demo, "cells": cells})[1] == (
        "1000 cells in 10 jobs",
        pytest.approx(0.2),
    )


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
