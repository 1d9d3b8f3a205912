"""Text in the formats that other programs read: txt, json, jsonl, srt, vtt and tsv.

A format is fed with what is known - slots, words, segments, the end - as soon as it is known, and
returns the text that follows from it, so that live output and files are written by the same lines.
Only json, which is one object, keeps all until the end. Times are approximate in every format.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .pieces import SPEAKING, Piece, Turn
from .subtitles import Cue, Segment, Segments, cue
from .words import Tokens, Word, Words


@dataclass(frozen=True)
class Origin:
    """What a text was made of and with: `file` is None if it has no name."""

    file: str | None
    model: str
    delay_ms: int


class Format:
    """The base of all formats: nothing follows from anything."""

    def __init__(self, origin: Origin) -> None:
        """Begin a text."""
        self.origin = origin

    def begin(self) -> str:
        """Return what comes before all else."""
        return ""

    def slot(self, slot: Piece) -> str:
        """Return what follows from a slot, with or without text."""
        return ""

    def word(self, word: Word) -> str:
        """Return what follows from a complete word."""
        return ""

    def segment(self, segment: Segment) -> str:
        """Return what follows from a complete segment."""
        return ""

    def turn(self, turn: Turn) -> str:
        """Return what follows from what the slots so far say of turns."""
        return ""

    def end(self, duration_s: float) -> str:
        """Return the rest; there are no more slots."""
        return ""


class Txt(Format):
    """The text in a line, or one for each turn that is told, without the leading space."""

    def __init__(self, origin: Origin) -> None:
        """Begin a text."""
        super().__init__(origin)
        self._said = self._has_lines = False

    def slot(self, slot: Piece) -> str:
        """Return the text of the slot."""
        text = slot.text if self._said else slot.text.lstrip()
        self._said = self._said or bool(text)
        return text

    def turn(self, turn: Turn) -> str:
        """Return the end of the line where somebody has finished."""
        if turn.state == SPEAKING or not self._said:
            return ""
        self._said, self._has_lines = False, True
        return "\n"

    def end(self, duration_s: float) -> str:
        """Return the end of the line."""
        return "\n" if self._said or not self._has_lines else ""


class Json(Format):
    """One object in one line; docs/transcript.schema.json describes it."""

    def __init__(self, origin: Origin) -> None:
        """Begin an object."""
        super().__init__(origin)
        self._slots: list[Piece] = []
        self._words: list[Word] = []
        self._segments: list[Segment] = []

    def slot(self, slot: Piece) -> str:
        """Keep the slot."""
        self._slots.append(slot)
        return ""

    def word(self, word: Word) -> str:
        """Keep the word."""
        self._words.append(word)
        return ""

    def segment(self, segment: Segment) -> str:
        """Keep the segment."""
        self._segments.append(segment)
        return ""

    def end(self, duration_s: float) -> str:
        """Return the object."""
        file = {} if self.origin.file is None else {"file": self.origin.file}
        return _line(
            {
                **file,
                "text": "".join(slot.text for slot in self._slots).lstrip(),
                "duration_s": duration_s,
                "model": self.origin.model,
                "delay_ms": self.origin.delay_ms,
                "segments": [asdict(segment) for segment in self._segments],
                "words": [_fields(word) for word in self._words],
                "pieces": [_fields(slot) for slot in self._slots if slot.text],
                "tokens": [slot.token for slot in self._slots],
            }
        )


class Jsonl(Format):
    """One object per word, as soon as it is complete."""

    def word(self, word: Word) -> str:
        """Return the word."""
        file = {} if self.origin.file is None else {"file": self.origin.file}
        return _line({**file, **_fields(word)})


class Tsv(Format):
    """A header, then start, end and text of each segment, in milliseconds, between tabs."""

    def begin(self) -> str:
        """Return the names of the columns."""
        return "start\tend\ttext\n"

    def segment(self, segment: Segment) -> str:
        """Return the row of the segment; its text has no tabs."""
        return f"{segment.start_ms}\t{segment.end_ms}\t{segment.text}\n"


class _Subtitles(Format):
    """Segments as subtitles, each one when the next is known, up to which it may stay."""

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin)
        self._waiting: Segment | None = None
        self._n = 0

    def segment(self, segment: Segment) -> str:
        waiting, self._waiting = self._waiting, segment
        return self._shown(waiting, segment.start_ms)

    def end(self, duration_s: float) -> str:
        waiting, self._waiting = self._waiting, None
        return self._shown(waiting, None)

    def _shown(self, segment: Segment | None, next_start_ms: int | None) -> str:
        if segment is None:
            return ""
        self._n += 1
        return self._block(self._n, cue(segment, next_start_ms))

    def _block(self, n: int, shown: Cue) -> str:
        raise NotImplementedError


class Srt(_Subtitles):
    """SubRip subtitles."""

    def _block(self, n: int, shown: Cue) -> str:
        times = f"{_clock(shown.start_ms, ',')} --> {_clock(shown.end_ms, ',')}"
        return "\n".join([str(n), times, *shown.lines]) + "\n\n"


class Vtt(_Subtitles):
    """WebVTT subtitles."""

    def begin(self) -> str:
        """Return the signature of the format."""
        return "WEBVTT\n\n"

    def _block(self, n: int, shown: Cue) -> str:
        times = f"{_clock(shown.start_ms, '.')} --> {_clock(shown.end_ms, '.')}"
        return "\n".join([times, *map(_escaped, shown.lines)]) + "\n\n"


FORMATS: dict[str, Callable[[Origin], Format]] = {
    "txt": Txt,
    "json": Json,
    "jsonl": Jsonl,
    "srt": Srt,
    "vtt": Vtt,
    "tsv": Tsv,
}


@dataclass
class Feed:
    """Feeds formats with slots and all that follows from them; each call returns a text for each.

    Texts stand in the order of `formats`.
    """

    tokens: Tokens
    formats: Sequence[Format]
    _words: Words = field(init=False)
    _segments: Segments = field(init=False)

    def __post_init__(self) -> None:
        """Begin before the first slot."""
        self._words, self._segments = Words(self.tokens), Segments()

    def begin(self) -> list[str]:
        """Return what comes before all else."""
        return [format.begin() for format in self.formats]

    def slot(self, slot: Piece) -> list[str]:
        """Take the next slot."""
        words = self._words.push(slot)
        segments = [segment for word in words for segment in self._segments.push(word)]
        return [format.slot(slot) + _told(format, words, segments) for format in self.formats]

    def turn(self, turn: Turn) -> list[str]:
        """Take what the slots so far say of turns."""
        return [format.turn(turn) for format in self.formats]

    def end(self, duration_s: float) -> list[str]:
        """Take the end of the slots and the seconds of audio."""
        words = self._words.end()
        segments = [segment for word in words for segment in self._segments.push(word)]
        segments += self._segments.end()
        return [_told(format, words, segments) + format.end(duration_s) for format in self.formats]


def _told(format: Format, words: list[Word], segments: list[Segment]) -> str:
    return "".join([*map(format.word, words), *map(format.segment, segments)])


def _fields(part: Word | Piece) -> dict[str, Any]:
    """Return the fields of a word or piece; of those that must be asked for, what is there."""
    fields = asdict(part)
    for name in ("confidence", "alternatives", "turn", "turn_confidences"):
        fields.pop(name, None)
    if part.confidence is not None:
        fields["confidence"] = _rounded(part.confidence)
    if part.alternatives:
        fields["alternatives"] = [
            {"text": other.text, "confidence": _rounded(other.confidence)}
            for other in part.alternatives
        ]
    return fields


def _rounded(share: float) -> float:
    return float(f"{share:.4g}")


def _line(fields: dict[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False) + "\n"


def _clock(ms: int, point: str) -> str:
    """Return a time as hours:minutes:seconds and milliseconds."""
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{point}{ms % 1000:03}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
