"""Model: attributes, the tokenizer, and transcription of whatever holds audio."""

from __future__ import annotations

import dataclasses
import io
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_model
import voxtral_edge as vox
from conftest import SAMPLES


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.wav")), ids=lambda path: path.stem)
def test_demo_model_understands_the_samples(demo: vox.Model, path: Path) -> None:
    expected = path.with_suffix(".txt").read_text(encoding="utf-8").strip()
    assert demo.transcribe(path).text == expected


def test_demo_model_says_what_it_is(demo: vox.Model) -> None:
    assert demo.name
    assert "digits" in demo.description
    assert "\n" not in demo.description
    assert demo.n_params > 10_000_000
    assert demo.n_bytes < 4 * demo.n_params
    assert demo.default_delay_ms in vox.DELAYS_MS


def test_attributes(tiny: vox.Model, tiny_path: Path) -> None:
    sizes = tiny_model.PRESETS["micro"]
    assert tiny.file_type == "f32"
    assert tiny.n_bytes == 4 * tiny.n_params < tiny_path.stat().st_size
    assert (tiny.n_vocab, tiny.n_special) == (sizes.n_vocab, tiny_model.N_SPECIAL)
    assert (tiny.encoder_window, tiny.decoder_window) == (sizes.enc_window, sizes.dec_window)
    assert tiny.default_delay_ms == sizes.delay_ms
    assert (tiny.token_pad, tiny.token_word) == (32, 33)
    assert "micro" not in repr(tiny)
    assert not tiny.closed


def test_token_bytes(tiny: vox.Model) -> None:
    texts = tiny_model.text_tokens(tiny.n_vocab - tiny.n_special)
    assert [tiny.token_bytes(tiny.n_special + i) for i in range(len(texts))] == texts
    assert tiny.token_bytes(tiny.token_pad) == b"[STREAMING_PAD]"
    for token in (-1, tiny.n_vocab, 2**40):
        with pytest.raises(vox.ArgumentError, match=f"token {token} "):
            tiny.token_bytes(token)


def forms(audio: np.ndarray) -> dict[str, Callable[[], object]]:
    """The same 16-bit audio in every form that transcribe() takes."""
    pcm = (audio * 2**15).astype("<i2")
    return {
        "array": lambda: audio,
        "int16": lambda: pcm,
        "float64": lambda: audio.astype(np.float64),
        "buffer": lambda: memoryview(audio),
        "strided": lambda: np.stack([audio, -audio], axis=1)[:, 0],
        "list of arrays": lambda: [audio[:1], pcm[1:5000], audio[5000:]],
        "generator": lambda: (audio[i : i + 777] for i in range(0, len(audio), 777)),
        "path": lambda: SAMPLES / "digits_1.wav",
        "path as text": lambda: str(SAMPLES / "digits_1.wav"),
        "binary file": lambda: io.BytesIO((SAMPLES / "digits_1.wav").read_bytes()),
    }


def test_transcribe_takes_audio_in_any_form(tiny: vox.Model, digits: np.ndarray) -> None:
    expected = tiny.transcribe(digits)
    assert expected.duration_s == len(digits) / 16000
    assert len(expected.tokens) == -(-len(digits) // 1280) + 10
    for name, form in forms(digits).items():
        assert tiny.transcribe(form()) == expected, name


def test_transcribe_is_a_stream(tiny: vox.Model, noise: np.ndarray) -> None:
    transcript = tiny.transcribe(noise, delay_ms=240)
    with tiny.stream(delay_ms=240) as stream:
        stream.push(noise)
        stream.end()
        slots = list(stream.slots())
    assert transcript.tokens == tuple(slot.token for slot in slots)
    assert transcript.pieces == tuple(slot for slot in slots if slot.text)
    assert transcript.text == "".join(slot.text for slot in slots).lstrip()
    assert list(tiny.pieces(noise, delay_ms=240)) == list(transcript.pieces)


def test_nothing_said(demo: vox.Model) -> None:
    transcript = demo.transcribe(np.zeros(0, np.float32))
    assert transcript == vox.Transcript(
        "", (), (), (), transcript.tokens, 0.0, demo.name, demo.default_delay_ms
    )
    assert len(transcript.tokens) == 10
    assert demo.transcribe(np.zeros(32_000, np.float32)).text == ""


def test_pieces_come_before_the_audio_ends(demo: vox.Model, digits: np.ndarray) -> None:
    given = 0

    def live():
        nonlocal given
        for start in range(0, len(digits), 1280):
            given = start
            yield digits[start : start + 1280]

    lags = [given / 16 - piece.start_ms for piece in demo.pieces(live())]
    assert len(lags) > 5
    # A slot of 80 ms, the delay of 480 ms and 2.5 ms of look-ahead, rounded up to whole chunks.
    assert max(lags) <= 640


def test_values_are_immutable(tiny: vox.Model, noise: np.ndarray) -> None:
    transcript = tiny.transcribe(noise)
    with pytest.raises(dataclasses.FrozenInstanceError):
        transcript.text = ""  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        transcript.pieces[0].text = ""  # type: ignore[misc]
    hash(transcript)


def test_ctrl_c_stops_a_long_transcription(tiny: vox.Model) -> None:
    audio = tiny_model.make_audio(20 * vox.RATE, seed=1)

    def endless():
        while True:
            yield audio

    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            tiny.transcribe(endless())
        assert time.monotonic() - start < 5
    finally:
        signal.signal(signal.SIGALRM, previous)
