"""Colours and sizes through the real engine: whose colours a picture has, and what is kept of it."""

from __future__ import annotations

import json
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2yiq

from nstcore.config.loader import parse_config
from nstcore.core.targets import load_moments
from nstcore.errors import ImageError
from nstcore.images import decode, load_float
from nstcore.jobs import prepare
from nstcore.jobs.cell_inputs import RunInputs
from nstcore.jobs.engine import Engine
from nstcore.jobs.input_cache import InputCache
from nstcore.jobs.stylize import stylize_batch
from nstcore.jobs.targets import cell_targets, make_targets
from nstcore.plan.plan import Plan
from nstcore.resources.requests import IMAGES_KEPT
from nstcore.store.cells import Store


@pytest.fixture
def make_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waves: Any) -> Any:
    """A run's folder with its inputs prepared, for the encoder that comes along."""
    monkeypatch.chdir(tmp_path)
    shades = {
        "cat": (1, 0.3, 0.2),
        "dog": (0.2, 0.9, 0.3),
        "night": (0.3, 0.4, 1),
        "sun": (1, 1, 0),
    }
    for seed, (name, shade) in enumerate(shades.items()):
        pixels = waves(36, 48, seed) * np.array(shade) * 0.8 + 0.1
        Image.fromarray((pixels * 255).astype(np.uint8)).save(f"{name}.png")

    def make(settings: dict[str, Any], **changes: Any) -> Plan:
        base = {"size": 48, "pyramid_start": 48, "iterations": 12}
        raw: dict[str, Any] = {
            "contents": ["cat.png", "dog.png"],
            "styles": "night.png",
            "settings": {**base, **settings},
            "evaluation": {"size": 64},
            "device": "cpu",
        }
        plan = Plan(parse_config({**raw, **changes}))
        for name in plan.encoders:
            prepare.prepare_encoder(plan, name)
        for content in plan.contents:
            prepare.prepare_content(plan, content)
        for style, source in plan.styles.items():
            for index in range(len(source.paths)):
                prepare.prepare_style(plan, style, index)
            make_targets(plan, style, threads=1)
        return plan

    return make


def made(plan: Plan) -> dict[str, Any]:
    outcome = stylize_batch(plan, list(plan.cells()), threads=1)
    assert outcome.failed == 0
    return {c.content: load_float(Path(plan.config.run_dir) / c.image) for c in plan.cells()}


def targets_of(plan: Plan, engine: Engine) -> list[Path]:
    """The targets of the first cell of a plan."""
    inputs = RunInputs(plan).of(next(plan.cells()))
    store = Store(plan.config.store_dir)
    return cell_targets(inputs, InputCache(None), store, lambda: engine)


def target_files(plan: Plan) -> set[Path]:
    return set(Path(plan.config.store_dir, "targets").rglob("*.safetensors"))


@pytest.mark.parametrize("options", [{}, {"init": "noise"}, {"init": "style", "optimizer": "adam"}])
def test_luminance_alone_is_stylized(make_plan, options):
    plan = make_plan({"color": "luminance", **options})
    for content, picture in made(plan).items():
        own = load_float(plan.contents[content].path)
        yiq, before = rgb2yiq(picture), rgb2yiq(own)
        lengths = np.hypot(yiq[..., 1], yiq[..., 2]), np.hypot(before[..., 1], before[..., 2])
        assert (lengths[0] <= lengths[1] + 0.01).all()
        # Where there was room for it, chroma is the content's own but for rounding to 8 bits.
        inside = (picture > 0.01).all(-1) & (picture < 0.99).all(-1)
        assert inside.mean() > 0.3
        np.testing.assert_allclose(yiq[inside][:, 1:], before[inside][:, 1:], atol=0.01)
        assert np.abs(yiq[..., 0] - before[..., 0]).mean() > 0.01


def test_matched_colours_lie_nearer_to_the_content(make_plan):
    def far(pictures: dict[str, Any], plan: Plan) -> float:
        means = [
            p.mean((0, 1)) - load_float(plan.contents[c].path).mean((0, 1))
            for c, p in pictures.items()
        ]
        return float(np.abs(means).mean())

    heavy = {"style_weight": 100}
    plan = make_plan({"color": "match_content", **heavy})
    assert far(made(plan), plan) < 0.5 * far(made(make_plan(heavy)), plan)


