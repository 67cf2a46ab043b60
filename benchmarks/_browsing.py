"""What a person waits for who opens a report: measured in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

WATCH = """
window.measured = { tasks: [], view: null };
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) measured.tasks.push([entry.startTime, entry.duration]);
}).observe({ type: 'longtask', buffered: true });
const inSight = (image) => {
  const box = image.getBoundingClientRect();
  return box.width > 0 && box.bottom > 0 && box.right > 0
    && box.top < window.innerHeight && box.left < window.innerWidth;
};
const look = () => {
  const images = [...document.images].filter(inSight);
  const ready = document.documentElement && document.documentElement.dataset.ready === 'true';
  if (ready && images.length && images.every((image) => image.complete && image.naturalWidth)) {
    // What is drawn now is seen with the next frame.
    requestAnimationFrame(() => { measured.view = performance.now(); });
  } else {
    requestAnimationFrame(look);
  }
};
requestAnimationFrame(look);
"""
"""Runs in the page before its own program; times are milliseconds since the address was entered."""

SCROLL = """
async ([steps, pixels]) => {
  const scrolls = (element) => element.clientHeight > 0
    && (element.scrollHeight > element.clientHeight || element.scrollWidth > element.clientWidth)
    && ['auto', 'scroll'].includes(getComputedStyle(element).overflowY);
  const places = [...document.querySelectorAll('main *')].filter(scrolls);
  const area = (element) => element.scrollHeight * element.scrollWidth;
  const place = places.sort((one, other) => area(other) - area(one))[0] || document.scrollingElement;
  const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
  const began = performance.now();
  let before = began;
  let worst = 0;
  let moved = 0;
  const move = (across, down) => {
    const [left, top] = [place.scrollLeft, place.scrollTop];
    place.scrollBy(across, down);
    return place.scrollLeft !== left || place.scrollTop !== top;
  };
  for (let step = 0; step < steps; step += 1) {
    // Down, at the end to the right, at the end of both back to the beginning.
    if (move(0, pixels) || move(pixels, 0)) moved += 1;
    else place.scrollTo(0, 0);
    const now = await frame();
    worst = Math.max(worst, now - before);
    before = now;
  }
  return { began, ended: performance.now(), worst, moved };
}
"""


def playwright() -> Any:
    """Playwright's entry, or None with a word on what is missing."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        print("The browser is not measured: pip install playwright")
        return None
    if CHROMIUM is None:
        print("The browser is not measured: there is no Chromium")
        return None
    return sync_playwright


def browse(
    page: Path, views: Mapping[str, str], *, steps: int, pixels: int = 400
) -> dict[str, Any] | None:
    """Open a report, look at its views and scroll through each.

    Args:
        page: its ``index.html``.
        views: what is looked at -> the fragment of the address that shows it.
        steps: how many steps are scrolled, one a frame.
        pixels: of a step.

    Returns:
        ``first_view``: seconds until everything in sight is drawn; ``loading``: longest task until then;
        ``views``: for each the longest task (seconds, 0 if none was over 50 ms) while it is chosen
        and while it is scrolled, and the longest frame; ``complaints``: what the page had to say.
        None where there is no browser.
    """
    entry = playwright()
    if entry is None:
        return None
    complaints: list[str] = []
    with entry() as driver:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        tab = chromium.new_page(viewport={"width": 1440, "height": 900})
        tab.set_default_timeout(120_000)
        tab.on("console", lambda said: said.type == "error" and complaints.append(said.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.add_init_script(WATCH)
        tab.goto(page.as_uri())
        # Asked from here: what waits inside of the page evaluates strings, which the page forbids.
        while (first_view := tab.evaluate("measured.view")) is None:
            tab.wait_for_timeout(20)
        found = {view: _scrolled(tab, part, steps, pixels) for view, part in views.items()}
        result = {
            "browser": f"Chromium {chromium.version}",
            "first_view": first_view / 1000,
            "loading": _longest(tab, 0, first_view),
            "views": found,
            "complaints": complaints,
        }
        chromium.close()
    return result


def _scrolled(tab: Any, fragment: str, steps: int, pixels: int) -> dict[str, float]:
    began = tab.evaluate("performance.now()")
    tab.evaluate("(fragment) => { window.location.hash = fragment; }", fragment)
    tab.wait_for_timeout(1500)
    chosen = tab.evaluate("performance.now()")
    scrolled = tab.evaluate(SCROLL, [steps, pixels])
    tab.wait_for_timeout(300)  # the last long task is told when it is over
    return {
        "choosing": _longest(tab, began, chosen),
        "scrolling": _longest(tab, scrolled["began"], scrolled["ended"]),
        "frame": scrolled["worst"] / 1000,
        "steps": scrolled["moved"],
    }


def _longest(tab: Any, began: float, ended: float) -> float:
    """Seconds of the longest task that began within a time."""
    tasks = tab.evaluate("measured.tasks")
    return max((lasted for at, lasted in tasks if began <= at <= ended), default=0.0) / 1000
