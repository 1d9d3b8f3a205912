"""Files over HTTP: /v1/audio/transcriptions as openai and mistralai send it, and /inference.

A file is decoded and transcribed while it is still being sent, and with stream=true its text comes
meanwhile. A client that leaves ends its work.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .. import errors
from ..door.doorstep import transport_of
from ..errors import BadRequest, log
from ..intake.upload import Body, Decoders, Decoding, Form, Gone
from ..intake.vocabulary import listed
from ..sessions.engine import Engine
from ..sessions.session import Session
from .answers import Answer, Events, Json, Mistral, Plain, Srt, Verbose, Vtt, event

T = TypeVar("T")

KEEP_ALIVE_S = 10.0  # between two signs of life
SEND_S = 60.0  # in which a client takes something, or is dropped
GRANULARITIES = ("segment", "word")
SIMPLE = {"json": Json, "text": Plain, "srt": Srt, "vtt": Vtt}
VERBOSE = "verbose_json"

router = APIRouter()

FORM: dict[str, Any] = {  # for OpenAPI; the body is read by Form as it comes
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "model": {"type": "string", "description": "any name"},
                        "response_format": {"enum": [*SIMPLE, VERBOSE], "default": "json"},
                        "stream": {"type": "boolean", "description": "server-sent events"},
                        "timestamp_granularities[]": {
                            "type": "array",
                            "items": {"enum": list(GRANULARITIES)},
                        },
                        "keywords[]": {
                            "type": "array",
                            "items": {"type": "string"},
                            "description": "words to expect; before the file",
                        },
                        "include[]": {"type": "array", "items": {"enum": ["logprobs"]}},
                    },
                }
            }
        },
    }
}


class Meanwhile(Response):
    """An answer that may begin before the request is over; a client that leaves ends its work."""

    tells_errors = True  # in what was begun already

    def __init__(self, engine: Engine, decoders: Decoders) -> None:
        """Keep what it needs."""
        super().__init__()
        self._engine, self._decoders = engine, decoders

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the request, and answer it."""
        body = Body(receive, self._engine.limits.max_upload, scope["client"])
        sender = Sender(send, scope)
        try:
            await unless_gone(body, self._answer(body, sender))
        except Gone:
            return
        except Exception as error:
            if not sender.is_started:
                await errors.response(error)(scope, receive, send)
                return
            if self.tells_errors:
                await sender.write(event({"error": errors.described(error)}))
            await sender.end()

    async def _answer(self, body: Body, sender: Sender) -> None:
        raise NotImplementedError


class Transcription(Meanwhile):
    """The answer to a file."""

    def __init__(self, engine: Engine, decoders: Decoders, headers: Headers) -> None:
        """Keep what it needs."""
        super().__init__(engine, decoders)
        self._content_type = headers.get("content-type", "")
        # Only its name tells Mistral's client from openai's, which wants other answers.
        self._is_mistral = "mistral" in headers.get("user-agent", "").lower()

    async def _answer(self, body: Body, sender: Sender) -> None:
        form = Form(body, self._content_type)
        await form.until_file()
        async with contextlib.AsyncExitStack() as stack:
            self._engine.check_open()
            answer = self._chosen(form)
            if answer.is_live:
                await sender.start(answer.media_type)
                await stack.enter_async_context(sender)
            await stack.enter_async_context(self._engine.file(body.client))
            decoding = await stack.enter_async_context(self._decoders.decoding())
            words = listed(_all(form, "keywords") + _all(form, "context_bias"), "keywords")
            session = self._engine.session(is_file=True, confidence=True, words=words)
            await stack.enter_async_context(session)
            sending = await stack.enter_async_context(beside(_pass_on(form, decoding)))
            hearing = await stack.enter_async_context(beside(hear(decoding, session)))
            if not sender.is_started:  # more fields may come after the file
                await asyncio.wait((sending, hearing), return_when=asyncio.FIRST_EXCEPTION)
                for task in (sending, hearing):
                    if task.done():
                        task.result()
                answer = self._chosen(form)
                if answer.is_live:
                    await sender.start(answer.media_type)
                    await stack.enter_async_context(sender)
            parts = []
            async for slots in session.slots():
                part = answer.add(slots)
                if sender.is_started:
                    await sender.write(part)
                else:
                    parts.append(part)
            await hearing
            await sending
            parts.append(answer.end(decoding.duration_s, decoding.warning))
            if not sender.is_started:
                await sender.start(answer.media_type)
            await sender.write("".join(parts))
            await sender.end()
            log.info("file", extra={"audio_s": round(decoding.duration_s, 1)})

    def _chosen(self, form: Form) -> Answer:
        """Return the answer that the fields ask for; raise BadRequest."""
        model = self._engine.model
        has_logprobs = "logprobs" in _all(form, "include")
        language, is_live = form.last("language"), _is_set(form, "stream")
        if self._is_mistral:
            if _is_set(form, "diarize"):
                raise BadRequest("this model knows no speakers: leave diarize out")
            parts = _granularities(form)
            return Mistral(model, form.last("model"), language, parts, is_live=is_live)
        if is_live:
            return Events(model, has_logprobs=has_logprobs)
        kind = form.last("response_format", "json")
        if kind in SIMPLE:
            return SIMPLE[kind](model, has_logprobs=has_logprobs)
        if kind != VERBOSE:
            hint = "; this model knows no speakers" if kind == "diarized_json" else ""
            raise BadRequest(
                f"{kind!r} is not one of {', '.join([*SIMPLE, VERBOSE])}{hint}",
                param="response_format",
            )
        parts = _granularities(form) or ["segment"]
        return Verbose(model, parts, language, has_logprobs=has_logprobs)