def test_targets_of_a_content_are_made_once_and_for_each_content(make_plan):
    plan = make_plan({"color": "match_content"})
    before = target_files(plan)  # the judge's
    made(plan)
    own = target_files(plan) - before
    assert len(own) == 2
    again = make_plan({"color": "match_content", "style_weight": 7})
    made(again)
    assert target_files(again) - before == own
    for path in own:
        assert load_moments(path)[1]["picture"]["color"] == "match_content"


def test_no_target_is_made_that_nothing_asks_for(make_plan):
    plan = make_plan({"color": "luminance"})
    judge = plan.evaluation_settings
    assert [size for _, _, size in plan.targets.values()] == [judge.size]


def test_a_blend_is_the_share_of_each_picture_in_its_own_colours(make_plan):
    parts = {"night.png": 3, "sun.png": 1}
    plan = make_plan({"color": "match_content"}, styles={"both": parts}, contents="cat.png")
    engine = Engine("cpu", 1)
    (blend,) = targets_of(plan, engine)
    turned = make_plan(
        {"color": "match_content"},
        styles={"both": dict(reversed(parts.items()))},
        contents="cat.png",
        run="turned",
    )
    assert targets_of(turned, engine) == [blend], "in any order"
    moments, facts = load_moments(blend)
    assert sorted(part["weight"] for part in facts["blend"]) == [0.25, 0.75]
    alone = {}
    for name in ("night", "sun"):
        one = make_plan({"color": "match_content"}, styles=f"{name}.png", contents="cat.png")
        (path,) = targets_of(one, engine)
        alone[name] = load_moments(path)[0]
    for layer, value in moments.items():
        expected = 0.75 * alone["night"][layer].gram + 0.25 * alone["sun"][layer].gram
        np.testing.assert_allclose(value.gram, expected, rtol=1e-5, atol=1e-7)


def test_colours_count_only_where_they_matter(make_plan):
    keys = {}
    for color in ("style", "match_content", "luminance"):
        for option in ({}, {"color_match": "pca"}, {"luminance_space": "lab"}):
            plan = make_plan({"color": color, **option}, contents="cat.png")
            keys[color, *option] = RunInputs(plan).of(next(plan.cells())).key()
    assert len({key for name, key in keys.items() if name[0] == "style"}) == 1
    for color, own in (("match_content", "color_match"), ("luminance", "luminance_space")):
        other = {key for name, key in keys.items() if name[0] == color and own not in name}
        assert len(other) == 1
        assert keys[color, own] not in other
    assert len(set(keys.values())) == 5


# --- sizes ---------------------------------------------------------------------------------------


def test_sizes_by_long_side_short_side_and_area(make_plan):
    waves = np.random.default_rng(0).integers(0, 255, (30, 80, 3), dtype=np.uint8)
    Image.fromarray(waves).save("wide.png")
    axes = {"size_by": ["long", "short", "area"]}
    plan = make_plan({"iterations": 2}, contents="wide.png", sweep={"axes": axes})
    assert list(plan.sizes) == ["48area", "48", "48short", "64"]
    assert stylize_batch(plan, list(plan.cells()), threads=1).failed == 0
    found = {}
    for cell in plan.cells():
        with Image.open(Path(plan.config.run_dir) / cell.image) as image:
            found[cell.settings.size_by] = image.size
    assert found == {"long": (48, 18), "short": (128, 48), "area": (78, 29)}
    # A target each: the same number means another size of the style.
    names = [name.rpartition("-")[2] for name in plan.targets]
    assert sorted(names) == ["48", "48area", "48short", "64"]


def test_levels_are_measured_likewise(make_plan):
    waves = np.random.default_rng(0).integers(0, 255, (40, 150, 3), dtype=np.uint8)
    Image.fromarray(waves).save("wide.png")
    settings = {"iterations": 2, "size": 96, "pyramid_start": 48, "size_by": "area"}
    plan = make_plan(settings, contents="wide.png")
    made(plan)
    (cell,) = plan.cells()
    record = json.loads((Path(plan.config.run_dir) / cell.image).with_suffix(".json").read_text())
    sizes = [(level["width"], level["height"]) for level in record["optimization"]["levels"]]
    assert sizes == [(93, 25), (186, 50)]
    for (width, height), size in zip(sizes, (48, 96), strict=True):
        assert width * height == pytest.approx(size**2, rel=0.03)


# --- files ---------------------------------------------------------------------------------------


