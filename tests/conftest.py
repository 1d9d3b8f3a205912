"""Fixtures: models and audio, each made once per run.

`tiny` is a random model with the true topology and windows so short that two seconds of audio wrap
every ring; it answers what the arithmetic and the bookkeeping do. `demo` is the embedded model; it
answers whether words come out.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_model
import voxtral_edge as vox
from voxtral_edge import cli
from voxtral_edge.convert import convert

Main = Callable[..., tuple[int, str, str]]

SAMPLES = Path(__file__).parents[1] / "samples"
# Windows has no hangup, and sends none of these from one process to another but by ending it.
STOPPING = [] if sys.platform == "win32" else [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

# A shell that runs the tests in the background has Ctrl-C ignored, here and in every child.
signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def little_space(n_bytes: int) -> Iterator[None]:
    """Files may have no more than so many bytes, as if the disk were full then."""
    import resource  # which Windows has not

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tiny")
    path = directory / "tiny.gguf"
    convert(tiny_model.write_official(directory / "official", seed=3), path, type="f32")
    return path


@pytest.fixture(scope="session")
def tiny(tiny_path: Path) -> Iterator[vox.Model]:
    with vox.Model(tiny_path) as model:
        yield model


@pytest.fixture(scope="session")
def demo() -> Iterator[vox.Model]:
    with vox.Model() as model:
        yield model


@pytest.fixture(scope="session")
def noise() -> np.ndarray:
    """Four seconds at which the tiny model says something in nearly every slot."""
    return tiny_model.make_audio(4 * vox.RATE, seed=7)


@pytest.fixture(scope="session")
def digits() -> np.ndarray:
    """The clip whose words `digits_words` are, as the demo model hears them."""
    return np.concatenate(list(vox.read(SAMPLES / "digits_1.wav")))


@pytest.fixture(scope="session")
def digits_words() -> str:
    return (SAMPLES / "digits_1.txt").read_text(encoding="utf-8").strip()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, digits: np.ndarray) -> Iterator[Any]:
    """A headless Chromium whose microphone plays `digits`, and then silence."""
    from playwright.sync_api import sync_playwright
    from serving import wav

    heard = tmp_path_factory.mktemp("heard") / "heard.wav"
    heard.write_bytes(wav(np.concatenate([digits, np.zeros(30 * vox.RATE, np.float32)])))
    options = [
        "--no-sandbox",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={heard}%noloop",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser: Any, url: str) -> Iterator[Any]:
    """A page of a browser, in which no script may fail."""
    page = browser.new_page(accept_downloads=True)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(url)
    yield page
    page.close()
    assert complaints == []


@pytest.fixture
def patched(tiny_path: Path, tmp_path: Path) -> Callable[[str, float], Path]:
    """Copy the tiny model with all values of an f32 tensor replaced."""
    import gguf

    def patch(name: str, value: float) -> Path:
        tensor = next(t for t in gguf.GGUFReader(tiny_path).tensors if t.name == name)
        model = bytearray(tiny_path.read_bytes())
        start, n = int(tensor.data_offset), int(tensor.n_bytes)
        model[start : start + n] = np.full(n // 4, value, "<f4").tobytes()
        path = tmp_path / f"{name}.gguf"
        path.write_bytes(model)
        return path

    return patch


@pytest.fixture
def main(capsys: pytest.CaptureFixture[str]) -> Main:
    """Run the command in this process; return its status and what it printed."""

    def run(*args: object) -> tuple[int, str, str]:
        try:
            status = cli.main([*map(str, args)])
        except SystemExit as end:  # how argparse ends
            status = end.code
        return (status, *capsys.readouterr())

    return run


@pytest.fixture
def run_python() -> Callable[..., tuple[str, ...]]:
    """Command line of a fresh interpreter in which warnings are errors, as they are here."""

    def command(*args: str) -> tuple[str, ...]:
        return (sys.executable, "-W", "error", *map(os.fspath, args))

    return command
