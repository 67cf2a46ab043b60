"""Pages, rows and columns: where each cell goes, and what the pages are called."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from synthetic import write_run

from nstcore.contact_sheet.axes import SheetSpec, arrange, groups, page_names
from nstcore.errors import UserError
from nstcore.plan.values import display_text
from nstcore.results.tables import collect


def metrics_of(root: Path, **options: Any) -> pd.DataFrame:
    run = write_run(root, **options)
    return collect(run / "grid.tsv", run)[0]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (10, "10"),
        (10.0, "10"),
        ("10", "10"),
        ("10.0", "10"),
        (0.001, "0.001"),
        ("1e-3", "0.001"),
        (True, "true"),
        ("True", "true"),
        (None, "none"),
        ("", "none"),
        (pd.NA, "none"),
        (float("nan"), "none"),
        (["relu1_1", "relu2_1"], "relu1_1+relu2_1"),
        ("['relu1_1', 'relu2_1']", "relu1_1+relu2_1"),
        ('["relu1_1", "relu2_1"]', "relu1_1+relu2_1"),
        ({"relu1_1": 1.0, "relu2_1": 1.0}, "relu1_1+relu2_1"),
        ('{"relu1_1": 1.0, "relu2_1": 0.5}', "relu1_1=1+relu2_1=0.5"),
        ("[broken", "[broken"),
        ("vgg19", "vgg19"),
        (1e6, "1000000"),
        (1e-5, "0.00001"),
        (1e300, "1e+300"),
    ],
)
def test_a_value_reads_alike_in_the_configuration_and_in_the_table(value: Any, text: str) -> None:
    assert display_text("style_weight", value) == text


def test_equal_factors_of_regions_are_told_apart() -> None:
    values = [{"#0000ff": 1.0}, '{"#0000ff": 0.1}', {"#0000ff": 2, "#ff0000": 2}, {}]
    assert [display_text("region_weights", value) for value in values] == [
        "#0000ff=1",
        "#0000ff=0.1",
        "#0000ff=2+#ff0000=2",
        "none",
    ]


def test_ids_are_never_read_as_numbers() -> None:
    assert display_text("content", "001") == "001"
    assert display_text("style", "1e3") == "1e3"


def test_page_names_need_the_plan_alone() -> None:
    values = {"style": ["night", "wave"], "content": ["cat"], "size": [256, 512.0], "seed": [0]}
    assert page_names(values, []) == ["all"]
    assert page_names(values, ["size"]) == ["size=256", "size=512"]
    assert page_names(values, ["style", "size"]) == [
        *("style=night,size=256", "style=night,size=512"),
        *("style=wave,size=256", "style=wave,size=512"),
    ]


def test_page_names_are_the_planned_pages(tmp_path: Path) -> None:
    axes = {"style_weight": [0.5, 10], "layers": ["relu1_1+relu2_1", "a/b c:<d>"]}
    metrics = metrics_of(tmp_path, axes={"style_weight": [0.5, 10]}, seeds=(0, 1))
    metrics.insert(6, "layers", ["relu1_1+relu2_1", "a/b c:<d>"] * (len(metrics) // 2))
    spec = SheetSpec(
        "t", rows=["content"], cols=["style"], pages=["layers", "style_weight", "seed"]
    )
    found = [arrangement.name for arrangement in arrange(metrics, spec)]
    assert found == page_names({**axes, "seed": [0, 1]}, spec.pages)
    assert len(set(found)) == 8
    assert all("/" not in name and ":" not in name and " " not in name for name in found)


def test_page_names_stay_short_and_distinct() -> None:
    long = ["x" * 200 + end for end in "ab"]
    names = page_names({"style": long}, ["style"])
    assert len(set(names)) == 2
    assert max(map(len, names)) <= 100


def test_every_cell_has_one_place(tmp_path: Path) -> None:
    metrics = metrics_of(tmp_path, seeds=(0, 1), axes={"style_weight": [1, 2, 3], "size": [64]})
    spec = SheetSpec("t", rows=["content"], cols=["style_weight"], pages=["style"])
    pages = arrange(metrics, spec)
    assert sorted(n for page in pages for n in page.places.values()) == list(range(len(metrics)))
    assert [page.name for page in pages] == ["style=night", "style=wave"]
    assert pages[0].cols == ("style_weight", "seed")  # the forgotten axis, and not the single size
    assert pages[0].col_keys[:2] == (("1", "0"), ("1", "1"))
    for page in pages:
        for (row, col), n in page.places.items():
            assert metrics["content"][n] == row[0]
            assert str(metrics["seed"][n]) == col[1]


def test_missing_combinations_leave_a_hole_and_keep_the_order(tmp_path: Path) -> None:
    metrics = metrics_of(tmp_path, styles=["night"], axes={"style_weight": [1, 10, 100]})
    metrics = metrics.drop(index=[0, 2]).reset_index(drop=True)
    spec = SheetSpec("t", rows=["content"], cols=["style_weight"])
    (page,) = arrange(metrics, spec, {"style_weight": [1, 10, 100]})
    assert page.col_keys == (("1",), ("10",), ("100",))
    assert (("cat",), ("1",)) not in page.places


def test_a_page_without_cells_is_still_a_page(tmp_path: Path) -> None:
    metrics = metrics_of(tmp_path, axes={"style_weight": [1, 2]})
    metrics = metrics[(metrics["style"] == "night") | (metrics["style_weight"] == 1)]
    pages = arrange(metrics, SheetSpec("t", cols=[], pages=["style", "style_weight"]))
    assert [bool(page.places) for page in pages] == [True, True, True, False]


def test_zipped_axes_are_not_appended(tmp_path: Path) -> None:
    metrics = metrics_of(tmp_path, axes={"style_weight": [1, 2]})
    metrics.insert(6, "tv_weight", [value * 10 for value in metrics["style_weight"]])
    (page,) = arrange(metrics, SheetSpec("t", cols=["style", "style_weight"]))
    assert page.cols == ("style", "style_weight")


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        (SheetSpec("t", rows=["contents"]), "did you mean `content`"),
        (SheetSpec("t", cols=["xyz"]), "choose from: style, content"),
        (SheetSpec("t", rows=["style"], cols=["style"]), "asked for twice"),
    ],
)
def test_wrong_axes_are_refused_in_one_line(tmp_path: Path, spec: SheetSpec, line: str) -> None:
    with pytest.raises(UserError, match=line):
        arrange(metrics_of(tmp_path), spec)


def test_groups_end_where_an_outer_value_changes() -> None:
    keys = [("a", "1"), ("a", "2"), ("b", "2"), ("b", "2")]
    assert groups(keys, 0) == [(0, 2), (2, 4)]
    assert groups(keys, 1) == [(0, 1), (1, 2), (2, 4)]
