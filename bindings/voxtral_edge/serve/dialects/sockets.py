"""Sockets: JSON messages over WebSocket, and what is spoken into them.

A client that sends faster than the model hears is read at its pace; one that does not read what it
is told is dropped after a while, and nobody else waits for it. One that asks for it with resume=new
in the query gets a token, and numbered events: with the token and the number of the last event that
it has got, another connection goes on where this one broke.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from ...errors import VoxtralError
from ...streaming.options import StreamOptions
from ...text.pieces import Piece
from ...text.turns import Turns
from .. import errors
from ..door.doorstep import transport_of
from ..errors import BadRequest, log
from ..intake.inlet import Inlet
from ..intake.objects import json_object, number_of
from ..intake.upload import Gone
from ..sessions import resume
from ..sessions.course import Course
from ..sessions.engine import Engine, Refused
from ..sessions.hearing import Hearing
from ..sessions.resume import new_token

SEND_S = 60.0  # a client that takes nothing for so long is dropped; slow ones take a lot at a time
IDLE_S = 900.0  # and one that says nothing
CLOSED, GOING_AWAY, FAILED, RESTART = 1000, 1001, 1011, 1012


class Dialect:
    """One protocol over a socket; the base of all."""

    kept: tuple[str, ...] = ()  # attributes without which a session cannot be taken up

    def __init__(self, engine: Engine, socket: Socket) -> None:
        """Begin before the first message."""
        self._engine, self._socket = engine, socket
        self._hearing: Hearing | None = None
        self._turns: Turns | None = None  # who looks for them, if anybody does
        self._kept_s = time.monotonic()

    async def greet(self) -> None:
        """Say what comes before all else, with what Socket.greeting() adds."""

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
        """Keep the session, if the client has asked for that; whether it was kept."""
        course, hearing = self._socket.course, self._hearing
        if course is None:
            return False
        try:
            state = await hearing.save() if hearing else None
        except VoxtralError:  # it is over, or has failed
            return False
        inlet = hearing.inlet if hearing else None
        own = {name: getattr(self, name) for name in self.kept}
        kept = {"dialect": type(self).__name__, "own": own, "course": course}
        await self._engine.store.put(course.token, {**kept, "inlet": inlet, "state": state})
        self._kept_s = time.monotonic()
        return True

    async def forget(self) -> None:
        """Keep nothing of the session: the client has left."""
        if course := self._socket.course:
            await self._engine.store.drop(course.token)

    def restore(self, kept: dict[str, Any]) -> bool:
        """Go on with what was kept; whether it is of this protocol."""
        if kept["dialect"] != type(self).__name__:
            return False
        vars(self).update(kept["own"])
        if kept["state"] is not None:
            self._hearing = self._opened(kept["inlet"], kept["state"])
        return True

    def close(self) -> None:
        """Give up what is open."""
        if self._hearing:
            self._hearing.close()

    def _opened(self, inlet: Inlet, saved: bytes | None = None) -> Hearing:
        """Return what hears the bytes of an inlet, and goes on from what was saved."""
        hear = self._turns.hear if self._turns else None
        options = self._options()
        return Hearing(
            self._engine, inlet, self._tell, self._socket.fail, hear=hear, saved=saved, **options
        )

    def _options(self) -> StreamOptions:
        """Return what the next stream is asked for."""
        raise NotImplementedError

    def _inlet(self, rate: int, encoding: str = "pcm_s16le") -> Inlet:
        return Inlet(rate, encoding, is_kept=self._socket.course is not None)

    async def _append(self, hearing: Hearing, data: bytes) -> None:
        """Add audio; keep the session now and then, if the server may die and come back."""
        before = hearing.inlet.n_samples
        await hearing.append(data)
        if course := self._socket.course:
            course.n_samples += hearing.inlet.n_samples - before
            if self._engine.store.folder and time.monotonic() - self._kept_s > resume.SAVE_S:
                await self.keep()

    async def _tell(self, slots: list[Piece]) -> None:
        """Tell what was heard."""
        raise NotImplementedError


class Socket:
    """A WebSocket of JSON messages; `course`: of a session that may be taken up again."""

    def __init__(self, websocket: WebSocket) -> None:
        """Keep the socket, which is accepted."""
        self.websocket = websocket
        self.course: Course | None = None
        self._resumed: dict[str, Any] = {}  # what the client is told of that
        self._missed: list[dict[str, Any]] = []  # events that it lacks
        self._main: asyncio.Task[Any] | None = None
        self._error: Exception | None = None
        self._is_leaving = self._is_clean = self._is_idle = self._is_gone = False
        self._waits_since: float | None = None  # for a message
        self._transport = transport_of(websocket.scope)
        self._n_sending, self._unsent, self._took_s = 0, 0, 0.0

    # ---- messages out ----

    async def send(self, message: dict[str, Any]) -> None:
        """Send a message; raise Gone if the client takes none or has left, and cannot come back."""
        if self._is_gone:
            return
        self._n_sending += 1
        try:
            await self.websocket.send_text(json.dumps(message))
        except (WebSocketDisconnect, RuntimeError):
            self._is_gone = self.course is not None
            if not self._is_gone:
                raise Gone from None
        finally:
            self._n_sending -= 1

    async def tell(self, event: dict[str, Any]) -> None:
        """Send an event that is made of audio; a client that may come back gets it then."""
        if self.course is None:
            await self.send(event)
        elif numbered := self.course.number(event):
            await self.send(numbered)

    async def close(self, code: int, reason: str) -> None:
        """Close the socket."""
        if self.websocket.client_state is not WebSocketState.DISCONNECTED:
            # Or it is closed, or takes nothing any more.
            with contextlib.suppress(RuntimeError, WebSocketDisconnect, asyncio.TimeoutError):
                await asyncio.wait_for(self.websocket.close(code, reason), 1.0)

    # ---- a session over several connections ----

    def begin(self, dialect: Dialect, kept: dict[str, Any] | None) -> None:
        """Begin a session that may be taken up again, or take up what is kept of one."""
        query = self.websocket.query_params
        if query.get("resume", "new") != "new":
            after = number_of(query.get("after", "0"))
            course: Course | None = kept["course"] if kept else None
            missed = course.missed(after) if course and after is not None else None
            if kept and missed is not None and dialect.restore(kept):
                self.course, self._missed = course, missed
            # null: all messages are needed again
            self._resumed["resumed"] = self.course and self.course.position
        self.course = self.course or Course(new_token())
        self._resumed["resume"] = {"token": self.course.token}

    def greeting(self) -> dict[str, Any]:
        """Return what the first event says of a session that may be taken up again."""
        return self._resumed

    def give_up(self) -> None:
        """Make way for another connection of the same client."""
        self._is_gone = True
        if self._transport:
            self._transport.abort()

    # ---- messages in ----

    def fail(self, error: Exception) -> None:
        """End run() with an error that came up beside it."""
        self._error = self._error or error
        if self._main:
            self._main.cancel()

    def leave(self) -> None:
        """Have run() say the last words and end: the server is being stopped."""
        self._is_leaving = True
        if self._main and self._waits_since is not None:  # else when the message is dealt with
            self._main.cancel()

    async def run(self, dialect: Dialect) -> None:
        """Pass messages on until the client leaves."""
        self._main = asyncio.current_task()
        self._watch()
        try:
            await dialect.greet()
            for event in self._missed:
                await self.send(event)
            while not self._is_leaving:
                await self._pass_on(dialect)
        except asyncio.CancelledError:
            if self._is_idle:
                self._error = self._error or Gone()
            elif self._error is None and not self._is_leaving:
                self._watching.cancel()
                dialect.close()
                raise
        except (Gone, WebSocketDisconnect) as error:
            self._error = self._error or error
        self._main = None  # nothing disturbs the end
        try:
            await self._end(dialect)
        finally:
            self._watching.cancel()
            dialect.close()

    async def _end(self, dialect: Dialect) -> None:
        with contextlib.suppress(Gone):
            if self._error is None:
                await self._say_goodbye(dialect)
            elif self._is_idle:
                await dialect.keep()
                await self.close(GOING_AWAY, f"nothing came for {IDLE_S:.0f} s")
            elif not isinstance(self._error, (Gone, WebSocketDisconnect)):
                await dialect.complain(self._error)
                await self.close(FAILED, "the server failed")
            elif self._is_clean:
                await dialect.forget()
            else:
                await dialect.keep()

    async def _say_goodbye(self, dialect: Dialect) -> None:
        if await dialect.keep():
            await self.close(RESTART, "the server is being stopped: take the session up again")
            return
        await dialect.finish()
        await self.close(GOING_AWAY, "the server is being stopped")

    async def _pass_on(self, dialect: Dialect) -> None:
        self._waits_since = time.monotonic()
        try:
            received = await self.websocket.receive()
        finally:
            self._waits_since = None
        if received["type"] == "websocket.disconnect":
            self._is_clean = received.get("code") == CLOSED
            raise Gone
        if self.course:
            self.course.n_messages += 1
        try:
            if (data := received.get("bytes")) is not None:
                await dialect.binary(data)
            else:
                await dialect.message(parsed(received["text"]))
        except (Gone, WebSocketDisconnect):
            raise
        except Exception as error:  # a message that cannot be used ends nothing
            await dialect.complain(error)

    # ---- clients that do nothing ----

    def _watch(self) -> None:
        """Look now and then whether the client still says and takes anything.

        A timer for each message would cost more than the message.
        """
        now = time.monotonic()
        unsent = self._transport.get_write_buffer_size() if self._transport else 0
        if not self._n_sending or unsent != self._unsent:
            self._unsent, self._took_s = unsent, now
        elif self._transport and now - self._took_s > SEND_S:
            log.warning("dropped", extra={"path": self.websocket.url.path})
            self._transport.abort()
        if self._main and self._waits_since and now - self._waits_since > IDLE_S:
            self._is_idle = True
            self._main.cancel()
        loop = asyncio.get_running_loop()
        self._watching = loop.call_later(min(SEND_S, IDLE_S) / 4, self._watch)


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
        token, kept = websocket.query_params.get("resume"), None
        if token not in (None, "new"):
            kept = await engine.kept(token)
        async with engine.live(client):
            await websocket.accept()
            socket, began_s = Socket(websocket), time.monotonic()
            dialect = make(socket)
            if token is not None:
                socket.begin(dialect, kept)
            place = {"path": websocket.url.path, "client": client}
            log.info("live", extra=place)
            holds = socket.course.token if socket.course else None
            with engine.present(socket), engine.store.held(holds, socket):
                await socket.run(dialect)
            log.info("left", extra={**place, "after_s": round(time.monotonic() - began_s, 1)})
    except Refused as error:
        log.info("refused", extra={"path": websocket.url.path, "live": engine.n_live})
        await websocket.send_denial_response(errors.response(error))
    except Exception as error:
        log.error("a socket failed", exc_info=error)
        raise
