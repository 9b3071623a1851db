"""The page in a real browser: what tests of it share."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect

from chat.people import COOKIE, of_cookie
from store.ratings import present
from store.schema import Generation

from .conftest import Running

ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
EXPECTED = "AbortError"  # a reload ends what was being read
WIDE, NARROW = {"width": 1280, "height": 820}, {"width": 390, "height": 844}


def chromium(playwright: Playwright) -> str:
    """Where the browser is."""
    named = os.environ.get("RATCHET_CHROMIUM")
    found = [named] if named else [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    own = playwright.chromium.executable_path
    for path in [*found, own if Path(own).exists() else None]:
        if path:
            return path
    pytest.fail("no Chromium was found: install one (deploy/browser.sh) or name it in RATCHET_CHROMIUM")


def visit(browser: Browser, url: str, size: dict[str, int], expected: str = EXPECTED) -> Iterator[Page]:
    """The page of somebody new. Nothing may be asked of other sites, and of complaints none but `expected` ones."""
    context = browser.new_context(viewport=size)  # type: ignore[arg-type]
    context.set_default_timeout(20_000)
    page = context.new_page()
    outside: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda r: outside.append(r.url) if not r.url.startswith((url, "data:", "blob:")) else None)
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(url)
    expect(page.locator("#status")).to_contain_text("Answers come from", timeout=20_000)
    yield page
    context.close()
    assert outside == []
    assert [each for each in complaints if not re.search(expected, each)] == []


def me(page: Page) -> str:
    """The id of the person at this browser."""
    [cookie] = [each["value"] for each in page.context.cookies() if each["name"] == COOKIE]
    return of_cookie(cookie)


def say(page: Page, text: str) -> None:
    """Send a message and wait for its answer."""
    page.fill("#box textarea", text)
    page.press("#box textarea", "Enter")
    expect(page.locator("#chat .user-row").last).to_contain_text(text, timeout=20_000)
    answered(page)


def answered(page: Page) -> None:
    expect(page.locator("#status")).to_contain_text(re.compile("Answered by|Which answer"), timeout=20_000)
    expect(page.locator("#box button.submit-button")).to_be_visible(timeout=20_000)


def opinions(running: Running, generation: Generation) -> dict[str, object]:
    with running.store.session() as session:
        return {each.kind: each.value for each in present(session, generation.id, generation.person_id)}
