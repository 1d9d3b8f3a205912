"""The realtime protocol of vLLM: 16 kHz, transcription.delta and transcription.done.

Audio begins an utterance, with or without a commit before it; a final commit ends it, and the next
may begin. While its last words are computed, empty deltas say that they are coming.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ..audio import RATE
from ..streaming.options import DELAYS_MS
from ..text.pieces import Piece
from ..text.words import Word, Words
from . import errors
from .answers import Text
from .engine import Engine
from .errors import BadRequest
from .inlet import Inlet
from .sockets import Hearing, Socket, audio_of

ALIVE_S = 0.3  # clients take a longer silence after the end of the audio for the end of the text


class Vllm:
    """One connection."""

    def __init__(self, engine: Engine, socket: Socket) -> None:
        """Begin before the first utterance."""
        self._engine, self._socket = engine, socket
        self._hearing: Hearing | None = None
        self._text, self._words = Text(), Words(engine.model)
        self._is_named = self._has_words = self._has_told = False
        self._rate, self._delay_ms = RATE, engine.delay_ms

    async def greet(self) -> None:
        """Leave that to the endpoint, which speaks two protocols."""

    async def message(self, message: dict[str, Any]) -> None:
        """Take a message."""
        kind = message.get("type")
        if kind == "session.update":
            if not message.get("model"):
                raise BadRequest("session.update needs a model", code="invalid_event")
            self._update(message)
            self._is_named = True
        elif kind == "input_audio_buffer.append":
            await self._begun().append(audio_of(message))
        elif kind == "input_audio_buffer.commit":
            if not self._is_named:
                raise BadRequest("send session.update first", code="model_not_validated")
            self._begun()
            if message.get("final"):
                await self.finish()
        else:
            raise BadRequest(f"unknown event {kind!r}", code="unknown_event")

    async def binary(self, data: bytes) -> None:
        """Refuse bytes."""
        raise BadRequest("send audio in input_audio_buffer.append", code="invalid_json")

    async def complain(self, error: Exception) -> None:
        """Tell what was wrong."""
        told = errors.described(error)
        code = told["code"] or ("invalid_audio" if told["type"][0] == "i" else "processing_error")
        await self._socket.send({"type": "error", "error": told["message"], "code": code})

    async def finish(self) -> None:
        """End the utterance, if there is one."""
        if self._hearing is None:
            return
        hearing, self._hearing = self._hearing, None
        ending = asyncio.create_task(hearing.end())
        try:
            while not (await asyncio.wait((ending,), timeout=ALIVE_S))[0]:
                await self._socket.send({"type": "transcription.delta", "delta": ""})
            await ending
        finally:
            hearing.close()
        usage = self._text.usage()
        counts = {
            "prompt_tokens": usage["input_tokens"],
            "completion_tokens": usage["output_tokens"],
            "total_tokens": usage["total_tokens"],
        }
        await self._tell_words(self._words.end())
        self._has_told = False
        text, self._text, self._words = self._text.text, Text(), Words(self._engine.model)
        await self._socket.send({"type": "transcription.done", "text": text, "usage": counts})

    def close(self) -> None:
        """Give up what is open."""
        if self._hearing:
            self._hearing.close()

    def _update(self, message: dict[str, Any]) -> None:
        """Take what the protocol does not have: another rate or delay, and words with times."""
        rate, delay_ms = message.get("rate", self._rate), message.get("delay_ms", self._delay_ms)
        if not isinstance(rate, int) or delay_ms not in DELAYS_MS:
            raise BadRequest(
                "rate and delay_ms must be numbers that are known", code="invalid_event"
            )
        Inlet(rate)  # raises
        include = message.get("include")
        self._has_words = isinstance(include, list) and "words" in include
        self._rate, self._delay_ms = rate, delay_ms

    def _begun(self) -> Hearing:
        if self._hearing is None:
            self._hearing = Hearing(
                self._engine,
                Inlet(self._rate),
                self._tell,
                self._socket.fail,
                delay_ms=self._delay_ms,
                confidence=self._has_words,
            )
        return self._hearing

    async def _tell(self, slots: list[Piece]) -> None:
        if delta := self._text.add(slots):
            await self._socket.send({"type": "transcription.delta", "delta": delta})
        await self._tell_words([word for slot in slots for word in self._words.push(slot)])

    async def _tell_words(self, words: list[Word]) -> None:
        if words and self._has_words:
            told = [
                {
                    "word": word.text if self._has_told or i else word.text.lstrip(),
                    "start": word.start_ms / 1000,
                    "end": word.end_ms / 1000,
                    "confidence": word.confidence,
                }
                for i, word in enumerate(words)
            ]
            self._has_told = True
            await self._socket.send({"type": "transcription.words", "words": told})
