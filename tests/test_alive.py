"""Streams that stay alive.

The words so far; a state that may move to another process; a way out of a rut of pads; silence that
costs nothing.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_model
import voxtral_edge as vox
from conftest import SAMPLES
from voxtral_edge._voxtral import lib
from voxtral_edge.convert import convert

PAD = 32
OTHERS = [SAMPLES / f"{name}.wav" for name in ("digits_2", "sentence_1", "digits_3")]


@pytest.fixture(scope="module")
def long() -> np.ndarray:
    """Twelve seconds, in which every ring of the tiny model turns many times."""
    return tiny_model.make_audio(12 * vox.RATE, seed=11)


def run(stream: vox.Stream, audio: np.ndarray) -> list[vox.Piece]:
    """Every slot from here to the end."""
    stream.push(audio)
    slots = list(stream.slots())
    stream.end()
    return [*slots, *stream.slots()]


@pytest.fixture(scope="module")
def whole(tiny: vox.Model, long: np.ndarray) -> list[vox.Piece]:
    with tiny.stream() as stream:
        return run(stream, long)


def own_stats(stream: vox.Stream) -> vox.Stats:
    return dataclasses.replace(stream.stats(), scratch_bytes=0)  # which is the model's


# ---- flush --------------------------------------------------------------------------------------


def test_flush_says_what_finish_would(
    tiny: vox.Model, long: np.ndarray, whole: list[vox.Piece]
) -> None:
    """After every chunk, some with slots that wait; and the slots are those of a stream alone."""
    slots: list[vox.Piece] = []
    with tiny.stream() as stream, tiny.stream() as other:
        for i, start in enumerate(range(0, len(long), 4001)):
            stream.push(long[start : start + 4001])
            for _ in range(i % 7):
                slots += [slot for slot in [next(stream.slots(), None)] if slot]
            before = stream.pending, own_stats(stream)
            flushed = stream.flush()
            assert (stream.pending, own_stats(stream)) == before
            other.reset()
            expected = run(other, long[: start + 4001])[len(slots) :]
            assert flushed == [slot for slot in expected if slot.text]
        stream.end()
        slots += stream.slots()
        assert slots == whole
        assert stream.flush() == []


def test_flush_keeps_no_memory(tiny: vox.Model, long: np.ndarray) -> None:
    with tiny.stream() as stream:
        stream.feed(long)
        memory = stream.memory
        for _ in range(5):
            assert stream.flush()
            assert stream.memory == memory


def test_words_so_far(demo: vox.Model, digits: np.ndarray, digits_words: str) -> None:
    """Push-to-talk: all is said as soon as the key is up, and nothing is said twice."""
    with demo.stream() as stream:
        said = stream.feed(digits)
        flushed = stream.flush()
        assert flushed
        assert "".join(piece.text for piece in said + flushed).strip() == digits_words
        # Silence is what a flush adds, so the words come again when it really follows.
        later = stream.feed(np.zeros(2 * vox.RATE, np.float32))
        assert [p.text for p in later] == [p.text for p in flushed]


def test_flush_is_refused_like_any_call(tiny: vox.Model) -> None:
    stream = tiny.stream()
    stream.close()
    with pytest.raises(vox.StreamClosed):
        stream.flush()


def test_flush_awaited(tiny: vox.Model, long: np.ndarray) -> None:
    with tiny.stream() as stream:
        expected = [stream.feed(long[:50_000]), stream.flush(), stream.feed(long[50_000:])]

    async def main() -> list[list[vox.Piece]]:
        async with tiny.astream() as stream:
            return [
                await stream.feed(long[:50_000]),
                await stream.flush(),
                await stream.feed(long[50_000:]),
            ]

    assert asyncio.run(main()) == expected


def test_flush_cancelled(
    tiny: vox.Model, long: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops, and has disturbed nothing."""
    begun, go_on = threading.Event(), threading.Event()
    steps, step = [], vox.Stream._next

    def slow(stream: vox.Stream, core: object, slot: object) -> bool:
        if core != stream._core:  # the copy
            steps.append(core)
            begun.set()
            go_on.wait(10)
        return step(stream, core, slot)

    with tiny.stream() as stream:
        expected = stream.feed(long)

    async def main() -> list[vox.Piece]:
        async with tiny.astream() as stream:
            fed = await stream.feed(long[:50_000])
            monkeypatch.setattr(vox.Stream, "_next", slow)
            flushing = asyncio.create_task(stream.flush())
            await asyncio.to_thread(begun.wait, 10)
            flushing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await flushing
            go_on.set()
            return fed + await stream.feed(long[50_000:])

    assert asyncio.run(main()) == expected
    assert len(steps) == 1


