"""PUT or POST /v1/audio/stream: a live body in, text out while it comes; for curl -T - -N.

The body is WAV, or raw samples as the query says: rate, encoding, channels. The answer is
server-sent events, or plain text if the client asks for text/plain.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from starlette.datastructures import QueryParams
from starlette.responses import Response

from ...audio import RATE, Samples
from ...streaming.options import DELAYS_MS
from .. import errors
from ..errors import BadRequest
from ..intake.inlet import ENCODINGS, Inlet
from ..intake.upload import Body, Decoders, Decoding
from ..sessions.engine import Engine
from ..sessions.session import Session
from .answers import Answer, Events, Plain
from .files import Meanwhile, Sender, beside, hear

router = APIRouter()

BODY: dict[str, Any] = {  # for OpenAPI
    "parameters": [
        {"name": name, "in": "query", "schema": {"type": "integer", "default": default}}
        for name, default in (("rate", RATE), ("channels", 1), ("delay", 480))
    ]
    + [{"name": "encoding", "in": "query", "schema": {"enum": list(ENCODINGS)}}],
    "requestBody": {"required": True, "content": {"audio/wav": {}, "application/octet-stream": {}}},
}


class Live(Meanwhile):
    """The answer to a live body."""

    def __init__(
        self, engine: Engine, decoders: Decoders, query: QueryParams, *, is_plain: bool
    ) -> None:
        """Check the query; raise BadRequest."""
        super().__init__(engine, decoders)
        self._is_plain, self.tells_errors = is_plain, not is_plain
        self._inlet = Inlet(
            _number(query, "rate", RATE),
            query.get("encoding", "pcm_s16le"),
            _number(query, "channels", 1),
        )
        self._delay_ms = _number(query, "delay", engine.delay_ms)
        if self._delay_ms not in DELAYS_MS:
            raise BadRequest("delay must be 80 to 1200 in steps of 80, or 2400 ms", param="delay")

    def leave(self) -> None:
        """Say the last words, and end, since the server is being stopped."""
        self._session.end()

    async def _answer(self, body: Body, sender: Sender) -> None:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self._engine.live(body.client))
            answer: Answer = (Plain if self._is_plain else Events)(self._engine.model)
            await sender.start(answer.media_type)
            if not self._is_plain:
                await stack.enter_async_context(sender)
            session = self._engine.session(delay_ms=self._delay_ms)
            await stack.enter_async_context(session)
            self._session = session
            self._engine.sockets.add(self)
            stack.callback(self._engine.sockets.discard, self)
            hearing = await stack.enter_async_context(beside(self._hear(body, session)))
            async for slots in session.slots():
                await sender.write(answer.add(slots))
            if hearing.done():
                hearing.result()
            await sender.write(answer.end(0.0))
            await sender.end()

    async def _hear(self, body: Body, session: Session) -> None:
        """Give the samples of the body to a session, to their end or an error."""
        try:
            head = b""
            while len(head) < 4 and (data := await body.read()):
                head += data
            if head[:4] != b"RIFF":
                async for samples in self._raw(head, body):
                    await session.push(samples)
                return
            async with (
                self._decoders.decoding() as decoding,
                beside(_pass_on(head, body, decoding)) as sending,
            ):
                await hear(decoding, session)
                await sending
        finally:
            session.end()

    async def _raw(self, head: bytes, body: Body) -> AsyncIterator[Samples]:
        yield self._inlet.feed(head)
        while data := await body.read():
            yield self._inlet.feed(data)
        yield self._inlet.end()


async def _pass_on(head: bytes, body: Body, decoding: Decoding) -> None:
    """Give a body to the process that decodes it."""
    try:
        await decoding.write(head)
        while data := await body.read():
            await decoding.write(data)
    finally:
        decoding.end()


def _number(query: QueryParams, name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not text.isdecimal():
        raise BadRequest(f"{name} must be a number, not {text!r}", param=name)
    return int(text)


@router.put("/v1/audio/stream", openapi_extra=BODY)
@router.post("/v1/audio/stream", openapi_extra=BODY)
async def stream(request: Request) -> Response:
    """Transcribe a body while it comes."""
    state = request.app.state
    is_plain = "text/plain" in request.headers.get("accept", "")
    try:
        return Live(state.engine, state.decoders, request.query_params, is_plain=is_plain)
    except Exception as error:
        return errors.response(error)
