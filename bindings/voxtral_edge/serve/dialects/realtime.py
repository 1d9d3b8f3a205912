"""WS /v1/realtime: one endpoint for two protocols, told apart by query and first message."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, WebSocket

from ..sessions.engine import Engine
from . import sockets
from .openai import OpenAi
from .sockets import Dialect, Socket
from .vllm import Vllm

router = APIRouter()


class Realtime(Dialect):
    """A connection whose protocol is not known yet, and then that protocol."""

    def __init__(self, engine: Engine, socket: Socket) -> None:
        """Begin."""
        super().__init__(engine, socket)
        self._openai = OpenAi(engine, socket)
        query = socket.websocket.query_params
        self._is_openai = query.get("intent") == "transcription"
        self._dialect: Dialect | None = self._openai if self._is_openai else None

    async def greet(self) -> None:
        """Send what both protocols begin with, in the words of both."""
        session = self._openai.session()
        is_beta = self._is_openai and "openai-beta" in self._socket.websocket.headers
        created: dict[str, Any] = {
            "type": "transcription_session.created" if is_beta else "session.created",
            "event_id": "event_0",
            "id": session["id"],
            "created": int(time.time()),
            "session": session,
        }
        await self._socket.send({**created, **self._socket.greeting()})

    async def message(self, message: dict[str, Any]) -> None:
        """Take a message; the first one may tell the protocol."""
        if self._dialect is None:
            speaks = isinstance(message.get("session"), dict)
            if speaks or message.get("type") == "transcription_session.update":
                self._dialect = self._openai
            else:
                self._dialect = Vllm(self._engine, self._socket)
        await self._dialect.message(message)

    async def binary(self, data: bytes) -> None:
        """Take a message of bytes."""
        await (self._dialect or self._openai).binary(data)

    async def complain(self, error: Exception) -> None:
        """Tell what was wrong."""
        await (self._dialect or Vllm(self._engine, self._socket)).complain(error)

    async def finish(self) -> None:
        """Tell the last words."""
        if self._dialect:
            await self._dialect.finish()

    async def keep(self) -> bool:
        """Keep the session."""
        return self._dialect is not None and await self._dialect.keep()

    def restore(self, kept: dict[str, Any]) -> bool:
        """Go on with what was kept, in its protocol."""
        for dialect in (self._openai, Vllm(self._engine, self._socket)):
            if dialect.restore(kept):
                self._dialect = dialect
                return True
        return False

    def close(self) -> None:
        """Give up what is open."""
        if self._dialect:
            self._dialect.close()


@router.websocket("/v1/realtime")
async def realtime(websocket: WebSocket) -> None:
    """Speak with a live client."""
    engine: Engine = websocket.app.state.engine
    await sockets.serve(websocket, engine, lambda socket: Realtime(engine, socket))
