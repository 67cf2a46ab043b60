"""The Explore view, and the selection that all views share, in a real browser."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from synthetic import sources_of, write_run

from nstcore.report import build
from nstcore.report.build import Report
from nstcore.results.select_refined import pareto_front

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
expect.set_options(timeout=60_000)  # the machine may be busy

pytestmark = pytest.mark.browser

TEMPLATES = Path(build.__file__).parent / "templates"
WEIGHTS = [1.0, 3.0, 10.0, 30.0, 100.0]
CELLS = 80
EVIL = "</script><img src=x onerror=\"document.title='owned'\">"

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eighty cells, one failed and one diverged, whose metrics are scattered a little."""
    run = write_run(
        tmp_path_factory.mktemp("explore"),
        axes={"style_weight": WEIGHTS, "pooling": ["max", "avg"]},
        seeds=(0, 1),
        failed=[3],
        diverged=[5],
    )
    random = np.random.default_rng(0)
    for path in sorted((run / "cells").glob("*/*/*.json")):
        record = json.loads(path.read_text())
        for name in record["metrics"]:
            record["metrics"][name] *= math.exp(random.normal(0, 0.2))
        path.write_text(json.dumps(record))
    out = run / "report" / "index.html"
    Report(run, out, single_file=False, sources=sources_of(run)).build()
    return out


@pytest.fixture(scope="module")
def data(report: Path) -> dict[str, Any]:
    found = re.search(r'id="data">(.*?)</script>', report.read_text(encoding="utf-8"))
    assert found
    parsed: dict[str, Any] = json.loads(found[1])
    return parsed


def count(page: Any) -> str:
    return str(page.locator("#chips-count").inner_text())


def fragment(page: Any) -> str:
    return str(page.evaluate("location.hash"))


def middle(page: Any, selector: str) -> tuple[float, float]:
    box = page.locator(selector).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def track(page: Any, label: str) -> Any:
    """Where the ranges of an axis of the parallel coordinates are brushed."""
    return page.locator(".strip", has=page.get_by_label(f"{label} from")).locator(".track")


def brush(page: Any, label: str, start: float, stop: float) -> None:
    """Drag along an axis, from one share of its length to another, counted from the top."""
    axis = track(page, label)
    axis.scroll_into_view_if_needed()
    box = axis.bounding_box()
    x = box["x"] + box["width"] / 2
    page.mouse.move(x, box["y"] + start * box["height"])
    page.mouse.down()
    page.mouse.move(x, box["y"] + stop * box["height"], steps=4)
    page.mouse.up()


@pytest.fixture
def evaluated(browser: Any) -> Iterator[Callable[[str, Any], Any]]:
    """Call a function of the page's templates that needs nothing else."""
    page = browser.new_page()
    yield lambda expression, given: page.evaluate(expression, given)
    page.close()


def test_front_and_knee_are_those_that_choose_refined_cells(
    evaluated: Callable[[str, Any], Any],
) -> None:
    random = np.random.default_rng(7)
    cases: list[list[tuple[float, float]]] = [[], [(1.0, 1.0), (1.0, 1.0), (2.0, 2.0)]]
    cases += [[(1.0, 2.0), (2.0, 1.0)]]
    for size in (1, 3, 10, 100, 1000):
        cases.append([(float(a), float(b)) for a, b in random.lognormal(0, 1, (size, 2))])
        # Few different numbers: many equal ones.
        cases.append([(float(a), float(b)) for a, b in random.integers(0, 5, (size, 2))])
    source = (TEMPLATES / "pareto.js").read_text(encoding="utf-8")
    found = evaluated(f"(cases) => {{ {source}\n return cases.map(paretoFront); }}", cases)
    for points, one in zip(cases, found, strict=True):
        expected = pareto_front(points)
        assert sorted(one["front"]) == sorted(expected)
        assert one["front"] == sorted(one["front"], key=lambda n: points[n][0])
        assert one["knee"] == (expected[0] if expected else None)
    gap = "(nothing) => paretoFront([[NaN, 1], [2, 2]])"
    assert evaluated(f"(given) => {{ {source}\n return ({gap})(given); }}", None)["front"] == [1]


