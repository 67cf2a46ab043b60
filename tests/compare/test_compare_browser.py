"""The page of a comparison in a real browser: from the disk, by mouse and by keyboard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from editing import edit, scale
from PIL import Image
from synthetic import write_run

from nstcore.compare.comparison import compare_runs
from nstcore.compare.comparison_files import write_comparison
from nstcore.compare.thresholds import check_thresholds, parse_thresholds

pytestmark = pytest.mark.browser

EVIL = "</script><img src=x onerror=\"document.title='owned'\">"
RED, BLUE = (200, 30, 30), (30, 30, 200)

# What waits inside of the page evaluates a string again and again, which the page forbids.
DECODED = "images => Promise.all(images.map(image => image.decode()))"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs: red pictures, blue ones with a loss that grew most for one cell, one that is half."""
    root = tmp_path_factory.mktemp("compare")
    red = write_run(root, run="red")
    blue = write_run(root, run="blue", failed=[3])
    third = write_run(root, run="third", styles=["wave", "ink"])
    for run, color in ((red, RED), (blue, BLUE)):
        for path in (run / "cells").rglob("*.png"):
            with Image.open(path) as image:
                Image.new("RGB", image.size, color).save(path)
    edit(blue, lambda record: record["image"] and record["image"].update(sha256="b" * 63 + "1"))
    edit(blue, scale("style_loss", 1.05))
    edit(blue, scale("style_loss", 2.0), "wave/rocket/*=10")
    edit(blue, scale("ssim", 0.5), "wave/cat/*=100")
    edit(blue, lambda record: record["settings"].update(optimizer=EVIL))
    comparison = compare_runs([red, blue, third])
    outcomes = check_thresholds(comparison, parse_thresholds(["style_loss > 1%", "gone > 100"]))
    write_comparison(comparison, root / "out", outcomes, title=EVIL)
    return root / "out" / "index.html"


def control(page: Any, label: str) -> Any:
    return page.locator(f'label:has(> span:text-is("{label}"))').locator("select, input")


def first_words(page: Any) -> str:
    return str(page.locator(".pair .open").first.inner_text())


def test_numbers_come_first(page_file: Path, open_report: Callable[..., Any]) -> None:
    page = open_report(page_file)
    assert page.title() == EVIL
    assert page.locator("h1").inner_text() == EVIL
    assert page.locator("#limits .note").count() == 1
    assert (
        "style_loss > 1% exceeded: +5.0 % (median of 11 cells)"
        in page.locator("#limits").inner_text()
    )
    row = page.locator("#numbers section").first.locator("tbody tr", has_text="style loss").nth(1)
    assert page.locator("#numbers section").count() == 2
    assert "+110.0 %" in page.locator("#numbers section").first.inner_text()
    assert row.locator("svg.bar .median").count() == 1
    changed = page.locator("#numbers section").first.locator(".changed").first.inner_text()
    assert "optimizer" in changed
    assert EVIL in changed.replace("\n", "")
    lists = page.locator("#numbers section").nth(1).locator("details summary").all_inner_texts()
    assert lists == ["6 cells gone: only in red", "6 cells added: only in third"]


def test_the_largest_change_stands_first(page_file: Path, open_report: Callable[..., Any]) -> None:
    page = open_report(page_file)
    assert page.locator(".pair").count() == 12
    assert first_words(page) == "rocket in the style wave, style_weight 10"
    control(page, "Metric").select_option("ssim")
    assert first_words(page) == "cat in the style wave, style_weight 100"
    control(page, "Order").select_option("grid")
    assert first_words(page) == "cat in the style night, style_weight 1"
    control(page, "Filter").fill("rocket 100")
    assert page.locator(".pair").count() == 2
    page.reload()
    page.wait_for_selector('html[data-ready="true"]', state="attached")
    assert page.locator(".pair").count() == 2, "the address keeps the view"


def color_at(page: Any, box: dict[str, float], share: float) -> tuple[int, int, int]:
    """The colour that is seen at a share of a box's width, a quarter from its lower end."""
    from io import BytesIO

    shot = page.screenshot(clip={**box})
    with Image.open(BytesIO(shot)) as image:
        spot = (round(image.width * share), round(image.height * 0.75))
        pixel = image.convert("RGB").getpixel(spot)
    assert isinstance(pixel, tuple)
    return pixel[0], pixel[1], pixel[2]


def close(one: tuple[int, int, int], other: tuple[int, int, int]) -> bool:
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) < 30


