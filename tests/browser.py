"""A page in a real browser: what a reader of it would meet."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Browse = Callable[[Path], list[str]]
"""From a page's file to its faults, in words."""

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_PHONE_PX, _SCREEN_PX = 390, 1200
_LIMIT_S = 300  # of a page that takes seconds, beside other work


@pytest.fixture(scope="session")
def browse() -> Browse:
    """Look at pages in Chromium; tests that do are skipped where there is none.

    In a process of its own: Playwright's loop in the main thread is in the way of what else a test process does.
    """
    pytest.importorskip("playwright")
    pytest.importorskip("axe_playwright_python")
    if _chromium() is None:
        pytest.skip("needs Chromium")

    def faults_of(path: Path) -> list[str]:
        command = [sys.executable, "-W", "ignore", __file__, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
        assert done.returncode == 0, done.stderr
        faults: list[str] = json.loads(done.stdout)
        return faults

    return faults_of


def _chromium() -> str | None:
    return next(filter(None, map(shutil.which, _NAMES)), None)


def look_at(path: Path) -> list[str]:
    """Return the faults of a page, with where they were met."""
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    axe = Axe()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_chromium(), args=["--no-sandbox"])
        return [
            f"{width} px, {scheme}: {fault}"
            for width, scheme in ((_SCREEN_PX, "light"), (_SCREEN_PX, "dark"), (_PHONE_PX, "light"))
            for fault in _faults(browser, axe, path, width, scheme)
        ]


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


if __name__ == "__main__":
    sys.stdout.write(json.dumps(look_at(Path(sys.argv[1]))))
