"""The report in a real browser: it opens from the disk, draws everything and stays quiet."""

import csv
import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from browsing import CHROMIUM, NO_CHROMIUM
from synthetic import sources_of, write_run

from nstcore.report.build import Report

EVIL = "</script><img src=x onerror=\"document.title='owned'\">"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM),
]


def opened(page: Path, profile: Path, fragment: str = "") -> str:
    """The page's elements after its program ran; fails if the page complains on its console."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    flags += ["--enable-logging=stderr", "--virtual-time-budget=5000", f"--user-data-dir={profile}"]
    done = subprocess.run(
        [str(CHROMIUM), *flags, "--dump-dom", f"{page.as_uri()}#{fragment}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not complaints
    assert 'data-ready="true"' in done.stdout
    return done.stdout


def report(root: Path, **options: object) -> Path:
    run = write_run(root, **options)  # type: ignore[arg-type]
    out = run / "report" / "index.html"
    layout = {"rows": ["content"], "cols": ["style", "style_weight"]}
    Report(run, out, title=EVIL, layout=layout, single_file=False, sources=sources_of(run)).build()
    return out


def test_the_matrix_shows_every_cell(tmp_path: Path) -> None:
    page = report(tmp_path, failed=[0], diverged=[1])
    dom = opened(page, tmp_path / "profile")
    assert dom.count('class="cell"') == 12
    assert len(re.findall(r'<img src="thumbs/[0-9a-f]{24}-320\.webp"', dom)) == 11
    assert dom.count('src="thumbs/style-') == 2
    assert dom.count('src="thumbs/content-') == 2
    assert "out of memory on cuda:0" in dom
    assert "<em>diverged</em>" in dom
    assert html.escape(EVIL, quote=False) in dom
    assert "<title>owned" not in dom


def test_an_address_opens_a_cell_with_its_curve(tmp_path: Path) -> None:
    page = report(tmp_path)
    with (page.parents[1] / "grid.tsv").open() as file:
        row = list(csv.DictReader(file, delimiter="\t"))[7]
    dom = opened(page, tmp_path / "profile", f"view=matrix&cell={row['key'][:16]}")
    assert re.search(r'<dialog id="detail"[^>]* open', dom)
    assert re.search(r'<svg viewBox[^>]*class="chart"', dom)
    assert dom.count("<polyline") == 4
    image = row["image"].replace("=", "%3D")
    assert f'src="../{image}"' in dom


def test_a_page_without_its_pictures_shows_their_thumbnails(tmp_path: Path) -> None:
    page = report(tmp_path)
    run = page.parents[1]
    with (run / "grid.tsv").open() as file:
        row = list(csv.DictReader(file, delimiter="\t"))[7]
    shutil.rmtree(run / "cells")
    dom = opened(page, tmp_path / "profile", f"view=matrix&cell={row['key'][:16]}")
    stage = dom.split('id="detail-stage"')[1].split("</figure>")[0]
    assert re.search(r'<img src="thumbs/[0-9a-f]{24}-320\.webp" alt="[^"]*"', stage)
    assert "in its place its thumbnail" in stage


@pytest.mark.parametrize(
    ("fragment", "found"),
    [
        ("view=table&sort=style_loss&descending=1", 'aria-sort="descending"'),
        ("view=table&filter=wave", "6 of 12 cells"),
        ("view=failures", "Every cell of this run is finished."),
        ("view=about", "nstcore 0.1.0"),
        ("rows=style&cols=content&at.style_weight=100&metric=ssim", 'class="number"'),
        ("rows=&cols=", 'class="cell"'),
        ("rows=nonsense&view=nonsense&cell=nonsense", 'class="cell"'),
    ],
)
def test_the_address_chooses_the_view(tmp_path: Path, fragment: str, found: str) -> None:
    assert found in opened(report(tmp_path), tmp_path / "profile", fragment)
