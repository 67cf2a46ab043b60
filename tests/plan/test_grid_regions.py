"""Regions of contents and styles: how they are written, and whether they go together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nstcore.config.loader import parse_config
from nstcore.errors import ConfigError
from nstcore.plan.inputs import ContentSource, StyleSource
from nstcore.plan.plan import Plan

SKY = {"sky": "sky.png", "ground": "ground.png"}


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan looks at no picture's contents: empty files will do."""
    monkeypatch.chdir(tmp_path)
    for name in ("cat", "wave", "night", "guide", "sky", "ground"):
        Path(f"{name}.png").touch()


def plan_of(content: Any, style: Any, **more: Any) -> Plan:
    return Plan(parse_config({"contents": {"cat": content}, "styles": {"s": style}, **more}))


def problems_of(*given: Any, **more: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        plan_of(*given, **more)
    return caught.value.problems


def test_a_style_for_each_region() -> None:
    plan = plan_of(
        {"path": "cat.png", "guide": "guide.png", "settings": {"size": 64}},
        {
            "regions": {
                "#FF0000": "wave.png",
                "#0000ff": {"wave.png": 3, "night.png": 1},
                "#00ff00": {"path": "night.png", "guide": "guide.png"},
            }
        },
    )
    assert plan.contents["cat"] == ContentSource("cat.png", {"size": 64}, "guide.png")
    style = plan.styles["s"]
    assert style == StyleSource(
        ("wave.png", "wave.png", "night.png", "night.png"),
        (1.0, 0.75, 0.25, 1.0),
        {},
        ("#ff0000", "#0000ff", "#0000ff", "#00ff00"),
        (None, None, None, "guide.png"),
    )
    assert style.images("#0000ff") == [1, 2]
    assert [style.guide(i) for i in range(4)] == list(style.guides)


@pytest.mark.parametrize(
    "style",
    [
        "wave.png",
        {"path": "wave.png", "guide": "guide.png"},
        {"path": "wave.png", "guide": SKY, "settings": {"style_scale": 2}},
        {"regions": {"sky": ["wave.png", "night.png"], "ground": "wave.png"}},
        {
            "regions": {
                "sky": {"path": "wave.png", "guide": SKY},
                "ground": {"wave.png": 0.3, "night.png": 3},
            }
        },
        {
            "regions": {"sky": {"path": "wave.png", "guide": SKY}, "ground": "wave.png"},
            "settings": {"size": 99},
        },
    ],
)
def test_an_entry_means_what_it_came_from(style: Any) -> None:
    plan = plan_of({"path": "cat.png", "guide": SKY}, style)
    again = plan_of(plan.contents["cat"].entry(), plan.styles["s"].entry())
    assert (again.contents, again.styles) == (plan.contents, plan.styles)


@pytest.mark.parametrize(
    ("content", "style", "expected"),
    [
        (
            {"path": "cat.png", "guide": SKY},
            {"path": "wave.png", "guide": {"sky": "sky.png"}},
            "styles.s, the guide of wave.png: has no ground, which contents.cat has; there are: sky",
        ),
        (
            {"path": "cat.png", "guide": SKY},
            {"regions": {"sky": "wave.png", "sea": "wave.png"}},
            "styles.s.regions: has no ground, which contents.cat has; there are: sky, sea",
        ),
        (
            {"path": "cat.png", "guide": SKY},
            {
                "regions": {
                    "sky": {"path": "wave.png", "guide": {"sea": "sky.png"}},
                    "ground": "wave.png",
                }
            },
            "styles.s, the guide of wave.png: has no sky, which contents.cat has; there are: sea",
        ),
        (
            "cat.png",
            {"regions": {"sky": "wave.png"}},
            "styles.s: has a style for each region, but contents.cat has no regions; give it a `guide`",
        ),
        (
            {"path": "cat.png", "guide": {"sky": "sky.png", "ground": "gone.png"}},
            "wave.png",
            "contents.cat.guide.ground: there is no file gone.png",
        ),
        (
            "cat.png",
            {"path": "wave.png", "guide": "gone.png"},
            "styles.s.guide: there is no file gone.png",
        ),
        (
            "cat.png",
            {"regions": {"sky": ["wave.png", "wave.png"]}},
            "styles.s.regions.sky: a file appears twice",
        ),
        ({"path": "cat.png", "guide": {}}, "wave.png", "contents.cat.guide: "),
        (
            {"path": "cat.png", "guide": {"the sky": "sky.png"}},
            "wave.png",
            "contents.cat.guide.the sky: ",
        ),
        (
            "cat.png",
            {"paths": ["wave.png"], "guide": "guide.png"},
            "styles.s: a `guide` belongs to one image; give it with `path`",
        ),
        (
            "cat.png",
            {"regions": {"sky": "wave.png"}, "guide": "guide.png"},
            "styles.s: a `guide` belongs to one image; give it below `regions`",
        ),
        (
            "cat.png",
            {"regions": {"sky": "wave.png"}, "path": "wave.png"},
            "styles.s: give either `path`, or `paths`, or `regions`",
        ),
        (
            "cat.png",
            {"regions": {"sky": {"path": "wave.png", "settings": {}}}},
            "styles.s.regions.sky.settings: unknown key",
        ),
        (
            "cat.png",
            {"regions": {"sky": {"path": "wave.png", "giude": "x"}}},
            "styles.s.regions.sky.giude: unknown key; did you mean `guide`?",
        ),
    ],
)
def test_what_does_not_go_together_is_named(content: Any, style: Any, expected: str) -> None:
    found = problems_of(content, style)
    assert len(found) == 1, found
    assert found[0].startswith(expected)


@pytest.mark.parametrize(
    "style",
    [
        "wave.png",
        {"path": "wave.png", "guide": {**SKY, "sea": "sky.png"}},
        {"regions": {"sky": "wave.png", "ground": "wave.png", "sea": "wave.png"}},
        {"path": "wave.png", "guide": "guide.png"},  # in colours: told when it is read
    ],
)
def test_a_style_may_have_more_regions_or_none(style: Any) -> None:
    plan_of({"path": "cat.png", "guide": SKY}, style)


def test_a_guided_style_serves_contents_without_regions() -> None:
    plan_of("cat.png", {"path": "wave.png", "guide": SKY})


def test_weights_of_regions_that_are_not_there() -> None:
    weights = {"settings": {"region_weights": {"sea": 2}}}
    assert problems_of({"path": "cat.png", "guide": SKY}, "wave.png", **weights) == [
        "region_weights: no content has a region sea; there are: ground, sky"
    ]
    assert problems_of("cat.png", "wave.png", **weights) == [
        "region_weights: no content has regions; give one a `guide`"
    ]
    plan_of({"path": "cat.png", "guide": "guide.png"}, "wave.png", **weights)
