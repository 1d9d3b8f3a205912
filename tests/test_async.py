"""AsyncStream: the verbs of Stream off the event loop, cancelled between slots without a loss."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import tiny_model
import voxtral_edge as vox


@pytest.fixture(scope="module")
def expected(tiny: vox.Model, noise: np.ndarray) -> vox.Transcript:
    return tiny.transcribe(noise)


async def paced(samples: np.ndarray, size: int = 4000) -> AsyncIterator[np.ndarray]:
    for start in range(0, len(samples), size):
        await asyncio.sleep(0)
        yield samples[start : start + size]


def test_feed_and_finish(tiny: vox.Model, noise: np.ndarray, expected: vox.Transcript) -> None:
    async def main() -> list[vox.Piece]:
        async with tiny.astream() as stream:
            assert not stream.closed
            pieces = [p async for chunk in paced(noise) for p in await stream.feed(chunk)]
            return pieces + await stream.finish()

    assert asyncio.run(main()) == list(expected.pieces)


def test_pieces(tiny: vox.Model, noise: np.ndarray, expected: vox.Transcript) -> None:
    async def main() -> list[vox.Piece]:
        async with tiny.astream() as stream:
            return [piece async for piece in stream.pieces(paced(noise))]

    assert asyncio.run(main()) == list(expected.pieces)


def test_slots_and_reset(tiny: vox.Model, noise: np.ndarray, expected: vox.Transcript) -> None:
    async def main() -> None:
        async with tiny.astream() as stream:
            await stream.feed(noise[::-1])
            await stream.reset()
            await stream.push(noise)
            assert stream.pending == len(noise)
            await stream.end()
            tokens = [slot.token async for slot in stream.slots()]
            assert tuple(tokens) == expected.tokens
            assert stream.pending == 0

    asyncio.run(main())


def test_streams_run_side_by_side(
    tiny: vox.Model, noise: np.ndarray, expected: vox.Transcript
) -> None:
    async def one() -> list[vox.Piece]:
        async with tiny.astream() as stream:
            return [piece async for piece in stream.pieces(paced(noise))]

    async def main() -> list[list[vox.Piece]]:
        return await asyncio.gather(one(), one(), one())

    assert asyncio.run(main()) == [list(expected.pieces)] * 3


def test_event_loop_is_free_while_the_core_works(
    tiny: vox.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set()
    push, step = vox.Stream._push, vox.Stream._decode

    def watched_push(stream: vox.Stream, samples: np.ndarray) -> None:
        threads.add(threading.current_thread())
        push(stream, samples)

    def watched_decode(stream: vox.Stream) -> bool:
        threads.add(threading.current_thread())
        return step(stream)

    monkeypatch.setattr(vox.Stream, "_push", watched_push)
    monkeypatch.setattr(vox.Stream, "_decode", watched_decode)
    ticks = 0

    async def main() -> None:
        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticker = asyncio.create_task(tick())
        async with tiny.astream() as stream:
            await stream.feed(tiny_model.make_audio(5 * vox.RATE, seed=1))
        ticker.cancel()

    asyncio.run(main())
    assert len(threads) == 1
    assert threading.current_thread() not in threads
    assert ticks > 50


@pytest.mark.parametrize("after_slots", [0, 1, 7, 30])
def test_cancelling_loses_nothing(
    tiny: vox.Model, noise: np.ndarray, expected: vox.Transcript, after_slots: int
) -> None:
    """A cancelled feed stops between two slots; the next call brings all that it left."""

    async def main() -> list[vox.Piece]:
        async with tiny.astream() as stream:
            await stream.push(noise)
            feeding = asyncio.create_task(stream.feed(noise[:0]))
            while len(noise) - stream.pending < 1280 * after_slots:
                await asyncio.sleep(0)
            feeding.cancel()
            with pytest.raises(asyncio.CancelledError):
                await feeding
            assert stream.pending > 1280  # it did stop early
            return await stream.feed(noise[:0]) + await stream.finish()

    assert asyncio.run(main()) == list(expected.pieces)


def test_breaking_out_of_pieces(
    tiny: vox.Model, noise: np.ndarray, expected: vox.Transcript
) -> None:
    async def main() -> list[vox.Piece]:
        async with tiny.astream() as stream:
            begun = []
            async with contextlib.aclosing(stream.pieces(paced(noise, len(noise)))) as pieces:
                async for piece in pieces:
                    begun.append(piece)
                    if len(begun) == 5:
                        break
            return begun + await stream.finish()

    assert asyncio.run(main()) == list(expected.pieces)


def test_second_task_is_refused(tiny: vox.Model, noise: np.ndarray) -> None:
    async def main() -> None:
        async with tiny.astream() as stream:
            feeding = asyncio.create_task(stream.feed(noise))
            await asyncio.sleep(0)
            with pytest.raises(vox.StreamBusy, match="another task"):
                await stream.feed(noise)
            await feeding

    asyncio.run(main())


def test_closing(tiny: vox.Model, noise: np.ndarray) -> None:
    async def main() -> None:
        stream = tiny.astream()
        assert stream.closed
        with pytest.raises(vox.StreamClosed, match="async with"):
            await stream.feed(noise)
        await stream.aclose()
        async with stream:
            await stream.push(noise)
        assert stream.closed
        await stream.aclose()
        with pytest.raises(vox.StreamClosed):
            await stream.finish()

    asyncio.run(main())
    gc.collect()  # a ResourceWarning would fail the test here


def test_cancelled_while_decoding_is_closed(tiny: vox.Model) -> None:
    async def main() -> None:
        async def work() -> None:
            async with tiny.astream() as stream:
                inner.append(stream)
                await stream.feed(tiny_model.make_audio(60 * vox.RATE, seed=1))

        inner: list[vox.AsyncStream] = []
        task = asyncio.create_task(work())
        while not inner:
            await asyncio.sleep(0)
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert inner[0].closed

    asyncio.run(main())
    gc.collect()  # a ResourceWarning would fail the test here
    workers = [thread for thread in threading.enumerate() if thread.name.startswith("voxtral")]
    for worker in workers:
        worker.join(5)
    assert not any(worker.is_alive() for worker in workers)


def test_errors_are_those_of_the_stream(tiny: vox.Model, tiny_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(vox.ArgumentError, match="delay"):
            async with tiny.astream(delay_ms=81):
                pass
        async with tiny.astream() as stream:
            with pytest.raises(vox.AudioError, match="mean"):
                await stream.feed(np.zeros((10, 2), np.float32))
            await stream.finish()
            with pytest.raises(vox.StreamFinished):
                await stream.feed(np.zeros(10, np.float32))
        closed = vox.Model(tiny_path)
        closed.close()
        with pytest.raises(vox.ModelClosed):
            async with closed.astream():
                pass

    asyncio.run(main())
    gc.collect()
