"""Sockets: JSON messages over WebSocket, and what is spoken into them.

A client that sends faster than the model hears is read at its pace; one that does not read what it
is told is dropped after a while, and nobody else waits for it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from ...text.pieces import Piece
from .. import errors
from ..errors import BadRequest, log
from ..intake.inlet import Inlet
from ..intake.objects import json_object
from ..intake.upload import Gone
from ..sessions.engine import Engine, Refused

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ...audio import Samples
    from ...streaming.options import StreamOptions

SEND_S = 15.0  # a client that takes nothing for so long is dropped
IDLE_S = 900.0  # and one that says nothing
CLOSED, GOING_AWAY, FAILED, RESTART = 1000, 1001, 1011, 1012


class Dialect:
    """One protocol over a socket; the base of all."""

    async def greet(self) -> None:
        """Say what comes before all else."""

    async def message(self, message: dict[str, Any]) -> None:
        """Take a message; raise BadRequest for one that cannot be used."""
        raise NotImplementedError

    async def binary(self, data: bytes) -> None:
        """Take a message of bytes."""
        raise BadRequest("send audio in base64, in a message", code="invalid_json")

    async def complain(self, error: Exception) -> None:
        """Tell the client what was wrong."""
        raise NotImplementedError

    async def finish(self) -> None:
        """End the audio, and tell the last words."""

    async def keep(self) -> bool:
        """Keep what is heard, if the client has asked for that; whether it was kept."""
        return False

    def close(self) -> None:
        """Give up what is open."""


class Socket:
    """A WebSocket of JSON messages."""

    def __init__(self, websocket: WebSocket) -> None:
        """Keep the socket, which is not accepted yet."""
        self.websocket = websocket
        self._main: asyncio.Task[Any] | None = None
        self._error: Exception | None = None
        self._is_leaving = self._is_waiting = self._is_clean = False

    async def send(self, message: dict[str, Any]) -> None:
        """Send a message; raise Gone if the client takes none or has left."""
        try:
            await asyncio.wait_for(self.websocket.send_text(json.dumps(message)), SEND_S)
        except (WebSocketDisconnect, RuntimeError):
            raise Gone from None
        except asyncio.TimeoutError:
            self._abort()
            raise Gone from None

    async def close(self, code: int, reason: str) -> None:
        """Close the socket."""
        if self.websocket.client_state is not WebSocketState.DISCONNECTED:
            # Or it is closed, or takes nothing any more.
            with contextlib.suppress(RuntimeError, WebSocketDisconnect, asyncio.TimeoutError):
                await asyncio.wait_for(self.websocket.close(code, reason), 1.0)

    def _abort(self) -> None:
        """Drop a client that takes nothing: a close would wait behind what it does not take."""
        log.warning("dropped", extra={"path": self.websocket.url.path})
        for connection in tuple(self.websocket.app.state.connections):
            if connection.client == self.websocket.scope["client"]:
                connection.transport.abort()

    def fail(self, error: Exception) -> None:
        """End run() with an error that came up beside it."""
        self._error = self._error or error
        if self._main:
            self._main.cancel()

    def leave(self) -> None:
        """Have run() say the last words and end: the server is being stopped."""
        self._is_leaving = True
        if self._main and self._is_waiting:  # else when the message is dealt with
            self._main.cancel()

    async def run(self, dialect: Dialect) -> None:
        """Pass messages on until the client leaves."""
        self._main = asyncio.current_task()
        try:
            await dialect.greet()
            while not self._is_leaving:
                await self._pass_on(dialect)
        except asyncio.CancelledError:
            if self._error is None and not self._is_leaving:
                dialect.close()
                raise
        except (Gone, WebSocketDisconnect) as error:
            self._error = self._error or error
        self._main = None  # nothing disturbs the end
        try:
            await self._end(dialect)
        finally:
            dialect.close()

    async def _end(self, dialect: Dialect) -> None:
        with contextlib.suppress(Gone):
            if self._error is None:
                await self._say_goodbye(dialect)
            elif not isinstance(self._error, (Gone, WebSocketDisconnect)):
                await dialect.complain(self._error)
                await self.close(FAILED, "the server failed")
            elif not self._is_clean:
                await dialect.keep()

    async def _say_goodbye(self, dialect: Dialect) -> None:
        if await dialect.keep():
            await self.close(RESTART, "the server is being stopped: take the session up again")
            return
        await dialect.finish()
        await self.close(GOING_AWAY, "the server is being stopped")

    async def _pass_on(self, dialect: Dialect) -> None:
        self._is_waiting = True
        try:
            received = await asyncio.wait_for(self.websocket.receive(), IDLE_S)
        except asyncio.TimeoutError:
            await self.close(GOING_AWAY, f"nothing came for {IDLE_S:.0f} s")
            raise Gone from None
        finally:
            self._is_waiting = False
        if received["type"] == "websocket.disconnect":
            self._is_clean = received.get("code") == CLOSED
            raise Gone
        try:
            if (data := received.get("bytes")) is not None:
                await dialect.binary(data)
            else:
                await dialect.message(parsed(received["text"]))
        except (Gone, WebSocketDisconnect):
            raise
        except Exception as error:  # a message that cannot be used ends nothing
            await dialect.complain(error)


class Hearing:
    """One run of audio of a live client: bytes in; a task tells the slots."""

    def __init__(
        self,
        engine: Engine,
        inlet: Inlet,
        tell: Callable[[list[Piece]], Awaitable[None]],
        fail: Callable[[Exception], None],
        hear: Callable[[Samples], None] | None = None,
        saved: bytes | None = None,
        **options: Unpack[StreamOptions],
    ) -> None:
        """Open a session.

        `hear` gets its samples, `tell` its slots, and `fail` the error that ends it. `saved`: what
        it goes on from.
        """
        self.inlet = inlet
        self._limit_s = engine.limits.max_session_s
        self.session = engine.session(saved=saved, **options)
        self._tell, self._fail, self._hear = tell, fail, hear
        self._telling = asyncio.create_task(self._tell_all())

    async def append(self, data: bytes) -> None:
        """Add audio, at the pace of the model."""
        samples = self.inlet.feed(data)
        if self.inlet.duration_s > self._limit_s:
            raise BadRequest(f"{self._limit_s:.0f} s of audio are the limit of a session")
        if self._hear:
            self._hear(samples)
        await self.session.push(samples)

    async def end(self) -> None:
        """End the audio, and return when all was told."""
        await self.session.push(self.inlet.end())
        self.session.end()
        await self._telling

    def close(self) -> None:
        """Give it up."""
        self.session.close()
        self._telling.cancel()

    async def _tell_all(self) -> None:
        try:
            async for slots in self.session.slots():
                await self._tell(slots)
        except Exception as error:
            self._fail(error)


def parsed(text: str) -> dict[str, Any]:
    """Return a message; raise BadRequest for what is none."""
    message = json_object(text)
    if message is None:
        raise BadRequest("the message is not a JSON object", code="invalid_json")
    return message


def audio_of(message: dict[str, Any]) -> bytes:
    """Return the audio of a message; raise BadRequest if it has none."""
    try:
        data = base64.b64decode(message.get("audio", ""), validate=True)
    except (TypeError, ValueError, binascii.Error):
        data = b""
    if not data:
        raise BadRequest("audio must be samples in base64", param="audio", code="invalid_audio")
    return data


async def serve(websocket: WebSocket, engine: Engine, make: Callable[[Socket], Dialect]) -> None:
    """Let a client in, if there is room, and speak its dialect."""
    try:
        client = websocket.client.host if websocket.client else None
        async with engine.live(client):
            await websocket.accept()
            socket, began_s = Socket(websocket), time.monotonic()
            engine.sockets.add(socket)
            place = {"path": websocket.url.path, "client": client}
            log.info("live", extra=place)
            try:
                await socket.run(make(socket))
            finally:
                engine.sockets.discard(socket)
                log.info("left", extra={**place, "after_s": round(time.monotonic() - began_s, 1)})
    except Refused as error:
        log.info("refused", extra={"path": websocket.url.path, "live": engine.n_live})
        await websocket.send_denial_response(errors.response(error))
    except Exception as error:
        log.error("a socket failed", exc_info=error)
        raise
