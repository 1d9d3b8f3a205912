"""Scheduler: a few threads run the streams of all sessions, so that a waiting stream costs none.

Live sessions that wait are taken together, in rounds: one thread has them computed in passes that
they share, and the event loop is told once of all that they gave. A question to one of them, which
may take long, is answered aside, and files have threads of their own: the core gives their passes
what live ones leave, and a file takes short steps while anybody is live, so that a pass of its
never delays them much.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from ...audio import RATE
from ...streaming.stream import advance

if TYPE_CHECKING:
    from ...text.pieces import Piece
    from .session import Session

PASS = 128 * RATE // 100  # samples that one pass of the encoder takes
SHORT_PASS = PASS // 4  # for a file while somebody is live
STEP_S = 0.05  # a thread that has computed so long for some turns to the next

Kind: TypeAlias = Literal["live", "aside", "file"]
LIVE: Final = "live"
ASIDE: Final = "aside"
FILE: Final = "file"
MOST_LANES = 8  # more than one event loop can feed
MOST = 16  # live sessions in a round: their slots fill a pass of the encoder
# From so many live sessions on, a round gathers for so long: slots that share a pass cost a third
# less than one by one, and what wakes threads is shared as well.
MANY, GATHER_S = 8, 0.02


class Scheduler:
    """The threads that run sessions, for one event loop, and how busy they are."""

    def __init__(self, n_lanes: int = 1) -> None:
        """Start the threads; `n_lanes`: passes that the model runs at the same time."""
        self._n_lanes = min(n_lanes, MOST_LANES)
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[Kind, SimpleQueue[Session | None]] = {
            kind: SimpleQueue() for kind in (LIVE, ASIDE, FILE)
        }
        self.sessions: set[Session] = set()  # that are open; of the event loop
        self._n_live = 0
        self._gathering = {kind: threading.Lock() for kind in self._waiting}
        self._lock = threading.Lock()
        self._n_busy, self._busy_s, self._heard_s = 0, 0.0, 0.0
        self._counted_s = time.monotonic()
        self._threads = [
            threading.Thread(target=self._work, args=(kind,), daemon=True, name=f"voxtral-{kind}")
            for kind in (*[LIVE] * (self._n_lanes + 1), ASIDE, ASIDE, FILE, FILE)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def busy_s(self) -> float:
        """Seconds in which all was computed for live sessions that can be at the same time."""
        self._count(0)
        return self._busy_s

    @property
    def heard_s(self) -> float:
        """Seconds that live sessions were open, all together."""
        self._count(0)
        return self._heard_s

    def forget(self) -> None:
        """Count the time from here on."""
        self._count(0)
        self._busy_s = 0.0

    def enter(self, session: Session) -> None:
        """Count a session."""
        self._count(0)
        self.sessions.add(session)
        self._n_live += session.kind == LIVE

    def leave(self, session: Session) -> None:
        """Count it no longer."""
        self._count(0)
        self.sessions.discard(session)
        self._n_live -= session.kind == LIVE

    def room(self, session: Session) -> int:
        """Return how many samples a session may take at once."""
        return SHORT_PASS if session.kind == FILE and self._n_live else PASS

    def submit(self, session: Session) -> None:
        """Have a session run; it is not submitted again before it has."""
        self._waiting[session.work].put(session)

    def tell(self, call: Callable[..., None], *values: object) -> None:
        """Have the event loop call something."""
        with contextlib.suppress(RuntimeError):  # it is closed: nobody listens any more
            self._loop.call_soon_threadsafe(call, *values)

    def close(self) -> None:
        """End the threads; sessions that wait are not run any more, but freed."""
        for waiting in self._waiting.values():
            waiting.put(None)  # which each of them hands on
        for thread in self._threads:
            thread.join()
        for waiting in self._waiting.values():
            while not waiting.empty():
                if session := waiting.get():
                    session.free()

    def _count(self, change: int) -> None:
        with self._lock:
            now = time.monotonic()
            share = min(self._n_busy, self._n_lanes) / self._n_lanes
            self._busy_s += share * (now - self._counted_s)
            self._heard_s += self._n_live * (now - self._counted_s)
            self._counted_s = now
            self._n_busy += change

    def _work(self, kind: Kind) -> None:
        while together := self._gathered(kind):
            self._count(kind != FILE)
            try:
                self._run(together)
            finally:
                self._count(-(kind != FILE))

    def _gathered(self, kind: Kind) -> list[Session]:
        """Wait for sessions and return those that a thread takes together; none: it ends."""
        waiting, most = self._waiting[kind], MOST if kind == LIVE else 1
        together: list[Session] = []
        with self._gathering[kind]:  # nobody else takes any meanwhile
            session = waiting.get()
            if kind == LIVE and self._n_live >= MANY and waiting.qsize() + 1 < most:
                time.sleep(GATHER_S)
            while session:
                together.append(session)
                if len(together) == most or waiting.empty():
                    return together
                session = waiting.get()
            waiting.put(None)  # for the next thread, or the next time
        return together

    def _run(self, together: list[Session]) -> None:
        """Compute for some sessions, for a while."""
        begun = [(session, stream) for session in together if (stream := session.begin_step())]
        steps = advance([stream for _, stream in begun], STEP_S)
        slots: dict[Session, list[Piece]] = {}
        for (session, _), step in zip(begun, steps, strict=True):
            session.end_step(step)
            slots[session] = step.slots
        self.tell(
            _receive, [(session, slots.get(session, []), session.ending) for session in together]
        )
        for session in together:
            if session.goes_on():
                self.submit(session)


def _receive(told: list[tuple[Session, list[Piece], Exception | bool]]) -> None:
    for session, slots, end in told:
        session.receive(slots, end)
