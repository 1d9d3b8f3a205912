"""The embedded model hears real people: word error rates, tokens, silence, a long stream.

scripts/evaluate.py measures the same with more words, types and minutes.
"""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import speech
import voxtral_edge as vox
from voxtral_edge.convert import convert
from voxtral_edge.text.pauses import Pauses, Settings
from voxtral_edge.text.turns import States
from voxtral_edge.text.wer import word_errors

ROOT = Path(__file__).parents[1]
EMBEDDED = ROOT / "bindings" / "voxtral_edge" / "demo.gguf"
MEASURE = runpy.run_path(str(ROOT / "scripts" / "measure_turns.py"))


@pytest.fixture(scope="module")
def model() -> Iterator[vox.Model]:
    with vox.Model() as embedded:
        yield embedded


def word_error_rate(model: vox.Model, clips: list[speech.Clip]) -> float:
    def errors(clip: speech.Clip) -> int:
        text = model.transcribe(clip.samples).text
        return word_errors(clip.words, text.split())

    with ThreadPoolExecutor(2) as pool:
        wrong = sum(pool.map(errors, clips))
    return wrong / sum(len(clip.words) for clip in clips)


def test_people_it_never_heard(model: vox.Model) -> None:
    assert word_error_rate(model, speech.strangers()) <= 0.06


def test_recordings_it_never_heard(model: vox.Model) -> None:
    assert word_error_rate(model, speech.digits(300)) <= 0.005


def test_tokens_and_states_equal_transformers(tmp_path: Path) -> None:
    convert(ROOT / "demo", tmp_path / "demo.gguf", type="f32")
    with vox.Model(tmp_path / "demo.gguf") as model:
        for (clip, tokens), states in zip(speech.held_out(), speech.states(), strict=True):
            slots = list(model.slots(clip.samples))
            assert [slot.token for slot in slots] == tokens
            assert [slot.turn for slot in slots] == states


def test_ends_of_turns(model: vox.Model) -> None:
    """Orders with pauses in them, and strings of slow digits, by people it never heard say these:
    more ends in time than by pauses alone, where words tell, and fewer false ones everywhere."""
    orders = [MEASURE["paused"](clip, i) for i, clip in enumerate(speech.strangers())]
    for clips, least, most in ((orders, 0.5, 2), (speech.digits(100), 0, 8)):
        audio, spans = MEASURE["scene"](clips, None)
        slots = list(model.slots(audio))
        by_states, by_pauses = (
            MEASURE["judged"](spans, MEASURE["by_turns"](turns, audio, slots, 480), 480)
            for turns in (States(model, Settings()), Pauses(model, Settings(), delay_ms=480))
        )
        assert by_states.missed == 0
        assert by_states.found >= least
        assert by_states.false <= min(most, by_pauses.false / 3)


@pytest.mark.parametrize("kind", speech.not_speech(0.1))
def test_no_words_without_speech(model: vox.Model, kind: str) -> None:
    assert model.transcribe(speech.not_speech(20)[kind]).text == ""


def test_a_long_stream_neither_drifts_nor_grows(model: vox.Model) -> None:
    memory = []
    with model.stream() as stream:
        for part in range(3):  # each longer than both windows
            reference, text = [], ""
            for clip in speech.connected("theo", 60, part):
                text += "".join(piece.text for piece in stream.feed(clip.samples))
                reference += clip.words
            silence = np.zeros(2 * speech.RATE, np.float32)  # brings out the last words
            text += "".join(piece.text for piece in stream.feed(silence))
            assert word_errors(reference, text.split()) <= 1
            memory.append(stream.memory)
    assert memory[0] == memory[1] == memory[2]


def test_the_embedded_file_comes_from_the_checkpoint(model: vox.Model, tmp_path: Path) -> None:
    texts = {"name": model.name, "description": model.description, "license": "CC-BY-SA-4.0"}
    convert(ROOT / "demo", tmp_path / "demo.gguf", type=model.file_type, **texts)
    assert (tmp_path / "demo.gguf").read_bytes() == EMBEDDED.read_bytes()
    assert EMBEDDED.stat().st_size <= 12e6


def test_samples_are_understood(model: vox.Model) -> None:
    for path in sorted((ROOT / "samples").glob("*.wav")):
        assert model.transcribe(path).text == path.with_suffix(".txt").read_text().strip()
