"""Which cells are made again: the front by brute force, its order by hand, and mistakes in tables."""

from __future__ import annotations

import csv
import json
import logging
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import make_plan

from nstcore.errors import ConfigError, StoreError, UserError
from nstcore.jobs.workflow_files import selected_cells
from nstcore.plan.plan import Plan
from nstcore.plan.refine import (
    refined,
)
from nstcore.plan.snapshot import read_plan, write_snapshot
from nstcore.results.finalize import finalize
from nstcore.results.select_refined import (
    pareto_front,
    write_selection,
)
from nstcore.store.files import write_json

LOSSES = st.lists(st.tuples(*[st.sampled_from([0.0, 0.5, 1.0, 2.0, math.nan, math.inf])] * 2))


@given(st.one_of(LOSSES, st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)))))
def test_the_front_is_what_nothing_beats(points: list[tuple[float, float]]) -> None:
    expected = set()
    for i, p in enumerate(points):
        beaten = any(
            (q[0] <= p[0] and q[1] <= p[1] and (q != p or j < i)) for j, q in enumerate(points)
        )
        if all(map(math.isfinite, p)) and not beaten:
            expected.add(i)
    found = pareto_front(points)
    assert set(found) == expected
    assert len(found) == len(set(found))


def test_the_knee_comes_first_and_the_ends_last() -> None:
    # Scaled: (0, 1), (0.1, 0.3), (0.2, 0.1), (0.6, 0.05), (1, 0); farthest below x + y = 1: the third.
    points = [(10.0, 0.0), (0.0, 1.0), (6.0, 0.05), (1.0, 0.3), (2.0, 0.1), (9.0, 0.9)]
    assert pareto_front(points) == [4, 3, 2, 0, 1]
    by_units = [(content * 1e6, style * 1e-3) for content, style in points]
    assert pareto_front(by_units) == [4, 3, 2, 0, 1], "units do not count"


def test_a_front_of_one_or_two() -> None:
    assert pareto_front([]) == []
    assert pareto_front([(math.nan, 1.0)]) == []
    assert pareto_front([(1.0, 1.0), (1.0, 1.0), (2.0, 2.0)]) == [0]
    assert pareto_front([(1.0, 2.0), (2.0, 1.0)]) == [0, 1]


def refining(folder: Path, **changes: Any) -> Plan:
    values: dict[str, Any] = {
        "settings": {"size": 64, "pyramid_start": 32, "init_noise": 0.1},
        "sweep": {"axes": {"style_weight": [1, 10, 100]}, "seeds": 2},
        "refine": {"count": 2, "settings": {"size": 300, "iterations": [7]}},
        "evaluation": {"size": 64},
    }
    return make_plan(folder, **{**values, **changes})


