"""Guides before anything is computed: prepared files, identities, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from nstcore.config.loader import parse_config
from nstcore.errors import ConfigError, ImageError
from nstcore.images import decode
from nstcore.images.masks import load_regions
from nstcore.jobs import prepare
from nstcore.jobs.cell_inputs import RunInputs
from nstcore.jobs.prepare import cell_keys
from nstcore.plan import paths
from nstcore.plan.plan import Plan

GUIDED = {"path": "cat.png", "guide": "guide.png"}
BOTH = {"regions": {"#ff0000": "night.png", "#0000ff": "wave.png"}}


def paint_guide(path: str, at: int = 40, other: str = "#0000ff") -> None:
    image = Image.new("RGB", (80, 60), "#ff0000")
    ImageDraw.Draw(image).rectangle((at, 0, 80, 60), fill=other)
    image.save(path)


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for shade, name in enumerate(["cat.png", "night.png", "wave.png"]):
        Image.new("RGB", (80, 60), (70 * shade, 0, 0)).save(name)
    paint_guide("guide.png")


def plan_of(content: Any, style: Any, **settings: Any) -> Plan:
    raw = {
        "contents": {"c": content},
        "styles": {"s": style},
        "settings": {"size": 64, **settings},
        "evaluation": {"size": 96},
    }
    return Plan(parse_config(raw))


def key(content: Any, style: Any, **settings: Any) -> str:
    (found,) = cell_keys(plan_of(content, style, **settings))
    return found


def test_guides_are_prepared_at_the_sizes_of_their_pictures() -> None:
    plan = plan_of(GUIDED, {"path": "wave.png", "guide": "guide.png"})
    prepare.prepare_content(plan, "c")
    prepare.prepare_content_guide(plan, "c")
    prepare.prepare_style(plan, "s", 0)
    prepare.prepare_style_guide(plan, "s", 0)
    folder = Path(plan.config.run_dir)
    pairs = [
        (
            paths.CONTENT.format(content="c", size=size),
            paths.CONTENT_GUIDE.format(content="c", size=size),
        )
        for size in (64, 96)
    ]
    pairs.append(
        (paths.STYLE.format(style="s", index=0), paths.STYLE_GUIDE.format(style="s", index=0))
    )
    for picture, guide in pairs:
        pixels, regions = decode(folder / picture).pixels, load_regions(folder / guide)
        assert regions.masks.shape == (2, *pixels.shape[:2])
        assert regions.areas["#ff0000"] == pytest.approx(0.5, abs=0.01)
    guide = RunInputs(plan).content_guide("c", "64")
    assert guide is not None
    assert (guide.path, set(guide.regions)) == ("guide.png", {"#ff0000", "#0000ff"})


def test_without_regions_what_concerns_them_does_not_count() -> None:
    """Finished cells of old runs stay finished."""
    plain = key("cat.png", "wave.png")
    assert key("cat.png", "wave.png", guide_propagation="inside") == plain
    assert key("cat.png", {"path": "wave.png", "guide": "guide.png"}) == plain
    others = {"d": GUIDED}
    plan = Plan(
        parse_config(
            {
                "contents": {"c": "cat.png", **others},
                "styles": {"s": "wave.png"},
                "settings": {"size": 64, "region_weights": {"#ff0000": 2}},
                "evaluation": {"size": 96},
            }
        )
    )
    first, second = cell_keys(plan)
    assert first == plain
    assert second != plain


def test_what_changes_a_picture_in_regions_changes_its_key() -> None:
    paint_guide("other.png", at=41)
    guided = {"path": "wave.png", "guide": "guide.png"}
    swapped = {"regions": {"#ff0000": "wave.png", "#0000ff": "night.png"}}
    keys = [
        key("cat.png", "wave.png"),
        key(GUIDED, "wave.png"),
        key({**GUIDED, "guide": "other.png"}, "wave.png"),
        key(GUIDED, guided),
        key(GUIDED, {**guided, "guide": "other.png"}),
        key(GUIDED, BOTH),
        key(GUIDED, swapped),
        key(GUIDED, {"regions": {"#ff0000": guided, "#0000ff": "night.png"}}),
        key(GUIDED, BOTH, guide_propagation="inside"),
        key(GUIDED, BOTH, region_weights={"#ff0000": 2}),
        key(GUIDED, BOTH, region_weights={"#0000ff": 2}),
    ]
    assert len(set(keys)) == len(keys)


def test_what_changes_nothing_keeps_the_key() -> None:
    expected = key(GUIDED, BOTH)
    assert key(GUIDED, BOTH, region_weights={"#ff0000": 1}) == expected
    assert key(GUIDED, {"regions": dict(reversed(BOTH["regions"].items()))}) == expected
    Image.open("guide.png").convert("P").save("renamed.png")
    assert key({**GUIDED, "guide": "renamed.png"}, BOTH) == expected


def test_targets_of_guided_styles_have_names_of_their_own() -> None:
    plan = plan_of(GUIDED, BOTH)
    other = plan_of(GUIDED, BOTH, guide_propagation="inside")
    one, two = (set(p.targets) for p in (plan, other))
    judge = one & two
    assert len(judge) == 1, "the judge's own does not depend on the setting"
    assert all(name.endswith("-inside") for name in two - judge)


def problems(content: Any, style: Any, **settings: Any) -> list[str]:
    with pytest.raises((ConfigError, ImageError)) as caught:
        key(content, style, **settings)
    return str(caught.value).splitlines()


def test_colours_that_do_not_go_together_are_named_once_they_are_read() -> None:
    paint_guide("green.png", other="#00ff00")
    assert problems({**GUIDED, "guide": "green.png"}, BOTH) == [
        "styles.s.regions: has no #00ff00, which contents.c has; there are: #ff0000, #0000ff"
    ]
    assert problems(GUIDED, {"path": "wave.png", "guide": "green.png"}) == [
        "styles.s, the guide of wave.png: has no #0000ff, which contents.c has; there are: #00ff00, "
        "#ff0000"
    ]
    assert problems(GUIDED, BOTH, region_weights={"#00ff00": 2}) == [
        "region_weights: no content has a region #00ff00; there are: #0000ff, #ff0000"
    ]


def test_a_guide_that_cannot_be_used_is_named_with_its_entry() -> None:
    Image.new("RGB", (60, 60), "#ff0000").save("square.png")
    (said,) = problems({**GUIDED, "guide": "square.png"}, "wave.png")
    assert said.startswith("contents.c: square.png: has 60 x 60 px, its image 80 x 60")
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save("photo.png")
    (said,) = problems(GUIDED, {"path": "wave.png", "guide": "photo.png"})
    assert said.startswith("styles.s: photo.png: has ")
