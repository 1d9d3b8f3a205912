"""Transcript: all that was understood of a piece of audio, and the same in other formats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .formats import Format, Json, Origin, Srt, Tsv, Vtt
from .pieces import SLOT_MS, Piece
from .subtitles import Segment, Segments
from .words import Tokens, Word
from .words import words as words_of


@dataclass(frozen=True, slots=True)
class Transcript:
    """All that was understood of a piece of audio.

    `text`: the texts of `pieces` joined, without the leading space. `words` and `segments` (what
    fits a subtitle) have approximate times; they are empty if they were not asked for. `pieces`:
    the slots with text. `tokens`: the id of every slot, pads and markers included. `duration_s`:
    seconds of audio. `model`: the model's name. `delay_ms`: the delay that was used.
    """

    text: str
    words: tuple[Word, ...]
    segments: tuple[Segment, ...]
    pieces: tuple[Piece, ...]
    tokens: tuple[int, ...]
    duration_s: float
    model: str
    delay_ms: int

    @classmethod
    def of(
        cls,
        slots: list[Piece],
        tokens: Tokens,
        *,
        duration_s: float,
        model: str,
        delay_ms: int,
        word_timestamps: bool = True,
    ) -> Transcript:
        """Return the transcript of all slots of a stream; `tokens`: its model."""
        words = tuple(words_of(slots, tokens)) if word_timestamps else ()
        maker = Segments()
        segments = [segment for word in words for segment in maker.push(word)]
        pieces = tuple(slot for slot in slots if slot.text)
        return cls(
            "".join(piece.text for piece in pieces).lstrip(),
            words,
            (*segments, *maker.end()),
            pieces,
            tuple(slot.token for slot in slots),
            duration_s,
            model,
            delay_ms,
        )

    def to_json(self) -> str:
        """Return one JSON object in one line; docs/transcript.schema.json describes it."""
        return self._in(Json)

    def to_srt(self) -> str:
        """Return SubRip subtitles."""
        return self._in(Srt)

    def to_tsv(self) -> str:
        """Return rows of start, end (both in ms) and text, one per segment."""
        return self._in(Tsv)

    def to_vtt(self) -> str:
        """Return WebVTT subtitles."""
        return self._in(Vtt)

    def slots(self) -> list[Piece]:
        """Return a piece for every slot, those without text included, as Stream.slots() does."""
        said = {piece.start_ms: piece for piece in self.pieces}
        starts = range(0, SLOT_MS * len(self.tokens), SLOT_MS)
        return [
            said.get(start_ms) or Piece("", token, start_ms, start_ms + SLOT_MS)
            for start_ms, token in zip(starts, self.tokens, strict=True)
        ]

    def _in(self, kind: Callable[[Origin], Format]) -> str:
        format = kind(Origin(None, self.model, self.delay_ms))
        parts = [format.begin(), *map(format.slot, self.slots()), *map(format.word, self.words)]
        parts += [*map(format.segment, self.segments), format.end(self.duration_s)]
        return "".join(parts)
