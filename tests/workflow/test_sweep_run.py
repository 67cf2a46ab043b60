"""A grid that is no product, through the real workflow: every cell once, however batches are made.

The tests stand in the order in which they have to run: each starts from what the one before left.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image
from workbench import Bench, write_picture

from nstcore.plan.snapshot import read_plan

pytestmark = pytest.mark.slow

NOTHING = "Nothing to be done"
SWEEP: dict[str, Any] = {
    "axes": {
        "style_weight": {"log": [1, 100], "num": 3},
        "look": {
            "soft": {"title": "Soft and pale", "pooling": "avg"},
            "hard": {"title": "Hard", "tv_weight": 0},
        },
    },
    "exclude": [
        {"style": "painting1", "content": "photo2"},
        {"style": "painting2", "style_weight": 1},
        {"style": "painting3"},
    ],
    "where": "style_weight < 100 or content != 'photo3'",
    "include": [{"style_weight": 5000, "content": "photo2", "style": "painting2", "look": "hard"}],
}
EXPECTED = {
    *((s, c, w, k) for s, c in [("painting1", "photo1")] for w in ["1", "10", "100"] for k in "sh"),
    *(("painting1", "photo3", w, k) for w in ["1", "10"] for k in "sh"),
    *(("painting2", c, w, k) for c in ("photo1", "photo2") for w in ["10", "100"] for k in "sh"),
    *(("painting2", "photo3", "10", k) for k in "sh"),
    ("painting2", "photo2", "5000", "h"),
}


@pytest.fixture(scope="module")
def bench(make_bench: Callable[..., Bench]) -> Bench:
    bench = make_bench(contents=3, styles=3, batch_by=["style", "content"])
    own = {"path": "paintings/painting2.png", "settings": {"style_scale": 2}}
    styles = {f"painting{n}": f"paintings/painting{n}.png" for n in (1, 3)}
    bench.write(
        styles={**styles, "painting2": own},
        sweep=SWEEP,
        settings={**bench.config["settings"], "iterations": 2},
        report={"thumbnail": 64, "rows": ["content", "look"], "cols": ["style_weight"]},
    )
    return bench


def cells_of(bench: Bench) -> set[tuple[str, str, str, str]]:
    with open(bench.run_dir / "grid.tsv", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return {
        (r["style"], r["content"], format(float(r["style_weight"]), "g"), r["look"][0])
        for r in rows
    }


@pytest.mark.parametrize("by", [[], ["style"], ["content"], ["content", "look"]])
def test_batches_divide_it_however_they_are_made(
    bench: Bench, by: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bench.folder)
    before = bench.config["batch_by"]
    bench.write(batch_by=by)
    said = bench.run("-n", "--quiet", "rules")
    plan = read_plan(bench.file)
    bench.write(batch_by=before)
    jobs = re.search(r"^stylize +(\d+)", said, re.MULTILINE)
    assert jobs
    assert int(jobs[1]) == len(plan.batches)
    assert sum(map(len, plan.batches.values())) == len(EXPECTED)


def test_it_runs_to_the_end(bench: Bench) -> None:
    bench.run()
    assert cells_of(bench) == EXPECTED
    records = bench.records()
    assert len(records) == len(EXPECTED)
    for name, record in records.items():
        assert record["status"] == "ok", name
        assert record["settings"]["style_scale"] == (2 if "painting2" in name else 1)
        look = record["cell"]["axes"]["look"]
        assert (record["settings"]["pooling"] == "avg") == (look == "soft")
        assert f"look={look}" in name
    assert sorted(p.stem for p in (bench.run_dir / "sheets").glob("*.png")) == [
        "style=painting1",
        "style=painting2",
    ]
    report = (bench.run_dir / "report" / "index.html").read_text()
    assert "Soft and pale" in report
    assert json.loads((bench.run_dir / "summary.json").read_text())["failed"] == []
    assert NOTHING in bench.run()


def test_a_picture_that_is_lost_is_linked_again(bench: Bench) -> None:
    path = bench.run_dir / "cells/painting2/photo2/style_weight=5000,look=hard.png"
    path.unlink()
    bench.run(extra=bench.without_torch())
    with Image.open(path) as picture:
        picture.load()


def test_growing_computes_what_is_new_only(bench: Bench) -> None:
    """Another content and another value; pairs come to stand under other rules than before."""
    before = bench.stored()
    write_picture(bench.folder / "photos" / "photo4.png", seed=4)
    axes = {**SWEEP["axes"], "style_weight": [1, 10, 30, 100]}
    bench.write(sweep={**SWEEP, "axes": axes})
    status, said = bench.nst("plan", "config.yaml")
    assert status == 0, said
    found = re.search(r"(\d+) already in the store, (\d+) to compute", said)
    assert found
    assert int(found[1]) == len(EXPECTED)
    bench.run()
    after = bench.stored()
    assert {key: after[key] for key in before} == before
    assert len(after) - len(before) == int(found[2]) == 5 * 2 + 8 + 6
    assert NOTHING in bench.run()
