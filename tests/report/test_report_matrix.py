"""The matrix in a browser: axes, pages, hidden values, metrics, keyboard, size, and the address."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic import sources_of, write_run

from nstcore.report.build import Report
from nstcore.results.tables import collect

pytestmark = pytest.mark.browser

EVIL = "</script><img src=x onerror=\"document.title='owned'\">"
Open = Callable[..., Any]

AXES = {"style_weight": [1.0, 10.0, 100.0], "pooling": ["max", "avg"]}
LAYOUT = {"rows": ["content"], "cols": ["style"], "pages": ["pooling"]}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three styles, two contents, six settings, two seeds; thumbnails are smaller than pictures."""
    root = tmp_path_factory.mktemp("matrix")
    run = write_run(root, styles=("night", "wave", "dusk"), axes=AXES, seeds=(0, 1))
    out = run / "report" / "index.html"
    Report(run, out, layout=LAYOUT, thumb=56, single_file=False, sources=sources_of(run)).build()
    return out


def names(page: Any) -> list[str]:
    """What the cells shown are, in their order."""
    shown = page.eval_on_selector_all(".cell", "all => all.map(one => one.ariaLabel)")
    return list(shown)


def heads(page: Any, part: str) -> list[str]:
    found = page.eval_on_selector_all(
        f".matrix {part} th .head span", "all => all.map(one => one.textContent)"
    )
    return list(found)


def test_a_page_has_the_layout_of_the_run(report: Path, open_report: Open) -> None:
    page = open_report(report)
    assert heads(page, "thead") == ["night", "wave", "dusk"]
    assert heads(page, "tbody") == ["cat", "rocket"]
    assert len(names(page)) == 6
    assert all("style_weight 1, pooling max, seed 0" in name for name in names(page))
    assert page.locator("#matrix-pages .turner").count() == 3


def test_pages_turn_by_click_and_by_key(report: Path, open_report: Open) -> None:
    page = open_report(report)
    page.click("#matrix-pages button:has-text('avg')")
    assert all("pooling avg" in name for name in names(page))
    assert "at.pooling=avg" in page.url
    page.focus(".cell >> nth=4")
    page.keyboard.press("PageUp")
    assert all("pooling max" in name for name in names(page))
    focused = page.evaluate("document.activeElement.ariaLabel")
    assert focused == names(page)[4], "the focus stays where it was"
    page.keyboard.press("PageUp")
    assert all("pooling max" in name for name in names(page)), "there is no page before the first"
    page.keyboard.press("PageDown")
    page.reload()
    assert all("pooling avg" in name for name in names(page))


def test_a_slider_goes_through_the_values_of_an_axis(report: Path, open_report: Open) -> None:
    page = open_report(report)
    slider = page.locator("input[aria-label='style weight']")
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert all("style_weight 10," in name for name in names(page))
    assert slider.get_attribute("aria-valuetext") == "10"
    assert page.locator(".slide output").inner_text() == "10"
    page.keyboard.press("ArrowRight")
    assert all("style_weight 100," in name for name in names(page))
    assert "at.style_weight=100" in page.url


def test_axes_are_chosen_and_change_places(report: Path, open_report: Open) -> None:
    page = open_report(report)
    page.select_option("[data-key='rows.0']", "style")
    assert heads(page, "tbody") == ["night", "wave", "dusk"]
    assert heads(page, "thead") == ["cat", "rocket"]
    page.select_option("[data-key='rows.1']", "pooling")
    assert len(names(page)) == 12
    page.select_option("[data-key='pages.0']", "style_weight")
    page.click("#matrix-pages button:has-text('100')")
    assert all("style_weight 100" in name for name in names(page))
    assert "pages=style_weight" in page.url
    before = names(page)
    page.reload()
    assert names(page) == before


