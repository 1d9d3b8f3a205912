"""Session: audio in, slots out, for one run of audio; it knows no protocol.

What is asked of it is done in order: audio, questions and the end wait in one line. It is computed
by the threads of a scheduler, whichever is free.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TypeAlias, TypeVar, cast

import numpy as np

from ...audio import RATE, Samples
from ...errors import StreamClosed, VoxtralError
from ...streaming.stream import Stats, Step, Stream
from ...text.pieces import Piece
from .scheduler import ASIDE, FILE, LIVE, Kind, Scheduler

T = TypeVar("T")
Question: TypeAlias = Callable[["Stream | None"], None]  # None: the session is closed

AHEAD_S = 1.0  # a client that speaks live sends no more than this before its time
ROOM_S = 10.0  # audio that may wait in a session; more waits where it comes from
UNREAD = 15_000  # slots of a live session that may wait to be read, 20 minutes of them


class Session:
    """One run of audio and its slots; belongs to the event loop that it was made in."""

    def __init__(
        self,
        scheduler: Scheduler,
        make: Callable[[], Stream],
        kind: Kind = LIVE,
        count: Callable[[Session, list[Piece]], None] = lambda session, slots: None,
    ) -> None:
        """Begin; `make` opens the stream, in a thread; `count` is told what was decoded,
        and at the end nothing, when there are `stats`."""
        self.kind = kind
        self._scheduler, self._make, self._count = scheduler, make, count
        self._lock = threading.Lock()
        self._line: deque[Samples | Question] = deque()
        self._n_waiting = 0  # samples in the line
        self._n_pushed, self._began_s = 0, time.monotonic()
        self._is_scheduled = self._is_closed = False
        self._stream: Stream | None = None
        self._is_behind = False  # the stream has more to compute of the audio that it has
        self.ending: Exception | bool = False  # the error that ends it, or whether all is said
        self.stats: Stats | None = None  # when it is over
        self._slots: asyncio.Queue[list[Piece] | Exception | None] = asyncio.Queue()
        self._n_unread = 0
        self._n_told = 0  # slots, by the threads
        self._moved = asyncio.Event()  # something was decoded or read
        scheduler.enter(self)

    @property
    def lag_s(self) -> float:
        """Seconds of audio that came but were not decoded yet."""
        pending = self._stream.pending if self._stream else 0
        return (self._n_waiting + pending) / RATE

    @property
    def is_paced(self) -> bool:
        """Whether its audio comes as it is spoken, so that its lag is not of its own making."""
        ahead_s = self._n_pushed / RATE - (time.monotonic() - self._began_s)
        return self.kind == LIVE and ahead_s < AHEAD_S

    async def room(self) -> None:
        """Wait while too much audio waits, or too many slots are unread."""
        unread = UNREAD if self.kind == LIVE else math.inf
        while not self._is_closed and (self._n_waiting > ROOM_S * RATE or self._n_unread > unread):
            self._moved.clear()
            await self._moved.wait()

    def push(self, samples: Samples) -> None:
        """Add audio; who has much of it waits for room() first."""
        if len(samples):
            self._n_pushed += len(samples)
            self._add(samples)

    def end(self) -> None:
        """Say that there is no more audio: slots() ends when all is said."""
        self._add(lambda stream: stream.end() if stream else None)

    async def flush(self) -> list[Piece]:
        """Return what would be said now if no more audio came; see Stream.flush()."""
        return await self._ask(Stream.flush)

    async def save(self) -> tuple[bytes, int]:
        """Return the state of the stream, see Stream.save(), and how many slots it told before.

        All audio that was pushed so far is in it.
        """
        return await self._ask(lambda stream: (stream.save(), self._n_told))

    async def read(self) -> list[Piece] | None:
        """Return slots as soon as there are any, all that wait; None when all is said, or closed.

        Raises what the stream raised.
        """
        slots = await self._slots.get()
        if isinstance(slots, Exception):
            raise slots
        if slots is not None:
            self._n_unread -= len(slots)
            self._moved.set()
        return slots

    async def slots(self) -> AsyncIterator[list[Piece]]:
        """Yield what read() returns, to the end."""
        while (slots := await self.read()) is not None:
            yield slots

    def close(self) -> None:
        """Give up the stream, after at most one more slot. May be repeated."""
        if not self._is_closed:
            self._is_closed = True
            self._slots.put_nowait(None)  # for who reads, whatever became of its cancellation
            self._moved.set()
            self._scheduler.leave(self)
            self._schedule()

    async def __aenter__(self) -> Session:
        """Return the session."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close it."""
        self.close()

    def _add(self, item: Samples | Question) -> None:
        with self._lock:
            self._line.append(item)
            if isinstance(item, np.ndarray):
                self._n_waiting += len(item)
        self._schedule()

    async def _ask(self, call: Callable[[Stream], T]) -> T:
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def settle(result: T | None, error: Exception | None) -> None:
            if answer.done():
                return
            if error:
                answer.set_exception(error)
            else:
                answer.set_result(cast("T", result))

        def question(stream: Stream | None) -> None:
            try:
                if stream is None:
                    raise StreamClosed("this session was closed: open a new one")
                result = call(stream)
            except Exception as error:
                self._scheduler.tell(settle, None, error)
            else:
                self._scheduler.tell(settle, result, None)

        if self._is_closed:
            question(None)
        else:
            self._add(question)
        return await answer

    def _schedule(self) -> None:
        with self._lock:
            if self._is_scheduled:
                return
            self._is_scheduled = True
        self._scheduler.submit(self)

    def receive(self, slots: list[Piece], end: Exception | bool) -> None:
        """Take slots from a thread, and the end or the error that is the end."""
        self._n_unread += len(slots)
        if slots:
            self._count(self, slots)
            self._slots.put_nowait(slots)
        if end:
            self._slots.put_nowait(end if isinstance(end, Exception) else None)
            self.close()
        self._moved.set()

    # ---- in a thread of the scheduler ----

    @property
    def work(self) -> Kind:
        """What a thread does for it next."""
        if self.kind == FILE:
            return FILE
        with self._lock:
            is_asked = self._line and callable(self._line[0]) and not self._is_behind
        return ASIDE if is_asked else LIVE

    def begin_step(self) -> Stream | None:
        """Do what is first in the line; return the stream if it may have something to compute."""
        if self._is_closed:
            return None
        try:
            if self._stream is None:
                self._stream = self._make()
            if not self._is_behind:
                self._do(self._stream)
        except Exception as error:  # it belongs to whoever reads the slots
            self.ending = error
            return None
        return self._stream

    def end_step(self, step: Step) -> None:
        """Take what the stream has come to."""
        self._is_behind = step.more
        self._n_told += len(step.slots)
        with self._lock:
            self.ending = step.error or (step.is_done and not self._line)

    def goes_on(self) -> bool:
        """Return whether there is more to do; if it has ended, free it."""
        if self.ending or self._is_closed:
            self.free()  # and no thread ever runs it again, since it stays scheduled
            return False
        with self._lock:
            self._is_scheduled = self._is_behind or bool(self._line) or self._is_closed
            return self._is_scheduled

    def free(self) -> None:
        """Close the stream; questions that wait are told that the session is closed."""
        if self._stream is not None:
            with contextlib.suppress(VoxtralError):
                self.stats = self._stream.stats()
            self._stream.close()
            self._scheduler.tell(self._count, self, [])
        with self._lock:
            line, self._line = self._line, deque()
        for item in line:
            if callable(item):
                item(None)

    def _do(self, stream: Stream) -> None:
        """Do what is first in the line; of audio as much as a pass takes."""
        room = self._scheduler.room(self)
        parts: list[Samples] = []
        question: Question | None = None
        with self._lock:
            while room and self._line:
                item = self._line[0]
                if callable(item):
                    if not parts:
                        question = item
                        self._line.popleft()
                    break
                parts.append(item[:room])
                room -= len(parts[-1])
                if len(parts[-1]) < len(item):
                    self._line[0] = item[len(parts[-1]) :]
                else:
                    self._line.popleft()
            self._n_waiting -= sum(map(len, parts))
        if question:
            question(stream)
        elif parts:
            stream.push(np.concatenate(parts) if len(parts) > 1 else parts[0])
