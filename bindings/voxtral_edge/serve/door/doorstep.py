"""The doorstep: connections that have not said yet what they want.

They cost next to nothing, but there is no end to how many somebody may open. So each has a while to
say something, and there is room for some; one more takes the place of the one that waits longest,
so that a client which speaks at once comes in however many stand there in silence.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol


class Doorstep:
    """Those who wait on it, in the order in which they came; of one event loop."""

    def __init__(self, room: int, patience_s: float) -> None:
        """Begin with nobody."""
        self._room, self._patience_s = room, patience_s
        self._waiting: dict[asyncio.BaseTransport, asyncio.TimerHandle] = {}
        self.n_sent_away = 0

    def enter(self, transport: asyncio.WriteTransport) -> None:
        """Let a connection wait."""
        if len(self._waiting) >= self._room:
            self._send_away(next(iter(self._waiting)))
        loop = asyncio.get_running_loop()
        self._waiting[transport] = loop.call_later(self._patience_s, self._send_away, transport)

    def leave(self, transport: asyncio.BaseTransport) -> None:
        """It has said what it wants, or is gone. May be repeated."""
        if timer := self._waiting.pop(transport, None):
            timer.cancel()

    def _send_away(self, transport: asyncio.BaseTransport) -> None:
        self.leave(transport)
        self.n_sent_away += 1
        assert isinstance(transport, asyncio.WriteTransport)
        transport.abort()


def transport_of(scope: Scope) -> asyncio.Transport | None:
    """Return the connection that a request came by, None: it is closed.

    Aborting it drops a client that takes nothing: a close would wait behind what it does not take.
    """
    connections = scope["app"].state.connections
    found = [known.transport for known in connections if known.client == scope["client"]]
    return cast("asyncio.Transport", found[0]) if found else None


class Http(H11Protocol):
    """A connection of uvicorn's, which waits on the doorstep up to the end of its first headers."""

    def __init__(self, doorstep: Doorstep, **known: Any) -> None:
        """Keep the doorstep; the rest is uvicorn's."""
        super().__init__(**known)
        self._doorstep = doorstep

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        self._doorstep.enter(transport)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Take data; a request in it, whatever it is, ends the waiting."""
        super().data_received(data)
        if self.headers is not None:
            self._doorstep.leave(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._doorstep.leave(self.transport)
        super().connection_lost(exc)
