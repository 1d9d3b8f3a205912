"""The text of a file in the formats of the HTTP interface, made of slots as they come.

Each answer takes slots and returns what can be sent already; end() returns the rest.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable
from typing import Any

from ...text import formats
from ...text.formats import Feed, Format, Origin
from ...text.pieces import Piece
from ...text.subtitles import Segment, Segments
from ...text.words import Tokens, Word, Words

EVENTS = "text/event-stream"


class Text:
    """The text of one run of audio as it grows, without the leading space.

    `n_slots` and `n_tokens` count slots and those that have text.
    """

    def __init__(self) -> None:
        """Begin before the first slot."""
        self.text = ""
        self.n_slots = self.n_tokens = 0

    def add(self, slots: list[Piece]) -> str:
        """Take slots; return what they add to the text."""
        said = "".join(slot.text for slot in slots)
        said = said if self.text else said.lstrip()
        self.text += said
        self.n_slots += len(slots)
        self.n_tokens += sum(bool(slot.text) for slot in slots)
        return said

    def usage(self) -> dict[str, Any]:
        """Return the tokens that were heard and said."""
        return {
            "type": "tokens",
            "input_tokens": self.n_slots,
            "output_tokens": self.n_tokens,
            "total_tokens": self.n_slots + self.n_tokens,
            "input_token_details": {"audio_tokens": self.n_slots, "text_tokens": 0},
        }

    def mistral_usage(self, duration_s: float) -> dict[str, Any]:
        """Return the same under Mistral's names, and the seconds that were heard."""
        return {
            "prompt_tokens": self.n_slots,
            "completion_tokens": self.n_tokens,
            "total_tokens": self.n_slots + self.n_tokens,
            "prompt_audio_seconds": round(duration_s),
        }


def logprobs(slots: list[Piece]) -> list[dict[str, Any]]:
    """Return the tokens that have text, and how likely they were."""
    return [
        {
            "token": slot.text,
            "bytes": list(slot.text.encode()),
            "logprob": math.log(slot.confidence) if slot.confidence else 0.0,
        }
        for slot in slots
        if slot.text
    ]


class Answer:
    """The base of all answers; `media_type` goes with them, and `is_live` ones as they grow."""

    media_type = "application/json"
    is_live = False

    def __init__(self, tokens: Tokens, *, has_logprobs: bool = False) -> None:
        """Begin before the first slot."""
        self.text, self.has_logprobs = Text(), has_logprobs
        self._logprobs: list[dict[str, Any]] = []

    def add(self, slots: list[Piece]) -> str:
        """Take slots; return what can be sent."""
        self.text.add(slots)
        if self.has_logprobs:
            self._logprobs += logprobs(slots)
        return ""

    def end(self, duration_s: float, warning: str | None = None) -> str:
        """Return the rest; `warning`: that the file breaks off."""
        raise NotImplementedError


class Json(Answer):
    """The text as one object."""

    def end(self, duration_s: float, warning: str | None = None) -> str:
        """Return the object."""
        answer: dict[str, Any] = {"text": self.text.text}
        if self.has_logprobs:
            answer["logprobs"] = self._logprobs
        answer["usage"] = {"type": "duration", "seconds": duration_s}
        return json.dumps(answer | _warned(warning))


class Plain(Answer):
    """The text in one line."""

    media_type = "text/plain; charset=utf-8"

    def add(self, slots: list[Piece]) -> str:
        """Return the new text."""
        return self.text.add(slots)

    def end(self, duration_s: float, warning: str | None = None) -> str:
        """Return the end of the line."""
        return "\n"


class _Subtitles(Answer):
    """Subtitles, each as soon as it is known."""

    media_type = "text/plain; charset=utf-8"
    make: Callable[[Origin], Format]

    def __init__(self, tokens: Tokens, *, has_logprobs: bool = False) -> None:
        super().__init__(tokens)
        self._feed = Feed(tokens, [type(self).make(Origin(None, "", 0))])
        self._head = "".join(self._feed.begin())

    def add(self, slots: list[Piece]) -> str:
        head, self._head = self._head, ""
        return head + "".join(text for slot in slots for text in self._feed.slot(slot))

    def end(self, duration_s: float, warning: str | None = None) -> str:
        return self._head + "".join(self._feed.end(duration_s))


class Srt(_Subtitles):
    """SubRip subtitles."""

    make = formats.Srt


class Vtt(_Subtitles):
    """WebVTT subtitles."""

    make = formats.Vtt


