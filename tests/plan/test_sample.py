"""Samples: the right number of different points, spread as their method promises, once and for all."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import qmc

from nstcore.config.loader import parse_config
from nstcore.errors import ConfigError
from nstcore.plan.plan import Plan
from nstcore.plan.snapshot import read_plan, write_snapshot

METHODS = ["lhs", "sobol", "random"]
AXES: dict[str, Any] = {
    "style_weight": {"log": [1, 1000]},
    "tv_weight": {"uniform": [0, 8]},
    "size": {"range": [64, 512]},
    "pooling": ["max", "avg", "l2"],
    "look": {"soft": {"padding": "reflect"}, "hard": {"padding": "zeros"}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for name in "abc":
        (folder / f"{name}.png").touch()
    return folder


def plan_of(folder: Path, axes: dict[str, Any], sample: dict[str, Any], **sweep: Any) -> Plan:
    files = {name: str(folder / f"{name}.png") for name in "abc"}
    return Plan(
        parse_config(
            {
                "contents": files,
                "styles": dict(list(files.items())[:2]),
                "settings": {"init": "noise"},
                "results": str(folder / "results"),
                "sweep": {"axes": axes, "sample": sample, **sweep},
            }
        )
    )


def points_of(plan: Plan) -> list[dict[str, Any]]:
    return [point.values for point in plan.selection.points]


@given(
    method=st.sampled_from(METHODS),
    n=st.integers(1, 40),
    seed=st.integers(0, 2**53 - 1),
    names=st.lists(st.sampled_from(sorted(AXES)), min_size=1, unique=True),
)
def test_as_many_different_points_as_asked_for(
    folder: Path, method: str, n: int, seed: int, names: list[str]
) -> None:
    axes = {name: AXES[name] for name in names}
    listed = [len(AXES[name]) for name in names if name in ("pooling", "look")]
    if len(listed) == len(names):
        n = min(n, math.prod(listed))
    plan = plan_of(folder, axes, {"method": method, "n": n, "seed": seed})
    points = points_of(plan)
    assert len(points) == len({repr(point) for point in points}) == n
    assert plan.cell_count == n * 2 * 3
    for point in points:
        assert 1 <= point.get("style_weight", 1) <= 1000
        assert 0 <= point.get("tv_weight", 0) <= 8
        assert isinstance(point.get("size", 64), int)
        assert 64 <= point.get("size", 64) <= 512
    assert points_of(plan_of(folder, axes, {"method": method, "n": n, "seed": seed})) == points


@pytest.mark.parametrize("n", [5, 16, 50])
def test_a_latin_hypercube_has_one_point_in_every_slice(folder: Path, n: int) -> None:
    axes = {name: AXES[name] for name in ("style_weight", "tv_weight")}
    points = points_of(plan_of(folder, axes, {"method": "lhs", "n": n}))
    shares = {
        "style_weight": [math.log(p["style_weight"]) / math.log(1000) for p in points],
        "tv_weight": [p["tv_weight"] / 8 for p in points],
    }
    for name, values in shares.items():
        # Rounding to four digits moves a value by less than a tenth of a slice.
        middle = np.sort(values) - (np.arange(n) + 0.5) / n
        assert np.all(np.abs(middle) <= 0.6 / n), name


def test_a_sobol_sequence_is_more_even_than_chance(folder: Path) -> None:
    axes = {name: AXES[name] for name in ("style_weight", "tv_weight")}

    def uneven(method: str, seed: int) -> float:
        points = points_of(plan_of(folder, axes, {"method": method, "n": 64, "seed": seed}))
        unit = [[math.log(p["style_weight"]) / math.log(1000), p["tv_weight"] / 8] for p in points]
        return float(qmc.discrepancy(np.clip(unit, 0, 1)))

    pairs = [(uneven("sobol", seed), uneven("random", seed)) for seed in range(5)]
    assert all(3 * sobol < chance for sobol, chance in pairs), pairs


@pytest.mark.parametrize("method", ["sobol", "random"])
def test_more_points_begin_with_the_fewer(folder: Path, method: str) -> None:
    fewer, more = (
        points_of(plan_of(folder, AXES, {"method": method, "n": n, "seed": 3})) for n in (10, 33)
    )
    assert more[:10] == fewer


@pytest.mark.parametrize("method", METHODS)
def test_all_points_of_a_small_grid_can_be_drawn(folder: Path, method: str) -> None:
    axes = {"pooling": ["max", "avg", "l2"], "size": [64, 96, 128], "tv_weight": [0, 1]}
    points = points_of(plan_of(folder, axes, {"method": method, "n": 18}))
    assert len({tuple(point.values()) for point in points}) == 18
    with pytest.raises(ConfigError, match=r"sample\.n: there are only 18 points, not 19"):
        plan_of(folder, axes, {"method": method, "n": 19})


def test_axes_that_are_not_drawn_keep_all_their_values(folder: Path) -> None:
    axes = {"style_weight": {"log": [1, 1000]}, "pooling": ["max", "avg"]}
    plan = plan_of(
        folder, axes, {"method": "lhs", "n": 4, "axes": ["style_weight", "style"]}, seeds=2
    )
    drawn = {(c.style, c.point.values["style_weight"]) for c in plan.cells()}
    assert len(drawn) == 4
    assert {style for style, _ in drawn} == {"a", "b"}
    expected = {
        (style, content, weight, pooling, seed)
        for style, weight in drawn
        for content in "abc"
        for pooling in ("max", "avg")
        for seed in (0, 1)
    }
    assert {(c.style, c.content, *c.point.values.values(), c.point.seed) for c in plan.cells()} == (
        expected
    )
    assert plan.cell_count == len(expected)


def test_zipped_axes_are_drawn_together(folder: Path) -> None:
    axes = {"size": [64, 96, 128], "tv_weight": [1, 2, 3], "style_weight": {"uniform": [1, 9]}}
    plan = plan_of(folder, axes, {"method": "lhs", "n": 9}, zip=[["size", "tv_weight"]])
    found = {(p["size"], p["tv_weight"]) for p in points_of(plan)}
    assert found == {(64, 1), (96, 2), (128, 3)}


def test_conditions_hold_for_what_was_drawn(folder: Path) -> None:
    plan = plan_of(
        folder,
        AXES,
        {"method": "sobol", "n": 32},
        where="style_weight < 100",
        exclude=[{"pooling": "l2"}, {"content": "b"}],
        include=[{"style_weight": 5000, "tv_weight": 1, "size": 70, "content": "b"}],
    )
    usual = [c for c in plan.cells() if c.content != "b"]
    assert usual
    assert all(c.settings.style_weight < 100 and c.settings.pooling != "l2" for c in usual)
    extra = [c for c in plan.cells() if c.content == "b"]
    assert len(extra) == 2 * 3 * 2  # styles, poolings, looks
    assert plan.axis_values["style_weight"][-1] == 5000
    assert plan.axis_values["size"] == sorted(plan.axis_values["size"])


@pytest.mark.parametrize("method", METHODS)
def test_the_points_stand_in_the_frozen_configuration(
    folder: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawn once: a job may have another SciPy than the one that planned."""
    plan = plan_of(
        folder,
        AXES,
        {"method": method, "n": 6, "axes": ["style_weight", "tv_weight", "size", "content"]},
    )
    path = write_snapshot(plan)

    def refuse(*_: object) -> None:
        raise AssertionError("drawn again")

    monkeypatch.setattr("nstcore.plan.cells.unit_points", refuse)
    again = read_plan(path)
    assert list(again.cells()) == list(plan.cells())
    assert write_snapshot(again).read_text() == path.read_text()
    written = yaml.safe_load(path.read_text())["sweep"]["sample"]["points"]
    assert len(written) == 6
    assert all(set(p) == {"style_weight", "tv_weight", "size", "content"} for p in written)


