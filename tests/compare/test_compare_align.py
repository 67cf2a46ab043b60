"""Cells find each other by their common settings, whatever else was done to the runs."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from editing import edit, setting
from synthetic import write_run

from nstcore.compare.comparison import compare_runs
from nstcore.errors import StoreError, UserError


def images(one: Any) -> set[tuple[str, str]]:
    return {(one.baseline.image[a], one.run.image[b]) for a, b in one.pairs}


def test_a_run_beside_itself(tmp_path: Path) -> None:
    run = write_run(tmp_path, seeds=(0, 1))
    (one,) = compare_runs([run, run]).compared
    assert images(one) == {(image, image) for image in one.baseline.image}
    assert len(one.pairs) == 24
    assert one.counts == {
        "pairs": 24,
        "identical": 24,
        "broken": 0,
        "failed": 0,
        "missing": 0,
        "gone": 0,
        "added": 0,
    }
    assert not one.changed
    assert not one.made_with
    assert not one.warnings
    assert one.changes.keys() >= {"style_loss", "style_loss_relu1_1", "ssim", "seconds"}
    for change in one.changes.values():
        assert (change.differences == 0).all()
        assert (change.relative == 0).all()


def test_the_two_get_different_names(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one")
    other = write_run(tmp_path / "other")
    comparison = compare_runs([one, other, other])
    names = [run.name for run in comparison.runs]
    assert len(set(names)) == 3
    assert names[0] == one.as_posix()


def test_an_axis_of_one_run_is_fixed_in_the_other(tmp_path: Path) -> None:
    swept = write_run(tmp_path, run="swept")
    fixed = edit(write_run(tmp_path, run="fixed", axes={}), setting(style_weight=10))
    (one,) = compare_runs([swept, fixed]).compared
    assert len(one.pairs) == 4
    assert {one.baseline.settings[a]["style_weight"] for a, _ in one.pairs} == {"10"}
    assert one.counts["gone"] == 8
    assert not one.changed
    (back,) = compare_runs([fixed, swept]).compared
    assert images(back) == {(b, a) for a, b in images(one)}
    assert back.counts["added"] == 8


def test_what_was_changed_as_a_whole_is_left_out_and_told(tmp_path: Path) -> None:
    before = write_run(tmp_path, run="before")
    after = edit(write_run(tmp_path, run="after"), setting(encoder="compact", size=256))
    (one,) = compare_runs([before, after]).compared
    assert len(one.pairs) == 12
    assert one.changed == {"encoder": ("vgg19", "compact"), "size": ("512", "256")}


def test_a_lone_seed_may_change_like_a_setting(tmp_path: Path) -> None:
    before = write_run(tmp_path, run="before", seeds=(0,))
    after = write_run(tmp_path, run="after", seeds=(7,))
    (one,) = compare_runs([before, after]).compared
    assert len(one.pairs) == 12
    assert one.changed == {"seed": ("0", "7")}


def test_declared_differences_are_left_out(tmp_path: Path) -> None:
    before, after = (write_run(tmp_path, run=run) for run in ("before", "after"))
    for run, plus in ((before, 0), (after, 50)):
        edit(run, setting(iterations=100 + plus), "*/cat/*")
        edit(run, setting(iterations=200 + plus), "*/rocket/*")
    (one,) = compare_runs([before, after]).compared
    assert not one.pairs
    (warning,) = one.warnings
    assert "`iterations` (100, 200 / 150, 250)" in warning
    comparison = compare_runs([before, after], ["iterations"])
    assert len(comparison.compared[0].pairs) == 12
    assert comparison.ignored == ["iterations"]


def test_numbers_are_the_same_however_they_are_written(tmp_path: Path) -> None:
    before = edit(write_run(tmp_path, run="before"), setting(tv_weight=8, style_layers=["relu1_1"]))
    after = write_run(tmp_path, run="after")
    edit(after, setting(tv_weight=8.0, style_layers={"relu1_1": 1.0}))
    (one,) = compare_runs([before, after]).compared
    assert not one.changed
    assert len(one.pairs) == 12


def test_what_is_ignored_must_not_be_all_that_tells_cells_apart(tmp_path: Path) -> None:
    run = write_run(tmp_path, axes={"style_weight": [1, 10], "optimizer": ["lbfgs", "adam"]})
    with pytest.raises(UserError) as caught:
        compare_runs([run, run], ["optimizer"])
    line = str(caught.value)
    assert "\n" not in line
    assert "`optimizer` (lbfgs, adam)" in line
    assert "do not ignore `optimizer`" in line
    assert "style_weight" not in line


def test_a_setting_that_only_one_run_knows(tmp_path: Path) -> None:
    before = write_run(tmp_path, run="before")
    after = edit(write_run(tmp_path, run="after"), setting(color_match="pca"))
    (one,) = compare_runs([before, after]).compared
    assert len(one.pairs) == 12
    assert one.made_with == {"color_match": ("–", "pca")}
    edit(
        after,
        lambda r: r["settings"].update(style_weight=1, sharpness=r["settings"]["style_weight"]),
    )
    edit(before, setting(style_weight=1))
    with pytest.raises(UserError, match=r"`sharpness`.*does not know"):
        compare_runs([before, after])


@pytest.mark.parametrize(
    ("name", "meant"), [("optimiser", "did you mean `optimizer`"), ("xyz", "choose from: ")]
)
def test_ignoring_what_is_not_there(tmp_path: Path, name: str, meant: str) -> None:
    run = write_run(tmp_path)
    with pytest.raises(UserError, match=meant):
        compare_runs([run, run], [name])


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_rows_does_not_matter(tmp_path: Path, seed: int) -> None:
    before, after = (write_run(tmp_path, run=run, seeds=(3, 1)) for run in ("before", "after"))
    (one,) = compare_runs([before, after]).compared
    grid = after / "grid.tsv"
    head, *rows = grid.read_text().splitlines()
    random.Random(seed).shuffle(rows)
    grid.write_text("\n".join([head, *rows]) + "\n")
    (again,) = compare_runs([before, after]).compared
    assert images(again) == images(one)
    for name, change in one.changes.items():
        assert (again.changes[name].relative == change.relative).all()


def test_pictures_that_came_and_went(tmp_path: Path) -> None:
    before = write_run(tmp_path, run="before", styles=["night", "wave"], contents=["cat"])
    after = write_run(tmp_path, run="after", styles=["wave", "glass", "ink"], contents=["cat"])
    (one,) = compare_runs([before, after]).compared
    gone = [n for n, partner in enumerate(one.partners) if partner is None]
    assert [one.baseline.style[cell] for cell in gone] == ["night"] * 3
    assert {one.run.style[cell] for cell in one.added} == {"glass", "ink"}
    assert one.states == ["gone"] * 3 + ["both"] * 3


def test_the_same_id_of_another_picture_is_warned_of(tmp_path: Path) -> None:
    before, after = (write_run(tmp_path, run=run) for run in ("before", "after"))

    def replace_cat(record: dict[str, Any]) -> None:
        record["inputs"]["content"]["digest"] = "d" * 64

    edit(after, replace_cat, "*/cat/*")
    edit(after, lambda record: record["inputs"]["style"][0].update(weight=0.5), "night/*/*")
    (one,) = compare_runs([before, after]).compared
    assert len(one.pairs) == 12
    assert one.warnings == [
        "The content cat is another image in after than in before.",
        "The style night is another image in after than in before.",
    ]


def test_a_content_at_another_size_is_not_another_picture(tmp_path: Path) -> None:
    before, after = (write_run(tmp_path, run=run) for run in ("before", "after"))

    def at(width: int, digest: str) -> Any:
        facts = {"width": width, "height": 48, "digest": digest * 64}
        return lambda record: record["inputs"]["content"].update(facts)

    edit(before, at(64, "a"))
    edit(after, at(32, "b"))
    (one,) = compare_runs([before, after]).compared
    assert not one.warnings


def test_a_run_that_is_half_finished(tmp_path: Path) -> None:
    before, after = (write_run(tmp_path, run=run) for run in ("before", "after"))
    lost = sorted((after / "cells").glob("wave/*/*.json"))
    for path in lost:
        path.unlink()
    (one,) = compare_runs([before, after]).compared
    assert len(one.pairs) == 12
    assert one.counts["missing"] == len(lost) == 6
    assert one.states.count("missing") == 6
    assert one.changes["style_loss"].count == 6
    for path in (after / "cells").rglob("*.json"):
        path.unlink()
    (one,) = compare_runs([before, after]).compared
    assert len(one.pairs) == 12, "the axes of the grid are known"
    assert all(change.count == 0 for change in one.changes.values())


def test_a_bundle_is_what_it_sets(tmp_path: Path) -> None:
    named = write_run(tmp_path, run="named", axes={"look": ["soft", "hard"]})
    edit(named, lambda r: r["settings"].update(pooling="avg"), "*/*/look=soft")
    edit(named, lambda r: r["settings"].update(pooling="max"), "*/*/look=hard")
    edit(named, lambda r: r["settings"].pop("look"))
    plain = write_run(tmp_path, run="plain", axes={"pooling": ["max", "avg"]})
    (one,) = compare_runs([named, plain]).compared
    assert len(one.pairs) == 8
    for a, b in one.pairs:
        assert one.baseline.settings[a]["pooling"] == one.run.settings[b]["pooling"]
    # A cell without a record is taken for what the other cells of its name are.
    sorted((named / "cells").glob("wave/cat/look=hard.json"))[0].unlink()
    (one,) = compare_runs([named, plain]).compared
    assert len(one.pairs) == 8
    assert one.states.count("missing") == 1
    # Where there is none, nobody knows; that must not be taken for another cell.
    for path in (named / "cells").glob("*/*/look=hard.json"):
        path.unlink()
    (one,) = compare_runs([named, plain]).compared
    assert len(one.pairs) == 4
    assert one.counts["added"] == 4


def test_states_of_failed_cells(tmp_path: Path) -> None:
    before = write_run(tmp_path, run="before", failed=[0, 1], diverged=[2])
    after = write_run(tmp_path, run="after", failed=[1, 3], diverged=[4])
    (one,) = compare_runs([before, after]).compared
    assert one.states[:6] == ["mended", "unfinished", "mended", "broken", "broken", "both"]
    assert one.counts["broken"] == 2
    assert one.counts["failed"] == 3
    assert one.changes["style_loss"].count == 7


def test_other_ways_of_measuring_are_warned_of(tmp_path: Path) -> None:
    before, after = (write_run(tmp_path, run=run) for run in ("before", "after"))
    edit(after, lambda record: record["evaluation"].update(source="elsewhere/vgg19.pth"))
    (one,) = compare_runs([before, after]).compared
    assert one.same_evaluation
    edit(after, lambda record: record["evaluation"].update(size=512))
    (one,) = compare_runs([before, after]).compared
    assert "measured in different ways" in one.warnings[0]
    assert not one.comparable("style_loss")
    assert one.comparable("seconds")


def test_three_runs_each_beside_the_first(tmp_path: Path) -> None:
    first, second, third = (write_run(tmp_path, run=run) for run in ("first", "second", "third"))
    edit(second, setting(encoder="compact"))
    edit(third, setting(optimizer="adam"))
    comparison = compare_runs([first, second, third])
    assert [run.name for run in comparison.runs] == ["first", "second", "third"]
    assert [set(one.changed) for one in comparison.compared] == [{"encoder"}, {"optimizer"}]
    assert all(len(one.pairs) == 12 for one in comparison.compared)


def test_versions_and_devices_that_differ_are_told(tmp_path: Path) -> None:
    before, after = (write_run(tmp_path, run=run) for run in ("before", "after"))
    edit(after, lambda record: record["versions"].update(torch="3.0"), "night/*/*")
    edit(after, lambda record: record["optimization"].update(device="cuda"))
    (one,) = compare_runs([before, after]).compared
    assert one.made_with == {"torch": ("2.15.0", "3.0, 2.15.0"), "device": ("cpu", "cuda")}


def test_identical_pictures_are_told_by_their_pixels(tmp_path: Path) -> None:
    before, after = (write_run(tmp_path, run=run) for run in ("before", "after"))
    edit(before, lambda record: record["image"].update(sha256="a" * 64, pixels="p" * 64))
    edit(after, lambda record: record["image"].update(sha256="b" * 64, pixels="p" * 64))
    edit(after, lambda record: record["image"].update(pixels="q" * 64), "wave/*/*")
    (one,) = compare_runs([before, after]).compared
    assert one.counts["identical"] == 6


@pytest.mark.parametrize("what", ["nothing", "no cell", "one"])
def test_what_is_no_run(tmp_path: Path, what: str) -> None:
    run = write_run(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    if what == "no cell":
        (other / "grid.tsv").write_text((run / "grid.tsv").read_text().splitlines()[0] + "\n")
    folders = [run] if what == "one" else [run, other]
    with pytest.raises(UserError) as caught:
        compare_runs(folders)
    assert "\n" not in str(caught.value)
    if what != "one":
        assert isinstance(caught.value, StoreError)
        assert str(other) in str(caught.value)


def test_words_name_what_tells_cells_apart(tmp_path: Path) -> None:
    before = write_run(tmp_path, run="before", seeds=(0, 1))
    comparison = compare_runs([before, before])
    words = {comparison.cell_text(comparison.baseline, cell) for cell in range(24)}
    assert len(words) == 24
    assert "cat in the style night, style_weight 1, seed 0" in words
    assert json.dumps(sorted(words))
