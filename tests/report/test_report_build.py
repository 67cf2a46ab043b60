"""The report: complete, self-contained, safe against any text, built from whatever exists."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from synthetic import OUT_OF_MEMORY, write_run

from nstcore.errors import StoreError
from nstcore.report.build import build_report, render
from nstcore.report.payload import escaped_json
from nstcore.report.vendor import credits_of_libraries, script_text
from nstcore.tables import collect, write_metrics

EVIL = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>&lt;\u2028"


class Page(HTMLParser):
    """The page's elements and the texts of its scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.inside = tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.inside, data))

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def of(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


def built(run: Path, **options: Any) -> tuple[Page, dict[str, Any], str]:
    out = run / "report" / "index.html"
    build_report(run, out, **options)
    html = out.read_text(encoding="utf-8")
    page = Page(html)
    return page, json.loads(page.of("script")[0]), html


def edit(folder: Path, number: int, /, **changes: Any) -> None:
    path = sorted((folder / "cells").glob("*/*/*.json"))[number]
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_links_to_what_else_there_is(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    page, _, _ = built(run, links={EVIL: "../sheets/refined.png"})
    links = [attrs["href"] for tag, attrs in page.elements if tag == "a"]
    assert "../sheets/refined.png" in links
    assert EVIL in "".join(page.of("a"))
    assert len(page.of("script")) == 2, "a link's words are words"
    page, _, _ = built(run)
    assert not [tag for tag, attrs in page.elements if attrs.get("id") == "links"]


def test_the_page_holds_every_cell_with_its_files(tmp_path: Path) -> None:
    run = write_run(tmp_path, seeds=(0, 1))
    _, data, _ = built(run, title="A title", layout={"rows": ["content"], "cols": ["style"]})
    cells = data["cells"]
    assert len(cells["status"]) == 24
    assert data["title"] == "A title"
    assert data["layout"] == {"rows": ["content"], "cols": ["style"], "pages": []}
    names = [axis["name"] for axis in data["axes"]]
    assert names == ["style", "content", "style_weight", "seed"]
    report = run / "report"
    for image, thumb in zip(cells["image"], cells["thumb"], strict=True):
        assert (report / data["root"] / image).is_file()
        with Image.open(report / "thumbs" / thumb) as small:
            assert small.format == "WEBP"
    for axis in ("style", "content"):
        for source in data["sources"][axis].values():
            assert (report / "thumbs" / source["thumb"]).is_file()
            assert all((report / file).is_file() for file in source["files"])
    assert data["axes"][2]["values"] == data["axes"][2]["shown"] == ["1", "10", "100"]
    assert data["metrics"]["content_loss"][0] > 0
    assert data["settings"]["same"]["optimizer"] == "lbfgs"
    assert data["settings"]["own"]["style_weight"][:3] == ["1", "1", "10"]


def test_curves_stand_beside_the_page(tmp_path: Path) -> None:
    run = write_run(tmp_path, failed=[1], iterations=1000, axes={})
    built(run)
    text = (run / "report" / "curves" / "0.js").read_text()
    match = re.fullmatch(r"nstCurves\(0,(.*)\);\n", text)
    assert match
    curves = json.loads(match[1])
    assert len(curves) == 4
    assert curves[1] is None
    steps = curves[0]["iteration"]
    assert 150 < len(steps) <= 201
    assert (steps[0], steps[-1]) == (1, 1000)
    assert curves[0]["level"][steps.index(500)] == 0  # the last iteration of the first level
    assert len(curves[0]["style_loss"]) == len(steps)


def test_nothing_is_fetched_from_elsewhere(tmp_path: Path) -> None:
    page, _, html = built(write_run(tmp_path))
    # Libraries and their licences name their makers; a test of their own looks at what they do.
    own = html.replace(script_text(), "")
    for entry in credits_of_libraries():
        own = own.replace(escaped_json(entry), "")
    assert not re.search(r"(https?:|wss?:|//)[a-z0-9]", own, re.IGNORECASE)
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        assert not {"src", "href"} & attributes.keys()
    assert "@import" not in html
    assert "url(" not in page.of("style")[0]


def test_the_page_forbids_itself_everything_else(tmp_path: Path) -> None:
    page, _, _ = built(write_run(tmp_path))
    policy = next(a["content"] for tag, a in page.elements if "http-equiv" in a) or ""
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        digest = hashlib.sha256(page.of(tag)[-1].encode()).digest()
        assert f"'sha256-{base64.b64encode(digest).decode()}'" in policy
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]


def test_texts_of_a_run_never_become_markup(tmp_path: Path) -> None:
    run = write_run(tmp_path, axes={"content_layers": [EVIL.replace("\u2028", "")]}, failed=[0])
    with (run / "config.yaml").open("a", encoding="utf-8") as file:
        file.write(f"# {EVIL}\n")
    edit(run, 0, reason=EVIL, run=EVIL)
    edit(run, 1, settings={EVIL: EVIL}, versions={EVIL: EVIL}, created=EVIL)
    harmless, _, _ = built(write_run(tmp_path / "other"))
    page, data, html = built(run, title=EVIL)
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in harmless.elements]
    assert data["title"] == EVIL
    assert EVIL in data["cells"]["reason"]
    assert data["settings"]["own"][EVIL].count(EVIL) == 1
    assert data["config"].endswith(EVIL + "\n")
    assert "<img" not in html
    assert page.of("title") == [EVIL]
    assert "\u2028" not in page.of("script")[0]


