"""One cell in a browser: against other pictures, its settings, its record, and the page as one file."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from synthetic import sources_of, write_run

from nstcore.plan.paths import snapshot_file
from nstcore.report.build import Report
from nstcore.results.tables import read_grid

pytestmark = pytest.mark.browser

Open = Callable[..., Any]
LAYOUT = {"rows": ["content"], "cols": ["style", "style_weight"]}
CLIPBOARD = {"permissions": ["clipboard-read", "clipboard-write"]}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = write_run(tmp_path_factory.mktemp("detail"))
    out = run / "report" / "index.html"
    Report(run, out, layout=LAYOUT, single_file=False, sources=sources_of(run)).build()
    return out


def key_of(report: Path, number: int) -> str:
    return read_grid(report.parents[1] / "grid.tsv").rows[number]["key"][:16]


def image_of(report: Path, number: int) -> Path:
    run = report.parents[1]
    return run / read_grid(run / "grid.tsv").rows[number]["image"]


def loaded(page: Any, selector: str) -> None:
    """Wait for pictures; fails if one of them cannot be decoded."""
    page.eval_on_selector_all(selector, "all => Promise.all(all.map(one => one.decode()))")


def pixels(page: Any, selector: str = ".box") -> np.ndarray:
    """What is seen of the stage's picture, once it is loaded: (H, W, 3)."""
    loaded(page, ".box img")
    data = page.locator(selector).first.screenshot()
    # A box may begin between two pixels of the screen.
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))[2:-2, 2:-2]


def transform(page: Any) -> list[float]:
    """Zoom and shift of the picture."""
    text = page.eval_on_selector(".box", "one => getComputedStyle(one).transform")
    numbers = [float(part) for part in text.removeprefix("matrix(").removesuffix(")").split(",")]
    return [numbers[0], numbers[4], numbers[5]]


def cut(page: Any) -> int:
    return int(page.locator(".wiper").get_attribute("aria-valuenow"))


def test_the_slider_moves_by_mouse_and_by_keys(report: Path, open_report: Open) -> None:
    page = open_report(report, f"cell={key_of(report, 2)}&mode=slide")
    assert cut(page) == 50
    box = page.locator(".box").bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, y, steps=4)
    page.mouse.up()
    assert cut(page) == 25
    page.mouse.move(box["x"] + box["width"], y)
    assert cut(page) == 25, "it was let go"
    before = page.locator("#detail-title").inner_text()
    for key, place in (("ArrowRight", 27), ("Shift+ArrowRight", 37), ("Home", 0), ("End", 100)):
        page.keyboard.press(key)
        assert cut(page) == place
    assert page.locator("#detail-title").inner_text() == before, "the cell stays"
    only_a = pixels(page)
    page.keyboard.press("Home")
    only_b = pixels(page)
    page.keyboard.press("1")
    mine = pixels(page)
    # Away from the handle; the pictures may stand at other parts of a pixel.
    a, b, own = (seen[:, 30:-30].mean(axis=(0, 1)) for seen in (only_a, only_b, mine))
    assert np.abs(a - own).max() < 2
    assert np.abs(b - own).max() > 10


def test_a_cell_differs_in_nothing_from_itself(report: Path, open_report: Open) -> None:
    key = key_of(report, 2)
    page = open_report(report, f"cell={key}&mode=difference&with=cell+{key}")
    assert pixels(page).max() == 0
    page.select_option("[data-key='times']", "16")
    assert pixels(page).max() == 0
    page.select_option("[data-key='times']", "1")
    page.select_option("[data-key='partner']", "content")
    seen = pixels(page)
    assert seen.max() > 30
    with Image.open(image_of(report, 2)) as own:
        mine = np.asarray(own.convert("RGB"), dtype=np.int16)
    content = report.parents[1] / "inputs" / "contents" / "cat"
    with Image.open(next(content.glob("*.png"))) as source:
        its = np.asarray(source.convert("RGB"), dtype=np.int16)
    wanted = np.abs(mine - its).mean(axis=(0, 1))
    assert np.allclose(seen.mean(axis=(0, 1)), wanted, atol=3)
    assert "identical" in page.locator("#detail-tools").inner_text()


def test_flicker_shows_the_other_while_it_is_held(report: Path, open_report: Open) -> None:
    page = open_report(report, f"cell={key_of(report, 2)}&mode=flicker", reduced_motion="reduce")
    assert page.locator("[data-key='alternate']").count() == 0, "nothing flashes by itself"
    mine = pixels(page)
    hold = page.locator("[data-key='hold']").bounding_box()
    page.mouse.move(hold["x"] + 5, hold["y"] + 5)
    page.mouse.down()
    assert page.locator("#flicker-shown").inner_text() == "B"
    other = pixels(page)
    page.mouse.up()
    assert page.locator("#flicker-shown").inner_text() == "A"
    assert not np.array_equal(mine, other)
    page.focus("#detail-title")
    page.keyboard.down(" ")
    assert np.array_equal(pixels(page), other)
    page.keyboard.up(" ")
    assert np.array_equal(pixels(page), mine)


