"""Words become segments, and segments become subtitles, by the usual rules of subtitling.

A segment is what fits a subtitle: at most two lines of 42 columns and seven seconds. It ends at a
pause, at the end of a sentence, or, when it is full, after punctuation or at the longest pause,
unless that is near its begin. A subtitle shows its segment and stays long enough to be read, as far
as the next one leaves time. Columns are those of a terminal, where Chinese or Japanese characters
take two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from rich.cells import cell_len, chop_cells

from .words import Word

LINE_COLUMNS, MAX_LINES = 42, 2
MAX_MS = 7000  # the longest segment
MIN_MS = 1000  # the shortest subtitle, if there is time
READ_MS = 1000 / 17  # reading time of a column: 17 characters per second
GAP_MS = 80  # between subtitles, so that the eye sees the change: two frames of film
PAUSE_MS = 1000  # silence that ends a segment
BREATH_MS = 300  # silence that ends it after a full stop
SENTENCE, CLAUSE = ".!?\u2026\u3002\uff01\uff1f", ",;:\u2014\u3001\uff0c\uff1b\uff1a"
QUOTES = "\"')]\u00bb\u201d\u2019"  # they may follow a full stop


@dataclass(frozen=True, slots=True)
class Segment:
    """Words that belong together, with approximate times from the first sample on."""

    text: str
    start_ms: int
    end_ms: int


class Cue(NamedTuple):
    """A subtitle: what is shown, from when to when."""

    lines: list[str]
    start_ms: int
    end_ms: int


class Segments:
    """Makes segments of words that come one by one."""

    def __init__(self) -> None:
        """Begin before the first word."""
        self._words: list[Word] = []

    def push(self, word: Word) -> list[Segment]:
        """Take the next word; return the segments that it completes."""
        done = []
        if self._words and self._is_over(word):
            done += self.end()
        self._words.append(word)
        while len(self._words) > 1 and not _fits(self._words):
            n = _cut(self._words)
            done.append(_segment(self._words[:n]))
            del self._words[:n]
        return done

    def end(self) -> list[Segment]:
        """Return the last segment; there are no more words."""
        words, self._words = self._words, []
        return [_segment(words)] if words else []

    def _is_over(self, word: Word) -> bool:
        """Whether the words before this one are a segment."""
        pause_ms = word.start_ms - self._words[-1].end_ms
        if pause_ms >= PAUSE_MS:
            return True
        if not _ends(self._words[-1], SENTENCE):
            return False
        # Short sentences share a subtitle, and abbreviations end none.
        return pause_ms >= BREATH_MS or cell_len(_text(self._words)) > LINE_COLUMNS // 2


def lines(text: str) -> list[str]:
    """Return text in as few lines as can hold it: if two, of like length, cut after punctuation."""
    parts = [part for word in text.split() for part in chop_cells(word, LINE_COLUMNS)]
    if cell_len(" ".join(parts)) <= LINE_COLUMNS:
        return [" ".join(parts)] if parts else []
    pairs = [(" ".join(parts[:i]), " ".join(parts[i:])) for i in range(1, len(parts))]
    fitting = [pair for pair in pairs if max(map(cell_len, pair)) <= LINE_COLUMNS]
    if fitting:
        return list(min(fitting, key=lambda pair: _imbalance(*pair)))
    filled = [parts[0]]
    for part in parts[1:]:
        longer = f"{filled[-1]} {part}"
        if cell_len(longer) <= LINE_COLUMNS:
            filled[-1] = longer
        else:
            filled.append(part)
    return filled


def cue(segment: Segment, next_start_ms: int | None) -> Cue:
    """Return the subtitle of a segment; the next one starts at `next_start_ms`, None: never."""
    needed_ms = max(MIN_MS, round(cell_len(segment.text) * READ_MS))
    end_ms = max(segment.end_ms, segment.start_ms + needed_ms)
    if next_start_ms is not None:
        end_ms = min(end_ms, next_start_ms - GAP_MS)
    return Cue(lines(segment.text), segment.start_ms, max(end_ms, segment.start_ms + 1))


def _imbalance(first: str, second: str) -> int:
    bonus = LINE_COLUMNS // 3 if first[-1] in SENTENCE + CLAUSE else 0
    return abs(cell_len(first) - cell_len(second)) - bonus


def _text(words: list[Word]) -> str:
    return "".join(word.text for word in words).strip()


def _segment(words: list[Word]) -> Segment:
    text = " ".join(_text(words).split())
    return Segment(text, words[0].start_ms, words[-1].end_ms)


def _fits(words: list[Word]) -> bool:
    is_short = words[-1].end_ms - words[0].start_ms <= MAX_MS
    return is_short and len(lines(_text(words))) <= MAX_LINES


def _ends(word: Word, marks: str) -> bool:
    return word.text.rstrip(QUOTES).endswith(tuple(marks))


def _cut(words: list[Word]) -> int:
    """Return how many of the words, all but the last of which fit, make the next segment."""
    late = range(len(words) - 1, len(words) // 3, -1)  # no segment is left very short
    for marks in (SENTENCE, CLAUSE):
        for n in late:
            if _ends(words[n - 1], marks):
                return n
    pauses = [(words[n].start_ms - words[n - 1].end_ms, n) for n in late]
    longest_ms, n = max(pauses, default=(0, 0))
    return n if longest_ms >= BREATH_MS else len(words) - 1