# ---- save and load ------------------------------------------------------------------------------


def test_a_loaded_stream_goes_on(
    tiny_path: Path, tiny: vox.Model, long: np.ndarray, whole: list[vox.Piece]
) -> None:
    """Saved at every chunk, and each time loaded into the other of two models."""
    slots: list[vox.Piece] = []
    with vox.Model(tiny_path) as other:
        stream = tiny.stream()
        for i, start in enumerate(range(0, len(long), 5000)):
            stream.push(long[start : start + 5000])
            for _ in range(i % 7):
                slots += [slot for slot in [next(stream.slots(), None)] if slot]
            saved, pending = stream.save(), stream.pending
            stream.close()
            stream = (tiny if i % 2 else other).load_stream(saved)
            assert stream.pending == pending
            assert stream.save() == saved
        stream.end()
        slots += itertools.islice(stream.slots(), 3)
        stream, ended = tiny.load_stream(stream.save()), stream
        ended.close()
        with pytest.raises(vox.StreamFinished):
            stream.push(long)
        slots += stream.slots()
        assert slots == whole
        stream.reset()
        assert run(stream, long) == whole
        stream.close()


def test_options_are_saved(tiny: vox.Model, long: np.ndarray) -> None:
    with tiny.stream(delay_ms=960) as stream:
        expected = run(stream, long)
        stream.reset()
        stream.push(long[:40_000])
        slots = list(stream.slots())
        with tiny.load_stream(stream.save()) as loaded:
            assert slots + run(loaded, long[40_000:]) == expected


def test_another_process(tiny_path: Path, run_python: Callable[..., tuple[str, ...]]) -> None:
    """What a service does that is restarted."""
    program = """
import sys
import tiny_model
import voxtral_edge as vox

audio = tiny_model.make_audio(4 * vox.RATE, seed=5)
with vox.Model(sys.argv[1], threads=int(sys.argv[2])) as model:
    if sys.argv[2] == "1":
        with model.stream() as stream:
            stream.feed(audio[:30_000])
            sys.stdout.buffer.write(stream.save())
    else:
        with model.load_stream(sys.stdin.buffer.read()) as stream:
            pieces = stream.feed(audio[30_000:]) + stream.finish()
            expected = model.transcribe(audio).pieces
            assert tuple(pieces) == expected[-len(pieces):]
"""
    saved = b""
    for step in "12":
        done = subprocess.run(
            run_python("-c", program, tiny_path, step),
            input=saved,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
            timeout=120,
        )
        assert done.returncode == 0, done.stderr.decode()
        saved = done.stdout


def test_saved_bytes_that_are_no_stream(
    tiny: vox.Model, demo: vox.Model, patched: Callable[[str, float], Path], long: np.ndarray
) -> None:
    """One clear typed error for whatever the bytes are, and never a stream."""
    with tiny.stream() as stream:
        stream.feed(long[:60_000])
        saved = stream.save()
    random = np.random.default_rng(1)

    def refused(model: vox.Model, data: bytes, why: str) -> None:
        with pytest.raises(vox.StreamFormatError, match=why) as caught:
            model.load_stream(data)
        assert "\n" not in str(caught.value)
        assert caught.value.status == lib.VOX_ERR_FORMAT

    for data in (b"", b"RIFF", long.tobytes(), bytes(len(saved))):
        refused(tiny, data, "no saved stream")
    for n in [*range(0, 200, 7), *random.integers(200, len(saved), 50), len(saved) - 1]:
        refused(tiny, saved[:n], "no saved stream, or only the beginning|cut short")
    refused(tiny, saved + b"\0", "damaged")
    for _ in range(300):
        bad = bytearray(saved)
        for at in random.integers(0, len(saved), random.integers(1, 9)):
            bad[at] ^= random.integers(1, 256)
        if bad != saved:
            refused(tiny, bytes(bad), "damaged|another version|no saved stream")
    refused(demo, saved, "another model")
    with vox.Model(patched("dec.norm.weight", 1.0)) as other:
        refused(other, saved, "another model")
    newer = bytearray(saved)
    newer[8] += 1
    refused(tiny, bytes(newer), "another version")
    with pytest.raises(TypeError):
        tiny.load_stream("text")  # type: ignore[arg-type]


