"""A grid whose best cells are made again, larger: once, from their own pictures, and kept.

The tests stand in the order in which they have to run: each starts from what the one before left.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from workbench import Bench

from nstcore.store.files import file_sha256

NOTHING = "Nothing to be done"


@pytest.fixture(scope="module")
def bench(make_bench: Callable[..., Bench]) -> Bench:
    return make_bench(
        contents=1,
        styles=2,
        sweep={"axes": {"style_weight": [1, 30]}},
        refine={"count": 1, "settings": {"size": 128, "iterations": [2]}},
    )


def promoted(bench: Bench) -> list[dict[str, str]]:
    with open(bench.run_dir / "refined" / "promoted.tsv", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def refined(bench: Bench) -> dict[str, dict[str, Any]]:
    return {
        row["image"]: json.loads((bench.run_dir / row["image"]).with_suffix(".json").read_text())
        for row in promoted(bench)
    }


def test_the_best_cell_of_each_pair_is_made_again(bench: Bench) -> None:
    status, said = bench.nst("plan", "config.yaml", "--no-probe")
    assert status == 0, said
    assert "up to 2 cells refined" in said
    bench.run()
    rows = promoted(bench)
    assert [(row["style"], row["content"], row["rank"]) for row in rows] == [
        ("painting1", "photo1", "1"),
        ("painting2", "photo1", "1"),
    ]
    with open(bench.run_dir / "metrics.csv", newline="") as file:
        losses = {
            row["image"]: (float(row["content_loss"]), float(row["style_loss"]))
            for row in csv.DictReader(file)
        }
    for row in rows:
        small = row["image"].replace("refined/", "cells/")
        record = refined(bench)[row["image"]]
        assert losses[small] == (float(row["content_loss"]), float(row["style_loss"]))
        others = [
            pair for image, pair in losses.items() if Path(image).parent == Path(small).parent
        ]
        assert not any(o[0] < losses[small][0] and o[1] < losses[small][1] for o in others)
        assert record["status"] == "ok"
        assert record["settings"]["init_file"].endswith(small)
        assert [level["width"] for level in record["optimization"]["levels"]] == [128]
        with Image.open(bench.run_dir / row["image"]) as image:
            assert max(image.size) == 128
        assert record["image"]["sha256"] == file_sha256(bench.run_dir / row["image"])
    with open(bench.run_dir / "refined.csv", newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == [row["image"] for row in rows]
    for suffix in ("png", "pdf"):
        assert (bench.run_dir / "sheets" / f"refined.{suffix}").stat().st_size > 0
    summary = json.loads((bench.run_dir / "summary.json").read_text())
    assert summary == {"cells": 4, "refined": 2, "failed": []}
    page = (bench.run_dir / "report" / "index.html").read_text()
    for link in re.findall(r'<a href="(\.\./[^"]+)"', page):
        assert (bench.run_dir / "report" / link).is_file(), link
    assert "../sheets/refined.png" in page


def test_a_second_run_does_nothing(bench: Bench) -> None:
    assert NOTHING in bench.run()


def test_a_deleted_picture_is_linked_again_without_torch(bench: Bench) -> None:
    before = bench.stored()
    image = bench.run_dir / promoted(bench)[0]["image"]
    checksum = file_sha256(image)
    image.unlink()
    bench.run(extra=bench.without_torch())
    assert file_sha256(image) == checksum
    assert bench.stored() == before


def test_garbage_collection_keeps_refined_cells(bench: Bench) -> None:
    keys = {record["key"] for record in refined(bench).values()}
    assert keys <= set(bench.stored())
    status, said = bench.nst("gc")
    assert status == 0, said
    assert keys <= set(bench.stored())


def test_chosen_by_hand(bench: Bench) -> None:
    (bench.folder / "rows.tsv").write_text("style\tsetting\npainting1\tstyle_weight=7\n")
    bench.write(refine={"choose": "rows.tsv", "settings": {"size": 128, "iterations": [2]}})
    status, said = bench.try_run("-n")
    assert status == 1
    assert "rows.tsv, line 2: the grid has no setting 'style_weight=7'" in said
    assert "Traceback" not in said
    (bench.folder / "rows.tsv").write_text(
        "style\tsetting\npainting1\tstyle_weight=1\npainting1\tstyle_weight=30\n"
    )
    before = bench.stored()
    bench.run()
    names = [row["image"] for row in promoted(bench)]
    assert names == [f"refined/painting1/photo1/style_weight={weight}.png" for weight in (1, 30)]
    # One of both was refined already.
    assert len(set(bench.stored()) - set(before)) == 1
    with open(bench.run_dir / "refined.csv", newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == names


def test_another_small_picture_is_another_start(bench: Bench) -> None:
    before = {image: record["key"] for image, record in refined(bench).items()}
    bench.write(settings={**bench.config["settings"], "iterations": 4})
    bench.run()
    after = {image: record["key"] for image, record in refined(bench).items()}
    assert before.keys() == after.keys()
    assert all(key != before[image] for image, key in after.items())
    assert NOTHING in bench.run()


def test_without_refine_nothing_of_it_is_asked_for(bench: Bench) -> None:
    bench.config.pop("refine")
    bench.write()
    said = bench.run()
    assert "rule promote" not in said
    assert json.loads((bench.run_dir / "summary.json").read_text()) == {"cells": 4, "failed": []}
