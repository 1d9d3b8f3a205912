"""Words that a user expects: how they are given, and that streams with them are exact as all are.

What leaning towards them is worth, scripts/measure_words.py measures; how words become tokens and
which token is said, tests/c/test_words.c checks.
"""

from __future__ import annotations

import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import voxtral_edge as vox
from conftest import SAMPLES

WORDS = ("eighteen", "ninety", "seven hundred")
BONUS = 10
ORDER = Path(__file__).parent / "data" / "orders" / "speaker008_004.flac"


def heard(stream: vox.Stream, audio: np.ndarray, cut: int) -> list[vox.Piece]:
    pieces = []
    for start in range(0, len(audio), cut):
        stream.push(audio[start : start + cut])
        pieces += [*stream.slots()]
    stream.end()
    return [*pieces, *stream.slots()]


def test_leans_towards_listed_words(demo: vox.Model, digits: np.ndarray) -> None:
    """Somebody asks for cream, beside noise as loud: the model is in two minds."""
    audio = np.concatenate(list(vox.read(ORDER)))
    loud = np.sqrt(np.mean(audio[np.abs(audio) > 0.01] ** 2))
    noisy = audio + np.random.default_rng(5).normal(0, loud, len(audio)).astype(np.float32)
    plain = demo.transcribe(noisy).text
    assert plain.endswith("a little bit of sweetener")
    assert demo.transcribe(noisy, words=["cream"]).text == plain.replace("sweetener", "cream")
    assert demo.transcribe(noisy, words=["cream"], words_bonus=0.01).text == plain
    assert demo.transcribe(noisy, words=["Cream", "CREAM"]).text == plain
    expected = demo.transcribe(digits).tokens
    for words in ((), ["", "  "], ["Ljubljana", "Voxtral"], ["seven", "eight"]):
        assert demo.transcribe(digits, words=words).tokens == expected


@pytest.mark.parametrize("cut", [1280, 4001, 1 << 20])
def test_any_cut_gives_the_same(demo: vox.Model, digits: np.ndarray, cut: int) -> None:
    expected = [*demo.slots(digits, words=WORDS, words_bonus=BONUS, confidence=True)]
    with demo.stream(words=WORDS, words_bonus=BONUS, confidence=True) as stream:
        assert heard(stream, digits, cut) == expected
        stream.reset()
        assert heard(stream, digits, cut) == expected


def test_a_saved_stream_carries_its_words(demo: vox.Model, digits: np.ndarray) -> None:
    expected = demo.transcribe(digits, words=WORDS, words_bonus=BONUS).tokens
    assert expected != demo.transcribe(digits).tokens
    with demo.stream(words=WORDS, words_bonus=BONUS) as stream:
        stream.push(digits[:20_000])
        before = [*stream.slots()]
        saved = stream.save()
    assert b"seven hundred" in saved
    with demo.load_stream(saved) as stream:
        after = heard(stream, digits[20_000:], 5000)
    assert tuple(piece.token for piece in before + after) == expected


def test_confidence_is_the_models(demo: vox.Model, digits: np.ndarray) -> None:
    """What the model itself thinks of a word that it leant towards: less than of another one."""
    slots = demo.slots(digits, words=WORDS, words_bonus=BONUS, confidence=True, alternatives=1)
    assert any(
        slot.alternatives and slot.confidence and slot.alternatives[0].confidence > slot.confidence
        for slot in slots
    )


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"words": "lamp"}, "list of texts"),
        ({"words": (word for word in WORDS)}, "list of texts"),
        ({"words": ["a\nb"]}, "cannot be printed"),
        ({"words": ["a\0b"]}, "cannot be printed"),
        ({"words": [7]}, "cannot be printed"),
        ({"words": ["\ud800"]}, "printed|Unicode"),
        ({"words": ["a" * 256]}, "longer than 255"),
        ({"words": ["word"] * 20_000}, "65536 bytes"),
        ({"words_bonus": 0}, "bonus of 0"),
        ({"words_bonus": 10.5}, "bonus of 10.5"),
        ({"words_bonus": float("nan")}, "bonus of nan"),
    ],
)
def test_what_is_no_word(demo: vox.Model, options: Any, why: str) -> None:
    with pytest.raises(vox.ArgumentError, match=why):
        demo.stream(**options)


def test_the_table_of_letters_is_what_its_script_makes() -> None:
    root = Path(__file__).parents[1]
    table = (root / "csrc" / "letters.h").read_text()
    if f"{unicodedata.unidata_version}." not in table:
        pytest.skip("this Python has another version of Unicode")
    command = [sys.executable, root / "scripts" / "letters"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == table


# ---- the command ---------------------------------------------------------------------------------


def test_words_in_a_file(
    run_python: Callable[..., tuple[str, ...]], demo: vox.Model, digits: np.ndarray, tmp_path: Path
) -> None:
    def run(*args: object) -> subprocess.CompletedProcess[str]:
        command = run_python("-m", "voxtral_edge", "transcribe", "--quiet", *map(str, args))
        return subprocess.run(command, capture_output=True, text=True, encoding="utf-8")

    clip, listed = SAMPLES / "digits_1.wav", tmp_path / "words.txt"
    listed.write_bytes(b"\xef\xbb\xbf" + "\r\n\n".join(WORDS).encode())
    done = run("--words", listed, "--words-bonus", BONUS, clip)
    expected = demo.transcribe(digits, words=WORDS, words_bonus=BONUS).text
    assert (done.returncode, done.stdout, done.stderr) == (0, expected + "\n", "")
    listed.write_bytes(b"caf\xe9")
    for options in (["--words", listed], ["--words", tmp_path / "none"], ["--words-bonus", "0"]):
        done = run(*options, clip)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