def test_a_failed_stream_is_not_saved(
    patched: Callable[[str, float], Path], noise: np.ndarray
) -> None:
    with vox.Model(patched("dec.norm.weight", np.nan)) as model, model.stream() as stream:
        with pytest.raises(vox.ComputeError):
            stream.feed(noise)
        for use in (stream.save, stream.flush):
            with pytest.raises(vox.StreamError, match="failed"):
                use()


def test_save_awaited(tiny: vox.Model, long: np.ndarray, whole: list[vox.Piece]) -> None:
    async def main() -> list[vox.Piece]:
        async with tiny.astream() as stream:
            fed = await stream.feed(long[:50_000])
            saved = await stream.save()
        async with tiny.load_astream(saved) as stream:
            return fed + await stream.feed(long[50_000:]) + await stream.finish()

    assert asyncio.run(main()) == [slot for slot in whole if slot.text]


# ---- pad guard ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rut_path(tmp_path_factory: pytest.TempPathFactory, digits: np.ndarray) -> Path:
    """The demo model, made to like pads so much that it says nothing else.

    A pad with a longer embedding is likelier, and once heard it makes the next one likelier still.
    Of the lengths that silence the model, the shortest from 2 on is taken.
    """
    import gguf

    folder = tmp_path_factory.mktemp("rut")
    convert(SAMPLES.parent / "demo", folder / "demo.gguf", type="f32")
    demo = (folder / "demo.gguf").read_bytes()
    tensors = gguf.GGUFReader(folder / "demo.gguf").tensors
    embed = next(tensor for tensor in tensors if tensor.name == "dec.embed.weight")
    for length in np.arange(2, 6, 0.1):
        row = np.float32(length) * embed.data[PAD]
        start = int(embed.data_offset) + PAD * row.nbytes
        path = folder / f"rut_{length:.1f}.gguf"
        path.write_bytes(demo[:start] + row.tobytes() + demo[start + row.nbytes :])
        with vox.Model(path) as model:
            assert model.token_pad == PAD
            if not model.transcribe(digits).text:
                return path
    raise AssertionError("no length silences the model")


def test_the_guard_ends_a_rut(rut_path: Path, digits: np.ndarray, digits_words: str) -> None:
    with vox.Model(rut_path) as model:
        assert set(model.transcribe(digits).tokens) == {PAD}
        said = model.transcribe(digits, pad_guard_ms=400).text.split()
        assert len(said) >= 2
        assert set(said) <= set(digits_words.split())
        # Longer than the clip: in time for nothing, and no different from none.
        assert set(model.transcribe(digits, pad_guard_ms=16_000).tokens) == {PAD}


def test_guarded_tokens_do_not_depend_on_the_cut(rut_path: Path, digits: np.ndarray) -> None:
    """All at once, many slots are guessed and checked in one pass; live, few."""
    with vox.Model(rut_path) as model, model.stream(pad_guard_ms=400) as stream:
        expected = run(stream, digits)
        assert len({slot.token for slot in expected}) > 2
        for size in (1280, 3000):
            stream.reset()
            slots = []
            for start in range(0, len(digits), size):
                stream.push(digits[start : start + size])
                slots += stream.slots()
            assert stream.flush() == [slot for slot in expected[len(slots) :] if slot.text]
            stream.end()
            assert [*slots, *stream.slots()] == expected


def test_the_guard_leaves_silence_silent(
    demo: vox.Model, digits: np.ndarray, digits_words: str
) -> None:
    silence = np.zeros(10 * vox.RATE, np.float32)
    audio = np.concatenate([silence, digits, silence])
    assert demo.transcribe(audio, pad_guard_ms=1600).text == digits_words


# ---- silence gate -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sparse(digits: np.ndarray) -> np.ndarray:
    """Four clips with silence between them: zeros, or noise that 16 bits hardly hold."""
    random, parts = np.random.default_rng(1), []
    clips = [digits, *(np.concatenate(list(vox.read(path))) for path in OTHERS)]
    for i, clip in enumerate(clips):
        quiet = np.zeros(9 * vox.RATE + 77 * i, np.float32)
        if i % 2:
            quiet += random.integers(-1, 2, len(quiet)) / np.float32(32768)
        parts += [quiet, clip]
    return np.concatenate(parts)