class Sender:
    """Sends an answer part by part; within `async with`, a sign of life when nothing else goes."""

    def __init__(self, send: Send, scope: Scope) -> None:
        """Send nothing yet."""
        self._send, self._last_s = send, 0.0
        self._transport, self._path = transport_of(scope), scope["path"]
        self.is_started = False

    async def start(self, media_type: str) -> None:
        """Send the head."""
        self.is_started = True
        self._last_s = time.monotonic()
        headers = [(b"content-type", media_type.encode()), (b"cache-control", b"no-store")]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def write(self, part: str) -> None:
        """Send a part; a client that takes nothing for a while is dropped."""
        if part:
            self._last_s = time.monotonic()
            message = {"type": "http.response.body", "body": part.encode(), "more_body": True}
            sending, unsent = asyncio.ensure_future(self._send(message)), -1
            while not (await asyncio.wait((sending,), timeout=SEND_S))[0] and self._transport:
                if self._transport.get_write_buffer_size() == unsent:
                    log.warning("dropped", extra={"path": self._path})
                    self._transport.abort()
                unsent = self._transport.get_write_buffer_size()
            sending.result()

    async def end(self) -> None:
        """Say that this was all."""
        await self._send({"type": "http.response.body", "body": b""})

    async def __aenter__(self) -> Sender:
        """Begin with the signs of life."""
        self._living = asyncio.create_task(self._live())
        return self

    async def __aexit__(self, *error: object) -> None:
        """End them."""
        self._living.cancel()

    async def _live(self) -> None:
        while True:
            left_s = self._last_s + KEEP_ALIVE_S - time.monotonic()
            if left_s <= 0:
                await self.write(": still here\n\n")
            await asyncio.sleep(max(left_s, 0.1))


@contextlib.asynccontextmanager
async def beside(work: Awaitable[T]) -> AsyncIterator[asyncio.Future[T]]:
    """Run work beside; it is cancelled at the end."""
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        task.cancel()
        # Its error, if nobody asked for it, comes of the one that ended this.
        await asyncio.wait((task,))
        _ = task.cancelled() or task.exception()


async def _pass_on(form: Form, decoding: Decoding) -> None:
    """Give the file to the process that decodes it, and read what follows the file."""
    try:
        async for block in form.blocks():
            await decoding.write(block)
    finally:
        decoding.end()
    await form.rest()


async def hear(decoding: Decoding, session: Session) -> None:
    """Give the samples to a session, to their end or an error."""
    try:
        async for samples in decoding.samples():
            await session.room()
            session.push(samples)
    finally:
        session.end()


async def unless_gone(body: Body, work: Awaitable[T]) -> T:
    """Return what work returns; give it up, and raise Gone, when the client has left."""
    async with beside(work) as working, beside(body.gone()) as leaving:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return await working
    raise Gone


def _is_set(form: Form, name: str) -> bool:
    return form.last(name).lower() in ("true", "1")


def _all(form: Form, name: str) -> list[str]:
    """Return the values of a list, with brackets or without."""
    return form.fields.get(f"{name}[]", []) + form.fields.get(name, [])


def _granularities(form: Form) -> list[str]:
    """Return the parts whose times are wanted; raise BadRequest."""
    wanted = _all(form, "timestamp_granularities")
    for name in wanted:
        if name not in GRANULARITIES:
            raise BadRequest(
                f"{name!r} is not one of {', '.join(GRANULARITIES)}",
                param="timestamp_granularities",
            )
    return wanted


def _transcription(request: Request) -> Response:
    state = request.app.state
    return Transcription(state.engine, state.decoders, request.headers)


@router.post("/v1/audio/transcriptions", openapi_extra=FORM)
async def transcriptions(request: Request) -> Response:
    """Transcribe a file."""
    return _transcription(request)


@router.post("/v1/audio/translations")
async def translations(request: Request) -> Response:
    """Refuse: the model writes what it hears, in the language it hears."""
    return errors.response(
        BadRequest("this model does not translate: use /v1/audio/transcriptions")
    )


@router.post("/inference", openapi_extra=FORM)
async def inference(request: Request) -> Response:
    """Transcribe a file, as the server of whisper.cpp does."""
    return _transcription(request)
