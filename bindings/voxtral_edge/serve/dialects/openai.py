"""The realtime protocol of OpenAI, for transcription: 24 kHz, items, turns that the server ends.

Both shapes of it are spoken: the present one, and the one before, whose settings are flat. An item
is what is said between two commits. With turn detection a turn is committed when it is over, and
the stream goes on; a commit of the client ends the stream, so that all words are out at once, and
the next item begins with a new one.
"""

from __future__ import annotations

import secrets
from typing import Any

from ...streaming.options import DELAYS_MS, StreamOptions
from ...text.pieces import SPEAKING, TURN_END, Piece
from ...text.turns import Turns, turns_of
from .. import errors
from ..errors import BadRequest
from ..intake.inlet import Inlet
from ..intake.vocabulary import listed
from ..sessions.engine import Engine
from ..sessions.hearing import Hearing
from .answers import Text, logprobs
from .sockets import Dialect, Socket, audio_of

RATE = 24_000
LOGPROBS = "item.input_audio_transcription.logprobs"
TRANSCRIPTION = "conversation.item.input_audio_transcription"
FLAT_FORMATS = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}
ENCODINGS = {"audio/pcm": "pcm_s16le", "audio/pcmu": "pcm_mulaw", "audio/pcma": "pcm_alaw"}
DELAYS = {"minimal": 240, "low": 320, "medium": 480, "high": 960, "xhigh": 2400}
SERVER_VAD: dict[str, Any] = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
}
EAGERNESS = {"low": 1200, "medium": 800, "high": 400, "auto": 800}  # ms of silence


