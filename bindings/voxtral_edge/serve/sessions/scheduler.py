"""Scheduler: a few threads run the streams of all sessions, so that a waiting stream costs none.

Live sessions go before files, and a file takes short steps while anybody is live, so that a pass of
its never delays them much.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from typing import TYPE_CHECKING

from ...audio import RATE

if TYPE_CHECKING:
    from .session import Session

N_THREADS = 8  # streams that may compute at once; the core combines their passes
PASS = 128 * RATE // 100  # samples that one pass of the encoder takes
SHORT_PASS = PASS // 4  # for a file while somebody is live

LIVE, FILE = 0, 1


class Scheduler:
    """The threads that run sessions, those that are live first, and how busy they are."""

    def __init__(self, n_threads: int = N_THREADS) -> None:
        """Start the threads."""
        self._waiting: queue.PriorityQueue[tuple[int, int, Session | None]] = queue.PriorityQueue()
        self._order = itertools.count()
        self.sessions: set[Session] = set()  # that are open; of the event loop
        self._n_live = 0
        self._lock = threading.Lock()
        self._n_busy, self._busy_since, self._busy_s = 0, 0.0, 0.0
        self._threads = [
            threading.Thread(target=self._work, daemon=True, name=f"voxtral-{i}")
            for i in range(n_threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def busy_s(self) -> float:
        """Seconds in which anything was computed for live sessions."""
        with self._lock:
            running_s = time.monotonic() - self._busy_since if self._n_busy else 0.0
            return self._busy_s + running_s

    def forget(self) -> None:
        """Count the time from here on."""
        with self._lock:
            self._busy_s, self._busy_since = 0.0, time.monotonic()

    def enter(self, session: Session) -> None:
        """Count a session."""
        self.sessions.add(session)
        self._n_live += session.kind == LIVE

    def leave(self, session: Session) -> None:
        """Count it no longer."""
        self.sessions.discard(session)
        self._n_live -= session.kind == LIVE

    def room(self, session: Session) -> int:
        """Return how many samples a session may take at once."""
        return SHORT_PASS if session.kind == FILE and self._n_live else PASS

    def submit(self, session: Session) -> None:
        """Have a session run; it is not submitted again before it has."""
        self._waiting.put((session.kind, next(self._order), session))

    def close(self) -> None:
        """End the threads; sessions that wait are not run any more, but freed."""
        for _ in self._threads:
            self._waiting.put((-1, next(self._order), None))
        for thread in self._threads:
            thread.join()
        while not self._waiting.empty():
            session = self._waiting.get()[2]
            if session is not None:
                session.free()

    def _count(self, change: int) -> None:
        with self._lock:
            if self._n_busy:
                self._busy_s += time.monotonic() - self._busy_since
            self._busy_since = time.monotonic()
            self._n_busy += change

    def _work(self) -> None:
        while True:
            session = self._waiting.get()[2]
            if session is None:
                return
            is_live = session.kind == LIVE
            self._count(is_live)
            try:
                more = session.step()
            finally:
                self._count(-is_live)
            if more:
                self.submit(session)
