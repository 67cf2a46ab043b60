"""``nst run --watch``: the page of a real run in a real browser, from the first look to the report."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from workbench import CORES, NST, Bench

pytestmark = [pytest.mark.slow, pytest.mark.browser]


def watchers(run: Path) -> list[psutil.Process]:
    """The processes that keep the page of a run."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = process.info["cmdline"] or []
        if "--parent" in words and process.info["cwd"] == str(run.parents[1]):
            found.append(process)
    return found


def wait_until(holds: Callable[[], Any]) -> None:
    for _ in range(1200):
        if holds():
            return
        time.sleep(0.1)
    raise AssertionError("it never came true")


def test_the_page_follows_the_run_to_its_report(
    make_bench: Callable[..., Bench], open_report: Callable[..., Any]
) -> None:
    bench = make_bench(report={"thumbnail": 64, "rows": ["style", "content"]})
    page_file, report = bench.run_dir / "live/index.html", bench.run_dir / "report/index.html"
    words = [*NST, "run", bench.file.name, "--watch", *CORES]
    with bench.start(*words) as process:
        wait_until(lambda: page_file.is_file() and 'id="data"' in page_file.read_text())
        page = open_report(page_file, "view=matrix&size=96")
        assert page.locator("[data-pending]").count() > 0
        page.wait_for_url("**/report/index.html*", timeout=240_000)
        page.wait_for_selector('html[data-ready="true"]', state="attached")
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said + bench.logs()
    assert "live/index.html" in said
    assert page.locator(".cell img").count() == 8
    assert "size=96" in page.url, "what was shown is still shown"
    assert "pending" not in report.read_text().split('id="data">')[1].split("</script>")[0]
    wait_until(lambda: not watchers(bench.run_dir))
    # Snakemake finds nothing that it has not made itself.
    before = report.stat().st_mtime_ns
    assert "Nothing to be done" in bench.run()
    assert report.stat().st_mtime_ns == before


def test_a_run_that_is_killed_takes_its_watcher_along(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(settings={"size": 64, "pyramid_start": 64, "iterations": 4000})
    page_file = bench.run_dir / "live/index.html"
    words = [*NST, "run", bench.file.name, "--watch", *CORES]
    with bench.start(*words) as process:
        wait_until(lambda: page_file.is_file() and 'id="data"' in page_file.read_text())
        (watcher,) = watchers(bench.run_dir)
        jobs = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        for job in jobs:
            if job != watcher and job.is_running():
                job.kill()
        wait_until(lambda: not watchers(bench.run_dir))
    assert '"stopped":true' in page_file.with_name("state.js").read_text()
    assert "pending" in page_file.read_text(), "what there is can still be looked at"


def test_a_dry_run_is_not_watched(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(contents=1, styles=1)
    bench.run("--watch", "-n")
    assert not watchers(bench.run_dir)
    assert not (bench.run_dir / "live").exists()
