"""Quiet recordings, and the gain that makes speech in them louder; scripts/measure_gain.py measures
what it is worth, and tests/c/test_gain.c what it does to samples."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import voxtral_edge as vox
from conftest import SAMPLES

CLIP = SAMPLES / "digits_1.wav"


@pytest.fixture(scope="module")
def quiet(digits: np.ndarray) -> np.ndarray:
    """The largest sample at -61 dBFS."""
    return digits / np.float32(512)


def test_quiet_speech_is_heard(demo: vox.Model, quiet: np.ndarray, digits_words: str) -> None:
    assert demo.transcribe(quiet).text != digits_words
    assert demo.transcribe(quiet, gain="auto").text == digits_words
    assert demo.transcribe(quiet, gain=40).text == digits_words
    assert demo.transcribe(quiet * 512, gain="auto").text == digits_words


def test_a_number_is_a_factor(demo: vox.Model, digits: np.ndarray) -> None:
    half = demo.transcribe(digits, gain=20 * math.log10(0.5), confidence=True)
    assert half.text == demo.transcribe(digits * np.float32(0.5)).text
    assert demo.transcribe(digits, gain=0).tokens == demo.transcribe(digits).tokens
    assert demo.transcribe(digits, gain=-60).text == ""


@pytest.mark.parametrize("cut", [1280, 4001])
def test_any_cut_gives_the_same(demo: vox.Model, quiet: np.ndarray, cut: int) -> None:
    expected = [*demo.slots(quiet, gain="auto", confidence=True)]
    found = []
    with demo.stream(gain="auto", confidence=True) as stream:
        for start in range(0, len(quiet), cut):
            stream.push(quiet[start : start + cut])
            found += [*stream.slots()]
        stream.end()
        assert [*found, *stream.slots()] == expected


def test_a_saved_stream_keeps_its_gain(demo: vox.Model, quiet: np.ndarray) -> None:
    expected = demo.transcribe(quiet, gain="auto").tokens
    with demo.stream(gain="auto") as stream:
        stream.push(quiet[:40_000])
        before = [*stream.slots()]
        saved = stream.save()
    with demo.load_stream(saved) as stream:
        stream.push(quiet[40_000:])
        stream.end()
        assert tuple(slot.token for slot in (*before, *stream.slots())) == expected


@pytest.mark.parametrize("gain", ["loud", 61, -60.5, math.nan, math.inf])
def test_what_is_no_gain(tiny: vox.Model, gain: Any) -> None:
    with pytest.raises(vox.ArgumentError, match="'auto', or -60 to 60 dB"):
        tiny.stream(gain=gain)


def test_the_command(
    run_python: Callable[..., tuple[str, ...]], digits_words: str, tmp_path: Path
) -> None:
    def run(*args: object) -> subprocess.CompletedProcess[str]:
        command = run_python("-m", "voxtral_edge", "transcribe", "--quiet", *map(str, args))
        return subprocess.run(command, capture_output=True, text=True, encoding="utf-8")

    assert run("--gain", "auto", CLIP).stdout == digits_words + "\n"
    assert run("--gain", "-60", CLIP).stdout == "\n"
    for wrong in ("loud", "61", "nan"):
        done = run("--gain", wrong, CLIP)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