def test_it_opens_with_front_and_knee(
    report: Path, data: dict[str, Any], open_report: Open
) -> None:
    page = open_report(report, "view=explore")
    metrics, cells = data["metrics"], data["cells"]
    made = [n for n in range(CELLS) if cells["status"][n] == "ok"]
    points = [(metrics["style_loss"][n], metrics["content_loss"][n]) for n in made]
    expected = [made[n] for n in pareto_front(points)]
    expect(page.locator("#scatter circle.front")).to_have_count(len(expected))
    weight = data["axes"][2]["shown"][cells["at"]["style_weight"][expected[0]]]
    knee = page.locator("#explore .caption button").inner_text()
    assert f"style_weight {weight}" in knee
    assert data["axes"][0]["shown"][cells["at"]["style"][expected[0]]] in knee
    assert "1 cell without these numbers" in page.locator("#explore").inner_text()
    painted = """canvas => canvas.getContext("2d")
        .getImageData(0, 0, canvas.width, canvas.height).data.some(v => v)"""
    for canvas in ("#scatter canvas", "#parallel canvas:not(.shadow)"):
        assert page.locator(canvas).evaluate(painted)

    page.get_by_role("button", name="Only the Pareto front").click()
    expect(page.locator("#chips-count")).to_have_text(f"{len(expected)} of {CELLS} cells")
    expect(page.locator("#scatter circle.front")).to_have_count(len(expected))
    page.get_by_role("tab", name="Table").click()
    assert page.locator("#table tbody tr").count() == len(expected)
    page.get_by_role("tab", name="Matrix").click()
    # Some cells may stand on other pages of the matrix.
    numbers = "cells => cells.map(c => +c.dataset.cell)"
    bright = page.locator("#matrix .cell:not(.dim)").evaluate_all(numbers)
    dim = page.locator("#matrix .cell.dim").evaluate_all(numbers)
    assert set(bright) <= set(expected)
    assert not set(dim) & set(expected)


def test_a_front_where_more_is_better(
    report: Path, data: dict[str, Any], open_report: Open
) -> None:
    page = open_report(report, "view=explore&x=ssim&y=color_distance&only=front")
    metrics, status = data["metrics"], data["cells"]["status"]
    made = [n for n in range(CELLS) if status[n] == "ok"]
    points = [(-metrics["ssim"][n], metrics["color_distance"][n]) for n in made]
    assert count(page) == f"{len(pareto_front(points))} of {CELLS} cells"
    page.get_by_label("Up", exact=True).select_option("tv")
    expect(page.locator("#chips-clear")).to_be_hidden()
    expect(page.get_by_role("button", name="Only the Pareto front")).to_be_disabled()
    assert "there is no front" in page.locator("#explore").inner_text()


def test_a_rectangle_selects_in_every_view(
    report: Path, data: dict[str, Any], open_report: Open
) -> None:
    page = open_report(report, "view=explore", viewport={"width": 1300, "height": 1000})
    box = page.locator("#scatter").bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.45 * box["width"], box["y"] + 0.95 * box["height"], steps=5)
    page.mouse.up()
    expect(page.locator("#chips-clear")).to_be_visible()
    chips = page.locator("#chips-parts").inner_text()
    assert "style loss ≤" in chips
    query = dict(part.split("=") for part in page_query(page))
    low, high = query.get("from.style_loss"), query["to.style_loss"]
    metrics = data["metrics"]
    inside = [
        n
        for n in range(CELLS)
        if metrics["style_loss"][n] is not None
        and float(low or 0) <= metrics["style_loss"][n] <= float(high)
        and float(query.get("from.content_loss", 0))
        <= metrics["content_loss"][n]
        <= float(query.get("to.content_loss", math.inf))
    ]
    assert 0 < len(inside) < CELLS
    assert count(page) == f"{len(inside)} of {CELLS} cells"
    page.get_by_role("tab", name="Table").click()
    assert page.locator("#table caption").inner_text() == f"{len(inside)} of {CELLS} cells"
    shown = page.locator("#table .mini").evaluate_all("all => all.map(c => +c.dataset.cell)")
    assert shown == inside[: len(shown)]  # the others come as the table is scrolled
    assert len(shown) >= min(len(inside), 20)
    # A link opens the same selection.
    again = open_report(report, fragment(page)[1:])
    assert count(again) == count(page)
    page.get_by_role("button", name="Clear", exact=True).click()
    expect(page.locator("#chips-clear")).to_be_hidden()
    expect(page.locator("#table caption")).to_have_text(f"{CELLS} of {CELLS} cells")


