"""A page in a real browser: what a reader of it would meet."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Browse = Callable[[Path], list[str]]
"""From a page's file to its faults, in words."""

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_PHONE_PX, _SCREEN_PX = 390, 1200


@pytest.fixture(scope="session")
def browse() -> Iterator[Browse]:
    """Look at pages in Chromium; tests that do are skipped where there is none."""
    driver = pytest.importorskip("playwright.sync_api")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    chromium = next(filter(None, map(shutil.which, _NAMES)), None)
    if chromium is None:
        pytest.skip("needs Chromium")
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])

        def faults_of(path: Path) -> list[str]:
            return [
                f"{width} px, {scheme}: {fault}"
                for width, scheme in ((_SCREEN_PX, "light"), (_SCREEN_PX, "dark"), (_PHONE_PX, "light"))
                for fault in _faults(browser, axe, path, width, scheme)
            ]

        yield faults_of
        browser.close()


def _faults(browser: Any, axe: Any, path: Path, width: int, scheme: str) -> Iterator[str]:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, met = context.new_page(), list[str]()
    page.on("console", lambda said: met.append(f"the console says: {said.text}"))
    page.on("pageerror", lambda error: met.append(f"a script fails: {error}"))
    page.on("request", lambda asked: met.extend(_beyond(asked.url)))
    page.goto(path.as_uri(), wait_until="load")
    page.wait_for_timeout(200)  # charts are drawn after the page is there
    yield from met
    if (wide := page.evaluate("document.documentElement.scrollWidth")) > width:
        yield f"it scrolls sideways: {wide} px"
    for nameless in page.locator("img:not([alt]), img[alt='']").all():
        yield f"an image has no text: {nameless.get_attribute('src')[:40]}"
    for found in axe.run(page).response["violations"]:
        yield f"{found['id']} ({found['impact']}): {found['nodes'][0]['html'][:120]}"
    yield from _by_keyboard(page)
    context.close()


def _beyond(address: str) -> Iterator[str]:
    if not address.startswith(("file:", "data:", "blob:")):
        yield f"it asks a network: {address}"


def _by_keyboard(page: Any) -> Iterator[str]:
    """Find the switch between light and dark by Tab, and press it."""
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(ground)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    if page.evaluate(ground) == before:
        yield "the first stop of Tab does not switch between light and dark"
