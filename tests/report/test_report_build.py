"""The report: complete, self-contained, safe against any text, built from whatever exists."""

import base64
import hashlib
import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from synthetic import OUT_OF_MEMORY, SHORT_HISTORY, sources_of, write_run

from nstcore.config.loader import parse_config
from nstcore.config.yaml_files import read_value
from nstcore.core.settings import Settings
from nstcore.errors import StoreError
from nstcore.plan.record import CellRecord
from nstcore.report import html_page
from nstcore.report.build import Report, render_report
from nstcore.report.html_page import escaped_json, library_credits, library_scripts
from nstcore.report.payload import reproduce_command, settings_yaml
from nstcore.report.views import TAIL_LINES, job_log, last_lines
from nstcore.results.tables import collect, write_metrics

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
    Report(run, out, **{"single_file": False, **options}, sources=sources_of(run)).build()
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
    match = re.fullmatch(r'nstChunk\("curves",0,(.*)\);\n', text)
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
    own = html.replace(library_scripts(), "")
    for entry in library_credits():
        own = own.replace(escaped_json(entry), "")
    own = re.sub(r"(data:image/\w+;base64,|sha256-)[A-Za-z0-9+/=]*", "", own)
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
    for log in (run / "logs").rglob("*.log"):
        log.write_text(f"{EVIL}\n", encoding="utf-8")
    for source in (run / "inputs").rglob("*.png"):
        words = PngInfo()
        words.add_itxt("nst", EVIL)
        with Image.open(source) as image:
            image.save(source, pnginfo=words)
    edit(run, 0, reason=EVIL, run=EVIL)
    edit(run, 1, settings={EVIL: EVIL}, versions={EVIL: EVIL}, created=EVIL)
    edit(run, 2, optimization={"degraded": EVIL, "device": EVIL})
    harmless, _, _ = built(write_run(tmp_path / "other"))
    page, data, html = built(run, title=EVIL)
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in harmless.elements]
    assert data["title"] == EVIL
    assert EVIL in data["cells"]["reason"]
    assert data["settings"]["own"][EVIL].count(EVIL) == 1
    assert data["config"].endswith(EVIL + "\n")
    assert data["failures"]["logs"][0]["tail"] == EVIL
    assert {cell["reason"] for group in data["failures"]["groups"] for cell in group["cells"]} == {
        EVIL
    }
    assert page.of("title") == [EVIL]
    for text in (html, *(file.read_text() for file in (run / "report").rglob("*.js"))):
        assert "<img" not in text
        assert text.count("</script>") in (0, 2)
    assert "\u2028" not in page.of("script")[0]
    inside = built(run, title=EVIL, single_file=True)[2]
    assert "<img" not in inside
    assert inside.count("</script>") == 2


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
        Report(tmp_path / "nowhere", tmp_path / "index.html").build()