def page_query(page: Any) -> list[str]:
    """The parts of the address, once the selection is in it."""
    expect(page).to_have_url(re.compile(r"to\."))
    return fragment(page)[1:].split("&")


def test_brushing_by_pointer_and_keyboard(report: Path, open_report: Open) -> None:
    page = open_report(report, "view=explore", viewport={"width": 1300, "height": 1000})
    # The upper half of a logarithmic axis: 30 and 100 of 1 … 100.
    brush(page, "style weight", 0.0, 0.4)
    expect(page.locator("#chips-count")).to_have_text(f"32 of {CELLS} cells")
    assert "style weight 30–100" in page.locator("#chips-parts").inner_text()
    # An axis of words snaps to the nearest of them.
    brush(page, "pooling", 0.9, 0.95)
    expect(page.locator("#chips-count")).to_have_text(f"16 of {CELLS} cells")
    page.get_by_role("button", name="Remove pooling max").click()
    expect(page.locator("#chips-count")).to_have_text(f"32 of {CELLS} cells")

    low = page.get_by_role("slider", name="style weight from")
    low.focus()
    assert low.get_attribute("aria-valuetext") == "30"
    low.press("ArrowDown")
    expect(page.locator("#chips-count")).to_have_text(f"48 of {CELLS} cells")
    expect(low).to_have_attribute("aria-valuetext", "10")
    high = page.get_by_role("slider", name="style weight to")
    high.press("PageDown")
    expect(high).to_have_attribute("aria-valuetext", "10")
    expect(page.locator("#chips-count")).to_have_text(f"16 of {CELLS} cells")
    high.press("Delete")
    expect(page.locator("#chips-clear")).to_be_hidden()

    ssim = page.get_by_role("slider", name="SSIM from")
    for _ in range(10):
        ssim.press("ArrowUp")
    expect(page.locator("#chips-parts")).to_contain_text("SSIM ≥")
    track(page, "SSIM").dblclick(position={"x": 12, "y": 5})
    expect(page.locator("#chips-clear")).to_be_hidden()


def test_the_address_brings_a_selection(report: Path, open_report: Open) -> None:
    ranges = "from.style_weight=3&to.style_weight=30&from.pooling=avg&to.pooling=avg"
    page = open_report(report, f"view=table&filter=night&{ranges}")
    assert count(page) == f"12 of {CELLS} cells"
    parts = page.locator("#chips-parts li").all_inner_texts()
    assert [part.split("\n")[0].rstrip("×").strip() for part in parts] == [
        "“night”", "style weight 3–30", "pooling avg",
    ]  # fmt: skip
    assert page.locator("#table tbody tr").count() == 12
    page.get_by_label("Filter").fill("")
    expect(page.locator("#chips-count")).to_have_text(f"24 of {CELLS} cells")
    expect(page).not_to_have_url(re.compile("filter"))
    assert "from.style_weight=3" in fragment(page)

    page = open_report(report, "view=failures&from.style_weight=100")
    assert "No cell of the selection failed." in page.locator("#failures").inner_text()
    nonsense = "view=explore&x=nonsense&hue=nonsense&lines=nonsense&from.style=nobody&to.ssim=much"
    page = open_report(report, nonsense)
    expect(page.locator("#chips-clear")).to_be_hidden()
    expect(page.get_by_label("Across", exact=True)).to_have_value("style_loss")