def test_flicker_alternates_where_motion_is_welcome(report: Path, open_report: Open) -> None:
    page = open_report(
        report, f"cell={key_of(report, 2)}&mode=flicker", reduced_motion="no-preference"
    )
    page.click("[data-key='alternate']")
    for letter in "BAB":
        page.wait_for_selector(f"#flicker-shown:text-is('{letter}')")
    page.keyboard.press("1")
    assert page.locator(".flicker").count() == 0


def test_two_cells_are_compared_by_settings_and_metrics(report: Path, open_report: Open) -> None:
    page = open_report(report, f"cell={key_of(report, 0)}")
    page.select_option("[data-key='partner']", "axis style_weight 100")
    assert "mode=slide" in page.url
    tables = page.locator("#detail .pairs")
    rows = tables.nth(0).locator("tbody tr").all_inner_texts()
    assert [row.split("\t") for row in rows] == [["style weight", "1", "100"]]
    records = [json.loads(image_of(report, n).with_suffix(".json").read_text()) for n in (0, 2)]
    mine, its = (record["metrics"]["ssim"] for record in records)
    [ssim] = [
        row for row in tables.nth(1).locator("tbody tr").all_inner_texts() if row.startswith("SSIM")
    ]
    assert ssim.split("\t") == [
        "SSIM",
        f"{mine:.4g}",
        f"{its:.4g}",
        f"−{100 * (mine - its) / mine:.0f} %",
    ]
    page.focus("#detail-title")
    page.keyboard.press("ArrowRight")
    rows = tables.nth(0).locator("tbody tr").all_inner_texts()
    assert rows == ["style weight\t10\t100"], "another cell has the same partner on that axis"
    before = page.locator("#detail").inner_text()
    page.reload()
    assert page.locator("#detail").inner_text() == before


def test_a_partner_is_picked_in_the_matrix(report: Path, open_report: Open) -> None:
    page = open_report(report, f"cell={key_of(report, 0)}")
    page.click("[data-key='pick']")
    page.wait_for_selector("#detail:not([open])", state="attached")
    assert "Choose the cell" in page.locator("#matrix-hint").inner_text()
    page.click("[data-cell='7']")
    assert page.locator("#detail").get_attribute("open") is not None
    assert f"with=cell+{key_of(report, 7)}" in page.url
    assert f"cell={key_of(report, 0)}" in page.url
    rows = page.locator("#detail .pairs >> nth=0").locator("tbody tr").all_inner_texts()
    assert [row.split("\t")[0] for row in rows] == ["style", "style weight"]
    page.click("[data-key='pick']")
    page.wait_for_selector("#detail:not([open])", state="attached")
    page.keyboard.press("Escape")
    assert page.locator("#detail").get_attribute("open") is not None


def test_a_marked_cell_is_what_others_are_compared_with(report: Path, open_report: Open) -> None:
    page = open_report(report)
    page.focus("[data-cell='3']")
    page.keyboard.press("p")
    assert page.locator(".pinned").get_attribute("data-cell") == "3"
    page.click("[data-cell='5']")
    page.keyboard.press("2")
    assert page.locator(".pane").count() == 2
    sources = page.eval_on_selector_all(".pane img", "all => all.map(one => one.src)")
    wanted = [image_of(report, n).as_uri().replace("=", "%3D") for n in (5, 3)]
    assert sources == wanted


def test_zoom_and_pan_move_both_pictures(report: Path, open_report: Open) -> None:
    page = open_report(report, f"cell={key_of(report, 0)}&mode=side&with=style")
    pixels(page)
    page.focus("#detail-title")
    page.keyboard.press("+")
    assert transform(page)[0] == 1.5
    boxes = page.eval_on_selector_all(
        ".box", "all => all.map(one => getComputedStyle(one).transform)"
    )
    assert boxes[0] == boxes[1]
    rest = page.locator(".pane").first.bounding_box()
    x, y = rest["x"] + rest["width"] / 2, rest["y"] + rest["height"] / 2
    page.mouse.move(x, y)
    page.mouse.wheel(0, -600)
    while transform(page)[0] < 4:
        page.wait_for_timeout(20)
    before = transform(page)
    page.mouse.down()
    page.mouse.move(x + 10, y + 5, steps=2)
    page.mouse.up()
    after = transform(page)
    assert np.allclose(np.subtract(after, before), [0, 10, 5])
    page.keyboard.press("0")
    assert transform(page) == [1, 0, 0]
    page.mouse.dblclick(x, y)
    assert transform(page)[0] == 3
    page.mouse.dblclick(x, y)
    assert transform(page)[0] == 1


def close(page: Any) -> None:
    """Close the cell's dialog, and wait until the page has done so: it moves the focus then."""
    page.keyboard.press("Escape")
    while "cell=" in page.url:
        page.wait_for_timeout(20)