def test_a_refined_cell_goes_on_where_the_small_one_ended(tmp_path: Path) -> None:
    plan = refining(tmp_path)
    cell = next(plan.cells())
    again = refined(plan.config, cell)
    assert again.image == "refined/paint/photo/style_weight=1,seed=0.png"
    settings = again.settings
    assert settings.init == "file"
    assert settings.init_file == f"{plan.config.run_dir}/{cell.image}"
    assert settings.init_noise == 0
    assert settings.level_sizes() == [75, 150, 300], "all larger than 64"
    assert settings.level_iterations() == [7, 7, 7]
    kept = {"style_weight", "encoder", "style_layers", "tv_weight", "optimizer", "history"}
    assert settings.model_dump(include=kept) == cell.settings.model_dump(include=kept)
    assert list(plan.refined_sizes) == ["300"]
    assert len(plan.most_refined) == 2
    assert {settings.style_weight for settings in plan.refined_settings} == {1, 10, 100}
    grid = plan.targets
    extra = plan.refined_targets
    assert {size for _, _, size in extra.values()} == {75, 150, 300}
    assert not grid.keys() & extra.keys()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, ["refine.settings", "at least one setting"]),
        ({"size": 48}, ["refine.settings.size", "48", "64"]),
        ({"init": "noise"}, ["refine.settings", "`init`"]),
        ({"style_layers": ["relu5_4"]}, ["refine.settings", "relu5_4"]),
        ({"sise": 300}, ["refine.settings.sise", "did you mean `size`?"]),
        ({"iterations": 0}, ["refine.settings.iterations"]),
    ],
)
def test_settings_that_cannot_be(
    tmp_path: Path, settings: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        refining(tmp_path, refine={"settings": settings})
    (line,) = caught.value.problems
    for word in words:
        assert word in line


def test_another_encoder_brings_its_own_weights(tmp_path: Path) -> None:
    (tmp_path / "vgg.pth").write_bytes(b"not opened for a plan")
    weights = {"vgg19": str(tmp_path / "vgg.pth")}
    plan = refining(
        tmp_path,
        settings={"size": 64, "weights": weights},
        sweep={},
        refine={"settings": {"encoder": "vgg19"}},
    )
    (settings,) = plan.refined_settings
    assert settings.weights == weights["vgg19"]
    assert settings.level_sizes() == [64]
    (added,) = plan.refined_encoders.values()
    assert added == ("vgg19", weights["vgg19"])
    assert [name for name, _ in plan.encoders.values()] == ["compact"]


def table(path: Path, rows: list[dict[str, Any]], delimiter: str = "\t") -> str:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


class TestTables:
    @pytest.mark.parametrize("delimiter", ["\t", ","])
    def test_rows_name_cells(self, tmp_path: Path, delimiter: str) -> None:
        rows = [
            {
                "run": "x",
                "style": "paint",
                "content": "photo",
                "setting": "style_weight=10",
                "seed": 1,
            },
            {
                "run": "x",
                "style": "paint",
                "content": "",
                "setting": "style_weight=100",
                "seed": "",
            },
        ]
        choose = table(tmp_path / "rows", rows, delimiter)
        plan = refining(tmp_path, refine={"choose": choose, "settings": {"size": 300}})
        stems = ["style_weight=10,seed=1", "style_weight=100,seed=0", "style_weight=100,seed=1"]
        assert [cell.point.stem for cell in plan.refinable] == stems
        assert len(plan.most_refined) == 3

    @pytest.mark.parametrize(
        ("row", "words"),
        [
            ({"style": "pint"}, ["line 3", "no style 'pint'", "paint"]),
            ({"style": "paint", "setting": "style_weight=7"}, ["line 3", "style_weight=7"]),
            ({"style": "paint", "seed": "7"}, ["line 3", "no seed 7", "0, 1"]),
            ({"style": "paint", "seed": "one"}, ["line 3", "'one'"]),
        ],
    )
    def test_a_row_that_names_no_cell(
        self, tmp_path: Path, row: dict[str, str], words: list[str]
    ) -> None:
        names = ["style", "setting", "seed"]
        rows = [dict.fromkeys(names, "") | one for one in ({"style": "paint"}, row)]
        choose = table(tmp_path / "rows.tsv", rows)
        with pytest.raises(ConfigError) as caught:
            refining(tmp_path, refine={"choose": choose, "settings": {"size": 300}})
        (line,) = caught.value.problems
        for word in ["rows.tsv", *words]:
            assert word in line

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (None, ["there is no file", "`pareto`"]),
            ("colour\tshape\nred\tround\n", ["line 1", "style, content, setting, seed"]),
            ("", ["line 1"]),
        ],
    )
    def test_no_table(self, tmp_path: Path, text: str | None, words: list[str]) -> None:
        path = tmp_path / "rows.tsv"
        if text is not None:
            path.write_text(text)
        with pytest.raises(ConfigError) as caught:
            refining(tmp_path, refine={"choose": str(path), "settings": {"size": 300}})
        for word in words:
            assert word in str(caught.value)

    def test_a_frozen_run_does_not_look_at_the_table_again(self, tmp_path: Path) -> None:
        choose = table(tmp_path / "rows.tsv", [{"setting": "style_weight=10", "seed": "1"}])
        plan = refining(tmp_path, refine={"choose": choose, "settings": {"size": 300}})
        frozen = write_snapshot(plan)
        Path(choose).unlink()
        images = [cell.image for cell in plan.refinable]
        assert [cell.image for cell in read_plan(frozen).refinable] == images