def test_the_keyboard_walks_along_the_points(
    report: Path, data: dict[str, Any], open_report: Open
) -> None:
    page = open_report(report, "view=explore", viewport={"width": 1300, "height": 1000})
    plot, card = page.locator("#scatter"), page.locator("#scatter .card")
    page.get_by_role("button", name="Only the Pareto front").focus()
    page.keyboard.press("Tab")
    expect(card).to_be_visible()  # the knee's
    losses = data["metrics"]["style_loss"]
    thumbs = [f"thumbs/{name}" for name in data["cells"]["thumb"]]
    order = sorted((loss, n) for n, loss in enumerate(losses) if loss is not None)
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(card.locator("img")).to_have_attribute("src", thumbs[order[1][1]])
    page.keyboard.press("Enter")
    dialog = page.locator("#detail")
    expect(dialog).to_be_visible()
    assert f"cell={data['cells']['key'][order[1][1]][:16]}" in fragment(page)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(plot).to_be_focused()
    expect(card.locator("img")).to_have_attribute("src", thumbs[order[2][1]])


def test_a_point_under_the_mouse_opens(report: Path, open_report: Open) -> None:
    page = open_report(report, "view=explore&only=front", viewport={"width": 1300, "height": 1000})
    x, y = middle(page, "#scatter circle.knee")
    page.mouse.move(x, y)
    card = page.locator("#scatter .card")
    expect(card).to_be_visible()
    name = card.locator("strong").inner_text()
    assert page.locator("#explore .caption button").inner_text() == name
    page.mouse.click(x, y)
    expect(page.locator("#detail")).to_be_visible()
    page.keyboard.press("Escape")
    page.mouse.move(5, 5)
    page.mouse.wheel(0, 50)


def test_a_finger_points_first_and_opens_then(report: Path, open_report: Open) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    page = open_report(report, "view=explore&only=front", **phone)
    page.locator("#scatter").scroll_into_view_if_needed()
    x, y = middle(page, "#scatter circle.knee")
    page.touchscreen.tap(x, y)
    expect(page.locator("#scatter .card")).to_be_visible()
    expect(page.locator("#detail")).to_be_hidden()
    page.touchscreen.tap(x, y)
    expect(page.locator("#detail")).to_be_visible()


@pytest.mark.parametrize("view", ["matrix", "explore", "table", "failures", "about"])
def test_a_phone_shows_each_view_without_scrolling_sideways(
    report: Path, open_report: Open, view: str
) -> None:
    query = f"view={view}&filter=night&to.style_weight=30&only=front"
    phone = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
    page = open_report(report, query, **phone)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 390


def test_both_themes_have_their_own_colours(report: Path, open_report: Open) -> None:
    pixels = "canvas => canvas.toDataURL()"
    found = {}
    for scheme in ("light", "dark"):
        page = open_report(report, "view=explore", color_scheme=scheme)
        found[scheme] = page.locator("#scatter canvas").evaluate(pixels)
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background))) < 200) == (scheme == "dark")
    assert found["light"] != found["dark"]
    # The button changes what is drawn, too: auto, light, dark.
    page.locator("#theme").click()
    expect(page.locator("#theme")).to_have_text("Theme: light")
    page.wait_for_timeout(100)
    assert page.locator("#scatter canvas").evaluate(pixels) == found["light"]


def test_curves_are_loaded_for_at_most_sixty(report: Path, open_report: Open) -> None:
    page = open_report(report, "view=explore", viewport={"width": 1300, "height": 1000})
    lines = page.locator("#losses .line")
    expect(lines).to_have_count(60)
    words = page.locator("#explore").get_by_role("status").last
    expect(words).to_contain_text(f"60 of the {CELLS - 1} selected cells, evenly chosen")
    brush(page, "style weight", 0.0, 0.1)
    expect(lines).to_have_count(16)
    page.get_by_label("Loss", exact=True).select_option("content_loss")
    expect(page.locator("#losses")).to_contain_text("content loss (log)")
    expect(words).to_contain_text("16 cells. Dashed")


