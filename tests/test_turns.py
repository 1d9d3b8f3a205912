"""Turns: from slots and levels, whatever the chunks; noise makes none."""

from __future__ import annotations

import numpy as np
import pytest
import voxtral_edge as vox
from voxtral_edge.text.turns import SPEAKING, TURN_END, Turn, Turns

DELAY_MS = 480


def told(model: vox.Model, audio: np.ndarray, n: int, **options: int) -> list[Turn]:
    """The turns of audio that comes in chunks of n samples."""
    turns, found = Turns(model, delay_ms=DELAY_MS, **options), list[Turn]()
    with model.stream(delay_ms=DELAY_MS) as stream:
        for start in range(0, len(audio), n):
            turns.hear(audio[start : start + n])
            stream.push(audio[start : start + n])
            for slot in stream.slots():
                found += turns.push(slot)
        stream.end()
        for slot in stream.slots():
            found += turns.push(slot)
    return [*found, *turns.end()]


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * vox.RATE), np.float32)


@pytest.fixture(scope="module")
def two(digits: np.ndarray) -> np.ndarray:
    """Two clips with a pause between them, in a quiet room."""
    audio = np.concatenate([silence(1), digits, silence(2), digits, silence(2)])
    return audio + 1e-4 * np.random.default_rng(1).standard_normal(len(audio)).astype(np.float32)


def test_two_turns(demo: vox.Model, two: np.ndarray, digits: np.ndarray) -> None:
    last_ms = demo.transcribe(digits).words[-1].end_ms
    found = told(demo, two, 1280, silence_ms=1200)
    assert [turn.state for turn in found] == [SPEAKING, TURN_END] * 2
    for i, turn in enumerate(found[1::2]):
        begin_ms = 1000 + i * (len(digits) / 16 + 2000)
        assert begin_ms <= turn.start_ms < begin_ms + 700
        assert abs(turn.end_ms - begin_ms - last_ms) < 300


def test_chunks_change_nothing(demo: vox.Model, two: np.ndarray) -> None:
    expected = told(demo, two, 1280, silence_ms=500)
    assert len(expected) > 4  # slow digits, each a turn
    for n in (160, 1281, 20_000, len(two)):
        assert told(demo, two, n, silence_ms=500) == expected


def test_noise_is_no_turn(demo: vox.Model) -> None:
    noise = 0.1 * np.random.default_rng(2).standard_normal(6 * vox.RATE).astype(np.float32)
    noise[::3] *= np.linspace(0, 1, len(noise[::3]), dtype=np.float32)
    assert told(demo, noise, 1280) == []


def test_bounds(demo: vox.Model, two: np.ndarray) -> None:
    """A turn lasts at least so long, at most so long, and begins a little before its words."""
    plain = told(demo, two, 1280, silence_ms=400)
    padded = told(demo, two, 1280, silence_ms=400, prefix_ms=200)
    assert padded[0].start_ms == plain[0].start_ms - 200
    for before, after in zip(plain[1::2], padded[2::2], strict=False):
        assert after.start_ms >= before.end_ms  # turns never overlap
    long = told(demo, two, 1280, silence_ms=400, min_ms=4000)
    assert len(long) < len(plain)
    short = told(demo, two, 1280, silence_ms=2000, max_ms=2000)
    assert len(short) > 4


def test_end_of_the_audio_ends_a_turn(demo: vox.Model, digits: np.ndarray) -> None:
    found = told(demo, digits, 1280, silence_ms=5000)
    assert [turn.state for turn in found] == [SPEAKING, TURN_END]
