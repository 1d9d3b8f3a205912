"""Course: a session as its client counts it, over as many connections as it takes.

The client counts the messages or samples that it has sent, and the events that it has got. Events
are made of audio alone, one slot after the other, so those that a client has had already are made
again after a state of before them, and are known by their numbers.
"""

from __future__ import annotations

from collections import deque
from typing import Any

N_LAST = 4096  # events that a client may have missed


class Course:
    """One session that may be taken up again, by its token."""

    def __init__(self, token: str) -> None:
        """Begin."""
        self.token = token
        self.n_messages = self.n_samples = 0  # that came; samples at their own rate
        self._n_events = self._n_had = 0  # made; of these, what the client has
        self._last: deque[dict[str, Any]] = deque(maxlen=N_LAST)

    @property
    def position(self) -> dict[str, int]:
        """How far the session has come: the client goes on after that."""
        return {"messages": self.n_messages, "samples": self.n_samples}

    def number(self, event: dict[str, Any]) -> dict[str, Any] | None:
        """Return an event with its number; None if the client has it already."""
        self._n_events += 1
        event = {**event, "number": self._n_events}
        self._last.append(event)
        return event if self._n_events > self._n_had else None

    def missed(self, n_had: int) -> list[dict[str, Any]] | None:
        """Return the events after the first `n_had`; None if they are not there any more."""
        self._n_had = n_had
        if n_had < self._n_events - len(self._last):
            return None
        return [event for event in self._last if event["number"] > n_had]