def test_effects_are_shares_of_the_variance(
    report: Path, data: dict[str, Any], open_report: Open
) -> None:
    page = open_report(report, "view=explore&effect=content_loss")
    values = np.array(data["metrics"]["content_loss"], dtype=float)
    known = np.isfinite(values)
    at = {name: np.array(places)[known] for name, places in data["cells"]["at"].items()}
    values = values[known]
    total = ((values - values.mean()) ** 2).sum()
    shares = {}
    for name in ("style", "content", "style_weight", "pooling", "seed"):
        groups = [values[at[name] == place] for place in set(at[name])]
        between = sum(len(group) * (group.mean() - values.mean()) ** 2 for group in groups)
        shares[name.replace("_", " ")] = between / total
    figures = page.locator(".effects figure")
    expect(figures).to_have_count(len(shares))
    heads = figures.locator("figcaption").all_inner_texts()
    expected = sorted(shares.items(), key=lambda pair: -pair[1])
    words = [f"{round(100 * share)} %" if share >= 0.01 else "under 1 %" for _, share in expected]
    names = [name for name, _ in expected]
    assert heads == [f"{name} explains {part}" for name, part in zip(names, words, strict=True)]

    rest = np.stack([at[name] for name in ("style", "content", "style_weight", "pooling")], 1)
    spreads = []
    for key in {tuple(row) for row in rest.tolist()}:
        group = values[(rest == key).all(axis=1)]
        if len(group) > 1:
            spreads.append(group.std(ddof=1))
    words = page.locator("#explore .panel").last.locator(".caption").inner_text()
    stated = re.search(r"±([\d.e-]+)", words)
    assert stated
    assert float(stated[1]) == pytest.approx(np.mean(spreads), rel=1e-3)
    # Of one value of an axis nothing is to be said.
    page = open_report(report, "view=explore&effect=content_loss&from.pooling=avg&to.pooling=avg")
    expect(page.locator(".effects figure")).to_have_count(4)


def test_metrics_of_the_parallel_coordinates_can_be_chosen(report: Path, open_report: Open) -> None:
    page = open_report(report, "view=explore", viewport={"width": 1300, "height": 1000})
    assert page.locator(".strip").count() == 8
    page.get_by_text("Metrics shown").click()
    page.get_by_role("checkbox", name="color distance").check()
    expect(page.locator(".strip")).to_have_count(9)
    lines = "lines=content_loss+style_loss+ssim+color_distance"
    assert lines in fragment(page)
    again = open_report(report, f"view=explore&{lines}")
    assert again.locator(".strip").count() == 9


def test_texts_of_a_run_stay_texts(tmp_path: Path, open_report: Open) -> None:
    run = write_run(tmp_path, axes={"look": ["soft", "hard"], "style_weight": WEIGHTS})
    out = run / "report" / "index.html"
    Report(
        run, out, titles={"look": {"soft": EVIL}, "style": {"night": EVIL}}, sources=sources_of(run)
    ).build()
    query = f"view=explore&hue=look&filter={quote('</script>')}&from.look=soft&to.look=soft"
    page = open_report(out, query)
    assert "owned" not in page.title()
    assert page.locator("img[src='x']").count() == 0
    assert EVIL in page.locator("#chips-parts").inner_text()
    assert page.locator(".legends").inner_text().startswith(EVIL[:20])


def test_a_run_without_a_measurement_says_so(tmp_path: Path, open_report: Open) -> None:
    run = write_run(tmp_path)
    for path in (run / "cells").rglob("*.json"):
        path.unlink()
    Report(run, run / "report" / "index.html", sources=sources_of(run)).build()
    page = open_report(run / "report" / "index.html", "view=explore&only=front&from.ssim=0.1")
    assert "measured" in page.locator("#explore").inner_text()


def test_a_single_cell_can_be_explored(tmp_path: Path, open_report: Open) -> None:
    run = write_run(tmp_path, styles=["night"], contents=["cat"], axes={})
    Report(run, run / "report" / "index.html", sources=sources_of(run)).build()
    page = open_report(run / "report" / "index.html", "view=explore")
    assert page.locator("#scatter circle.knee").count() == 1
    expect(page.locator("#explore")).to_contain_text("alike in every axis")
