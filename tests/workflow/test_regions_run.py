"""Regions through the real workflow: guides become targets, pictures, records and metrics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from workbench import Bench

pytestmark = pytest.mark.slow

RED, BLUE = "#ff0000", "#0000ff"


@pytest.fixture(scope="module")
def bench(make_bench: Callable[..., Bench]) -> Bench:
    bench = make_bench(contents=2, styles=2)
    mask = Image.new("RGB", (72, 64), RED)
    mask.paste(BLUE, (40, 0, 72, 64))
    mask.save(bench.folder / "guide.png")
    bench.write(
        contents={
            "guided": {"path": "photos/photo1.png", "guide": "guide.png"},
            "plain": "photos/photo2.png",
        },
        styles={
            "sides": {"path": "paintings/painting1.png", "guide": "guide.png"},
            "whole": "paintings/painting2.png",
        },
        sweep={"axes": {"region_weights": [{RED: 1}, {RED: 0.1}]}},
    )
    return bench


def test_contents_with_and_without_regions_are_made(bench: Bench) -> None:
    bench.run()
    records = bench.records()
    assert len(records) == 8
    for name, record in records.items():
        style, content, _ = name.split("/")
        assert record["status"] == "ok"
        given = record["inputs"]
        assert ("guide" in given["content"]) == (content == "guided")
        assert ("guide" in given["style"][0]) == (style == "sides")
        assert all(value is not None for value in record["metrics"].values())
    assert records_guide(records) == {
        RED: pytest.approx(40 / 72, abs=0.01),
        BLUE: pytest.approx(32 / 72, abs=0.01),
    }
    with safe_open(next((bench.run_dir / "targets/sides").glob("*.safetensors")), "np") as file:
        names = set(file.keys())
    assert {"relu1_1.gram", f"relu1_1/{RED}.gram", f"relu1_1/{BLUE}.mean"} <= names
    # Without regions their weights change nothing: both settings are one cell.
    keys = {name: record["key"] for name, record in records.items()}
    assert len({key for name, key in keys.items() if "/plain/" in name}) == 2
    assert len({key for name, key in keys.items() if "/guided/" in name}) == 4


def records_guide(records: dict) -> dict[str, float]:
    name = next(name for name in records if "/guided/" in name)
    return records[name]["inputs"]["content"]["guide"]["regions"]


def test_a_changed_guide_makes_its_own_cells_anew(bench: Bench) -> None:
    before = bench.stored()
    mask = Image.open(bench.folder / "guide.png")
    mask.paste(RED, (40, 0, 72, 10))
    mask.save(bench.folder / "guide2.png")
    contents = {
        **bench.config["contents"],
        "guided": {"path": "photos/photo1.png", "guide": "guide2.png"},
    }
    bench.write(contents=contents)
    bench.run()
    after = bench.stored()
    assert {key: after[key] for key in before} == before
    assert len(after) - len(before) == 4


def test_a_style_for_each_region(bench: Bench) -> None:
    both = {
        "regions": {
            RED: "paintings/painting1.png",
            BLUE: {"paintings/painting1.png": 1, "paintings/painting2.png": 3},
        }
    }
    guided = bench.config["contents"]["guided"]
    bench.write(contents={"guided": guided}, styles={"both": both}, sweep={})
    bench.run()
    (record,) = (r for name, r in bench.records().items() if name.startswith("both/"))
    assert record["status"] == "ok"
    assert [(s["region"], s["weight"]) for s in record["inputs"]["style"]] == [
        (RED, 1.0),
        (BLUE, 0.25),
        (BLUE, 0.75),
    ]
    image = np.asarray(Image.open(bench.run_dir / "cells/both/guided/default.png"))
    assert image.shape == (57, 64, 3)


def test_regions_that_are_not_there_stop_the_run_with_one_line(bench: Bench) -> None:
    mask = Image.open(bench.folder / "guide.png")
    mask.paste("#00ff00", (0, 0, 20, 20))
    mask.save(bench.folder / "guide3.png")
    contents = {"guided": {"path": "photos/photo1.png", "guide": "guide3.png"}}
    bench.write(contents=contents)
    expected = "styles.both.regions: has no #00ff00, which contents.guided has"
    status, said = bench.nst("plan", "config.yaml")
    assert (status, expected in said) == (1, True), said
    status, said = bench.try_run()
    assert status != 0
    assert expected in said + bench.logs()
    assert "Traceback" not in (bench.run_dir / "logs" / "grid.log").read_text()