class OpenAi(Dialect):
    """One connection."""

    kept = (
        *("_is_flat", "_format", "_transcription", "_detection", "_include", "_id", "_turns"),
        *("_n_items", "_previous", "_text", "_logprobs", "_heard_ms", "_item_ms"),
    )

    def __init__(self, engine: Engine, socket: Socket) -> None:
        """Begin with the settings that a client finds."""
        super().__init__(engine, socket)
        self._is_flat = False
        self._format: dict[str, Any] = {"type": "audio/pcm", "rate": RATE}
        self._transcription: dict[str, Any] = {"model": engine.model.name}
        self._detection: dict[str, Any] | None = dict(SERVER_VAD)
        self._include: list[str] = []
        self._id = f"sess_{secrets.token_hex(12)}"
        self._n_items = 0
        self._previous: str | None = None
        self._text = Text()
        self._logprobs: list[dict[str, Any]] = []
        self._heard_ms = 0  # of audio before this stream
        self._item_ms = 0  # where the item begins in the stream

    @property
    def _item(self) -> str:
        """The name of the item that is being said."""
        return f"item_{self._id[5:]}{self._n_items:06}"

    def session(self) -> dict[str, Any]:
        """Return the settings in the shape that the client speaks."""
        known = {"id": self._id, "object": "realtime.transcription_session"}
        if self._is_flat:
            kinds = {kind: name for name, kind in FLAT_FORMATS.items()}
            return {
                **known,
                "input_audio_format": kinds[self._format["type"]],
                "input_audio_transcription": self._transcription,
                "turn_detection": self._detection,
                "include": self._include,
            }
        audio = {
            "format": self._format,
            "transcription": self._transcription,
            "turn_detection": self._detection,
            "noise_reduction": None,
        }
        return {
            **known,
            "type": "transcription",
            "audio": {"input": audio},
            "include": self._include,
        }

    async def message(self, message: dict[str, Any]) -> None:
        """Take a message."""
        kind = message.get("type")
        if kind in ("session.update", "transcription_session.update"):
            await self._update(message, is_flat=kind != "session.update")
        elif kind == "input_audio_buffer.append":
            await self._append(self._begun(), audio_of(message))
        elif kind == "input_audio_buffer.commit":
            if self._hearing is None or not self._hearing.inlet.n_samples:
                raise BadRequest(
                    "the buffer is empty: append audio before a commit",
                    code="input_audio_buffer_commit_empty",
                )
            await self.finish()
        elif kind == "input_audio_buffer.clear":
            self._drop()
            await self.keep()
            await self._send("input_audio_buffer.cleared")
        else:
            raise BadRequest(f"unknown event {kind!r}", param="type", code="unknown_event")

    async def complain(self, error: Exception) -> None:
        """Tell what was wrong."""
        await self._send("error", error={**errors.described(error), "event_id": None})

    async def finish(self) -> None:
        """Commit what was said, if anything was heard, and begin anew."""
        if self._hearing is None:
            return
        hearing, self._hearing = self._hearing, None
        try:
            await self._commit(hearing)
        finally:
            hearing.close()
            self._heard_ms += round(1000 * hearing.inlet.duration_s)
            self._item_ms, self._turns = 0, None

    # ---- settings ----

    async def _update(self, message: dict[str, Any], *, is_flat: bool) -> None:
        session = message.get("session")
        if not isinstance(session, dict):
            raise BadRequest("session.update needs a session", param="session")
        if self._hearing and self._hearing.inlet.n_samples:
            raise BadRequest(
                "settings cannot change while audio waits for its commit", param="session"
            )
        is_flat = is_flat or any(name.startswith("input_audio_") for name in session)
        given = _nested(session) if is_flat else session
        heard = _object(_object(given, "audio"), "input")
        form, transcription = self._format, self._transcription
        detection = self._detection
        if "format" in heard:
            form = _format(heard["format"])
        if heard.get("transcription") is not None:
            transcription = {**transcription, **_object(heard, "transcription")}
            _delay(transcription)
            _keywords(transcription)
        if "turn_detection" in heard:
            detection = _detection(heard["turn_detection"])
        include = given.get("include")
        if include is not None and not isinstance(include, list):
            raise BadRequest("include must be a list", param="session.include")
        self._is_flat, self._format, self._detection = is_flat, form, detection
        self._transcription = transcription
        self._include = self._include if include is None else include
        self._drop()
        name = "transcription_session.updated" if self._is_flat else "session.updated"
        await self._send(name, session=self.session())

    # ---- audio in ----

    def _begun(self) -> Hearing:
        if self._hearing is None:
            delay_ms = _delay(self._transcription) or self._engine.delay_ms
            self._turns = _turns(self._engine, self._detection, delay_ms)
            inlet = self._inlet(self._format["rate"], ENCODINGS[self._format["type"]])
            self._hearing = self._opened(inlet)
        return self._hearing

    def _options(self) -> StreamOptions:
        return {
            "delay_ms": _delay(self._transcription) or self._engine.delay_ms,
            "confidence": LOGPROBS in self._include,
            "words": _keywords(self._transcription),
        }

    def _drop(self) -> None:
        """Forget what was not committed."""
        if self._hearing:
            self._hearing.close()
            self._heard_ms += round(1000 * self._hearing.inlet.duration_s)
        self._hearing = self._turns = None
        self._text, self._logprobs, self._item_ms = Text(), [], 0

    # ---- text out ----

    async def _tell(self, slots: list[Piece]) -> None:
        """Tell deltas, and the turns among them in their places."""
        for slot in slots:
            turns = self._turns.push(slot) if self._turns else []
            for turn in turns:
                if turn.state == SPEAKING:
                    await self._event(
                        "input_audio_buffer.speech_started",
                        audio_start_ms=self._heard_ms + turn.start_ms,
                        item_id=self._item,
                    )
            await self._delta(slot)
            for turn in turns:
                if turn.state == TURN_END:
                    await self._event(
                        "input_audio_buffer.speech_stopped",
                        audio_end_ms=self._heard_ms + turn.end_ms,
                        item_id=self._item,
                    )
                    await self._commit(None, until_ms=slot.end_ms)

    async def _delta(self, slot: Piece) -> None:
        delta = self._text.add([slot])
        if not delta:
            return
        fields: dict[str, Any] = {"item_id": self._item, "content_index": 0, "delta": delta}
        if LOGPROBS in self._include:
            fields["logprobs"] = logprobs([slot])
            self._logprobs += fields["logprobs"]
        await self._event(f"{TRANSCRIPTION}.delta", **fields)

    async def _commit(self, hearing: Hearing | None, *, until_ms: int = 0) -> None:
        """Make an item of what was said; a stream that is over says its last words first.

        What answers a commit of the client's is no event of the audio, and may come among them; but
        where turns are looked for, those that are on their way come before it.
        """
        say = self._send if hearing else self._event
        if hearing and self._turns:
            await hearing.end()
        names = {"item_id": self._item, "previous_item_id": self._previous}
        await say("input_audio_buffer.committed", **names)
        item = {
            "id": self._item,
            "type": "message",
            "object": "realtime.item",
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_audio", "transcript": None}],
        }
        added = ["conversation.item.created"] if self._is_flat else ["conversation.item.added"]
        for name in added if self._is_flat else [*added, "conversation.item.done"]:
            await say(name, item=item, previous_item_id=self._previous)
        if hearing:
            if not self._turns:
                await hearing.end()
            until_ms = round(1000 * hearing.inlet.duration_s)
        fields: dict[str, Any] = {
            "item_id": self._item,
            "content_index": 0,
            "transcript": self._text.text,
            "usage": {"type": "duration", "seconds": max(until_ms - self._item_ms, 0) / 1000},
        }
        if LOGPROBS in self._include:
            fields["logprobs"] = self._logprobs
        self._previous, self._item_ms = self._item, until_ms
        self._n_items += 1
        self._text, self._logprobs = Text(), []
        await self._event(f"{TRANSCRIPTION}.completed", **fields)

    async def _send(self, kind: str, **fields: Any) -> None:
        await self._socket.send({"type": kind, "event_id": _event_id(), **fields})

    async def _event(self, kind: str, **fields: Any) -> None:
        await self._socket.tell({"type": kind, "event_id": _event_id(), **fields})