def test_values_are_hidden_and_come_back(report: Path, open_report: Open) -> None:
    page = open_report(report)
    page.click("summary:has-text('style 3')")
    page.click(".values label:has-text('night')")
    assert heads(page, "thead") == ["wave", "dusk"]
    page.click(".values label:has-text('wave')")
    assert heads(page, "thead") == ["dusk"]
    last = page.locator(".values label:has-text('dusk') input")
    assert last.is_disabled(), "one value has to stay"
    assert "hide.style=night" in page.url
    page.click("summary:has-text('style weight')")
    page.locator("[data-key='value.style_weight.0']").uncheck()
    assert all("style_weight 10," in name for name in names(page)), "the next value is shown"
    page.reload()
    assert heads(page, "thead") == ["dusk"]
    page.click("text=Show all")
    assert heads(page, "thead") == ["night", "wave", "dusk"]
    assert "hide." not in page.url


def test_a_metric_has_numbers_a_scale_and_its_best_cell(report: Path, open_report: Open) -> None:
    run = report.parents[1]
    metrics = collect(run / "grid.tsv", run)[0]
    page = open_report(report, "rows=content&cols=style+style_weight&metric=style_loss")
    best = page.locator(".cell:has(.best)")
    worst = page.locator(".cell:has(.worst)")
    shown = metrics[(metrics["pooling"] == "max") & (metrics["seed"] == 0)]
    low, high = shown["style_loss"].min(), shown["style_loss"].max()
    assert {int(n) for n in best.evaluate_all("all => all.map(c => c.dataset.cell)")} == set(
        shown.index[shown["style_loss"] == low]
    )
    assert {int(n) for n in worst.evaluate_all("all => all.map(c => c.dataset.cell)")} == set(
        shown.index[shown["style_loss"] == high]
    )
    assert best.first.get_attribute("aria-label").endswith(", best")
    legend = page.locator("#matrix-legend").inner_text()
    assert f"{low:.4g}" in legend
    assert f"{high:.4g}" in legend
    assert "lower is better" in legend
    page.select_option("[data-key='scale']", "run")
    legend = page.locator("#matrix-legend").inner_text()
    assert f"{metrics['style_loss'].min():.4g}" in legend
    assert f"{metrics['style_loss'].max():.4g}" in legend
    assert "scale=run" in page.url
    page.select_option("[data-key='metric']", "ssim")
    assert "higher is better" in page.locator("#matrix-legend").inner_text()
    colours = page.eval_on_selector_all(
        ".number", "all => all.map(one => getComputedStyle(one).backgroundColor)"
    )
    assert len(set(colours)) > 1
    page.select_option("[data-key='metric']", "tv")
    assert page.locator(".best, .worst").count() == 0, "of it neither end is good"


def test_arrow_keys_walk_and_enter_opens(report: Path, open_report: Open) -> None:
    page = open_report(report)
    page.focus(".cell >> nth=0")
    for key, place in (("ArrowRight", 1), ("ArrowDown", 4), ("ArrowRight", 5), ("ArrowLeft", 4)):
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.ariaLabel") == names(page)[place]
    page.keyboard.press("Enter")
    assert page.locator("#detail").get_attribute("open") is not None
    page.keyboard.press("Escape")
    page.wait_for_selector("#detail:not([open])", state="attached")
    page.wait_for_selector(".cell:focus")
    assert page.evaluate("document.activeElement.ariaLabel") == names(page)[4]


def test_a_large_cell_shows_the_picture_itself(report: Path, open_report: Open) -> None:
    page = open_report(report, "size=48")
    picture = page.locator(".cell img").first
    assert "thumbs/" in picture.get_attribute("src")
    page.focus(".cell >> nth=0")
    page.keyboard.press("+")
    assert picture.bounding_box()["width"] == 64
    assert "cells/" in picture.get_attribute("src")
    assert "size=64" in page.url
    page.reload()
    assert "cells/" in picture.get_attribute("src")
    page.hover(".cell >> nth=0")
    page.keyboard.down("Control")
    page.mouse.wheel(0, 400)
    page.keyboard.up("Control")
    page.wait_for_selector(".cell >> nth=0 >> img[src*='thumbs/']")


