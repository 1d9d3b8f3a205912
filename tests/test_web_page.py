"""The static page of web/, in a headless Chromium whose microphone plays a recording."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import re
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CHROMIUM, SAMPLES, opened

WEB = Path(__file__).parents[1] / "web"
browsers = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
    pytest.mark.skipif(not (WEB / "build" / "demo.gguf").exists(), reason="make web was not run"),
]


class Files(http.server.SimpleHTTPRequestHandler):
    """Static files with ranges, isolated or not, that says what was asked of it."""

    is_isolated = False
    asked: list[tuple[str, str, str | None]]
    breaks_after: int | None = None

    def log_message(self, *_: Any) -> None:
        pass

    def end_headers(self) -> None:
        if self.is_isolated:
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def do_GET(self) -> None:
        self.asked.append((self.command, self.path, self.headers["Range"]))
        wanted = self.headers["Range"]
        path = Path(self.translate_path(self.path))
        if path.suffix != ".piece":
            super().do_GET()
            return
        data = path.read_bytes()
        first = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(data) - first))
        self.end_headers()
        if self.breaks_after and not wanted:
            self.wfile.write(data[: self.breaks_after])
            self.wfile.flush()
            self.connection.close()
            return
        self.wfile.write(data[first:])


def serve(folder: Path, **settings: Any) -> Iterator[tuple[str, type[Files]]]:
    handler = type("Handler", (Files,), {"asked": [], **settings})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=folder))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    for address, _ in serve(WEB):
        yield address


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Any]:
    with opened(browser, url) as page:
        status = page.get_by_role("status")
        browsers.expect(status).to_contain_text("Speak, or drop", timeout=30_000)
        yield page


def drop(page: Any, path: Path) -> None:
    page.evaluate(
        """([name, data]) => {
            const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([bytes], name));
            document.dispatchEvent(new DragEvent("drop", { dataTransfer, cancelable: true }));
        }""",
        [path.name, base64.b64encode(path.read_bytes()).decode()],
    )


def test_microphone(page: Any, digits_words: str) -> None:
    page.get_by_role("button", name="Speak").click()
    captions = page.get_by_role("log")
    browsers.expect(captions).to_contain_text("eight five eight nine", timeout=60_000)
    browsers.expect(captions).to_contain_text("four", timeout=60_000)
    page.get_by_role("button", name="Stop").click()
    browsers.expect(page.get_by_role("status")).to_have_text("Done.", timeout=60_000)
    assert captions.inner_text().strip() == digits_words


def test_drop_and_save(page: Any, tmp_path: Path) -> None:
    """The text of a file is the native program's; what is no audio is told."""
    for name in ("digits_3.wav", "sentence_1.wav"):
        drop(page, SAMPLES / name)
        browsers.expect(page.get_by_role("status")).to_contain_text("of audio in", timeout=60_000)
        page.evaluate("document.getElementById('status').textContent = ''")
    said = [(SAMPLES / f"{name}.txt").read_text().strip() for name in ("digits_3", "sentence_1")]
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the text").click()
    assert Path(download.value.path()).read_text().splitlines() == said
    page.screenshot(path=tmp_path / "page.png")
    page.get_by_role("button", name="Clear").click()
    assert page.get_by_role("log").inner_text().strip() == ""
    drop(page, SAMPLES / "README.md")
    browsers.expect(page.get_by_role("status")).to_contain_text("holds no audio", timeout=60_000)


