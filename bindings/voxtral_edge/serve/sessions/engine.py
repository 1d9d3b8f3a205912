"""Engine: one model, the threads that run its streams, and the door that lets sessions in.

What is let in keeps up: a live stream is refused at the door, with the time after which asking
again makes sense, if those that are there lag, or leave no room for what one costs here, as
measured: of what computes, and of the event loop, which has one thread. Where many keep up easily,
some more are let in now and then against that measure: it
counts all time in which anything is computed, which many small streams fill long before a machine
has no more to give. Files take what live streams leave: a few at a time, others wait in a queue
that has an end.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Protocol

import numpy as np

from ...audio import read
from ...streaming.model import Model
from ...streaming.options import StreamOptions
from ...streaming.stream import Stream
from ...text.pieces import SLOT_MS, Piece
from ..door.doorstep import Doorstep
from .resume import Store
from .scheduler import FILE, LIVE, Scheduler
from .session import Session

if TYPE_CHECKING:
    from typing_extensions import Unpack

WINDOW_S = 10.0  # over which the cost of audio is measured
LEAST_AUDIO_S = 5.0  # to be measured before a cost is believed
# Where passes run side by side the model is small. Then audio that comes as it is spoken costs up
# to twice what a burst does, whose passes are wide, and which brings no messages.
SPOKEN = 2
EASY = 0.5  # of the lag that is allowed, below which streams keep up easily
LAG_S = 5.0  # over which lags are looked at
LEAST_LAGS, MOST_LAGS = 25, 4096  # of these
MANY = 8  # streams, to which one more in TRY_S is little
TRY_S = 1.0
RETRY_S = 5  # after which a refused stream may ask again


class Refused(Exception):  # noqa: N818  (as the names in errors.py)
    """There is no room now; `retry_s`: when to ask again, None: not here."""

    def __init__(self, message: str, retry_s: int | None = RETRY_S) -> None:
        """Keep what the client is told."""
        super().__init__(message)
        self.retry_s = retry_s


class Client(Protocol):
    """A live client."""

    def leave(self) -> None:
        """Say the last words, and end: the server is being stopped."""


@dataclass(frozen=True)
class Limits:
    """What the server takes on."""

    max_streams: int = 100  # live, at once
    max_per_client: int | None = None  # of these and files, by address; None: as many as there are
    share: float = 0.75  # of the time, that live streams may take: bursts and clients need room
    lag_s: float = 0.5  # of 95 % of what is decoded, above which nobody more is let in
    max_files: int = 2  # that are transcribed at once
    max_queue: int = 16  # that wait for it
    max_upload: int = 4 << 30  # bytes
    max_session_s: float = 24 * 3600.0  # of audio in a live session
    max_message: int = 20 << 20  # bytes of a message: 15 MiB of audio in base64
    max_silent: int = 128  # connections that have not said yet what they want
    patience_s: float = 10.0  # for each of them


class Engine:
    """Opens sessions on a model; belongs to one event loop."""

    def __init__(
        self,
        model: Model,
        *,
        delay_ms: int | None,
        limits: Limits,
        gain: float | Literal["auto"] | None = None,
        state_dir: Path | None = None,
    ) -> None:
        """Start the threads; `state_dir`: where broken sessions are kept, None: in memory."""
        self.model, self.limits = model, limits
        self.store = Store(state_dir, f"{model.name}, {model.n_bytes} bytes")
        self.doorstep = Doorstep(limits.max_silent, limits.patience_s)
        self._n_by_client: Counter[str] = Counter()  # sessions, by address
        self.delay_ms, self.gain = delay_ms or model.default_delay_ms, gain
        self.scheduler = Scheduler(model.n_lanes)
        self.is_draining = False
        self.clients: set[Client] = set()  # that are live
        self.n_live = self.n_files = self.n_refused = 0
        self.n_passes = self.n_columns = 0  # of ended streams: of the decoder, and their positions
        self.observe_lag: Callable[[float], object] = lambda lag_s: None
        self.audio_s = self.live_s = 0.0  # that was decoded, in all and of live streams
        self._turns: deque[asyncio.Future[None]] = deque()  # of files that wait
        # time, busy_s, audio_s, heard_s, and computing time of the event loop
        self._measured: deque[tuple[float, float, float, float, float]] = deque()
        self._lags: deque[tuple[float, float]] = deque(
            maxlen=MOST_LAGS
        )  # time, lag of a paced stream
        self._tried_s, self._n_tried = 0.0, 0

    @property
    def n_queued(self) -> int:
        """Files that wait."""
        return len(self._turns)

    @property
    def cost(self) -> float | None:
        """The share that a live stream takes of what this machine has; None: too little is known.

        By the audio that was decoded or, if that is less, by how busy streams kept the machine
        while they were heard: audio that comes as it is spoken shares passes, a burst is over soon.
        """
        scheduler = self.scheduler
        now = (
            time.monotonic(), scheduler.busy_s, self.live_s, scheduler.heard_s, time.thread_time()
        )  # fmt: skip
        while len(self._measured) > 1 and self._measured[1][0] < now[0] - WINDOW_S:
            self._measured.popleft()
        if not self._measured or now[0] > self._measured[-1][0] + 1:
            self._measured.append(now)
        _, busy_s, audio_s, heard_s, loop_s = (
            a - b for a, b in zip(now, self._measured[0], strict=True)
        )
        by_share = max(busy_s, loop_s) / heard_s if heard_s >= LEAST_AUDIO_S else math.inf
        if audio_s < LEAST_AUDIO_S:
            busy_s, audio_s = now[1:3]
        if audio_s < LEAST_AUDIO_S:
            return None
        return min(busy_s / audio_s * min(SPOKEN, self.model.n_lanes), by_share)

    @contextmanager
    def _of_client(self, client: str | None) -> Iterator[None]:
        most = self.limits.max_per_client
        if client is None or most is None:
            yield
            return
        if self._n_by_client[client] >= most:
            self._refuse(f"{most} streams and files at once are the limit for one client here")
        self._n_by_client[client] += 1
        try:
            yield
        finally:
            self._n_by_client[client] -= 1
            self._n_by_client += Counter()  # without those that have none

    @asynccontextmanager
    async def live(self, client: str | None) -> AsyncIterator[None]:
        """Hold a place for a live stream; raise Refused if there is none.

        `client`: its address, None: this machine.
        """
        self._check_live()
        with self._of_client(client):
            self.n_live += 1
            try:
                yield
            finally:
                self.n_live -= 1

    @asynccontextmanager
    async def file(self, client: str | None) -> AsyncIterator[None]:
        """Hold a place for a file, and wait for it; raise Refused if too many wait."""
        with self._of_client(client):
            async with self._file():
                yield

    @asynccontextmanager
    async def _file(self) -> AsyncIterator[None]:
        self.check_open()
        if self.n_files >= self.limits.max_files:
            if len(self._turns) >= self.limits.max_queue:
                self._refuse(f"{len(self._turns)} files wait already: ask again later")
            turn = asyncio.get_running_loop().create_future()
            self._turns.append(turn)
            try:
                await turn  # whoever leaves hands the place over, so it is never counted twice
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._hand_over()
                elif turn in self._turns:
                    self._turns.remove(turn)
                raise
        else:
            self.n_files += 1
        try:
            yield
        finally:
            self._hand_over()

    def session(
        self, *, is_file: bool = False, saved: bytes | None = None, **options: Unpack[StreamOptions]
    ) -> Session:
        """Open a session, or go on with a saved one.

        Its delay and its gain, if they are not given, are those of the server.
        """
        options = {
            "delay_ms": self.delay_ms,
            "gain": self.gain,
            **options,
            "background": is_file,
        }

        def make() -> Stream:
            return self.model.load_stream(saved) if saved else self.model.stream(**options)

        return Session(self.scheduler, make, FILE if is_file else LIVE, self._count)

    async def measure(self, file: Path) -> None:
        """Transcribe some audio, so that its cost is known before anybody asks."""
        samples = np.concatenate(list(read(file)))
        for _ in range(2):  # the first one finds everything cold
            self._forget()
            async with self.session() as session:
                session.push(samples)
                session.end()
                async for _ in session.slots():
                    pass

    def _forget(self) -> None:
        self.live_s = 0.0
        self.scheduler.forget()

    def _count(self, session: Session, slots: list[Piece]) -> None:
        audio_s = len(slots) * SLOT_MS / 1000
        self.audio_s += audio_s
        if slots and session.kind == LIVE:
            self.live_s += audio_s
            self.observe_lag(session.lag_s)
            if session.is_paced:
                self._lags.append((time.monotonic(), session.lag_s))
        if session.stats:
            self.n_passes += session.stats.n_decoder_passes
            self.n_columns += session.stats.n_decoder_slots

    async def kept(self, token: str) -> dict[str, Any] | None:
        """Return what is kept of a session, None: nothing; raise Refused if it is still held."""
        try:
            return await self.store.take(token)
        except asyncio.TimeoutError:
            self._refuse("the connection before still holds the session: ask again")

    @contextmanager
    def present(self, client: Client) -> Iterator[None]:
        """Know a live client while it is there."""
        self.clients.add(client)
        try:
            yield
        finally:
            self.clients.discard(client)

    def check_open(self) -> None:
        """Raise Refused if the server is being stopped."""
        if self.is_draining:
            self._refuse("the server is being stopped: ask again, or another one")

    def _check_live(self) -> None:
        self.check_open()
        if self.n_live >= self.limits.max_streams:
            self._refuse(f"{self.n_live} live streams are the limit here: ask again later")
        lag_s, cost = self._lag_s(), self.cost
        if lag_s is not None and lag_s > self.limits.lag_s:
            self._refuse(f"live streams lag by {lag_s:.1f} s here: ask again later")
        if self.n_live and cost is not None and (self.n_live + 1) * cost > self.limits.share:
            if lag_s is not None and lag_s < EASY * self.limits.lag_s and self._may_try():
                return
            self._refuse(
                f"{self.n_live} live streams take {self.n_live * cost:.0%} of the time here, and "
                "another one would make all late: ask again later"
            )

    def _may_try(self) -> bool:
        """Whether one more may be let in against the measured cost: a share of those there."""
        now_s = time.monotonic()
        if now_s > self._tried_s + TRY_S:
            self._tried_s, self._n_tried = now_s, 0
        self._n_tried += 1
        return self._n_tried <= self.n_live // MANY

    def _lag_s(self) -> float | None:
        """Return the lag below which 95 % of what was decoded lately was; None: there is little."""
        since_s = time.monotonic() - LAG_S
        while self._lags and self._lags[0][0] < since_s:
            self._lags.popleft()
        if len(self._lags) < LEAST_LAGS:
            return None
        return sorted(lag_s for _, lag_s in self._lags)[len(self._lags) * 95 // 100]

    def _refuse(self, message: str) -> NoReturn:
        self.n_refused += 1
        raise Refused(message)

    def _hand_over(self) -> None:
        while self._turns:
            turn = self._turns.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.n_files -= 1
