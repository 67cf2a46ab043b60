"""Batches of useful length from a target time, whatever the axes, and none of it in a cell's key."""

from __future__ import annotations

from collections import Counter
from statistics import fmean
from typing import Any

import pytest

from nstcore.config.loader import parse_config
from nstcore.core.settings import Settings
from nstcore.plan.batching import split_inputs
from nstcore.plan.cost_model import START_SECONDS, cell_flops, cell_seconds, tflops_of
from nstcore.plan.plan import Plan

CELL_SECONDS = 12.0
TFLOPS = 1e-12 * cell_flops(Settings()) / CELL_SECONDS


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file that no plan opens."""
    path = tmp_path_factory.mktemp("pictures") / "any.png"
    path.touch()
    return str(path)


def make(
    picture: str, styles: int, contents: int, seeds: int, minutes: float | None = 10, **more: Any
) -> Plan:
    target = {} if minutes is None else {"target_minutes": minutes}
    raw: dict[str, Any] = {
        "contents": {f"c{number}": picture for number in range(contents)},
        "styles": {f"s{number}": picture for number in range(styles)},
        "settings": {"init": "noise"},
        "sweep": {"seeds": seeds},
        "cluster": {"tflops": TFLOPS, **target},
        "evaluation": {"size": 64},
        **more,
    }
    return Plan(parse_config(raw))


def minutes_of(plan: Plan) -> dict[str, float]:
    """Batch -> what its cells take, in minutes."""
    judge = plan.evaluation["encoder"]
    found: Counter[str] = Counter()
    for cell in plan.cells():
        found[cell.batch] += cell_seconds(plan.config, cell.settings, judge) / 60
    return dict(found)


@pytest.mark.parametrize(
    ("styles", "contents", "seeds"),
    [(20, 50, 10), (50, 20, 10), (100, 100, 1), (1, 1, 10_000), (10_000, 1, 1), (2, 5000, 1)],
)
def test_ten_thousand_cells_become_some_hundred_jobs_whatever_the_axes(
    picture: str, styles: int, contents: int, seeds: int
) -> None:
    """Of 12 s each they take 33 h: 200 jobs of 10 minutes, or twice as many of half of that."""
    plan = make(picture, styles, contents, seeds)
    minutes = minutes_of(plan)
    assert 150 <= len(minutes) <= 500
    assert 5 <= fmean(minutes.values()) <= 11
    # Buckets are filled by chance, and none so that a job would be of no use or last all day.
    assert max(minutes.values()) <= 30
    assert sum(value < 1 for value in minutes.values()) <= len(minutes) / 20


def test_every_cell_is_in_one_batch(picture: str) -> None:
    plan = make(picture, 4, 9, 3, minutes=2)
    assert plan.batching.axes.separate == {"style"}
    assert plan.batching.axes.buckets > 1
    seen = [cell.image for batch in plan.batches.values() for cell in batch]
    assert sorted(seen) == sorted(cell.image for cell in plan.cells())
    for name, batch in plan.batches.items():
        assert {cell.batch for cell in batch} == {name}
        assert {cell.style for cell in batch} == {name.split("/")[0]}


def test_a_grid_shorter_than_the_target_is_one_job(picture: str) -> None:
    assert list(minutes_of(make(picture, 3, 4, 1, minutes=60))) == ["all"]


def test_a_small_grid_is_one_job_and_a_large_one_has_jobs_of_minutes(picture: str) -> None:
    assert list(make(picture, 3, 4, 2, minutes=None).batches) == ["all"]
    minutes = minutes_of(make(picture, 10, 20, 20, minutes=None))
    assert 3 <= fmean(minutes.values()) <= 11


def test_a_small_grid_is_divided_for_every_worker(picture: str) -> None:
    plan = make(picture, 8, 8, 1, minutes=None, workers=4)
    assert 3 <= len(plan.batches) <= 8
    assert len(make(picture, 8, 8, 1, minutes=60, workers=4).batches) == 1, "a target is kept"


@pytest.mark.parametrize("given", [{"batch_by": ["style", "content"]}, {"batch_split": 1}])
def test_batches_are_as_the_configuration_says(picture: str, given: dict[str, Any]) -> None:
    assert len(make(picture, 3, 4, 2, minutes=None, **given).batches) == 12


@pytest.mark.parametrize("count", [1, 31, 500])
def test_parts_of_inputs_are_few_and_another_input_moves_none(count: int) -> None:
    names = [f"photo{number}" for number in range(count)]
    parts = split_inputs(names)
    assert sorted(name for part in parts.values() for name in part) == sorted(names)
    assert len(parts) <= 1 + count / 8
    assert max(map(len, parts.values())) <= 64
    again = split_inputs([*names, "another"])
    if len(again) == len(parts):
        assert {part: set(own) - {"another"} for part, own in again.items()} == {
            part: set(own) for part, own in parts.items()
        }


def test_what_is_given_for_batches_is_kept(picture: str) -> None:
    by_style = make(picture, 3, 4, 64, minutes=4, batch_by=["style"])
    assert by_style.batching.axes.separate == {"style"}
    # 256 cells of 12 s to each style are 51 minutes: 16 jobs of about three.
    assert 3 * 14 <= len(minutes_of(by_style)) <= 3 * 16
    assert len(minutes_of(make(picture, 3, 4, 1, minutes=0.1, batch_split=1))) == 12


def test_a_job_has_no_more_cells_than_allowed(picture: str) -> None:
    plan = make(picture, 10, 10, 20, minutes=1e6, max_cells_per_batch=100)
    sizes = Counter(cell.batch for cell in plan.cells())
    assert max(sizes.values()) <= 100
    assert len(sizes) < 100


def test_longer_cells_make_smaller_batches(picture: str) -> None:
    fast, slow = (
        make(picture, 2, 2, 100, cluster={"target_minutes": 10, "tflops": speed})
        for speed in (TFLOPS, TFLOPS / 4)
    )
    assert len(minutes_of(slow)) >= 3 * len(minutes_of(fast))


def test_another_picture_moves_no_cell_while_the_number_of_buckets_stands(picture: str) -> None:
    before, after = make(picture, 20, 50, 10), make(picture, 21, 51, 10)
    assert before.batching.axes == after.batching.axes
    batches = {cell.image: cell.batch for cell in before.cells()}
    again = {cell.image: cell.batch for cell in after.cells()}
    assert all(again[image] == batch for image, batch in batches.items())


def test_no_key_knows_of_the_cluster(picture: str) -> None:
    one, other = make(picture, 2, 3, 2), make(picture, 2, 3, 2, minutes=0.5)
    assert {c.batch for c in one.cells()} != {c.batch for c in other.cells()}
    assert one.digest_of(one.cells()) == other.digest_of(other.cells())


def test_speed_is_the_configurations_or_a_cautious_one(picture: str) -> None:
    given = make(picture, 1, 1, 1, cluster={"tflops": {"vgg19": 7}}, device="cpu").config
    assert tflops_of(given, "vgg19") == 7
    assert tflops_of(given, "compact") < tflops_of(
        make(picture, 1, 1, 1, cluster={}).config, "compact"
    ), "a GPU is taken to be faster than a CPU"


def test_a_cells_cost_follows_its_settings(picture: str) -> None:
    def flops(**settings: Any) -> float:
        return cell_flops(Settings(**settings))

    one = {"pyramid_start": 512, "iterations": 99}
    assert flops(**{**one, "iterations": 199}) == pytest.approx(2 * flops(**one))
    assert flops(size=1024, pyramid_start=1024, iterations=99) == pytest.approx(4 * flops(**one))
    # The compact encoder's model card says 15 to 16 times fewer multiply-adds.
    assert flops(encoder="vgg19") / flops(encoder="compact") == pytest.approx(15.5, rel=0.05)
    assert START_SECONDS > 0