def cut_out(name: str) -> None:
    """A picture that is transparent on its left, with a soft edge."""
    alpha = np.clip((np.arange(48) - 16) / 8, 0, 1).repeat(36).reshape(48, 36).T * 255
    with Image.open("cat.png") as image:
        rgba = np.dstack([np.asarray(image), alpha.astype(np.uint8)])
    Image.fromarray(rgba).save(name)


@pytest.mark.parametrize(("kind", "bits"), [("png", 8), ("png", 16), ("webp", 8), ("tiff", 16)])
def test_pictures_are_transparent_where_their_content_is(make_plan, kind, bits):
    cut_out("ghost.png")
    output = {"format": kind, "bits": bits, "preserve_alpha": True}
    few = {"iterations": 2}
    plan = make_plan(few, contents=["ghost.png", "dog.png"], output=output, background="#204060")
    found = made(plan)
    files = {c.content: Path(plan.config.run_dir) / c.image for c in plan.cells()}
    own = decode(plan.contents["ghost"].path)
    picture = decode(files["ghost"])
    assert picture.bits == bits
    scale = (2**bits - 1) / 255
    np.testing.assert_allclose(picture.alpha / scale, own.alpha, atol=0.01)
    assert decode(files["dog"]).alpha is None
    # Colours and measurements are those of the picture without transparency.
    plain = make_plan(
        few,
        contents=["ghost.png", "dog.png"],
        output={"format": kind, "bits": bits},
        background="#204060",
        run="plain",
    )
    for content, pixels in made(plain).items():
        np.testing.assert_array_equal(pixels, found[content])
    records = [
        json.loads((Path(p.config.run_dir) / "cells/night/ghost/default.json").read_text())
        for p in (plan, plain)
    ]
    assert records[0]["metrics"] == records[1]["metrics"]
    assert records[0]["key"] != records[1]["key"]
    # An opaque content has one picture, asked for either way.
    dogs = [next(c for c in p.cells() if c.content == "dog") for p in (plan, plain)]
    keys = {RunInputs(p).of(c).key() for p, c in zip((plan, plain), dogs, strict=True)}
    assert len(keys) == 1


@pytest.mark.parametrize("color", ["match_content", "luminance"])
def test_a_style_gets_the_colours_of_what_will_be_seen(make_plan, color):
    cut_out("ghost.png")
    found = {}
    for kept in (True, False):
        output = {"preserve_alpha": kept}
        plan = make_plan(
            {"color": color}, contents="ghost.png", output=output, background="#000000"
        )
        (cell,) = plan.cells()
        engine = Engine("cpu", 1)
        style = InputCache(None).color_style(RunInputs(plan).of(cell), 0)
        found[kept] = (style.mean((0, 1)), targets_of(plan, engine))
    whole = load_float("cat.png")
    visible = whole[:, 20:]
    if color == "luminance":
        whole, visible = (rgb2yiq(p)[..., :1].repeat(3, axis=2) for p in (whole, visible))
    np.testing.assert_allclose(found[True][0], visible.mean((0, 1)), atol=0.03)
    assert (found[False][0] < 0.85 * whole.mean((0, 1))).all(), "a third of it is black there"
    assert found[True][1] != found[False][1]


def test_what_does_not_fit_into_the_format_is_said_before_anything_is_made(make_plan):
    Image.new("RGB", (3000, 20)).save("long.png")
    with pytest.raises(ImageError, match=r"WEBP holds at most 16,383 pixels a side"):
        make_plan({"size": 128, "size_by": "short"}, contents="long.png", output={"format": "webp"})


def test_what_judges_is_kept_of_the_last_contents_only(make_plan, monkeypatch):
    contents, most = [], 0
    original = Engine.evaluation

    def evaluation(self, settings, weights, content, *others):
        nonlocal most
        contents.append(weakref.ref(content))
        most = max(most, sum(one() is not None for one in contents))
        return original(self, settings, weights, content, *others)

    monkeypatch.setattr(Engine, "evaluation", evaluation)
    names = [f"cat{number}.png" for number in range(2 * IMAGES_KEPT)]
    with Image.open("cat.png") as image:
        for number, name in enumerate(names):
            image.point(lambda value, n=number: value // (n + 1)).save(name)
    plan = make_plan({"iterations": 1}, contents=names, sweep={"axes": {"style_weight": [1, 10]}})
    made(plan)
    assert len(contents) == len(names), "one judge for both cells of a content"
    assert most <= IMAGES_KEPT + 1