def test_the_slider_by_mouse_and_by_keyboard(
    page_file: Path, open_report: Callable[..., Any]
) -> None:
    page = open_report(page_file)
    page.locator(".pair .open").first.click()
    wipe = page.locator("#detail .wipe")
    page.locator("#detail .wipe img").evaluate_all(DECODED)
    box = wipe.bounding_box()
    assert close(color_at(page, box, 0.25), RED)
    assert close(color_at(page, box, 0.75), BLUE)
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.5 * box["height"], steps=4)
    page.mouse.up()
    assert close(color_at(page, box, 0.75), RED)
    slider = page.locator("#detail .wipe input")
    assert abs(float(slider.input_value()) - 90) <= 1
    slider.press("Home")
    assert close(color_at(page, box, 0.25), BLUE)
    slider.press("ArrowRight")
    assert slider.input_value() == "1"
    assert "red" in str(slider.get_attribute("aria-label"))


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("look", ["Slider", "Side by side"])
def test_a_large_picture_keeps_its_proportions(
    page_file: Path, open_report: Callable[..., Any], width: int, look: str
) -> None:
    page = open_report(page_file, viewport={"width": width, "height": 860})
    page.locator(".pair", has_text="rocket in the style wave").locator(".open").first.click()
    buttons = page.locator("#detail-look button")
    page.get_by_role("button", name=look).click()
    color = "button => getComputedStyle(button).backgroundColor"
    assert buttons.nth(0).evaluate(color) != buttons.nth(1).evaluate(color), "one is chosen"
    page.locator("#detail-stage img").evaluate_all(DECODED)
    stage = page.locator("#detail-stage").bounding_box()
    for image in page.locator("#detail-stage img").all():
        box = image.bounding_box()
        assert box["width"] / box["height"] == pytest.approx(48 / 64, rel=0.02)
        assert box["x"] >= stage["x"] - 1
        assert box["y"] >= stage["y"] - 1
        assert box["x"] + box["width"] <= stage["x"] + stage["width"] + 1
        assert box["y"] + box["height"] <= stage["y"] + stage["height"] + 1
        assert box["height"] > 100


def test_a_cell_opens_larger_and_leads_on(page_file: Path, open_report: Callable[..., Any]) -> None:
    page = open_report(page_file)
    opener = page.locator(".pair .open").first
    opener.focus()
    page.keyboard.press("Enter")
    title = page.locator("#detail-title")
    first = title.inner_text()
    row = page.locator("#detail tbody tr", has_text="style loss").first
    assert "+110.0 %" in row.inner_text()
    page.keyboard.press("ArrowRight")
    assert title.inner_text() != first
    page.keyboard.press("ArrowLeft")
    assert title.inner_text() == first
    assert "cell=" in page.url
    for anchor in page.locator("#detail .links a").all():
        href = anchor.get_attribute("href")
        assert (page_file.parent / str(href).replace("%3D", "=")).is_file()
    page.keyboard.press("Escape")
    assert not page.locator("#detail").is_visible()
    assert page.evaluate("document.activeElement.className") == "open"


def test_a_cell_that_failed_and_one_that_is_gone(
    page_file: Path, open_report: Callable[..., Any]
) -> None:
    page = open_report(page_file, "order=grid&look=slider")
    # Where one of the two has no picture there is nothing to slide: the cell stands side by side.
    failed = page.locator(".pair").nth(3)
    assert failed.locator(".wipe").count() == 0
    assert "out of memory" in failed.inner_text()
    assert "not in this run" in failed.inner_text()
    assert page.locator(".pair .wipe").count() == 11
    control(page, "to").select_option("2")
    assert page.locator(".pair .wipe").count() == 6


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_down_only(
    page_file: Path, open_report: Callable[..., Any], scheme: str
) -> None:
    page = open_report(page_file, viewport={"width": 390, "height": 800}, color_scheme=scheme)
    wide = "document.documentElement.scrollWidth <= window.innerWidth"
    assert page.evaluate(wide)
    page.locator(".pair .open").first.click()
    assert page.evaluate(wide)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(22, 21, 19)") == (scheme == "dark")


def test_many_cells_come_as_they_are_scrolled_to(
    tmp_path: Path, open_report: Callable[..., Any]
) -> None:
    run = write_run(tmp_path, styles=["night"], contents=["cat"], axes={"size": range(100, 400)})
    write_comparison(compare_runs([run, run]), tmp_path / "out")
    page = open_report(tmp_path / "out" / "index.html")
    assert page.locator(".pair").count() < 300
    for _ in range(40):
        page.mouse.wheel(0, 20000)
        page.wait_for_timeout(50)
        if page.locator(".pair").count() == 300:
            break
    assert page.locator(".pair").count() == 300
