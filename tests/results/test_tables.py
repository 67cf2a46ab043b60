"""The tables hold what the records say, in grid order, with the same columns whatever failed."""

import json
from pathlib import Path

import pandas as pd
import pytest
from synthetic import LAYERS, OUT_OF_MEMORY, write_run

from nstcore.config.loader import parse_config
from nstcore.config.sweep import RESERVED
from nstcore.errors import ConfigError, StoreError
from nstcore.results.tables import (
    collect,
    read_grid,
    read_table,
    sweep_axes,
    write_metrics,
    write_parquet,
)

AXES = {"style_weight": [1.0, 10.5], "encoder": ["vgg19", "compact"]}


def edit(path: Path, **changes: object) -> None:
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, **changes}))


def some_record(run: Path) -> Path:
    grid = read_grid(run / "grid.tsv")
    return (run / grid.rows[1]["image"]).with_suffix(".json")


def test_metrics_have_the_columns_of_the_contract_in_grid_order(tmp_path: Path) -> None:
    run = write_run(tmp_path, axes=AXES)
    metrics, _ = collect(run / "grid.tsv", run)
    assert list(metrics.columns) == [
        *("run", "style", "content", "setting", "seed", "style_weight", "encoder", "key"),
        *("status", "reason", "content_loss", "style_loss"),
        *(f"style_loss_{layer}" for layer in LAYERS),
        *("tv", "ssim", "color_distance", "iterations_done", "seconds", "peak_memory_mb"),
        *("width", "height", "image"),
    ]
    rows = read_grid(run / "grid.tsv").rows
    assert metrics["image"].tolist() == [row["image"] for row in rows]
    assert sweep_axes(metrics) == ["style_weight", "encoder"]
    assert metrics["style_weight"].tolist()[:4] == [1.0, 1.0, 10.5, 10.5]
    record = json.loads((run / rows[3]["image"]).with_suffix(".json").read_text())
    row = metrics.iloc[3]
    assert row["style_loss_relu4_1"] == record["metrics"]["style_loss_relu4_1"]
    assert row["seconds"] == record["optimization"]["seconds"]
    assert row["width"] == record["image"]["width"]


def test_curves_are_long_and_hold_every_iteration(tmp_path: Path) -> None:
    run = write_run(tmp_path, iterations=7)
    metrics, curves = collect(run / "grid.tsv", run)
    assert list(curves.columns) == [
        *("style", "content", "setting", "seed", "iteration", "level"),
        *("total_loss", "content_loss", "style_loss", "tv_loss"),
    ]
    assert len(curves) == 7 * len(metrics)
    assert curves["iteration"].tolist()[:8] == [1, 2, 3, 4, 5, 6, 7, 1]


def test_dtypes_do_not_depend_on_failures(tmp_path: Path) -> None:
    good, good_curves = collect(*_grid(write_run(tmp_path / "a")))
    some, some_curves = collect(*_grid(write_run(tmp_path / "b", failed=[0, 5])))
    assert good.dtypes.equals(some.dtypes)
    assert good_curves.dtypes.equals(some_curves.dtypes)
    none, no_curves = collect(*_grid(write_run(tmp_path / "c", failed=range(12))))
    assert none.dtypes.to_dict().items() <= good.dtypes.to_dict().items()
    assert no_curves.dtypes.equals(good_curves.dtypes)
    assert no_curves.empty
    assert some["status"].tolist()[0] == "failed"
    assert some["reason"][0] == OUT_OF_MEMORY
    assert some["content_loss"].isna().tolist()[:2] == [True, False]


