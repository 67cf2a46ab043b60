"""A real browser for the tests of pages: one for all tests, and a page that may not complain."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
PATIENCE_MS = 60_000  # the machine may be busy


NO_CHROMIUM = "no Chromium found: install the package `chromium` (Debian: apt-get install chromium)"


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One headless Chromium for all tests; skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip(NO_CHROMIUM)
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture
def open_report(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a report from the disk: ``open_report(path, fragment="", **context)`` gives its page.

    ``context`` goes to Playwright's ``new_context``: ``viewport``, ``color_scheme``, ``has_touch``, ….
    The test fails at its end if a page wrote an error to its console, threw one, or asked for
    anything that is not a file, data or blob.
    """
    contexts: list[Any] = []
    complaints: list[str] = []

    def asked(request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            complaints.append(f"asked for {request.url}")

    def said(message: Any) -> None:
        if message.type in ("error", "warning"):
            complaints.append(f"console: {message.text}")

    def open_page(path: Path, fragment: str = "", **context: Any) -> Any:
        contexts.append(browser.new_context(**context))
        contexts[-1].set_default_timeout(PATIENCE_MS)
        page = contexts[-1].new_page()
        page.on("console", said)
        page.on("pageerror", lambda error: complaints.append(f"threw {error}"))
        page.on("request", asked)
        page.goto(path.as_uri() + (f"#{fragment}" if fragment else ""))
        page.wait_for_selector('html[data-ready="true"]', state="attached")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints
