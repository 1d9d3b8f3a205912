"""The realtime protocol of vLLM: 16 kHz, transcription.delta and transcription.done.

A model that tells turns also has turn.delta, after the delta of each slot, as X2-Turn's server.

Audio begins an utterance, with or without a commit before it; a final commit ends it, and the next
may begin. While its last words are computed, empty deltas say that they are coming.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ...audio import RATE
from ...streaming.options import DELAYS_MS, StreamOptions
from ...text.pieces import SLOT_MS, TURN_STATES, Piece
from ...text.words import Word, Words
from .. import errors
from ..errors import BadRequest
from ..intake.inlet import Inlet
from ..intake.vocabulary import listed
from ..sessions.engine import Engine
from ..sessions.hearing import Hearing
from .answers import Text
from .sockets import Dialect, Socket, audio_of

ALIVE_S = 0.3  # clients take a longer silence after the end of the audio for the end of the text
FIRST_TURN = 35  # its number among the tokens


class Vllm(Dialect):
    """One connection."""

    kept = (
        *("_text", "_words", "_is_named", "_has_words", "_has_told", "_rate", "_delay_ms"),
        "_listed",
    )

    def __init__(self, engine: Engine, socket: Socket) -> None:
        """Begin before the first utterance."""
        super().__init__(engine, socket)
        self._text, self._words = Text(), Words(engine.model)
        self._is_named = self._has_words = self._has_told = False
        self._rate, self._delay_ms = RATE, engine.delay_ms
        self._listed: list[str] = []
        self._pair = asyncio.Lock()  # a delta and the turn that belongs to it

    async def message(self, message: dict[str, Any]) -> None:
        """Take a message."""
        kind = message.get("type")
        if kind == "session.update":
            if not message.get("model"):
                raise BadRequest("session.update needs a model", code="invalid_event")
            self._update(message)
            self._is_named = True
        elif kind == "input_audio_buffer.append":
            await self._append(self._begun(), audio_of(message))
        elif kind == "input_audio_buffer.commit":
            if not self._is_named:
                raise BadRequest("send session.update first", code="model_not_validated")
            self._begun()
            if message.get("final"):
                await self.finish()
        else:
            raise BadRequest(f"unknown event {kind!r}", code="unknown_event")

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
                async with self._pair:
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
        await self._socket.tell({"type": "transcription.done", "text": text, "usage": counts})

    def _update(self, message: dict[str, Any]) -> None:
        """Take what the protocol does not have: another rate or delay, and words with times."""
        rate, delay_ms = message.get("rate", self._rate), message.get("delay_ms", self._delay_ms)
        is_number = isinstance(rate, int) and isinstance(delay_ms, int)
        if not is_number or delay_ms not in DELAYS_MS:
            raise BadRequest(
                "rate and delay_ms must be numbers that are known", code="invalid_event"
            )
        Inlet(rate)  # raises
        if "vocabulary" in message:
            self._listed = listed(message["vocabulary"], "vocabulary")
        include = message.get("include")
        self._has_words = isinstance(include, list) and "words" in include
        self._rate, self._delay_ms = rate, delay_ms

    def _begun(self) -> Hearing:
        if self._hearing is None:
            self._hearing = self._opened(self._inlet(self._rate))
        return self._hearing

    def _options(self) -> StreamOptions:
        return {
            "delay_ms": self._delay_ms,
            "confidence": self._has_words,
            "words": self._listed,
        }

    async def _tell(self, slots: list[Piece]) -> None:
        """Tell a delta for each slot that has one, or for all, with what its speaker does."""
        has_turns = self._engine.model.has_turns
        for slot in slots:
            delta = self._text.add([slot])
            if delta or has_turns:
                async with self._pair:
                    await self._socket.tell({"type": "transcription.delta", "delta": delta})
                    if has_turns:
                        await self._socket.tell(_turn(slot))
            if words := self._words.push(slot):
                await self._tell_words(words)

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
            await self._socket.tell({"type": "transcription.words", "words": told})


def _turn(slot: Piece) -> dict[str, Any]:
    """Return the event that X2-Turn's server sends for a slot; its ids are rows of the head."""
    assert slot.turn is not None
    return {
        "type": "turn.delta",
        "turn_class": slot.turn,
        "turn_id": FIRST_TURN + TURN_STATES.index(slot.turn),
        "probs": list(slot.turn_confidences),
        "frame_index": slot.start_ms // SLOT_MS,
    }