def test_own_model(page: Any, tmp_path: Path) -> None:
    shutil.copy(WEB / "build" / "demo.gguf", tmp_path / "mine.gguf")
    page.locator("#own").set_input_files(tmp_path / "mine.gguf")
    offer = page.locator("#offer")
    pace = re.compile("a minute of speech would take|times too slow")  # other programs run as well
    browsers.expect(offer).to_contain_text(pace, timeout=60_000)
    page.get_by_role("button", name="Load it").click()
    browsers.expect(page.get_by_role("status")).to_contain_text("Speak, or drop", timeout=60_000)
    (tmp_path / "bad.gguf").write_bytes(b"no model")
    page.locator("#own").set_input_files(tmp_path / "bad.gguf")
    page.get_by_role("button", name="Load it").click()
    browsers.expect(page.get_by_role("status")).to_contain_text("not a GGUF file", timeout=60_000)
    drop(page, SAMPLES / "digits_3.wav")  # the one before is still there
    browsers.expect(page.get_by_role("log")).to_contain_text("three zero", timeout=60_000)


def test_what_fits_is_said_before_it_is_loaded(page: Any, tmp_path: Path) -> None:
    """Files of nothing, of which only the size is looked at."""
    for size, says in ((3 * 10**9 + 1, "will remember 120 s only"), (2**32, "does not fit")):
        with (tmp_path / "large.gguf").open("wb") as file:
            file.truncate(size)
        page.locator("#own").set_input_files(tmp_path / "large.gguf")
        browsers.expect(page.locator("#offer")).to_contain_text(says)
    browsers.expect(page.get_by_role("button", name="Load it")).to_be_hidden()


def test_small_screens(page: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    reached = set()
    for _ in range(10):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    assert {"speak", "file", "own", "delay", "captions"} <= reached


def test_pieces_are_kept_and_gone_on_with(browser: Any, tmp_path: Path) -> None:
    """A fetch that broke goes on where it was; what was kept is not fetched again."""
    shutil.copytree(WEB, tmp_path / "web", ignore=shutil.ignore_patterns("README.md"))
    folder = tmp_path / "web"
    data = (WEB / "build" / "demo.gguf").read_bytes()
    pieces = []
    for i, at in enumerate(range(0, len(data), 5 << 20)):
        piece, name = data[at : at + (5 << 20)], f"demo.{i}.piece"
        (folder / name).write_bytes(piece)
        digest = hashlib.sha256(piece).hexdigest()
        pieces.append({"name": name, "bytes": len(piece), "sha256": digest})
    (folder / "demo.json").write_text(json.dumps({"format": "voxtral-pieces", "pieces": pieces}))
    load = """async () => {
        const { Model } = await import("/voxtral.js");
        try {
            const model = await Model.load("/demo.json");
            const told = [model.name, model.threads > 0];
            model.close();
            return told;
        } catch (error) { return [error.message]; }
    }"""
    for address, handler in serve(folder):
        page = browser.new_page()
        page.goto(f"{address}/README.txt")
        handler.breaks_after = 1_000_000
        assert page.evaluate(load) != ["Voxtral Edge demo", True]
        handler.breaks_after = None
        handler.asked.clear()
        assert page.evaluate(load) == ["Voxtral Edge demo", True]
        asked = [(path, wanted) for _, path, wanted in handler.asked if path.endswith(".piece")]
        assert asked[0][0] == "/demo.0.piece"
        assert asked[0][1] is not None and asked[0][1] != "bytes=0-"
        assert asked[1] == ("/demo.1.piece", None)
        handler.asked.clear()
        assert page.evaluate(load) == ["Voxtral Edge demo", True]
        assert not [path for _, path, _ in handler.asked if path.endswith(".piece")]
        page.close()


def test_threads_where_isolated(browser: Any, digits: np.ndarray, digits_words: str) -> None:
    for address, _ in serve(WEB, is_isolated=True):
        page = browser.new_page()
        page.goto(address)
        told = page.evaluate(
            """async (samples) => {
                const { Model } = await import("/voxtral.js");
                const model = await Model.load(undefined, { threads: 2 });
                const text = await model.transcribe(Float32Array.from(samples));
                return [crossOriginIsolated, model.threads, text.trim()];
            }""",
            digits.tolist(),
        )
        assert told == [True, 2, digits_words]
        page.close()
