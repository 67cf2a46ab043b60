"""The section ``compare``: its mistakes, and that it changes no cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from nstcore.config.loader import parse_config
from nstcore.errors import ConfigError
from nstcore.plan.paths import compared_runs
from nstcore.plan.plan import Plan
from nstcore.plan.snapshot import open_plan, read_plan, write_snapshot


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    for name in ("photo.png", "paint.png"):
        Image.new("RGB", (48, 40), "#336699").save(name)
    for run in ("results/old", "elsewhere/older"):
        Path(run).mkdir(parents=True)
        (Path(run) / "grid.tsv").write_text("")
    return {
        "run": "new",
        "contents": "photo.png",
        "styles": "paint.png",
        "compare": {"runs": ["old", "elsewhere/older"], "fail_if": ["style_loss > +5%"]},
    }


def problems(raw: dict[str, Any], **compare: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        open_plan({**raw, "compare": {**raw["compare"], **compare}}, starting=True)
    return caught.value.problems


def test_names_and_folders(raw: dict[str, Any]) -> None:
    assert compared_runs(parse_config(raw)) == ["results/old", "elsewhere/older"]
    assert compared_runs(parse_config({**raw, "compare": None})) == []


@pytest.mark.parametrize(
    ("compare", "parts"),
    [
        ({"runs": []}, ["compare.runs", "at least 1"]),
        ({"runs": ["nowhere"]}, ["compare.runs[0]", "results/nowhere", "grid.tsv"]),
        ({"runs": ["old", "new"]}, ["compare.runs[1]", "this run itself"]),
        ({"runs": ["a{b}"]}, ["compare.runs[0]"]),
        ({"fail_if": ["style_loss >> 5%"]}, ["compare.fail_if", "style_loss >> 5%", "for example"]),
        ({"ignore": ["optimiser"]}, ["compare.ignore", "did you mean `optimizer`?"]),
        ({"baseline": "old"}, ["compare.baseline", "unknown key"]),
    ],
)
def test_a_mistake_is_one_line(
    raw: dict[str, Any], compare: dict[str, Any], parts: list[str]
) -> None:
    (line,) = problems(raw, **compare)
    for part in parts:
        assert part in line


def test_a_missing_run_is_told_with_its_line(raw: dict[str, Any]) -> None:
    Path("my.yaml").write_text(yaml.safe_dump({**raw, "compare": {"runs": ["old", "gone"]}}))
    with pytest.raises(ConfigError, match=r"my.yaml, line \d+: compare.runs\[1\]: there is no run"):
        read_plan("my.yaml", starting=True)
    # A run that goes away later is no reason for jobs to fail that do not need it.
    assert read_plan("my.yaml").cell_count == 1


def test_cells_are_the_same_with_and_without(raw: dict[str, Any]) -> None:
    with_it, without = Plan(parse_config(raw)), Plan(parse_config({**raw, "compare": None}))
    assert list(with_it.cells()) == list(without.cells())
    assert with_it.digest_of(with_it.cells()) == without.digest_of(without.cells())


def test_it_is_frozen_with_the_rest(raw: dict[str, Any]) -> None:
    plan = Plan(parse_config(raw))
    assert read_plan(write_snapshot(plan)).config.compare == plan.config.compare