def _event_id() -> str:
    return f"event_{secrets.token_hex(10)}"


def _object(fields: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an object of settings, empty if it is not there."""
    value = fields.get(name)
    if value is not None and not isinstance(value, dict):
        raise BadRequest(f"{name} must be an object", param=f"session.{name}")
    return value or {}


def _nested(session: dict[str, Any]) -> dict[str, Any]:
    """Return flat settings in the present shape."""
    heard: dict[str, Any] = {}
    if "input_audio_format" in session:
        name = session["input_audio_format"]
        if not isinstance(name, str) or name not in FLAT_FORMATS:
            raise BadRequest(
                f"{name!r} is not one of {', '.join(FLAT_FORMATS)}", param="input_audio_format"
            )
        heard["format"] = {"type": FLAT_FORMATS[name]}
    if "input_audio_transcription" in session:
        heard["transcription"] = session["input_audio_transcription"]
    if "turn_detection" in session:
        heard["turn_detection"] = session["turn_detection"]
    return {"audio": {"input": heard}, "include": session.get("include")}


def _format(given: Any) -> dict[str, Any]:
    kind = given.get("type") if isinstance(given, dict) else None
    if not isinstance(kind, str) or kind not in ENCODINGS:
        raise BadRequest(
            f"{kind!r} is not one of {', '.join(ENCODINGS)}", param="session.audio.input.format"
        )
    if kind != "audio/pcm":
        return {"type": kind, "rate": 8000}
    rate = given.get("rate", RATE)
    if not isinstance(rate, int):
        raise BadRequest("rate must be a number", param="session.audio.input.format.rate")
    Inlet(rate)  # raises
    return {"type": kind, "rate": rate}


def _delay(transcription: dict[str, Any]) -> int | None:
    """Return the delay that is asked for, by its name or in ms."""
    delay = transcription.get("delay")
    if delay is None:
        return None
    ms = DELAYS.get(delay) if isinstance(delay, str) else delay
    if not isinstance(ms, int) or ms not in DELAYS_MS:
        raise BadRequest(
            f"{delay!r} is not one of {', '.join(DELAYS)}",
            param="session.audio.input.transcription.delay",
        )
    return ms


def _keywords(transcription: dict[str, Any]) -> list[str]:
    return listed(transcription.get("keywords"), "session.audio.input.transcription.keywords")


def _detection(given: Any) -> dict[str, Any] | None:
    """Return complete settings of turn detection; raise BadRequest."""
    if given is None:
        return None
    param = "session.audio.input.turn_detection"
    kind = given.get("type", "server_vad") if isinstance(given, dict) else None
    if kind == "semantic_vad":
        eagerness = given.get("eagerness", "auto")
        if not isinstance(eagerness, str) or eagerness not in EAGERNESS:
            raise BadRequest(f"{eagerness!r} is not one of {', '.join(EAGERNESS)}", param=param)
        return {"type": kind, "eagerness": eagerness}
    if kind != "server_vad":
        raise BadRequest("turn_detection is server_vad, semantic_vad or null", param=param)
    settings = {name: given.get(name) or default for name, default in SERVER_VAD.items()}
    if not isinstance(settings["threshold"], (int, float)) or not 0 <= settings["threshold"] <= 1:
        raise BadRequest("threshold must be 0 to 1", param=f"{param}.threshold")
    for name in ("prefix_padding_ms", "silence_duration_ms"):
        if not isinstance(settings[name], int) or not 0 <= settings[name] <= 60_000:
            raise BadRequest(f"{name} must be 0 to 60000", param=f"{param}.{name}")
    return settings


def _turns(engine: Engine, detection: dict[str, Any] | None, delay_ms: int) -> Turns | None:
    if detection is None:
        return None
    if detection["type"] == "semantic_vad":
        silence_ms, prefix_ms, threshold = EAGERNESS[detection["eagerness"]], 300, 0.5
    else:
        silence_ms, prefix_ms = detection["silence_duration_ms"], detection["prefix_padding_ms"]
        threshold = detection["threshold"]
    return turns_of(
        engine.model,
        delay_ms=delay_ms,
        silence_ms=silence_ms,
        prefix_ms=prefix_ms,
        threshold=threshold,
    )
