"""Pauses: turns of a model that tells none, found by slots and levels.

Every model gives pads where nothing is said, so a run of them after text is the end of a turn, if
it lasts. But a long word is pads as well until it is over, so while the audio is loud a turn goes
on. Loud is what rises above the quietest level of late, which follows the noise of a room. After
the end of a sentence less silence is enough. Text begins a turn, never noise. Times are
approximate, as those of words are; a turn is told as soon as it is known, never revised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .pieces import SLOT_MS, SPEAKING, TURN_END, Piece, Turn
from .subtitles import QUOTES, SENTENCE
from .words import LETTER_MS, Tokens

if TYPE_CHECKING:
    from ..audio import Samples

N_SLOT = 1280  # samples
N_SETTLED = 2  # pads after the last text, so that no text is on its way
FLOOR_DB, FLOOR_RISE_DB = -70.0, 0.08  # the quietest that is believed; what it rises in a slot
LEAST_DB = -55.0  # what is quieter is never loud
SENTENCE_SHARE = 0.6  # of the silence, after the end of a sentence


@dataclass(frozen=True)
class Settings:
    """What TurnOptions of turns.py ask for, and what they are when left out."""

    silence_ms: int = 500
    prefix_ms: int = 0
    min_ms: int = 0
    max_ms: int | None = None
    threshold: float = 0.5

    def is_too_long(self, turn_ms: int) -> bool:
        """Whether a turn of so long ends at the next pause between words."""
        return self.max_ms is not None and turn_ms >= self.max_ms


class Pauses:
    """Makes turns of slots that come one by one, and of the audio they come from."""

    def __init__(
        self, tokens: Tokens, settings: Settings, *, delay_ms: int, n_before: int = 0
    ) -> None:
        """Begin before a slot; see turns_of()."""
        self._word, self._n_special = tokens.token_word, tokens.n_special
        self._n_ahead = delay_ms // SLOT_MS
        self._settings = settings
        self._rise_db = 6 + 12 * settings.threshold
        self._rest = np.empty(0, np.float32)  # of a slot that is not whole
        self._is_loud = [False] * -(-n_before // N_SLOT)  # from slot _first on
        self._n_skipped = -n_before % N_SLOT  # samples of a slot whose beginning is not known
        self._first: int | None = None  # None: it is the next one
        self._floor_db = 0.0
        self._start_ms: int | None = None  # None: nobody speaks
        self._said_ms = 0  # the end of the last turn
        self._end_ms = 0  # the end of the last word or loud slot
        self._n_pads, self._text = 0, ""

    def hear(self, samples: Samples) -> None:
        """Take audio [n], as the stream gets it and before its slots come."""
        n_skipped = min(self._n_skipped, len(samples))
        self._n_skipped -= n_skipped
        samples = samples[n_skipped:]
        samples = np.concatenate([self._rest, samples]) if len(self._rest) else samples
        n = len(samples) // N_SLOT
        self._rest = samples[n * N_SLOT :].copy()
        if n:
            slots = samples[: n * N_SLOT].reshape(n, N_SLOT)
            power = np.square(slots - slots.mean(axis=1, keepdims=True)).mean(axis=1)
            for level in 10 * np.log10(np.maximum(power, 1e-12)):
                self._floor_db = max(min(float(level), self._floor_db + FLOOR_RISE_DB), FLOOR_DB)
                loud = max(self._floor_db + self._rise_db, LEAST_DB)
                self._is_loud.append(bool(level > loud))

    def push(self, slot: Piece) -> list[Turn]:
        """Take the next slot; return what it tells."""
        number = slot.start_ms // SLOT_MS
        del self._is_loud[: number - (number if self._first is None else self._first)]
        self._first = number
        if slot.text or slot.token == self._word or slot.token >= self._n_special:
            return self._speak(slot)
        self._n_pads += 1
        if self._start_ms is None:
            return []
        if self._is_loud and self._is_loud[0]:
            self._end_ms = max(self._end_ms, slot.end_ms)
        needed_ms = self._settings.silence_ms
        if self._text.rstrip().rstrip(QUOTES).endswith(tuple(SENTENCE)):
            needed_ms = round(SENTENCE_SHARE * needed_ms)
        # Text trails, so more audio is known than slots are, up to the delay: if it is loud before
        # there was silence enough, the turn goes on.
        until_ms = self._end_ms + needed_ms
        heard = zip(range(1, self._n_ahead + 1), self._is_loud[1:], strict=False)
        if any(is_loud and slot.start_ms + SLOT_MS * i < until_ms for i, is_loud in heard):
            return self._cut(slot)
        heard_ms = slot.end_ms + SLOT_MS * self._n_ahead
        is_over = heard_ms >= until_ms and self._n_pads >= N_SETTLED
        if is_over and heard_ms - self._start_ms >= self._settings.min_ms:
            return [self._close()]
        return self._cut(slot)

    def end(self) -> list[Turn]:
        """Return the end of the last turn, if it has none; there are no more slots."""
        return [] if self._start_ms is None else [self._close()]

    def _speak(self, slot: Piece) -> list[Turn]:
        self._n_pads = 0
        self._text = (self._text + slot.text)[-16:]
        if slot.token == self._word:
            self._end_ms = max(self._end_ms, slot.end_ms)
        if self._start_ms is not None:
            return []
        # How long its first word was is not known yet: as long as a short one, but not in the past.
        word_ms = slot.end_ms - 4 * LETTER_MS
        self._start_ms = max(word_ms - self._settings.prefix_ms, self._said_ms, 0)
        self._end_ms = max(self._end_ms, slot.end_ms)
        return [Turn(SPEAKING, self._start_ms, self._end_ms)]

    def _cut(self, slot: Piece) -> list[Turn]:
        """End a turn that has lasted too long, between two words."""
        assert self._start_ms is not None
        if not self._settings.is_too_long(slot.end_ms - self._start_ms):
            return []
        return [self._close()] if self._n_pads >= N_SETTLED else []

    def _close(self) -> Turn:
        assert self._start_ms is not None
        turn = Turn(TURN_END, self._start_ms, max(self._end_ms, self._start_ms))
        self._said_ms, self._start_ms, self._text = turn.end_ms, None, ""
        return turn