def test_failed_diverged_and_missing_cells_are_told(tmp_path: Path) -> None:
    run = write_run(tmp_path, failed=[0], diverged=[1])
    grid = (run / "grid.tsv").read_text().splitlines()
    third = run / grid[3].split("\t")[-1]
    third.with_suffix(".json").unlink()
    _, data, _ = built(run)
    cells = data["cells"]
    assert cells["status"][:4] == ["failed", "diverged", "missing", "ok"]
    assert cells["reason"][0] == OUT_OF_MEMORY
    assert cells["reason"][2] == "this record is missing"
    assert [thumb is None for thumb in cells["thumb"][:4]] == [True, False, True, False]
    assert data["metrics"]["content_loss"][0] is None
    assert data["about"]["warnings"] == [
        "Not every cell is finished: 1 failed, 1 diverged, 1 missing."
    ]


def test_a_run_without_a_single_picture_has_a_report(tmp_path: Path) -> None:
    run = write_run(tmp_path, failed=range(12))
    for path in (run / "inputs").rglob("*.png"):
        path.unlink()
    (run / "config.yaml").unlink()
    _, data, _ = built(run)
    assert set(data["cells"]["thumb"]) == {None}
    assert data["config"] == ""
    with pytest.raises(StoreError, match=r"grid\.tsv"):
        build_report(tmp_path / "nowhere", tmp_path / "index.html")


def test_a_table_of_an_older_grid_is_not_believed(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    table = run / "metrics.parquet"
    write_metrics(collect(run / "grid.tsv", run)[0], table, run / "metrics.csv")
    assert len(built(run)[1]["cells"]["status"]) == 12
    write_run(tmp_path, styles=["night"])
    assert len(built(run)[1]["cells"]["status"]) == 6
    table.write_bytes(b"no table")
    assert len(built(run)[1]["cells"]["status"]) == 6


def test_thumbnails_are_kept_and_unused_ones_removed(tmp_path: Path) -> None:
    run = write_run(tmp_path, axes={})
    _, data, _ = built(run)
    thumbs = run / "report" / "thumbs"
    first = thumbs / data["cells"]["thumb"][0]
    before = first.stat().st_mtime_ns
    (thumbs / "unused.webp").touch()
    (run / "report" / "curves" / "7.js").touch()
    built(run)
    assert first.stat().st_mtime_ns == before
    assert not (thumbs / "unused.webp").exists()
    assert not (run / "report" / "curves" / "7.js").exists()
    assert not [path for path in thumbs.iterdir() if path.suffix != ".webp"]


def test_an_edited_picture_with_another_digest_gets_a_new_thumbnail(tmp_path: Path) -> None:
    run = write_run(tmp_path, axes={})
    before = built(run)[1]["cells"]["thumb"]
    record = json.loads(sorted((run / "cells").glob("*/*/*.json"))[0].read_text())
    edit(run, 0, image={**record["image"], "sha256": "f" * 64})
    after = built(run)[1]["cells"]["thumb"]
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 1


def test_pictures_that_no_browser_shows_get_a_view(tmp_path: Path) -> None:
    run = write_run(tmp_path, axes={}, styles=["night"], contents=["cat"])
    grid = run / "grid.tsv"
    image = run / grid.read_text().split("\t")[-1].strip()
    Image.open(image).save(image.with_suffix(".tif"))
    grid.write_text(grid.read_text().replace(".png", ".tif"))
    _, data, _ = built(run)
    assert (run / "report" / "thumbs" / data["cells"]["view"]["0"]).is_file()


def test_numbers_that_json_lacks_become_null(tmp_path: Path) -> None:
    run = write_run(tmp_path, axes={}, styles=["night"], contents=["cat"])
    edit(run, 0, metrics={"content_loss": float("nan"), "style_loss": float("inf")})
    _, data, _ = built(run)
    assert data["metrics"]["content_loss"] == [None]
    assert data["metrics"]["style_loss"] == [None]


def test_what_was_mixed_is_warned_of(tmp_path: Path) -> None:
    run = write_run(tmp_path, axes={})
    edit(run, 0, versions={"nstcore": "9"}, evaluation={"encoder": "compact"})
    _, data, _ = built(run)
    assert len(data["about"]["warnings"]) == 2
    facts = dict(data["about"]["facts"])
    assert facts["Versions"][-1] == "nstcore 9 (1 cells)"
    assert "sha256 " + "e" * 64 in facts["Encoder"][0]


def test_the_page_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    run = write_run(tmp_path, axes={})
    assert built(run)[2] == built(run)[2]


def test_a_payload_with_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        render({"title": "t", "value": float("nan")})


def test_titles_are_shown_and_values_are_kept(tmp_path: Path) -> None:
    run = write_run(tmp_path, axes={"look": ["soft", "hard"]})
    _, data, html = built(run, titles={"look": {"soft": EVIL}})
    look = next(axis for axis in data["axes"] if axis["name"] == "look")
    assert look["values"] == ["soft", "hard"]
    assert look["shown"] == [EVIL, "hard"]
    assert EVIL not in html