def test_a_table_of_an_older_grid_is_not_believed(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    table = run / "metrics.parquet"
    write_metrics(collect(run / "grid.tsv", run)[0], table, run / "metrics.csv")
    assert len(built(run)[1]["cells"]["status"]) == 12
    record = sorted((run / "cells").rglob("*.json"))[2]
    text = record.read_text()
    record.unlink()
    assert built(run)[1]["cells"]["status"][:4] == ["ok", "ok", "missing", "ok"]
    record.write_text(text)
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
        render_report({"title": "t", "value": float("nan")})


def test_titles_are_shown_and_values_are_kept(tmp_path: Path) -> None:
    run = write_run(tmp_path, axes={"look": ["soft", "hard"]})
    _, data, html = built(run, titles={"look": {"soft": EVIL}})
    look = next(axis for axis in data["axes"] if axis["name"] == "look")
    assert look["values"] == ["soft", "hard"]
    assert look["shown"] == [EVIL, "hard"]
    assert EVIL not in html


def chunk(run: Path, kind: str, number: int) -> list[Any]:
    text = (run / "report" / kind / f"{number}.js").read_text()
    match = re.fullmatch(rf'nstChunk\("{kind}",{number},(.*)\);\n', text)
    assert match
    entries: list[Any] = json.loads(match[1])
    return entries


def test_records_stand_beside_the_page(tmp_path: Path) -> None:
    run = write_run(tmp_path, seeds=range(3), failed=[1])
    edit(run, 0, metrics={"content_loss": float("nan")})
    third = run / (run / "grid.tsv").read_text().splitlines()[3].split("\t")[-1]
    third.with_suffix(".json").unlink()
    _, data, _ = built(run)
    assert data["records"]["perFile"] == 25
    entries = chunk(run, "records", 0) + chunk(run, "records", 1)
    assert len(entries) == 36
    images = data["cells"]["image"]
    assert shlex.split(entries[0]["command"]) == ["nst", "reproduce", f"{run}/{images[0]}"]
    assert entries[1]["command"] is None, "a failed cell was never made"
    assert entries[1]["record"]["reason"] == OUT_OF_MEMORY
    assert entries[2] is None
    kept = entries[3]["record"]
    original = json.loads((run / images[3]).with_suffix(".json").read_text())
    assert kept == {name: value for name, value in original.items() if name != "trace"}


@pytest.mark.parametrize("name", ['it\'s $(rm) `x` "q".png', "-n.png", "a b;c&d\n.png", "ü.png"])
def test_the_command_means_one_file_to_a_shell(name: str) -> None:
    words = shlex.split(reproduce_command(PurePosixPath(name)))
    assert words[:2] == ["nst", "reproduce"]
    assert len(words) == 3
    assert PurePosixPath(words[2]) == PurePosixPath(name)
    assert not words[2].startswith("-")


def test_settings_as_yaml_are_the_same_settings() -> None:
    settings = Settings(
        style_layers={"relu2_1": 0.25, "relu1_1": 1e-7},
        iterations=[30, 20],
        learning_rate=1e3,
        region_weights={"#ff0000": 2.0, "yes": 0.5, "12": 1.0},
        init="file",
        init_file="a: b's #1.png",
        size=384,
    )
    text = settings_yaml(
        CellRecord(key="0", settings=json.loads(json.dumps(settings.model_dump())))
    )
    assert text is not None
    config = parse_config({"contents": "c.png", "styles": "s.png", **read_value(text)})
    assert Settings(**config.settings.explicit) == settings
    assert settings_yaml(CellRecord(key="0")) is None


def test_failures_are_told_by_their_kind_with_their_log(tmp_path: Path) -> None:
    run = write_run(tmp_path, failed=[0, 5], diverged=[1], degraded=[2])
    lines = (run / "grid.tsv").read_text().splitlines()
    edit(run, 5, reason="ValueError: no such thing")
    (run / lines[4].split("\t")[-1]).with_suffix(".json").unlink()
    last = sorted((run / "cells").glob("*/*/*.json"))[-1]
    record = json.loads(last.read_text())
    how = {**record["optimization"], "rollbacks": 3}
    edit(run, -1, optimization=how)
    _, data, _ = built(run)
    found = {
        group["kind"]: [cell["cell"] for cell in group["cells"]]
        for group in data["failures"]["groups"]
    }
    assert found["memory"] == [0]
    assert found["diverged"] == [1]
    assert found["missing"] == [3]
    assert found["failed"] == [5]
    assert found["degraded"][0] == 2
    assert len(found["degraded"]) == 2
    cells = {cell["cell"]: cell for group in data["failures"]["groups"] for cell in group["cells"]}
    assert cells[2]["reason"] == SHORT_HISTORY
    assert "Adam took over" in cells[found["degraded"][1]]["reason"]
    log = data["failures"]["logs"][cells[0]["log"]]
    assert (run / "report" / log["file"]).resolve() == run / "logs/stylize/night/cat/batch.log"
    assert f"ERROR nstcore.jobs.stylize: failed {lines[1].split(chr(9))[-1]}" in log["tail"]
    assert any("2 cells were not made as" in line for line in data["about"]["warnings"])
    assert built(write_run(tmp_path / "good"))[1]["failures"] == {"groups": [], "logs": []}


def test_logs_are_found_as_the_workflow_names_them(tmp_path: Path) -> None:
    logs = tmp_path / "logs" / "stylize"
    (logs / "night" / "cat").mkdir(parents=True)
    for name in ("batch", "night/batch", "night/cat/batch", "night/cat/style_weight=0.5"):
        (logs / f"{name}.log").touch()
    (tmp_path / "logs" / "stylize.log").touch()
    assert job_log(tmp_path, "all") == logs / "batch.log"
    assert job_log(tmp_path, "night") == logs / "night/batch.log"
    assert job_log(tmp_path, "night/cat") == logs / "night/cat/batch.log"
    assert (
        job_log(tmp_path, "night/cat/style_weight=0.5") == logs / "night/cat/style_weight=0.5.log"
    )
    for absent in ("", "wave/cat", "../../etc", "/etc/passwd", "."):
        assert job_log(tmp_path, absent) in (None, logs / "batch.log")


def test_of_a_log_the_end_is_shown(tmp_path: Path) -> None:
    log = tmp_path / "batch.log"
    log.write_bytes(b"\xff\n" + b"".join(b"line %d\n" % n for n in range(100_000)))
    shown = (last_lines(log) or "").splitlines()
    assert len(shown) == TAIL_LINES
    assert shown[-1] == "line 99999"
    assert last_lines(tmp_path / "none.log") is None


def test_a_small_report_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path)
    _, data, _ = built(run, single_file="auto")
    report = run / "report"
    cells, held = data["cells"], data["inline"]["pictures"]
    wanted = [f"thumbs/{name}" for name in cells["thumb"]]
    wanted += [f"{data['root']}/{image}" for image in cells["image"]]
    wanted += [
        file for axis in data["sources"].values() for s in axis.values() for file in s["files"]
    ]
    wanted += [f"thumbs/{s['thumb']}" for axis in data["sources"].values() for s in axis.values()]
    assert set(held) == set(wanted)
    for name, uri in held.items():
        kind, _, text = uri.partition(";base64,")
        assert kind == f"data:image/{name.rsplit('.', 1)[-1]}"
        assert base64.b64decode(text) == (report / name).read_bytes()
    assert len(data["inline"]["curves"][0]) == len(cells["image"])
    assert not list((report / "curves").glob("*.js"))
    assert not list((report / "records").glob("*.js"))
    apart = built(run, single_file=False)[1]
    assert apart["inline"] is None
    assert chunk(run, "curves", 0) == data["inline"]["curves"][0]
    assert chunk(run, "records", 0) == data["inline"]["records"][0]
    small = sum(file.stat().st_size for file in (report / "thumbs").iterdir())
    texts = sum(file.stat().st_size for file in report.glob("*/*.js"))
    monkeypatch.setattr(html_page, "EMBED_LIMIT", small + texts)
    middle = built(run, single_file="auto")[1]["inline"]["pictures"]
    assert set(middle) == {name for name in wanted if name.startswith("thumbs/")}
    assert set(built(run, single_file=True)[1]["inline"]["pictures"]) == set(wanted)
    monkeypatch.setattr(html_page, "EMBED_LIMIT", small - 1)
    assert built(run, single_file="auto")[1]["inline"] is None


def test_metrics_say_which_end_is_good(tmp_path: Path) -> None:
    senses = built(write_run(tmp_path))[1]["senses"]
    assert senses["content_loss"] == senses["style_loss_relu1_1"] == senses["color_distance"] == -1
    assert senses["ssim"] == 1
    assert senses["tv"] == senses["iterations_done"] == 0


def test_other_files_of_the_run_are_listed(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    (run / "sheets").mkdir()
    (run / "sheets" / "all.png").touch()
    (run / "sheets" / ".all.tmp.png").touch()
    _, data, _ = built(run, expected_files=["sheets/all.png", "sheets/all.pdf"])
    assert data["files"] == [
        f"../{name}" for name in ("grid.tsv", "config.yaml", "sheets/all.png", "sheets/all.pdf")
    ]
    facts = dict(data["about"]["facts"])
    assert re.fullmatch(r"cpu \(12 cells, 36 s, 4 iterations a second\)", facts["Devices"][0])
