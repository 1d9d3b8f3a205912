"""The page, in a headless Chromium whose microphone plays a recording."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import voxtral_edge as vox
from conftest import CHROMIUM, SAMPLES, opened
from serving import Serving, serving

browsers = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")


@pytest.fixture(scope="module")
def server(demo: vox.Model) -> Iterator[Serving]:
    with serving(demo) as running:
        yield running


@pytest.fixture
def page(browser: Any, server: Serving) -> Iterator[Any]:
    with opened(browser, server.url) as page:
        yield page


def test_microphone(page: Any, digits_words: str) -> None:
    page.get_by_role("button", name="Speak").click()
    captions = page.get_by_role("log")
    browsers.expect(captions).to_contain_text("eight five eight nine", timeout=20_000)
    browsers.expect(captions).to_contain_text("four", timeout=20_000)
    page.get_by_role("button", name="Stop").click()
    browsers.expect(page.get_by_role("status")).to_have_text("Done.", timeout=20_000)
    assert captions.inner_text().strip() == digits_words
    title = captions.locator("span").first.get_attribute("title")
    assert title.startswith("00:00:0")
    assert "% sure" in title


def test_file_and_downloads(page: Any) -> None:
    page.locator("#file").set_input_files(SAMPLES / "digits_3.wav")
    captions = page.get_by_role("log")
    browsers.expect(captions).to_contain_text("three zero four six", timeout=20_000)
    texts = {}
    for name in ("Text", "Subtitles", "JSON"):
        with page.expect_download() as download:
            page.get_by_role("button", name=name).click()
        texts[name] = Path(download.value.path()).read_text(encoding="utf-8")
    assert texts["Text"] == "three zero four six\n"
    assert texts["Subtitles"].startswith("1\n00:00:0")
    assert json.loads(texts["JSON"])["words"][0]["word"] == "three"
    page.get_by_role("button", name="Clear").click()
    assert captions.inner_text().strip() == ""
    page.locator("#file").set_input_files(SAMPLES / "README.md")
    browsers.expect(page.get_by_role("status")).to_contain_text("the upload", timeout=20_000)


def test_keyboard_and_small_screens(page: Any, tmp_path: Path) -> None:
    """Everything is reached by the tab key, and nothing is wider than a phone; dark as well."""
    page.set_viewport_size({"width": 360, "height": 640})
    reached = set()
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    assert {"speak", "file", "delay", "captions"} <= reached
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    colours = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        colours.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.screenshot(path=tmp_path / f"{scheme}.png")
    assert len(colours) == 2


def test_token(demo: vox.Model, browser: Any) -> None:
    with serving(demo, token="secret") as server:
        page = browser.new_page()
        page.goto(server.url)
        browsers.expect(page.get_by_role("status")).to_have_text("This server needs a token.")
        page.get_by_label("Token").fill("secret")
        page.get_by_label("Token").press("Tab")
        browsers.expect(page.locator("#model")).to_have_text(demo.name)
        page.locator("#file").set_input_files(SAMPLES / "digits_3.wav")
        browsers.expect(page.get_by_role("log")).to_contain_text("three zero four six")
        page.close()
