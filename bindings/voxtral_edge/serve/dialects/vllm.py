"""The realtime protocol of vLLM: 16 kHz, transcription.delta and transcription.done.

A model that tells turns also has turn.delta, after the delta of each slot, as X2-Turn's server.

Audio begins an utterance, with or without a commit before it; a final commit ends it, and the next
may begin. While its last words are computed, empty deltas say that they are coming.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import Any

from ...audio import RATE
from ...errors import VoxtralError
from ...streaming.options import DELAYS_MS
from ...text.pieces import SLOT_MS, TURN_STATES, Piece
from ...text.words import Word, Words
from .. import errors
from ..errors import BadRequest
from ..intake.inlet import Inlet
from ..intake.upload import Gone
from ..sessions.engine import Engine
from ..sessions.resume import Kept
from .answers import Text
from .sockets import Dialect, Hearing, Socket, audio_of

ALIVE_S = 0.3  # clients take a longer silence after the end of the audio for the end of the text

SAVE_S = 10.0  # between two states that are kept in a folder, in case the server dies
N_MARKS = 4096
FIRST_TURN = 35  # its number among the tokens
TAKE_S = 20.0  # that a connection may take to give up its session


class Vllm(Dialect):
    """One connection."""

    def __init__(self, engine: Engine, socket: Socket) -> None:
        """Begin before the first utterance."""
        self._token: str | None = None  # of a client that wants to take up what breaks
        self._saving: asyncio.Task[None] | None = None
        self._marks: dict[int, tuple[int, int]] = {}  # by slots: letters and tokens of the text
        self._n_before = 0  # slots of the streams before this one
        self.closed = asyncio.Event()
        self._skip = 0  # letters that the client has had
        self._engine, self._socket = engine, socket
        self._hearing: Hearing | None = None
        self._text, self._words = Text(), Words(engine.model)
        self._is_named = self._has_words = self._has_told = False
        self._rate, self._delay_ms = RATE, engine.delay_ms
        self._pair = asyncio.Lock()  # a delta and the turn that belongs to it

    async def message(self, message: dict[str, Any]) -> None:
        """Take a message."""
        kind = message.get("type")
        if kind == "session.update":
            if not message.get("model"):
                raise BadRequest("session.update needs a model", code="invalid_event")
            self._update(message)
            self._is_named = True
            if message.get("resume") and self._token is None:
                if self._rate != RATE or self._has_words:
                    raise BadRequest("only 16 kHz without words can be taken up again")
                self._promise(secrets.token_urlsafe(24))
                await self._socket.send({"type": "session.resumable", "token": self._token})
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
        self._has_told, self._n_before, self._skip = False, 0, 0
        self._marks.clear()
        if self._token:
            await self._engine.store.drop(self._token)
        text, self._text, self._words = self._text.text, Text(), Words(self._engine.model)
        await self._socket.send({"type": "transcription.done", "text": text, "usage": counts})

    def close(self) -> None:
        """Give up what is open."""
        if self._saving:
            self._saving.cancel()
        if self._token and self._engine.resumable.get(self._token) is self:
            del self._engine.resumable[self._token]
        self.closed.set()
        if self._hearing:
            self._hearing.close()

    # ---- what breaks is taken up again ----

    async def take_up(self, token: str, n_letters: int) -> dict[str, Any] | None:
        """Go on with what is kept under a token; return what the client must know, None: nothing.

        `n_letters`: of the text, those that it has.
        """
        if before := self._engine.resumable.get(token):  # which does not know yet that it broke
            before.give_up()
            await asyncio.wait_for(before.closed.wait(), TAKE_S)
        kept = await self._engine.store.get(token)
        if kept is None:
            return None
        self._delay_ms, self._is_named = kept.delay_ms, True
        self._text.text, self._text.n_slots = kept.text, kept.n_slots
        self._text.n_tokens, self._n_before = kept.n_tokens, kept.n_slots
        self._hearing = self._opened(kept.state)
        self._hearing.inlet.n_samples = kept.n_samples
        self._skip = max(n_letters - len(kept.text), 0)
        self._promise(token)
        return {"samples": kept.n_samples, "text": kept.text[n_letters:]}

    def give_up(self) -> None:
        """Make way for a new connection of the same client."""
        self._socket.fail(Gone())

    def _promise(self, token: str) -> None:
        self._token = token
        self._engine.resumable[token] = self
        if self._engine.store.folder and self._saving is None:
            self._saving = asyncio.create_task(self._keep_often())

    async def _keep_often(self) -> None:
        while True:
            await asyncio.sleep(SAVE_S)
            await self.keep()

    async def keep(self) -> bool:
        """Keep the utterance under its token, if it has one."""
        hearing = self._hearing
        if self._token is None or hearing is None:
            return False
        n_samples = hearing.inlet.n_samples
        try:
            state, n_slots = await hearing.session.save()
        except VoxtralError:  # it is over, or has failed
            return False
        n_slots += self._n_before
        while self._text.n_slots < n_slots:
            await asyncio.sleep(0.005)  # until what came before the state is in the text
        n_letters, n_tokens = self._marks.get(n_slots, (len(self._text.text), self._text.n_tokens))
        text = self._text.text[:n_letters]
        await self._engine.store.put(
            self._token, Kept(n_samples, n_slots, n_tokens, self._delay_ms, text, state)
        )
        return True

    def _update(self, message: dict[str, Any]) -> None:
        """Take what the protocol does not have: another rate or delay, and words with times."""
        rate, delay_ms = message.get("rate", self._rate), message.get("delay_ms", self._delay_ms)
        is_number = isinstance(rate, int) and isinstance(delay_ms, int)
        if not is_number or delay_ms not in DELAYS_MS:
            raise BadRequest(
                "rate and delay_ms must be numbers that are known", code="invalid_event"
            )
        Inlet(rate)  # raises
        include = message.get("include")
        self._has_words = isinstance(include, list) and "words" in include
        self._rate, self._delay_ms = rate, delay_ms

    def _begun(self) -> Hearing:
        if self._hearing is None:
            self._hearing = self._opened()
        return self._hearing

    def _opened(self, saved: bytes | None = None) -> Hearing:
        return Hearing(
            self._engine,
            Inlet(self._rate),
            self._tell,
            self._socket.fail,
            saved=saved,
            delay_ms=self._delay_ms,
            confidence=self._has_words,
        )

    async def _tell(self, slots: list[Piece]) -> None:
        if self._engine.model.has_turns:  # a delta for each slot, and what its speaker does
            for slot in slots:
                async with self._pair:
                    await self._tell_text([slot], is_due=True)
                    await self._say(_turn(slot))
        else:
            await self._tell_text(slots)
        await self._tell_words([word for slot in slots for word in self._words.push(slot)])

    async def _tell_text(self, slots: list[Piece], *, is_due: bool = False) -> None:
        delta = self._text.add(slots)
        self._marks[self._text.n_slots] = len(self._text.text), self._text.n_tokens
        if len(self._marks) > N_MARKS:
            del self._marks[next(iter(self._marks))]
        n_had = min(self._skip, len(delta))
        self._skip -= n_had
        if delta[n_had:] or is_due:
            await self._say({"type": "transcription.delta", "delta": delta[n_had:]})

    async def _say(self, event: dict[str, Any]) -> None:
        """Send an event; a client that has left and may come back misses it."""
        with contextlib.suppress(Gone) if self._token else contextlib.nullcontext():
            await self._socket.send(event)

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
