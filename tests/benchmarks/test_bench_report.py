from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import _browsing
import pytest
from _browsing import browse
from browsing import NO_CHROMIUM
from PIL import Image
from report import VIEWS, make_parser, measure, to_markdown

from nstcore.images.metadata import read_record
from nstcore.results.tables import collect


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("big")
    words = ["--styles", "2", "--contents", "2", "--settings", "5", "--size", "64"]
    words += ["--iterations", "2", "--no-browser", "--threads", "1"]
    return folder, measure(make_parser().parse_args(words), folder)


def test_the_run_is_one_that_the_library_takes_for_its_own(result):
    run = result[0] / "results" / "big"
    metrics, curves = collect(run / "grid.tsv", run)
    assert len(metrics) == 20
    assert set(metrics["status"]) == {"ok"}
    assert metrics["style_loss"].nunique() == 20
    assert len(curves) >= 20
    seen = set()
    for image in metrics["image"]:
        with Image.open(run / image) as picture:
            assert max(picture.size) == 64
        record = json.loads((run / image).with_suffix(".json").read_text())
        assert read_record(run / image)["key"] == record["key"]
        assert record["image"]["sha256"] not in seen
        seen.add(record["image"]["sha256"])


def test_everything_is_built_and_told(result):
    folder, found = result
    run = folder / "results" / "big"
    assert found["cells"] == 20
    assert found["build"]["pages"] == 2, "a sheet a style"
    assert found["one_sheet"]["pages"] == 1
    assert len(list((run / "report" / "thumbs").glob("*-320.webp"))) == 20
    assert {path.stem for path in (run / "sheets").glob("*.pdf")} == {
        "style=painting-01",
        "style=painting-02",
    }, "the report removes the sheets of another layout"
    assert found["build"]["total_seconds"] > sum(found["build"]["seconds"].values())
    text = "\n".join(to_markdown(found))
    assert "# Sheets and report of 20 cells" in text
    assert "| first view, s | ≤ 3 | – | not measured |" in text


@pytest.mark.browser
def test_the_browser_says_when_all_is_drawn(result):
    pytest.importorskip("playwright")
    if _browsing.CHROMIUM is None:
        pytest.skip(NO_CHROMIUM)
    page = result[0] / "results" / "big" / "report" / "index.html"
    # Playwright wants a thread of its own beside the browser that other tests share.
    with ThreadPoolExecutor(1) as thread:
        seen = thread.submit(browse, page, VIEWS, steps=5).result()
    assert seen is not None
    assert seen["complaints"] == []
    assert seen["first_view"] > 0
    assert set(seen["views"]) == set(VIEWS)
    assert seen["views"]["matrix of all cells"]["steps"] > 0
    assert all(found["scrolling"] >= 0 for found in seen["views"].values())
    found = {**result[1], "browser": seen}
    assert "| table |" in "\n".join(to_markdown(found))
