"""Turns: from slots and levels, whatever the chunks; noise makes none."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable

import numpy as np
import pytest
import voxtral_edge as vox
from voxtral_edge.text.pieces import BACKCHANNEL, SPEAKING, TURN_END, Turn
from voxtral_edge.text.turns import turns_of

DELAY_MS = 480


class Headless:
    """What is known of the embedded model, if it had no head for turns."""

    def __init__(self, model: vox.Model) -> None:
        self.token_word, self.n_special, self.has_turns = model.token_word, model.n_special, False


def told(
    model: vox.Model, audio: np.ndarray, n: int, *, is_headless: bool = False, **options: int
) -> list[Turn]:
    """The turns of audio that comes in chunks of n samples."""
    speaker = Headless(model) if is_headless else model
    turns, found = turns_of(speaker, delay_ms=DELAY_MS, **options), list[Turn]()
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


@pytest.mark.parametrize("is_headless", [False, True])
def test_two_turns(demo: vox.Model, two: np.ndarray, digits: np.ndarray, is_headless: bool) -> None:
    last_ms = demo.transcribe(digits).words[-1].end_ms
    found = told(demo, two, 1280, silence_ms=1200, is_headless=is_headless)
    assert [turn.state for turn in found] == [SPEAKING, TURN_END] * 2
    for i, turn in enumerate(found[1::2]):
        begin_ms = 1000 + i * (len(digits) / 16 + 2000)
        assert begin_ms <= turn.start_ms < begin_ms + 700
        assert abs(turn.end_ms - begin_ms - last_ms) < 300


def test_chunks_change_nothing(demo: vox.Model, two: np.ndarray) -> None:
    expected = [told(demo, two, 1280, is_headless=is_headless) for is_headless in (False, True)]
    assert len(expected[0]) == 4 < len(expected[1])  # slow digits, each a turn by pauses
    for n in (160, 1281, 20_000, len(two)):
        found = [told(demo, two, n, is_headless=is_headless) for is_headless in (False, True)]
        assert found == expected


@pytest.mark.parametrize("is_headless", [False, True])
def test_noise_is_no_turn(demo: vox.Model, is_headless: bool) -> None:
    noise = 0.1 * np.random.default_rng(2).standard_normal(6 * vox.RATE).astype(np.float32)
    noise[::3] *= np.linspace(0, 1, len(noise[::3]), dtype=np.float32)
    assert told(demo, noise, 1280, is_headless=is_headless) == []


def test_bounds(demo: vox.Model, two: np.ndarray) -> None:
    """A turn lasts at least so long, at most so long, and begins a little before its words."""
    plain = told(demo, two, 1280, is_headless=True, silence_ms=400)
    padded = told(demo, two, 1280, is_headless=True, silence_ms=400, prefix_ms=200)
    assert padded[0].start_ms == plain[0].start_ms - 200
    for before, after in zip(plain[1::2], padded[2::2], strict=False):
        assert after.start_ms >= before.end_ms  # turns never overlap
    long = told(demo, two, 1280, is_headless=True, silence_ms=400, min_ms=4000)
    assert len(long) < len(plain)
    short = told(demo, two, 1280, is_headless=True, silence_ms=2000, max_ms=2000)
    assert len(short) > 4


def test_end_of_the_audio_ends_a_turn(demo: vox.Model, digits: np.ndarray) -> None:
    found = told(demo, digits, 1280, silence_ms=5000)
    assert [turn.state for turn in found] == [SPEAKING, TURN_END]


# ---- a model that tells turns -------------------------------------------------------------------


class Head:
    """What is known of a model with a head for turns."""

    token_word, n_special, has_turns = 33, 1000, True


def heard(states: str, **options: float) -> list[Turn]:
    """What is told of slots: a letter each, capitals with text; most likely by 0.9."""
    names = dict(zip("insebu", ("idle", "noidle", *vox.TURN_STATES[2:]), strict=True))
    turns, found = turns_of(Head(), delay_ms=DELAY_MS, **options), list[Turn]()
    for i, letter in enumerate(states):
        state = names[letter.lower()]
        shares = tuple(0.9 if name == state else 0.02 for name in vox.TURN_STATES)
        has_text = letter.isupper()
        token = 1234 if has_text else 32
        piece = vox.Piece(" a" * has_text, token, 80 * i, 80 * i + 80, None, (), state, shares)
        found += turns.push(piece)
    return [*found, *turns.end()]


def test_states_make_turns() -> None:
    first, last = heard("iiissssSsSsseiiii")
    assert (first.state, first.start_ms) == (SPEAKING, 240)
    assert (last.state, last.start_ms, last.end_ms) == (TURN_END, 240, 13 * 80)
    assert 0.5 < (first.confidence or 0) <= 1
    assert last.confidence == 0.9
    assert len(heard("iiissssseiiisssseii")) == 4


def test_states_that_flicker() -> None:
    """One slot makes no turn, and one end in the middle of speech ends none; noise never does."""
    assert heard("iiisiiiniiinnnnnnuuuii") == []
    (first, last) = heard("iissssessssessseiii")
    assert (first.start_ms, last.end_ms) == (160, 16 * 80)


def test_late_text_is_part_of_the_turn() -> None:
    said = heard("isssseiIIii" + "i" * 8)
    assert [turn.state for turn in said] == [SPEAKING, TURN_END]
    turns, n = turns_of(Head(), delay_ms=DELAY_MS), 0
    for i, state in enumerate([SPEAKING] * 4 + [TURN_END] + ["idle"] * 6):
        shares = tuple(float(name == state) for name in vox.TURN_STATES)
        text = "a" if i in (6, 7) else ""
        piece = vox.Piece(text, 1234 if text else 32, 80 * i, 80 * i + 80, None, (), state, shares)
        if any(turn.state == TURN_END for turn in turns.push(piece)):
            n = i
    assert n == 8  # the slot after the last text


def test_an_end_that_is_not_told() -> None:
    """Silence ends a turn as well, and so does the end of the audio."""
    _, last = heard("issss" + "i" * 10, silence_ms=480)
    assert (last.state, last.end_ms) == (TURN_END, 400)
    assert [turn.state for turn in heard("issssi")] == [SPEAKING, TURN_END]


def test_backchannels_are_no_turns() -> None:
    (aside,) = heard("iibbBbii")
    assert (aside.state, aside.start_ms, aside.end_ms) == (BACKCHANNEL, 160, 480)
    assert aside.confidence == pytest.approx(0.9)
    assert heard("iibii") == []


def test_bounds_of_states() -> None:
    first, *_ = heard("iiiiissssseii", prefix_ms=200)
    assert first.start_ms == 200
    assert len(heard("issei" + "i" * 20, min_ms=1200)) == 2
    assert len(heard("i" + "s" * 40, max_ms=800)) > 4


# ---- streams ------------------------------------------------------------------------------------


def streamed(stream: vox.Stream, audio: np.ndarray, n: int) -> list[Turn]:
    found = stream.turns(silence_ms=1200)
    assert found == []
    for start in range(0, len(audio), n):
        stream.feed(audio[start : start + n])
        found += stream.turns()
    stream.finish()
    return found + stream.turns() + stream.turns()


def test_streams_tell_turns(demo: vox.Model, two: np.ndarray) -> None:
    expected = told(demo, two, 1280, silence_ms=1200)
    with demo.stream(delay_ms=DELAY_MS) as stream:
        for n in (1280, 20_000, len(two)):
            assert streamed(stream, two, n) == expected
            stream.reset()
        stream.push(two[:100])
        with pytest.raises(vox.StreamError, match="before the first audio"):
            stream.turns()

    async def main() -> list[Turn]:
        async with demo.astream(delay_ms=DELAY_MS) as stream:
            await stream.turns(silence_ms=1200)
            await stream.feed(two)
            await stream.finish()
            return await stream.turns()

    assert asyncio.run(main()) == expected


def test_turns_of_a_loaded_stream(demo: vox.Model, two: np.ndarray) -> None:
    """They begin anew, in the time of the whole."""
    with demo.stream(delay_ms=DELAY_MS) as stream:
        stream.feed(two[: len(two) // 2])
        saved = stream.save()
    with demo.load_stream(saved) as stream:
        stream.turns(silence_ms=1200)
        stream.feed(two[len(two) // 2 :])
        stream.finish()
        found = stream.turns()
    assert found == told(demo, two, 1280, silence_ms=1200)[2:]


def test_lines(run_python: Callable[..., tuple[str, ...]], two: np.ndarray) -> None:
    """voxtral stream --lines: one for each turn, and the same text."""
    data = (32767 * two).astype("<i2").tobytes()

    def printed(*options: str) -> str:
        command = run_python("-m", "voxtral_edge", "stream", "-", "--raw", "--quiet", *options)
        done = subprocess.run(command, input=data, capture_output=True, timeout=120, check=True)
        return done.stdout.decode()

    whole, lines = printed(), printed("--lines")
    assert whole.count("\n") == 1 < lines.count("\n")
    assert lines.split() == whole.split()
    assert not any(line.startswith(" ") or not line for line in lines.splitlines())
    command = run_python("-m", "voxtral_edge", "stream", "-", "--lines", "--format", "json")
    done = subprocess.run(command, input=data, capture_output=True, timeout=120)
    assert done.returncode == 2 and b"only txt has --lines" in done.stderr