def pasted(page: Any) -> str:
    """What the clipboard brings into the empty search field; the browser takes its time for it."""
    page.focus("input[type='search']")
    page.keyboard.press("Control+V")
    while not (text := page.input_value("input[type='search']")):
        page.wait_for_timeout(20)
    return str(text)


@pytest.mark.parametrize("clipboard", [True, False])
def test_command_and_settings_are_copied(report: Path, open_report: Open, clipboard: bool) -> None:
    page = open_report(report, f"cell={key_of(report, 2)}", **CLIPBOARD)
    if not clipboard:  # as in browsers that keep it from pages on the disk
        page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.click("text=Copy the command")
    page.click("text=Settings as YAML")
    command, settings = page.locator("#detail .copyable pre").all_inner_texts()[:2]
    assert command == f"nst reproduce {image_of(report, 2)}"
    assert "style_weight: 100.0" in settings
    page.wait_for_selector("text=Copied")
    close(page)
    page.click("#tab-table")
    assert pasted(page) == command
    page.fill("input[type='search']", "")
    page.click(".mini >> nth=2")
    page.click("text=Settings as YAML")
    page.click("text=Copy this cell’s settings as YAML")
    page.wait_for_selector("text=Copied")
    close(page)
    assert pasted(page).split() == settings.split()


def test_the_record_is_shown(report: Path, open_report: Open) -> None:
    page = open_report(report, f"cell={key_of(report, 2)}")
    page.click("#detail summary:text-is('Record')")
    shown = json.loads(page.locator("#detail pre").last.inner_text())
    record = json.loads(image_of(report, 2).with_suffix(".json").read_text())
    del record["trace"]
    assert shown == record


def test_one_file_shows_everything_wherever_it_is(tmp_path: Path, open_report: Open) -> None:
    run = write_run(tmp_path / "there")
    out = run / "report" / "index.html"
    Report(run, out, layout=LAYOUT, sources=sources_of(run)).build()
    key = key_of(out, 2)
    alone = tmp_path / "elsewhere" / "mailed.html"
    alone.parent.mkdir()
    shutil.move(out, alone)
    shutil.rmtree(run)
    page = open_report(alone)
    loaded(page, ".matrix img")
    assert page.locator(".matrix img").count() == 12 + 4
    page.goto(f"{alone.as_uri()}#cell={key}&mode=side&with=style")
    seen = pixels(page)
    assert seen.std() > 10
    assert page.locator("#detail .chart polyline").count() == 4
    assert "nst reproduce" in page.locator("#detail pre").first.inner_text()


SHADES = {0: 40, 20: 90, 40: 140}
"""Iteration -> the grey of its snapshot."""


@pytest.mark.parametrize("single_file", [True, False])
def test_a_picture_is_seen_while_it_is_made(
    tmp_path: Path, open_report: Open, single_file: bool
) -> None:
    run = write_run(tmp_path)
    out = run / "report" / "index.html"
    rows = read_grid(run / "grid.tsv").rows[:2]
    for row in rows:
        for iteration, shade in SHADES.items():
            file = run / snapshot_file(row["image"], row["key"], iteration)
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (64, 48), (shade,) * 3).save(file, lossless=True)
        file.with_name("000060-00000000.webp").write_bytes(b"of an image that was there before")
    (run / rows[1]["image"]).with_suffix(".json").unlink()
    Report(run, out, layout=LAYOUT, single_file=single_file, sources=sources_of(run)).build()
    page = open_report(out, f"cell={rows[0]['key'][:16]}")
    slider, words = page.locator(".film input"), page.locator(".film output")
    title = page.locator("#detail-title").inner_text()
    assert words.inner_text() == "finished"
    finished = pixels(page)
    assert finished.std() > 10
    slider.focus()
    for iteration, shade in reversed(SHADES.items()):
        page.keyboard.press("ArrowLeft")
        assert words.inner_text() == (f"after iteration {iteration}" if iteration else "the start")
        assert np.abs(pixels(page) - shade).max() <= 1
    assert page.locator("#detail-title").inner_text() == title, "it is still the same cell"
    page.click("text=Play")
    page.wait_for_selector(".film button:text-is('Play')")
    assert words.inner_text() == "finished"
    np.testing.assert_array_equal(pixels(page), finished)
    page.click("text=Side by side")
    assert page.locator(".film").count() == 0

    page.goto(f"{out.as_uri()}#cell={rows[1]['key'][:16]}")
    page.wait_for_selector(".film")
    assert words.inner_text() == "after iteration 40", "it is not finished"
    assert np.abs(pixels(page) - SHADES[40]).max() <= 1
    key = read_grid(run / "grid.tsv").rows[2]["key"][:16]
    page.goto(f"{out.as_uri()}#cell={key}")
    page.wait_for_selector("#detail-facts dl")
    assert page.locator(".film").count() == 0
