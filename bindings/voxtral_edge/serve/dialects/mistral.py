"""WS /v1/audio/transcriptions/realtime: the protocol of Mistral's own client.

Settings come first and are fixed by the first audio. A flush brings out all words at once: it ends
the stream, and what follows is heard by a new one.
"""

from __future__ import annotations

import secrets
from typing import Any

from fastapi import APIRouter, WebSocket

from ...audio import RATE
from ...streaming.options import DELAYS_MS, StreamOptions
from ...text.pieces import SPEAKING, TURN_END, Piece
from ...text.subtitles import Segment, Segments
from ...text.turns import Turns, turns_of
from ...text.words import Word, Words
from .. import errors
from ..errors import BadRequest
from ..intake.inlet import Inlet
from ..intake.vocabulary import listed
from ..sessions.engine import Engine
from ..sessions.hearing import Hearing
from . import sockets
from .answers import Text, mistral_part, mistral_times
from .sockets import Dialect, Socket, audio_of

AUDIO_BYTES = 1 << 18  # the most in a message
MIN_SILENCE_MS = 500
DONE = 1000

router = APIRouter()


class Mistral(Dialect):
    """One connection."""

    kept = (
        *("_format", "_delay_ms", "_language", "_detection", "_id", "_model", "_turns", "_text"),
        *("_words", "_cutter", "_segments", "_heard_s", "_is_fixed", "_listed"),
    )

    def __init__(self, engine: Engine, socket: Socket) -> None:
        """Begin with the settings that a client finds."""
        super().__init__(engine, socket)
        self._format: dict[str, Any] = {"encoding": "pcm_s16le", "sample_rate": RATE}
        self._delay_ms = engine.delay_ms
        self._language: str | None = None
        self._listed: list[str] = []
        self._detection: dict[str, Any] | None = None
        self._id = secrets.token_hex(16)
        self._model = socket.websocket.query_params.get("model") or engine.model.name
        self._text = Text()
        self._words, self._cutter = Words(engine.model), Segments()
        self._segments: list[dict[str, Any]] = []
        self._heard_s = 0.0  # by streams before this one
        self._is_fixed = False

    async def greet(self) -> None:
        """Tell the settings."""
        created = {"type": "session.created", "session": self._session()}
        await self._socket.send({**created, **self._socket.greeting()})

    async def message(self, message: dict[str, Any]) -> None:
        """Take a message."""
        kind = message.get("type")
        if kind == "session.update":
            self._update(message.get("session"))
            await self._socket.send({"type": "session.updated", "session": self._session()})
        elif kind == "input_audio.append":
            data = audio_of(message)
            if len(data) > AUDIO_BYTES:
                raise BadRequest(f"{AUDIO_BYTES} bytes of audio are the most in a message")
            await self._append(await self._begun(), data)
        elif kind == "input_audio.flush":
            await self._flush()
        elif kind == "input_audio.end":
            await self.finish()
            await self._socket.close(DONE, "")
        else:
            raise BadRequest(f"unknown event {kind!r}")

    async def complain(self, error: Exception) -> None:
        """Tell what was wrong."""
        told = {"message": errors.described(error)["message"], "code": errors.status_of(error)}
        await self._socket.send({"type": "error", "error": told})

    async def finish(self) -> None:
        """End the audio; tell the last words, and the whole."""
        await self._flush()
        await self._socket.tell(
            {
                "type": "transcription.done",
                "model": self._model,
                "text": self._text.text,
                "language": self._language,
                "segments": self._segments,
                "usage": self._text.mistral_usage(self._heard_s),
            }
        )

    # ---- settings ----

    def _session(self) -> dict[str, Any]:
        return {
            "request_id": self._id,
            "model": self._model,
            "audio_format": self._format,
            "target_streaming_delay_ms": self._delay_ms,
            "language": self._language,
            "context_bias": self._listed,
            "turn_detection": self._detection,
        }

    def _update(self, given: Any) -> None:
        if not isinstance(given, dict):
            raise BadRequest("session.update needs a session")
        if self._is_fixed:
            raise BadRequest("settings cannot change after the first audio")
        if given.get("diarize") or given.get("speaker_references"):
            raise BadRequest("this model knows no speakers: leave diarize out")
        form = self._format
        if given.get("audio_format") is not None:
            form = given["audio_format"]
            if not isinstance(form, dict) or not isinstance(form.get("sample_rate"), int):
                raise BadRequest("audio_format needs encoding and sample_rate")
            Inlet(form["sample_rate"], str(form.get("encoding")))  # raises
        delay_ms = given.get("target_streaming_delay_ms")
        if delay_ms is not None and (not isinstance(delay_ms, int) or delay_ms < 0):
            raise BadRequest("target_streaming_delay_ms must be a number of ms")
        detection = given.get("turn_detection", self._detection)
        if detection is not None:
            _turns(self._engine, detection, self._delay_ms)  # raises
        if "context_bias" in given:
            self._listed = listed(given["context_bias"], "context_bias")
        self._format, self._detection = form, detection
        self._language = given.get("language") or self._language
        if delay_ms is not None:  # the next one that the model knows
            later = [known for known in DELAYS_MS if known >= delay_ms]
            self._delay_ms = later[0] if later else DELAYS_MS[-1]

    # ---- audio in, text out ----

    async def _begun(self) -> Hearing:
        if self._hearing is None:
            if not self._is_fixed and self._language:
                language = {"type": "transcription.language", "audio_language": self._language}
                await self._socket.send(language)
            self._is_fixed = True
            if self._detection is not None:
                self._turns = _turns(self._engine, self._detection, self._delay_ms)
            inlet = self._inlet(self._format["sample_rate"], self._format["encoding"])
            self._hearing = self._opened(inlet)
        return self._hearing

    def _options(self) -> StreamOptions:
        return {"delay_ms": self._delay_ms, "words": self._listed}

    async def _flush(self) -> None:
        if self._hearing is None:
            return
        hearing, self._hearing = self._hearing, None
        try:
            await hearing.end()
        finally:
            hearing.close()
        await self._cut(self._words.end())
        await self._pass_on(self._cutter.end())
        if self._turns:
            await self._turn(self._turns)
        self._words, self._cutter = Words(self._engine.model), Segments()
        self._heard_s += hearing.inlet.duration_s

    async def _tell(self, slots: list[Piece]) -> None:
        for slot in slots:
            if self._turns:
                for turn in self._turns.push(slot):
                    if turn.state == SPEAKING:
                        await self._tell_turn(True, turn.start_ms)
                    elif turn.state == TURN_END:
                        await self._tell_turn(False, turn.end_ms)
            if said := self._text.add([slot]):
                await self._socket.tell({"type": "transcription.text.delta", "text": said})
            await self._cut(self._words.push(slot))

    async def _turn(self, turns: Turns) -> None:
        for turn in turns.end():
            if turn.state == TURN_END:
                await self._tell_turn(False, turn.end_ms)

    async def _tell_turn(self, is_start: bool, at_ms: int) -> None:
        event: dict[str, Any] = {"type": "turn.start"}
        if not is_start:
            event = {"type": "turn.end", "end_reason": "threshold"}
        await self._socket.tell({**event, "time_s": self._heard_s + at_ms / 1000})

    async def _cut(self, words: list[Word]) -> None:
        for word in words:
            await self._pass_on(self._cutter.push(word))

    async def _pass_on(self, segments: list[Segment]) -> None:
        for segment in segments:
            self._segments.append(mistral_part(segment, self._heard_s))
            times = mistral_times(segment, self._heard_s)
            await self._socket.tell({"type": "transcription.segment", **times})


def _turns(engine: Engine, detection: Any, delay_ms: int) -> Turns:
    if not isinstance(detection, dict):
        raise BadRequest("turn_detection must be an object")
    silence_ms = detection.get("min_silence_ms", MIN_SILENCE_MS)
    if not isinstance(silence_ms, int) or not 0 <= silence_ms <= 60_000:
        raise BadRequest("min_silence_ms must be 0 to 60000")
    return turns_of(engine.model, delay_ms=delay_ms, silence_ms=silence_ms)


@router.websocket("/v1/audio/transcriptions/realtime")
async def realtime(websocket: WebSocket) -> None:
    """Speak with Mistral's client."""
    engine: Engine = websocket.app.state.engine
    await sockets.serve(websocket, engine, lambda socket: Mistral(engine, socket))