FINISHED: dict[str, tuple[float, float] | None] = {
    "style_weight=1,seed=0": (0.1, 9.0),
    "style_weight=1,seed=1": None,
    "style_weight=10,seed=0": (0.2, 1.0),
    "style_weight=10,seed=1": (0.2, 1.0),
    "style_weight=100,seed=0": (0.9, 0.8),
    "style_weight=100,seed=1": (0.95, 0.9),
}


class TestPromotion:
    def finish(self, plan: Plan, losses: dict[str, tuple[float, float] | None]) -> None:
        """Write metrics as a finished grid leaves them; None for a cell that failed."""
        rows = []
        for cell in plan.cells():
            loss = losses[cell.point.stem]
            rows.append(
                {
                    "image": cell.image,
                    "status": "failed" if loss is None else "ok",
                    "content_loss": math.nan if loss is None else loss[0],
                    "style_loss": math.nan if loss is None else loss[1],
                }
            )
        run = Path(plan.config.run_dir)
        run.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_parquet(run / "metrics.parquet")

    def test_the_best_of_the_front(self, tmp_path: Path) -> None:
        plan = refining(tmp_path)
        self.finish(plan, FINISHED)
        write_selection(plan)
        pairs = selected_cells(plan)
        images = [again.image for _, again in pairs]
        stems = [Path(image).stem for image in images]
        # The knee; then (1, 0) is farther from it in scaled losses than (0, 1).
        assert stems == ["style_weight=10,seed=0", "style_weight=100,seed=0"]
        assert all(small.image == again.image.replace("refined", "cells") for small, again in pairs)

    def test_a_failed_cell_is_never_chosen(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        rows = [{"setting": "style_weight=1"}]
        plan = refining(tmp_path, refine={"choose": rows, "settings": {"size": 300}})
        self.finish(plan, FINISHED)
        with caplog.at_level(logging.WARNING):
            write_selection(plan)
        assert [again.point.stem for _, again in selected_cells(plan)] == ["style_weight=1,seed=0"]
        assert "style_weight=1,seed=1.png was chosen and is not made again" in caplog.text

    def test_nothing_to_choose_from(self, tmp_path: Path) -> None:
        plan = refining(tmp_path)
        self.finish(plan, dict.fromkeys(FINISHED))
        write_selection(plan)
        assert selected_cells(plan) == []

    def test_a_table_of_another_plan(self, tmp_path: Path) -> None:
        plan = refining(tmp_path)
        self.finish(plan, FINISHED)
        write_selection(plan)
        other = refining(tmp_path, sweep={"axes": {"style_weight": [3]}})
        with pytest.raises(StoreError, match=r"promoted.tsv.*is no cell of this run"):
            selected_cells(other)

    @pytest.mark.parametrize("allowed", [False, True])
    def test_a_refined_cell_that_failed_counts_as_any_other(
        self, tmp_path: Path, allowed: bool
    ) -> None:
        plan = refining(tmp_path, allow_failures=allowed, refine={"settings": {"size": 300}})
        losses: dict[str, tuple[float, float] | None] = dict.fromkeys(FINISHED, (1.0, 1.0))
        self.finish(plan, losses)
        write_selection(plan)
        run = Path(plan.config.run_dir)
        ((_, again),) = selected_cells(plan)
        for cell in [*plan.cells(), again]:
            image = run / cell.image
            image.parent.mkdir(parents=True, exist_ok=True)
            image.write_bytes(b"a picture, or what stands for it")
            status = (
                {"status": "failed", "reason": "no memory"} if cell is again else {"status": "ok"}
            )
            write_json(image.with_suffix(".json"), {"key": "0", **status})
        line = f"{again.image}: no memory"
        if allowed:
            finalize(plan, run / "summary.json")
            summary = json.loads((run / "summary.json").read_text())
            assert summary == {"cells": 6, "refined": 1, "failed": [line]}
            return
        with pytest.raises(UserError, match="1 of 7 cells failed") as caught:
            finalize(plan, run / "summary.json")
        assert line in str(caught.value)
        # The next call has to make it, and only it.
        left = {path.relative_to(run).as_posix() for path in run.rglob("*.png")}
        assert left == {cell.image for cell in plan.cells()}