@pytest.mark.parametrize(
    ("axes", "sample", "line"),
    [
        ({}, {"method": "lhs", "n": 2}, "sweep.sample: no axis to draw from"),
        (AXES, {"method": "lhs", "n": 0}, "sweep.sample.n: input should be greater"),
        (AXES, {"method": "grid", "n": 2}, "sweep.sample.method: input should be 'lhs'"),
        (
            AXES,
            {"method": "lhs", "n": 2, "axes": ["looks"]},
            "sweep.sample.axes[0]: unknown axis",
        ),
        (
            AXES,
            {"method": "lhs", "n": 2, "axes": ["look", "tv_weight", "size"]},
            "sweep.axes.style_weight: give `num`, or let `sweep.sample` draw from it",
        ),
        (
            {"size": {"uniform": [64, 66]}},
            {"method": "random", "n": 4},
            "sweep.sample.n: only 3 different points were found, not 4",
        ),
        (
            {"pooling": ["max", "avg"]},
            {"method": "lhs", "n": 1, "points": [{"pooling": "l3"}]},
            "sweep.sample.points[0].pooling: input should be 'max'",
        ),
        (
            {"pooling": ["max", "avg"]},
            {"method": "lhs", "n": 1, "points": [{"style": "a"}]},
            "sweep.sample.points[0]: names style; it must name pooling",
        ),
    ],
)
def test_samples_that_cannot_be_are_named(
    folder: Path, axes: dict[str, Any], sample: dict[str, Any], line: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_of(folder, axes, sample)
    assert caught.value.problems[0].startswith(line)


def test_an_included_cell_has_to_say_what_is_drawn(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"include\[0\]: give `tv_weight`, which has no list"):
        plan_of(
            folder,
            {"tv_weight": {"uniform": [0, 1]}, "size": [64, 96]},
            {"method": "lhs", "n": 3},
            include=[{"size": 100}],
        )


def test_pictures_that_are_missing_are_all_that_is_told(folder: Path) -> None:
    raw = {
        "contents": "nowhere",
        "styles": str(folder),
        "sweep": {"axes": AXES, "sample": {"method": "lhs", "n": 3}},
    }
    with pytest.raises(ConfigError) as caught:
        Plan(parse_config(raw))
    assert [line.split(":")[0] for line in caught.value.problems] == ["contents"]


@given(method=st.sampled_from(METHODS), order=st.permutations(sorted(AXES)))
def test_the_order_of_keys_draws_no_other_points(
    folder: Path, method: str, order: list[str]
) -> None:
    def drawn(axes: dict[str, Any]) -> list[list[tuple[str, Any]]]:
        plan = plan_of(folder, axes, {"method": method, "n": 12})
        return [sorted(point.items()) for point in points_of(plan)]

    shuffled = {name: AXES[name] for name in order}
    shuffled["look"] = dict(reversed(AXES["look"].items()))
    assert drawn(shuffled) == drawn(AXES)