def test_the_gate_changes_no_word(demo: vox.Model, sparse: np.ndarray) -> None:
    """It waits for as long as the encoder hears anything but silence."""
    gate_ms = 5600
    assert gate_ms > 20 * demo.encoder_window
    exact = demo.transcribe(sparse)
    with demo.stream(silence_gate_ms=gate_ms) as stream:
        slots = run(stream, sparse)
        assert stream.stats().n_skipped > 100
    gated = list(vox.words(slots, demo))
    assert [word.text for word in gated] == [word.text for word in exact.words]
    assert len(slots) == len(exact.tokens)
    for word, same in zip(gated, exact.words, strict=True):
        assert abs(word.end_ms - same.end_ms) <= vox.SLOT_MS


def test_the_gate_saves_work(demo: vox.Model, sparse: np.ndarray) -> None:
    with demo.stream(silence_gate_ms=1600) as stream, demo.stream() as exact:
        n_slots = len(run(stream, sparse))
        assert len(run(exact, sparse)) == n_slots
        gated, all_of_it = stream.stats(), exact.stats()
    # Nine seconds are 112 slots, 20 of which are computed each time; clips begin and end silent.
    assert 4 * 90 <= gated.n_skipped <= 4 * 112
    assert all_of_it.n_skipped == 0
    assert gated.n_encoder_slots + gated.n_skipped == all_of_it.n_encoder_slots
    assert gated.n_accepted + gated.n_skipped == all_of_it.n_accepted == n_slots


def test_a_shut_gate_keeps_up(demo: vox.Model) -> None:
    """Slots, lag, flush and saved state while nothing is computed, and words after it."""
    with demo.stream(silence_gate_ms=1600) as stream:
        for second in range(8):
            stream.push(np.zeros(vox.RATE, np.float32))
            slots = list(stream.slots())
            assert all(slot.token == demo.token_pad and not slot.text for slot in slots)
            assert slots[0].start_ms == (80 * (-(-(1000 * second - 562) // 80)) if second else 0)
            assert stream.pending < 1280
            assert stream.flush() == []
        assert stream.stats().n_skipped > 60
        with demo.load_stream(stream.save()) as loaded:
            audio = np.concatenate(list(vox.read(SAMPLES / "digits_2.wav")))
            expected = stream.feed(audio) + stream.finish()
            assert expected[0].start_ms > 8000
            assert loaded.feed(audio) + loaded.finish() == expected


def test_the_gate_does_not_depend_on_the_cut(tiny: vox.Model, long: np.ndarray) -> None:
    """A model that speaks in silence, too; and the end of the audio in the midst of it."""
    quiet = np.zeros(5 * vox.RATE + 123, np.float32)
    audio = np.concatenate([long[:30_000], quiet, long[30_000:50_000], quiet])
    with tiny.stream(silence_gate_ms=1360) as stream:
        expected = run(stream, audio)
        assert len(expected) == -(-len(audio) // 1280) + 10
        n_skipped = stream.stats().n_skipped
        assert n_skipped > 80
        for size in (1280, 1281, 160, 25_000):
            stream.reset()
            slots = []
            for start in range(0, len(audio), size):
                stream.push(audio[start : start + size])
                slots += stream.slots()
            stream.end()
            assert [*slots, *stream.slots()] == expected
            assert stream.stats().n_skipped == n_skipped


# ---- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"pad_guard_ms": 100}, "multiple of 80"),
        ({"pad_guard_ms": -80}, "pad_guard_ms cannot be -80"),
        ({"silence_gate_ms": 1280}, "last words"),
        ({"silence_gate_ms": 1361}, "multiple of 80"),
        ({"silence_gate_ms": 2000, "delay_ms": 1200}, "last words"),
        ({"alternatives": 9}, "0 to 8"),
        ({"alternatives": -1}, "alternatives cannot be -1"),
    ],
)
def test_options_outside_their_range(tiny: vox.Model, options: dict[str, int], why: str) -> None:
    with pytest.raises(vox.ArgumentError, match=why):
        tiny.stream(**options)
