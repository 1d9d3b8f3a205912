"""AsyncStream: the verbs of Stream, awaited.

All calls run on one worker thread that the stream owns, never on the event loop. Decoding goes
slot by slot, so cancelling a task stops after at most one more slot, and what was decoded by then
is kept for the next call: nothing is lost and nothing comes twice.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NoReturn, TypeVar

from ..audio import ArrayLike
from ..errors import StreamBusy, StreamClosed
from ..text.pieces import Piece, Turn
from ..text.turns import TurnOptions
from .stream import Stream

if TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")


class AsyncStream:
    """A stream for asyncio; made by Model.astream() and opened by `async with`.

    async with model.astream() as stream:
        async for piece in stream.pieces(chunks): ...

    One task at a time; a second one gets StreamBusy. Errors are those of Stream.
    """

    def __init__(self, make: Callable[[], Stream]) -> None:
        """Keep what opens the stream, for `async with`."""
        self._make = make
        self._stream: Stream | None = None
        self._worker: ThreadPoolExecutor | None = None
        self._busy = False

    async def feed(self, samples: ArrayLike) -> list[Piece]:
        """Add audio and return the new text; see Stream.feed().

        Do not change `samples` until it returns. If it is cancelled, the audio may have been added.
        """
        await self.push(samples)
        return await self._drain()

    async def finish(self) -> list[Piece]:
        """End the audio and return the last words; see Stream.finish()."""
        await self.end()
        return await self._drain()

    async def flush(self) -> list[Piece]:
        """Return what finish() would return now, and go on undisturbed; see Stream.flush()."""
        cancelled = threading.Event()
        try:
            return await self._run(lambda stream: stream._flush(cancelled.is_set))
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def push(self, samples: ArrayLike) -> None:
        """Add audio and compute nothing; see Stream.push()."""
        await self._run(lambda stream: stream.push(samples))

    async def end(self) -> None:
        """Say that there is no more audio; see Stream.end()."""
        await self._run(Stream.end)

    async def slots(self) -> AsyncIterator[Piece]:
        """Yield a piece for every slot, those without text included; see Stream.slots()."""
        while await self._run(Stream._has_slot):
            yield self._opened()._ready.popleft()

    async def pieces(self, chunks: AsyncIterable[ArrayLike]) -> AsyncIterator[Piece]:
        """Yield pieces of text while the audio of `chunks` comes in, to its end and the last words.

        Each chunk as for feed().
        """
        async for chunk in chunks:
            await self.push(chunk)
            async for piece in self.slots():
                if piece.text:
                    yield piece
        await self.end()
        async for piece in self.slots():
            if piece.text:
                yield piece

    async def turns(self, **options: Unpack[TurnOptions]) -> list[Turn]:
        """Return the turns that have begun or ended since the last call; see Stream.turns()."""
        return await self._run(lambda stream: stream.turns(**options))

    async def save(self) -> bytes:
        """Return the state of the stream, for Model.load_astream(); see Stream.save().

        Slots that a cancelled call has decoded are not in it: have them first, from slots().
        """
        return await self._run(Stream.save)

    async def reset(self) -> None:
        """Make the stream as if just opened; see Stream.reset()."""
        await self._run(Stream.reset)

    async def aclose(self) -> None:
        """Free the stream and its thread. May be repeated."""
        if self._worker is None:
            return
        worker, self._worker = self._worker, None
        closing = asyncio.get_running_loop().run_in_executor(worker, self._close)
        worker.shutdown(wait=False)
        await asyncio.shield(closing)  # it is done even if this task is cancelled

    @property
    def closed(self) -> bool:
        """Whether the stream is not open: aclose() was called, or `async with` not yet entered."""
        return self._worker is None

    @property
    def pending(self) -> int:
        """Samples that were pushed but not yet decoded: the lag."""
        return self._stream.pending if self._stream is not None else 0

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse to be copied or pickled: what it holds cannot be."""
        raise TypeError(
            "an AsyncStream cannot be copied or pickled: use save() and Model.load_astream()"
        )

    async def __aenter__(self) -> AsyncStream:
        """Open the stream on its worker thread."""
        if self._worker is not None:
            raise StreamBusy("this stream is open already: make another one for another task")
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="voxtral")
        try:
            await asyncio.get_running_loop().run_in_executor(self._worker, self._open)
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close the stream."""
        await self.aclose()

    def _opened(self) -> Stream:
        if self._worker is None or self._stream is None:
            raise StreamClosed("this stream is not open: use it inside async with model.astream()")
        return self._stream

    async def _run(self, call: Callable[[Stream], T]) -> T:
        """Run a call on the worker thread; calls of a cancelled task are waited for there."""
        stream = self._opened()
        if self._busy:
            raise StreamBusy("another task is using this stream: give each task its own stream")
        self._busy = True
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, call, stream)
        finally:
            self._busy = False

    async def _drain(self) -> list[Piece]:
        while await self._run(Stream._decode_alone):
            pass
        return self._opened()._hand_out()

    def _open(self) -> None:
        self._stream = self._make()

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close()
