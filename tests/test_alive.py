"""Streams that stay alive: the words so far, and a stream that nobody has disturbed."""

from __future__ import annotations

import asyncio
import dataclasses
import threading

import numpy as np
import pytest
import tiny_model
import voxtral_edge as vox


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

    def slow(stream: vox.Stream, *copy: object) -> vox.Piece | None:
        if copy:
            steps.append(copy)
            begun.set()
            go_on.wait(10)
        return step(stream, *copy)

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
