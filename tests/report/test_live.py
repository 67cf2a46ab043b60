"""The page of a run that is under way: what is written, when, and what a reader sees of it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic import write_run

from nstcore.jobs.heartbeat import Heartbeat, heartbeat_file
from nstcore.plan.paths import snapshot_file
from nstcore.plan.snapshot import read_plan, write_snapshot
from nstcore.report import live
from nstcore.report.live import PAGE, STATE, LiveReport, watch
from nstcore.report.outputs import REPORT, make_report
from nstcore.store.files import write_json

WEIGHTS = tuple(range(1, 31))


class Run:
    """A run of which cells are finished one by one."""

    def __init__(self, folder: Path, weights: tuple[int, ...] = WEIGHTS, failed: int = 4) -> None:
        self.folder = write_run(
            Path("results"),
            styles=["night"],
            contents=["cat"],
            axes={"style_weight": weights},
            failed=[failed],
        )
        config = Path("my.yaml")
        inputs = self.folder / "inputs"
        config.write_text(
            f"run: demo\ncontents: {{cat: {inputs}/contents/cat/64.png}}\n"
            f"styles: {{night: {inputs}/styles/night/0.png}}\n"
            f"sweep: {{axes: {{style_weight: {list(weights)}}}}}\n"
            "report: {rows: [style], cols: [style_weight]}\n"
        )
        (self.folder / "config.yaml").unlink()
        write_snapshot(read_plan(config))
        size = list(read_plan(config).sizes)[-1]
        (inputs / "contents/cat/64.png").rename(inputs / f"contents/cat/{size}.png")
        (inputs / "contents/cat/64.png").symlink_to(f"{size}.png")
        lines = (self.folder / "grid.tsv").read_text().splitlines()[1:]
        self.images = [line.split("\t")[-1] for line in lines]
        self.batch = lines[0].split("\t")[-2]
        self._kept = {}
        for image in self.images:
            record = (self.folder / image).with_suffix(".json")
            self._kept[image] = record.read_bytes()
            record.unlink()

    def finish(self, *cells: int) -> None:
        for cell in cells:
            path = (self.folder / self.images[cell]).with_suffix(".json")
            path.write_bytes(self._kept[self.images[cell]])

    def work_on(self, *cells: int, iteration: int = 5) -> None:
        now = time.time()
        job = Heartbeat(self.batch, 3, platform.node(), os.getpid(), None, now, now)
        job.images = [self.images[cell] for cell in cells]
        job.iteration, job.iterations, job.content, job.style = iteration, 40, 0.5, 0.25
        write_json(heartbeat_file(self.folder, self.batch), dataclasses.asdict(job))

    @property
    def page(self) -> dict[str, Any]:
        """The data of the page."""
        html = (self.folder / PAGE).read_text()
        found: dict[str, Any] = json.loads(html.split('id="data">')[1].split("</script>")[0])
        return found

    @property
    def state(self) -> dict[str, Any]:
        text = (self.folder / PAGE).with_name(STATE).read_text()
        found: dict[str, Any] = json.loads(text.removeprefix("nstLive(").removesuffix(");\n"))
        return found

    def files(self) -> dict[str, int]:
        """What stands in the folder of the page, but its state, with the dates."""
        folder = (self.folder / PAGE).parent
        found = (path for path in folder.rglob("*") if path.is_file() and path.name != STATE)
        return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in found}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    return Run(tmp_path)


def test_cells_appear_as_they_are_made(run: Run) -> None:
    watcher = LiveReport(run.folder)
    assert not watcher.update()
    assert run.page["cells"]["status"] == ["pending"] * len(WEIGHTS)
    assert run.page["failures"] == {"groups": [], "logs": []}
    assert (run.state["page"], run.state["done"]) == (run.page["live"]["page"], 0)
    run.finish(0, 4)
    assert not watcher.update()
    data = run.page
    assert data["cells"]["status"] == ["ok", *["pending"] * 3, "failed", *["pending"] * 25]
    assert [group["kind"] for group in data["failures"]["groups"]] == ["memory"]
    assert (run.state["page"], run.state["done"]) == (data["live"]["page"], 2)
    thumb = run.folder / "live" / data["thumbs"] / data["cells"]["thumb"][0]
    assert thumb.is_file()
    assert thumb.parent == run.folder / "live" / "../report/thumbs"
    assert data["root"] == ".."
    assert not (run.folder / REPORT).exists(), "it is the workflow's"


def test_only_what_has_changed_is_written(run: Run) -> None:
    watcher = LiveReport(run.folder)
    run.finish(*range(27))
    watcher.update()
    before = run.files()
    assert {"index.html", "records/0.js", "records/1.js", "curves/0.js"} == set(before)
    watcher.update()
    assert run.files() == before
    run.finish(28)
    watcher.update()
    after = run.files()
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"index.html", "records/1.js", "curves/0.js"}
    chunk = (run.folder / "live/records/1.js").read_text()
    entries = json.loads(chunk.removeprefix('nstChunk("records",1,').removesuffix(");\n"))
    assert [entry is not None for entry in entries] == [True, True, False, True, False]


def test_running_jobs_say_what_they_do(run: Run) -> None:
    watcher = LiveReport(run.folder)
    run.work_on(1, 2)
    watcher.update()
    page = run.files()["index.html"]
    assert run.state["running"] == [[1, 5, 40, 0.5, 0.25, None], [2, 5, 40, 0.5, 0.25, None]]
    run.work_on(1, 2, iteration=6)
    key = watcher._grid.rows[2]["key"]
    for iteration in (0, 5):
        snapshot = run.folder / snapshot_file(run.images[2], key, iteration)
        snapshot.parent.mkdir(parents=True, exist_ok=True)
        snapshot.touch()
    watcher.update()
    first, second = run.state["running"]
    assert first == [1, 6, 40, 0.5, 0.25, None]
    assert (run.folder / "live" / second[-1]).samefile(snapshot)
    assert run.files()["index.html"] == page, "the page asks for this by itself"
    run.finish(1)
    watcher.update()
    assert [entry[0] for entry in run.state["running"]] == [2]


def test_before_there_is_a_grid_the_page_says_so(run: Run) -> None:
    grid = run.folder / "grid.tsv"
    text = grid.read_text()
    watcher = LiveReport(run.folder)
    grid.unlink()
    watcher.update()
    assert "prepares its inputs" in (run.folder / PAGE).read_text()
    assert 'content="3.0; url=index.html"' in (run.folder / PAGE).read_text()
    # That of an earlier configuration, without the last value.
    grid.write_text("\n".join(text.splitlines()[:-1]) + "\n")
    watcher.update()
    assert "prepares its inputs" in (run.folder / PAGE).read_text()
    grid.write_text(text)
    watcher.update()
    assert run.page["cells"]["status"] == ["pending"] * len(WEIGHTS)


def test_a_restarted_run_is_read_anew(run: Run) -> None:
    watcher = LiveReport(run.folder)
    run.finish(*range(30))
    watcher.update()
    grid = run.folder / "grid.tsv"
    key = grid.read_text().splitlines()[1].split("\t")[-3]
    grid.write_text(grid.read_text().replace(key, "0" * 64))
    watcher.update()
    assert run.page["cells"]["status"][:2] == ["pending", "ok"]


def test_in_the_end_the_page_leads_to_the_report(run: Run) -> None:
    run.finish(*range(29))
    watcher = LiveReport(run.folder)
    make_report(read_plan(run.folder / "config.yaml"))  # by hand, too early
    assert not watcher.update()
    run.finish(29)
    assert not watcher.update(), "the report does not have the last cell"
    make_report(read_plan(run.folder / "config.yaml"))
    report = (run.folder / REPORT).read_bytes()
    assert not watcher.update(goes_on=True), "sheets may be drawn still"
    assert run.state["report"] is None
    assert watcher.update(goes_on=False)
    assert run.state["report"] == "../report/index.html"
    assert 'content="0; url=../report/index.html"' in (run.folder / PAGE).read_text()
    assert set(run.files()) == {"index.html"}
    assert (run.folder / REPORT).read_bytes() == report
    shown = json.loads(report.decode().split('id="data">')[1].split("</script>")[0])
    assert all(
        (run.folder / "report" / "thumbs" / name).is_file()
        for name in shown["cells"]["thumb"]
        if name
    )


def test_a_run_that_stops_keeps_its_page(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "INTERVAL", 0.01)
    run.finish(0)
    left = iter([True, True, False])
    assert not watch(run.folder, lambda: next(left))
    assert run.state["stopped"]
    assert run.page["cells"]["status"][:2] == ["ok", "pending"]


def test_a_damaged_file_does_not_end_the_watch(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live, "INTERVAL", 0.01)
    grid = run.folder / "grid.tsv"
    text = grid.read_text()
    grid.write_text("nonsense")
    looks = 0

    def goes_on() -> bool:
        nonlocal looks
        looks += 1
        if looks == 2:
            grid.write_text(text)
        return looks < 3

    watch(run.folder, goes_on)
    assert "not a grid" in caplog.text
    assert run.page["cells"]["status"] == ["pending"] * len(WEIGHTS)


# --- In a browser ------------------------------------------------------------------------------------


def number_of(page: Any) -> float:
    """What tells one loading of the page from the next."""
    return float(page.evaluate("performance.timeOrigin"))


def wait_for_newer(page: Any, loaded: float) -> None:
    """Wait until the page has loaded itself anew.  Its policy forbids what Playwright waits with."""
    for _ in range(600):
        page.wait_for_timeout(100)
        with contextlib.suppress(Exception):  # it may be on the way
            if number_of(page) > loaded:
                break
    page.wait_for_selector('html[data-ready="true"]', state="attached")
    assert number_of(page) > loaded


@pytest.mark.browser
def test_an_open_page_renews_itself_and_keeps_what_it_shows(
    run: Run, open_report: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "INTERVAL", 0.2)
    watcher = LiveReport(run.folder)
    run.finish(0, 1, 2, 4)
    run.work_on(3)
    watcher.update()
    page = open_report(run.folder.resolve() / PAGE, viewport={"width": 700, "height": 500})
    assert page.locator(".cell img").count() == 3
    waiting = page.locator('[data-pending="3"]')
    waiting.locator("text=iteration 5 of 40").wait_for()
    assert page.locator("#tab-failures b").inner_text() == "1"
    loaded = number_of(page)
    run.work_on(3, iteration=6)
    watcher.update()
    waiting.locator("text=iteration 6 of 40").wait_for()
    assert number_of(page) == loaded, "progress needs no new page"

    page.evaluate("document.getElementById('matrix-scroller').scrollLeft = 300")
    page.locator("#setup > summary").click()
    opened = page.evaluate("document.getElementById('setup').open")
    run.finish(3)
    watcher.update()
    wait_for_newer(page, loaded)
    assert page.locator(".cell img").count() == 4
    assert page.evaluate("document.getElementById('matrix-scroller').scrollLeft") == 300
    assert page.evaluate("document.getElementById('setup').open") == opened

    page.locator('[data-cell="2"]').click()
    page.locator("#detail .chart").wait_for()
    loaded = number_of(page)
    run.finish(5)
    watcher.update()
    wait_for_newer(page, loaded)
    page.locator("#detail .chart").wait_for()
    assert page.locator("#detail[open]").count() == 1
    page.keyboard.press("Escape")

    page.locator("#tab-table").click()
    page.locator("input[type=search]").fill("pending")
    page.locator("table.metrics caption", has_text="24 of 30 cells").wait_for()
    run.finish(*range(6, 30))
    make_report(read_plan(run.folder / "config.yaml"))
    assert watcher.update()
    page.wait_for_url("**/report/index.html*")
    page.wait_for_selector('html[data-ready="true"]', state="attached")
    assert page.locator("input[type=search]").input_value() == "pending"
    assert page.locator("#live").is_hidden()
    page.goto((run.folder.resolve() / PAGE).as_uri())
    page.wait_for_url("**/report/index.html")


@pytest.mark.browser
def test_nothing_is_loaded_anew_under_the_hands_of_a_reader(
    run: Run, open_report: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "INTERVAL", 0.2)
    watcher = LiveReport(run.folder)
    watcher.update()
    page = open_report(run.folder.resolve() / PAGE, "view=table")
    loaded = number_of(page)
    page.locator("input[type=search]").click()
    page.mouse.down()
    run.finish(0)
    watcher.update()
    page.locator("#live", has_text="1 of 30 made").wait_for()
    time.sleep(3)
    assert number_of(page) == loaded
    page.mouse.up()
    wait_for_newer(page, loaded)
    assert re.search("ok", page.locator("table.metrics tbody tr").first.inner_text())
    assert page.evaluate("document.activeElement.type") == "search"
