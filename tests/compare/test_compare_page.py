"""The files of a comparison: complete, readable by other programs, safe against any text."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from editing import edit, setting
from PIL import Image
from synthetic import write_run

from nstcore.cli import main
from nstcore.compare.comparison import compare_runs

EVIL = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>&lt;\u2028"
Runs = tuple[Path, Path]


class Page(HTMLParser):
    """The texts of a page's scripts and styles, and its elements."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append((self.elements[-1][0] if self.elements else "", data))

    def of(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag and text.strip()]


def made(*runs: Path, words: tuple[str, ...] = ()) -> tuple[Path, Page, dict[str, Any]]:
    out = runs[0].parent / "out"
    assert main(["compare", *map(str, runs), "-o", str(out), *words]) in (0, 1)
    page = Page(out / "index.html")
    (data,) = (text for text in page.of("script") if text.startswith('{"title"'))
    return out, page, json.loads(data)


def test_every_picture_is_there(runs: Runs) -> None:
    out, _, data = made(*runs)
    for run, values in zip(runs, data["runs"], strict=True):
        assert (out / values["root"]).resolve() == run.resolve()
        assert len(values["image"]) == len(values["thumb"]) == 12
        for image, thumb in zip(values["image"], values["thumb"], strict=True):
            assert (out / values["root"] / image).is_file()
            with Image.open(out / "thumbs" / thumb) as small:
                assert small.format == "WEBP"
    assert data["compared"][0]["partners"] == list(range(12))
    assert data["compared"][0]["changed"] == [["encoder", "vgg19", "compact"]]
    used = {thumb for values in data["runs"] for thumb in values["thumb"]}
    assert {path.name for path in (out / "thumbs").iterdir()} == used


def test_the_links_lead_to_the_files(runs: Runs) -> None:
    out, page, _ = made(*runs)
    links = [attrs["href"] for tag, attrs in page.elements if tag == "a"]
    assert set(links) == {"comparison.csv", "summary.json"}
    assert all((out / str(link)).is_file() for link in links)


def test_a_row_for_each_pair(tmp_path: Path, runs: Runs) -> None:
    before, after = runs
    third = write_run(tmp_path, run="third", styles=["wave", "ink"], failed=[0])
    out, _, _ = made(before, after, third)
    with (out / "comparison.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12 + 12 + 6
    states = [(row["run"], row["state"]) for row in rows]
    assert states.count(("after", "both")) == 12
    assert states.count(("third", "gone")) == 6
    assert states.count(("third", "broken")) == 1
    assert states.count(("third", "both")) == 5
    assert states.count(("third", "added")) == 6
    comparison = compare_runs([before, after, third])
    values = comparison.baseline.metrics["style_loss"].tolist()
    for row, a in zip(rows, values, strict=False):
        assert float(row["style_loss_a"]) == a
        assert float(row["style_loss_b"]) == pytest.approx(1.1 * a)
        assert float(row["style_loss_change"]) == pytest.approx(0.1 * a)
        assert float(row["style_loss_relative"]) == pytest.approx(0.1)
        assert (before / row["image_a"]).is_file()
        assert (after / row["image_b"]).is_file()
        assert row["style_weight"] in ("1", "10", "100")
    (broken,) = (row for row in rows if row["state"] == "broken")
    assert not broken["style_loss_a"]
    assert not broken["style_loss_relative"]


def test_the_summary_says_what_the_page_says(runs: Runs) -> None:
    out, _, data = made(*runs, words=("--fail-if", "style_loss > 5%"))
    told = json.loads((out / "summary.json").read_text())
    assert told["runs"][0]["metrics"] == data["compared"][0]["metrics"]
    style = told["runs"][0]["metrics"]["style_loss"]
    assert style["largest_cell"] in data["words"]
    assert told["limits"][0]["exceeded"] is True
    assert data["limits"] == [{"line": data["limits"][0]["line"], "bad": True}]
    np.testing.assert_allclose(style["interval"], (0.1, 0.1))


def test_numbers_that_json_lacks(runs: Runs) -> None:
    before, after = runs
    edit(before, lambda record: record["metrics"].update(tv=0.0, ssim=float("nan")))
    out, _, data = made(before, after)
    assert data["runs"][0]["values"]["ssim"] == [None] * 12
    told = json.loads((out / "summary.json").read_text())["runs"][0]["metrics"]
    assert told["tv"]["largest"] is None, "from zero"
    assert told["ssim"]["n"] == 0


def test_nothing_but_the_page_itself_is_allowed(runs: Runs) -> None:
    _, page, _ = made(*runs)
    (policy,) = (
        str(attrs["content"])
        for tag, attrs in page.elements
        if tag == "meta" and attrs.get("http-equiv") == "Content-Security-Policy"
    )
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    program = "".join(page.of("script")[1:])
    for text in (program, "".join(page.of("style"))):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert not [
        attrs for _, attrs in page.elements if {"style", "onclick", "onload"} & attrs.keys()
    ]


def test_no_text_becomes_a_program(tmp_path: Path) -> None:
    before = write_run(tmp_path, run="before", failed=[0])
    after = write_run(tmp_path, run="after", axes={"look": [EVIL]}, failed=[1])
    edit(before, setting(look="plain"))
    edit(after, setting(style_weight=1))
    edit(before, lambda record: record["versions"].update(torch=EVIL))
    edit(before, lambda record: record.update(reason=EVIL), "night/cat/*=1")
    out, page, data = made(before, after)
    html = (out / "index.html").read_text(encoding="utf-8")
    assert EVIL not in html
    assert "owned'</script>" not in html
    assert len([tag for tag, _ in page.elements if tag == "script"]) == 2
    assert not [tag for tag, _ in page.elements if tag == "img"]
    (one,) = data["compared"]
    assert one["changed"] == [["look", "plain", EVIL]]
    assert ["torch", EVIL, "2.15.0"] in one["made"]
    assert EVIL in data["runs"][0]["reason"]


def test_the_same_runs_give_the_same_bytes(runs: Runs) -> None:
    def contents() -> dict[str, bytes]:
        out, _, _ = made(*runs)
        return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}

    first = contents()
    assert first.keys() == {"index.html", "comparison.csv", "summary.json"}
    assert contents() == first