def test_tables_survive_the_disk_and_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    run = write_run(tmp_path, failed=[2])
    metrics, curves = collect(run / "grid.tsv", run)
    for name in ("a", "b"):
        write_metrics(metrics, tmp_path / f"{name}.parquet", tmp_path / f"{name}.csv")
        write_parquet(curves, tmp_path / f"{name}-curves.parquet")
    for suffix in (".parquet", ".csv", "-curves.parquet"):
        first, second = (tmp_path / f"{n}{suffix}" for n in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()
    pd.testing.assert_frame_equal(read_table(tmp_path / "a.parquet"), metrics)
    assert len(pd.read_csv(tmp_path / "a.csv")) == len(metrics)


def test_a_record_of_another_key_names_the_file(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    path = some_record(run)
    edit(path, key="0" * 64)
    with pytest.raises(StoreError, match="another configuration") as caught:
        collect(run / "grid.tsv", run)
    assert str(path) in str(caught.value)
    assert "more" not in str(caught.value)


def test_every_wrong_record_is_counted_and_the_first_one_shown(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    rows = read_grid(run / "grid.tsv").rows
    paths = [(run / row["image"]).with_suffix(".json") for row in rows]
    paths[1].unlink()
    paths[3].write_text("{")
    paths[4].write_text("[]")
    edit(paths[5], status="perhaps")
    with pytest.raises(StoreError, match="and 3 more of 12 cells") as caught:
        collect(run / "grid.tsv", run)
    assert str(caught.value).startswith(f"{paths[1]}: this record is missing")
    assert "\n" not in str(caught.value)

    metrics, curves = collect(run / "grid.tsv", run, missing="placeholder")
    assert (metrics["status"] == "missing").tolist() == [n in (1, 3, 4, 5) for n in range(12)]
    assert metrics["reason"][1] == "this record is missing"
    assert metrics["run"].tolist() == ["demo"] * 12
    assert len(curves) == 8 * 12


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "'style' is missing"),
        ("style\tcontent\tsetting\tseed\tkey\timage\na\tb\n", "line 2 has 2 fields"),
        ("style\tcontent\tsetting\tseed\tkey\timage\na\tb\tc\tx\tk\ti\n", "not a whole number"),
    ],
)
def test_a_damaged_grid_is_refused(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "grid.tsv").write_text(text)
    with pytest.raises(StoreError, match=what):
        read_grid(tmp_path / "grid.tsv")
    with pytest.raises(StoreError, match="cannot be read"):
        read_grid(tmp_path / "no.tsv")


def test_records_with_odd_values_do_not_break_the_table(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    edit(
        some_record(run),
        metrics={"content_loss": "much", "style_loss": None, "flicker": 1.0},
        optimization={"iterations": float("nan"), "seconds": float("inf")},
        trace={"iteration": [1, 2, 3], "total_loss": [1.0]},
        image=None,
    )
    metrics, curves = collect(run / "grid.tsv", run)
    assert pd.isna(metrics["content_loss"][1])
    assert pd.isna(metrics["iterations_done"][1])
    columns = list(metrics.columns)
    assert columns.index("flicker") == columns.index("color_distance") + 1
    assert curves["total_loss"].isna().sum() == 2


def test_ids_that_look_like_numbers_stay_text(tmp_path: Path) -> None:
    run = write_run(tmp_path, contents=["001"], styles=["1e3"], axes={})
    metrics, curves = collect(run / "grid.tsv", run)
    assert metrics["content"].tolist() == ["001"]
    assert metrics["style"].tolist() == ["1e3"]
    assert set(curves["content"]) == {"001"}
    assert metrics["setting"].tolist() == ["default"]


def _grid(run: Path) -> tuple[Path, Path]:
    return run / "grid.tsv", run


def test_an_axis_over_the_iterations_keeps_its_column(tmp_path: Path) -> None:
    run = write_run(tmp_path, axes={"iterations": [3, 8]}, iterations=5)
    metrics, _ = collect(run / "grid.tsv", run)
    assert sorted(set(metrics["iterations"])) == [3, 8]
    assert metrics.columns.is_unique


def test_no_bundle_can_have_the_name_of_a_column(tmp_path: Path) -> None:
    run = write_run(tmp_path, axes={"look": ["soft", "hard"]})
    metrics, _ = collect(run / "grid.tsv", run)
    columns = {*metrics.columns, *read_grid(run / "grid.tsv").rows[0]} - {"look"}
    measured = {"clipped", "style_loss_held_out"}  # by the program, not by these made-up records
    taken = {name for name in columns | measured if not name.startswith("style_loss_")}
    assert taken <= RESERVED
    for name in [*sorted(RESERVED), "style_loss_relu1_1"]:
        with pytest.raises(ConfigError, match=f"sweep.axes.{name}: "):
            parse_config(
                {"contents": "a", "styles": "b", "sweep": {"axes": {name: {"x": {"size": 64}}}}}
            )