class Verbose(Answer):
    """One object with segments and words."""

    def __init__(
        self, tokens: Tokens, granularities: list[str], language: str, *, has_logprobs: bool = False
    ) -> None:
        """Begin; `granularities`: of "segment" and "word", those that are wanted."""
        super().__init__(tokens, has_logprobs=has_logprobs)
        self._language, self._granularities = language, granularities
        self._maker, self._cutter = Words(tokens), Segments()
        self._slots: list[Piece] = []  # with text
        self._words: list[Word] = []
        self._segments: list[Segment] = []

    def add(self, slots: list[Piece]) -> str:
        """Take slots; nothing can be sent yet."""
        self._slots += [slot for slot in slots if slot.text]
        for slot in slots:
            self._take(self._maker.push(slot))
        return super().add(slots)

    def end(self, duration_s: float, warning: str | None = None) -> str:
        """Return the object."""
        self._take(self._maker.end())
        self._segments += self._cutter.end()
        answer: dict[str, Any] = {
            "task": "transcribe",
            "language": self._language or "unknown",
            "duration": duration_s,
            "text": self.text.text,
        }
        if "segment" in self._granularities:
            answer["segments"] = self._described()
        if "word" in self._granularities:
            answer["words"] = [
                {
                    "word": word.text.strip(),
                    "start": word.start_ms / 1000,
                    "end": word.end_ms / 1000,
                    **({} if word.confidence is None else {"probability": word.confidence}),
                }
                for word in self._words
            ]
        if self.has_logprobs:
            answer["logprobs"] = self._logprobs
        answer["usage"] = {"type": "duration", "seconds": duration_s}
        return json.dumps(answer | _warned(warning))

    def _take(self, words: list[Word]) -> None:
        self._words += words
        for word in words:
            self._segments += self._cutter.push(word)

    def _described(self) -> list[dict[str, Any]]:
        """Return the segments; a token belongs to the segment whose text it ends in."""
        described, at = [], 0
        for i, segment in enumerate(self._segments):
            n, tokens = 0, list[Piece]()
            length = len("".join(segment.text.split()))
            while at < len(self._slots) and (n < length or i == len(self._segments) - 1):
                n += len("".join(self._slots[at].text.split()))
                tokens.append(self._slots[at])
                at += 1
            known = [math.log(slot.confidence) for slot in tokens if slot.confidence]
            encoded = segment.text.encode()
            described.append(
                {
                    "id": i,
                    "seek": segment.start_ms // 10,
                    "start": segment.start_ms / 1000,
                    "end": segment.end_ms / 1000,
                    "text": segment.text,
                    "tokens": [slot.token for slot in tokens],
                    "temperature": 0.0,
                    "avg_logprob": sum(known) / len(known) if known else 0.0,
                    "compression_ratio": len(encoded) / len(zlib.compress(encoded)),
                    "no_speech_prob": 0.0,
                }
            )
        return described


class Events(Answer):
    """Server-sent events: text as it is understood."""

    media_type = EVENTS
    is_live = True

    def add(self, slots: list[Piece]) -> str:
        """Return an event for new text."""
        delta = self.text.add(slots)
        if not delta:
            return ""
        known = logprobs(slots) if self.has_logprobs else None
        self._logprobs += known or []
        return event({"type": "transcript.text.delta", "delta": delta, "logprobs": known})

    def end(self, duration_s: float, warning: str | None = None) -> str:
        """Return the last event."""
        done: dict[str, Any] = {"type": "transcript.text.done", "text": self.text.text}
        done["usage"] = self.text.usage()
        if self.has_logprobs:
            done["logprobs"] = self._logprobs
        return event(done | _warned(warning)) + "data: [DONE]\n\n"


class Mistral(Answer):
    """What Mistral's client takes: one object, or events of which the last one is like it."""

    def __init__(
        self, tokens: Tokens, model: str, language: str, granularities: list[str], *, is_live: bool
    ) -> None:
        """Begin; `model` and `language` are said as they were asked for.

        `granularities`: "word" or "segment", the parts that are told with their times.
        """
        super().__init__(tokens)
        self.is_live = is_live
        self.media_type = EVENTS if is_live else Answer.media_type
        self._asked = {"model": model, "language": language or None}
        self._has_words, self._has_parts = "word" in granularities, bool(granularities)
        self._maker, self._cutter = Words(tokens), Segments()
        self._parts: list[dict[str, Any]] = []
        self._head = (
            self._event("transcription.language", {"audio_language": language}) if language else ""
        )

    def add(self, slots: list[Piece]) -> str:
        """Return events for new text and for the parts that are over."""
        events, self._head = self._head, ""
        if said := self.text.add(slots):
            events += self._event("transcription.text.delta", {"text": said})
        return events + self._told([word for slot in slots for word in self._maker.push(slot)])

    def end(self, duration_s: float, warning: str | None = None) -> str:
        """Return the object, or the last events."""
        events = self._head + self._told(self._maker.end(), is_last=True)
        usage = self.text.mistral_usage(duration_s)
        answer = {**self._asked, "text": self.text.text, "usage": usage, **_warned(warning)}
        if self._has_parts:
            answer["segments"] = self._parts
        if not self.is_live:
            return json.dumps(answer)
        return events + self._event("transcription.done", answer)

    def _told(self, words: list[Word], *, is_last: bool = False) -> str:
        """Keep the parts that these words complete; return their events."""
        parts: list[Word | Segment] = []
        for word in words:
            parts += [word] if self._has_words else self._cutter.push(word)
        parts += self._cutter.end() if is_last else []
        self._parts += [mistral_part(part) for part in parts]
        if not self._has_parts:
            return ""
        return "".join(self._event("transcription.segment", mistral_times(part)) for part in parts)

    def _event(self, kind: str, fields: dict[str, Any]) -> str:
        data = json.dumps({"type": kind, **fields})
        return f"event: {kind}\ndata: {data}\n\n" if self.is_live else ""


def mistral_times(part: Word | Segment, after_s: float = 0.0) -> dict[str, Any]:
    """Return a part as Mistral tells it, of audio that began after so many seconds."""
    start_s, end_s = after_s + part.start_ms / 1000, after_s + part.end_ms / 1000
    return {"text": part.text, "start": start_s, "end": end_s}


def mistral_part(part: Word | Segment, after_s: float = 0.0) -> dict[str, Any]:
    """Return it as the list of all of them has it."""
    return {"type": "transcription_segment", **mistral_times(part, after_s)}


def _warned(warning: str | None) -> dict[str, Any]:
    return {} if warning is None else {"warning": warning}


def event(fields: dict[str, Any]) -> str:
    """Return a server-sent event of the fields that are not None."""
    return f"data: {json.dumps({k: v for k, v in fields.items() if v is not None})}\n\n"