def test_a_half_finished_run_has_a_report(tmp_path: Path, open_report: Open) -> None:
    run = write_run(tmp_path, failed=[0], diverged=[1])
    for record in sorted((run / "cells").glob("wave/*/*.json")):
        record.unlink()
        record.with_suffix(".png").unlink()
    out = run / "report" / "index.html"
    Report(
        run,
        out,
        layout={"rows": ["content"], "cols": ["style", "style_weight"]},
        sources=sources_of(run),
    ).build()
    page = open_report(out)
    holes = page.locator(".cell .hole")
    assert holes.count() == 7
    assert "out of memory" in holes.first.inner_text()
    assert page.locator(".cell .hole:has-text('this record is missing')").count() == 6
    page.click("#tab-failures")
    titles = page.locator("#failures h3").all_inner_texts()
    assert [title.lower() for title in titles] == [
        "out of memory (1)",
        "diverged (1)",
        "not made yet (6)",
    ]
    page.click("#failures summary >> nth=0")
    tail = page.locator("#failures pre").first.inner_text()
    assert "ERROR nstcore.jobs.stylize: failed cells/night/cat/style_weight=1.png" in tail
    link = page.locator("#failures a:has-text('the whole log')").first.get_attribute("href")
    assert (out.parent / link).resolve() == run / "logs/stylize/night/cat/batch.log"
    page.click("#failures .link >> nth=0")
    assert "Out of memory" in page.locator("#detail .note").inner_text()
    page.keyboard.press("ArrowRight")
    assert "Diverged" in page.locator("#detail .note").inner_text()


def test_many_cells_come_as_they_are_scrolled(tmp_path: Path, open_report: Open) -> None:
    weights = [float(n) for n in range(1, 401)]
    run = write_run(
        tmp_path, styles=["night"], contents=["cat"], axes={"style_weight": weights}, iterations=1
    )
    out = run / "report" / "index.html"
    Report(
        run, out, layout={"rows": ["style_weight"], "cols": ["style"]}, sources=sources_of(run)
    ).build()
    for fragment, key in (("", "ArrowDown"), ("rows=style&cols=style_weight", "ArrowRight")):
        page = open_report(out, fragment)
        cells = page.locator(".cell")
        first = cells.count()
        assert 0 < first < 400
        cells.last.focus()
        page.keyboard.press(key)
        focused = page.evaluate("document.activeElement.ariaLabel")
        assert focused.endswith(f"style_weight {first + 1}"), "keys reach what was not there yet"
        while not page.locator(".cell[aria-label$='style_weight 400']").count():
            page.eval_on_selector("#matrix-scroller", "one => { one.scrollBy(10_000, 10_000) }")
            page.wait_for_timeout(20)


@pytest.mark.parametrize("view", ["matrix", "failures", "about"])
def test_a_phone_shows_the_page_without_scrolling_sideways(
    report: Path, open_report: Open, view: str
) -> None:
    page = open_report(
        report, f"view={view}&metric=style_loss", viewport={"width": 360, "height": 740}
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    if view == "matrix":
        page.click(".cell >> nth=0")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.evaluate("document.querySelector('.facts').scrollWidth") <= 360


def test_no_text_of_a_run_becomes_an_element(tmp_path: Path, open_report: Open) -> None:
    run = write_run(tmp_path, axes={"look": [EVIL, "b"]}, failed=[0], degraded=[1])
    for record in (run / "cells").rglob("*.json"):
        content = json.loads(record.read_text())
        content["settings"][EVIL] = record.stem
        content["versions"] = {EVIL: EVIL}
        if content["status"] == "failed":
            content["reason"] = EVIL
        record.write_text(json.dumps(content))
    for log in (run / "logs").rglob("*.log"):
        log.write_text(EVIL)
    out = run / "report" / "index.html"
    Report(run, out, title=EVIL, titles={"look": {"b": EVIL}}, sources=sources_of(run)).build()
    page = open_report(out)
    for view in ("table", "failures", "about", "matrix"):
        page.click(f"#tab-{view}")
    page.click("#matrix .menu summary >> nth=-1")
    page.click(".cell >> nth=1")
    page.select_option("[data-key='partner']", "axis look b")
    for folded in page.locator("#detail details").all():
        folded.evaluate("one => { one.open = true }")
    text = page.locator("#detail").inner_text()
    assert text.count(EVIL) > 5
    assert page.title() == EVIL
    assert page.locator("img[src='x']").count() == 0
