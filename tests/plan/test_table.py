"""Sheets of contents and styles mean what the same entries in the configuration mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nstcore.config.loader import parse_config
from nstcore.config.yaml_files import dump_yaml
from nstcore.errors import ConfigError
from nstcore.plan.inputs import expand_contents, expand_styles
from nstcore.plan.plan import Plan
from nstcore.plan.snapshot import read_plan, write_snapshot

COLUMNS: dict[str, st.SearchStrategy[Any]] = {
    "style_weight": st.none() | st.floats(0, 1e6),
    "size": st.none() | st.integers(32, 4096),
    "pooling": st.none() | st.sampled_from(["max", "avg"]),
    "iterations": st.none() | st.lists(st.integers(1, 99), min_size=1, max_size=3),
    "style_layers": st.none() | st.just({"relu1_1": 0.5, "relu3_1": 1.0}),
    "init_noise": st.none() | st.just(0.25),
}


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b 1.png", "c.png"):
        (tmp_path / name).touch()
    return tmp_path


def write(lines: list[str], name: str = "sheet.tsv") -> str:
    Path(name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return name


def word(value: Any) -> str:
    return "" if value is None else dump_yaml({"x": value}).removeprefix("x:").strip()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_sheet_is_a_map_of_entries(pictures: Path, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.sampled_from(["a", "1e5", "null", "b-2"]), min_size=1, unique=True))
    columns = data.draw(st.lists(st.sampled_from(sorted(COLUMNS)), unique=True))
    flow = {
        "iterations": lambda value: "" if value is None else str(value),
        "style_layers": lambda value: "" if value is None else "{relu1_1: 0.5, relu3_1: 1}",
    }
    lines, entries = ["\t".join(["path", *columns, "id"])], {}
    for name in ids:
        own = {column: data.draw(COLUMNS[column]) for column in columns}
        words = [flow.get(column, word)(own[column]) for column in columns]
        lines.append("\t".join(["b 1.png", *words, name]))
        given_ = {column: value for column, value in own.items() if value is not None}
        entries[name] = {"path": "b 1.png", **({"settings": given_} if given_ else {})}
    sheet = write(lines)
    config = parse_config({"contents": entries, "styles": entries})
    assert expand_contents(sheet) == expand_contents(config.contents)
    assert expand_styles(sheet) == expand_styles(config.styles)
    assert list(expand_contents(sheet)) == ids


def test_what_says_nothing_is_passed_over(pictures: Path) -> None:
    sheet = write(["\ufeffid\tpath", "", "# b.png\tis bad", "  a \t a.png ", "c\tc.png\t"])
    with pytest.raises(ConfigError, match=r"line 5: has 3 fields, but the header has 2"):
        expand_contents(sheet)
    write(["\ufeffid\tpath", "", "# b.png\tis bad", "  a \t a.png "])
    assert {name: source.path for name, source in expand_contents(sheet).items()} == {"a": "a.png"}


def test_styles_may_be_blends(pictures: Path) -> None:
    sheet = write(["id\tpath\tpaths", "one\ta.png\t", "two\t\t{a.png: 3, c.png: 1}"])
    styles = expand_styles(sheet)
    assert styles["one"].paths == ("a.png",)
    assert (styles["two"].paths, styles["two"].weights) == (("a.png", "c.png"), (0.75, 0.25))


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["id\tpath\tsise", "a\ta.png\t64"], "line 1: the column `sise` is neither"),
        (["id\tpath\tid", "a\ta.png\tb"], "line 1: the column `id` appears twice"),
        (["id,path", "a,a.png"], "line 1: the column `id,path` is neither"),
        (["path\tsize", "a.png\t64"], "line 1: the column `id` is missing"),
        (["id\tsize", "a\t64"], "line 1: the column `path` is missing"),
        (["id\tpath", "a\ta.png", "", "a\tc.png"], "line 4: the id 'a' appears twice"),
        (["id\tpath", "a b\ta.png"], "line 2: the id 'a b' may"),
        (["id\tpath", "\ta.png"], "line 2: the id '' may"),
        (["id\tpath", "a"], "line 2: path: is missing"),
        (["id\tpath\tsize", "a\ta.png\tbig"], "line 2: size: input should be a valid integer"),
        (["id\tpath\tsize", "a\ta.png\t[1"], "line 2: size: '[1' is not a valid value"),
        (["id\tpath", "a\tnone.png"], "line 2: there is no file none.png"),
        (["id\tpath"], "sheet.tsv: has no images"),
        ([""], "line 1: the column `id` is missing"),
    ],
)
def test_mistakes_are_told_with_their_line(pictures: Path, lines: list[str], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        expand_contents(write(lines))
    assert problem in caught.value.problems[0]
    assert caught.value.problems[0].startswith("sheet.tsv")


def test_all_mistakes_come_at_once(pictures: Path) -> None:
    lines = ["id\tpath\tsize\tpooling", "a\ta.png\t1\tmin", "b\tc.png\t64\tmax", "c\tc.png\tx\t"]
    with pytest.raises(ConfigError) as caught:
        expand_styles(write(lines))
    assert sorted(line.split(": input")[0] for line in caught.value.problems) == [
        "sheet.tsv, line 2: pooling",
        "sheet.tsv, line 2: size",
        "sheet.tsv, line 4: size",
    ]


def test_a_sheet_that_is_not_there(pictures: Path) -> None:
    with pytest.raises(ConfigError, match=r"^none\.tsv: no such file"):
        expand_contents("none.tsv")


def test_the_frozen_configuration_spells_it_out(pictures: Path) -> None:
    sheet = write(["id\tpath\tsize", "a\ta.png\t64", "b\tb 1.png\t"])
    plan = Plan(parse_config({"contents": sheet, "styles": "c.png", "results": "out"}))
    frozen = write_snapshot(plan)
    Path(sheet).unlink()
    assert list(read_plan(frozen).cells()) == list(plan.cells())
    assert {cell.content: cell.settings.size for cell in plan.cells()} == {"a": 64, "b": 512}
