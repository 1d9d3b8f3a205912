"""PUT or POST /v1/audio/stream: a live body in, text out while it comes; for curl -T - -N.

The body is WAV, or raw samples as the query says: rate, encoding, channels. The answer is
server-sent events, or plain text if the client asks for text/plain. With resume=new in the query
the events are numbered, and the first one has a token: with it, GET says how many samples of a body
that broke have come, and another PUT sends those that follow.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

from fastapi import APIRouter, Request
from starlette.datastructures import QueryParams
from starlette.responses import JSONResponse, Response

from ...audio import RATE
from ...errors import VoxtralError
from ...streaming.options import DELAYS_MS
from ...text.pieces import Piece
from .. import errors
from ..errors import BadRequest
from ..intake.inlet import ENCODINGS, Inlet
from ..intake.objects import number_of
from ..intake.upload import Body, Decoders, Decoding, Gone
from ..sessions import resume
from ..sessions.course import Course
from ..sessions.engine import Engine
from ..sessions.hearing import Hearing
from ..sessions.resume import new_token
from .answers import Answer, Events, Plain, event
from .files import Meanwhile, Sender, beside, hear

router = APIRouter()

RESUME = {"name": "resume", "in": "query", "schema": {"type": "string"}}
BODY: dict[str, Any] = {  # for OpenAPI
    "parameters": [
        {"name": name, "in": "query", "schema": {"type": "integer", "default": default}}
        for name, default in (("rate", RATE), ("channels", 1), ("delay", 480), ("after", 0))
    ]
    + [{"name": "encoding", "in": "query", "schema": {"enum": list(ENCODINGS)}}, RESUME],
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
        self._resume, self._after = query.get("resume"), _number(query, "after", 0)
        if self._resume is not None and is_plain:
            raise BadRequest("only server-sent events can be taken up again", param="resume")
        self._inlet = Inlet(
            _number(query, "rate", RATE),
            query.get("encoding", "pcm_s16le"),
            _number(query, "channels", 1),
            is_kept=self._resume is not None,
        )
        self._delay_ms = _number(query, "delay", engine.delay_ms)
        if self._delay_ms not in DELAYS_MS:
            raise BadRequest("delay must be 80 to 1200 in steps of 80, or 2400 ms", param="delay")
        self._course: Course | None = None
        self._sent: list[str] = []  # first, to a client that has come back
        self._state: bytes | None = None
        self._error: Exception | None = None
        self._is_leaving = self._is_over = False
        self._main: asyncio.Task[None] | None = None
        self._kept_s = time.monotonic()

    def leave(self) -> None:
        """Say the last words, and end, or keep the session: the server is being stopped."""
        self._is_leaving = True
        if self._main:
            self._main.cancel()

    def give_up(self) -> None:
        """Make way for another connection of the same client."""
        self.leave()

    def _fail(self, error: Exception) -> None:
        self._error = error
        if self._main:
            self._main.cancel()

    async def _answer(self, body: Body, sender: Sender) -> None:
        self._answered: Answer = (Plain if self._is_plain else Events)(self._engine.model)
        if self._resume is not None:
            await self._begin(self._resume)
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self._engine.live(body.client))
            await sender.start(self._answered.media_type)
            if not self._is_plain:
                await stack.enter_async_context(sender)
            await sender.write("".join(self._sent))
            if not self._is_over:  # else the client has missed nothing but the end

                async def tell(slots: list[Piece]) -> None:
                    await sender.write("".join(map(self._part, slots)))

                hearing = Hearing(self._engine, self._inlet, tell, self._fail, saved=self._state,
                                  delay_ms=self._delay_ms)  # fmt: skip
                stack.callback(hearing.close)
                stack.enter_context(self._engine.present(self))
                token = self._course.token if self._course else None
                stack.enter_context(self._engine.store.held(token, self))
                if await self._hear_all(body, hearing):
                    await sender.write(self._numbered(self._answered.end(0.0)))
            await sender.end()

    async def _hear_all(self, body: Body, hearing: Hearing) -> bool:
        """Hear a body to its end, or keep what came of it; whether all was told."""
        self._main = asyncio.ensure_future(self._hear(body, hearing))
        try:
            await self._main
        except (Gone, asyncio.CancelledError):
            self._main.cancel()
            if not self._main.done():
                await asyncio.wait((self._main,))
            if self._error:
                raise self._error from None
            if self._course:
                keeping = asyncio.ensure_future(self._keep(hearing, self._course))
                while not keeping.done():
                    with contextlib.suppress(asyncio.CancelledError):  # the client has left
                        await asyncio.wait((keeping,))
                keeping.result()
                return False
            if not self._is_leaving:
                raise
            await hearing.end()
        return True

    async def _hear(self, body: Body, hearing: Hearing) -> None:
        head = b""
        while len(head) < 4 and (data := await body.read()):
            head += data
        if head[:4] == b"RIFF" and self._state is None:
            if self._course:
                raise BadRequest("only raw samples can be taken up again, no WAV", param="resume")
            async with (
                self._decoders.decoding() as decoding,
                beside(_pass_on(head, body, decoding)) as sending,
            ):
                await hear(decoding, hearing.session)
                await sending
            await hearing.told()
            return
        data = head
        while data:
            await hearing.append(data)
            if self._course:
                self._course.n_samples = hearing.inlet.n_samples
                if self._engine.store.folder and time.monotonic() - self._kept_s > resume.SAVE_S:
                    await self._keep(hearing, self._course)
            data = await body.read()
        self._is_over = True
        await hearing.end()

    # ---- a session over several connections ----

    async def _begin(self, token: str) -> None:
        """Begin a session that may be taken up again, or take one up."""
        told: dict[str, Any] = {"type": "session.created"}
        if token == "new":
            self._course = Course(new_token())
        else:
            kept = await _kept(self._engine, token)
            self._course, missed = kept["course"], kept["course"].missed(self._after)
            if missed is None:
                raise BadRequest("too many events were missed", param="after", status=404)
            self._delay_ms, self._inlet = kept["delay_ms"], kept["inlet"]
            self._state, self._is_over = kept["state"], kept["state"] is None
            self._answered = kept["answer"]
            self._sent = [_with_number(event) for event in missed]
            told["resumed"] = {"samples": self._course.n_samples}
        told["resume"] = {"token": self._course.token}
        self._sent.insert(0, event(told))

    async def _keep(self, hearing: Hearing, course: Course) -> None:
        """Keep the session, with all that came of the audio so far."""
        state = None
        if self._is_over:
            await hearing.told()
            self._numbered(self._answered.end(0.0))
        else:
            try:
                state = await hearing.save()
            except VoxtralError:  # it has failed
                return
        kept = {"dialect": "Live", "course": course, "answer": self._answered, "state": state}
        kept |= {"delay_ms": self._delay_ms, "inlet": self._inlet}
        await self._engine.store.put(course.token, kept)
        self._kept_s = time.monotonic()

    def _part(self, slot: Piece) -> str:
        """Return what a slot adds to the answer, if the client does not have it."""
        return self._numbered(self._answered.add([slot]))

    def _numbered(self, part: str) -> str:
        if self._course is None or not part:
            return part
        numbered = self._course.number({"part": part})
        return _with_number(numbered) if numbered else ""


def _with_number(event: dict[str, Any]) -> str:
    return f"id: {event['number']}\n{event['part']}"


async def _kept(engine: Engine, token: str) -> dict[str, Any]:
    kept = await engine.kept(token)
    if kept is None or kept["dialect"] != "Live":
        raise BadRequest("nothing is kept under this token", param="resume", status=404)
    return kept


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
    number = number_of(text)
    if number is None:
        raise BadRequest(f"{name} must be a number, not {text[:40]!r}", param=name)
    return number


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


@router.get("/v1/audio/stream", openapi_extra={"parameters": [RESUME]})
async def progress(request: Request) -> Response:
    """Say how many samples of a body that broke have come."""
    try:
        kept = await _kept(request.app.state.engine, request.query_params.get("resume", ""))
    except Exception as error:
        return errors.response(error)
    return JSONResponse({"samples": kept["course"].n_samples})
