"""Turns: when somebody begins to speak, and when they have finished.

A model with a head for it tells what the speaker does in every slot; of any other, pauses tell it
(pauses.py). Both give the same Turn, as soon as it is known, and revise none.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol, TypedDict

from .pauses import Pauses, Settings
from .pieces import BACKCHANNEL, SPEAKING, TURN_END, TURN_STATES, Piece, Turn
from .words import Tokens

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..audio import Samples

N_MEAN = 3  # slots over which a state is believed: single ones flicker
N_TAIL = 2  # slots after the end of a turn in which nobody goes on, nor says a late word


class TurnOptions(TypedDict, total=False):
    """Settings of turns, all of which have defaults.

    `silence_ms` (500) ends a turn; a model with a head says the end itself, as a rule earlier.
    `prefix_ms` (0) is what a turn begins before its first word. One shorter than `min_ms` (0) ends
    as if it had lasted so long; one of `max_ms` (None: no limit) ends at the next pause between
    words. `threshold` (0.5), 0 to 1: how far above the noise is loud, 6 to 18 dB; how likely it is
    that somebody speaks.
    """

    silence_ms: int
    prefix_ms: int
    min_ms: int
    max_ms: int | None
    threshold: float


class Turns(Protocol):
    """What makes turns of slots that come one by one, and of the audio they come from."""

    def hear(self, samples: Samples) -> None:
        """Take audio [n], as the stream gets it and before its slots come."""

    def push(self, slot: Piece) -> list[Turn]:
        """Take the next slot; return what it tells."""

    def end(self) -> list[Turn]:
        """Return the end of the last turn, if it has none; there are no more slots."""


class Speaker(Tokens, Protocol):
    """What must be known of a model."""

    @property
    def has_turns(self) -> bool:
        """Whether its slots have states of a turn."""


def turns_of(
    model: Speaker, *, delay_ms: int, n_before: int = 0, **options: Unpack[TurnOptions]
) -> Turns:
    """Return what makes turns of the slots of a model.

    `delay_ms` is that of the stream; of its audio, `n_before` samples came before this, counted
    from the beginning of the next slot.
    """
    settings = Settings(**options)
    if model.has_turns:
        return States(model, settings)
    return Pauses(model, settings, delay_ms=delay_ms, n_before=n_before)


class States:
    """Makes turns of the states that a model tells of each slot.

    Somebody speaks where that is likely in the mean of some slots: states flicker, and noise alone
    is nobody. A turn is over when its end was told and nobody has gone on, or when it has been idle
    for `silence_ms`. A backchannel, "hm" or "yes" of a listener, is no turn, and is told by itself.
    """

    def __init__(self, tokens: Tokens, settings: Settings) -> None:
        """Begin before the first slot."""
        self._word, self._n_special = tokens.token_word, tokens.n_special
        self._settings = settings
        self._recent: deque[Piece] = deque(maxlen=N_MEAN)
        self._start_ms: int | None = None  # None: nobody speaks
        self._aside: list[Piece] = []  # slots of a backchannel
        self._said_ms = 0  # the end of the last turn
        self._end_ms = 0  # the end of the last slot in which somebody spoke
        self._told = 0.0  # how likely the end of the turn was where it was told; 0: it was not
        self._n_quiet = 0  # slots since somebody spoke, without text

    def hear(self, samples: Samples) -> None:
        """Take nothing: the model has heard it."""

    def push(self, slot: Piece) -> list[Turn]:
        """Take the next slot; return what it tells."""
        self._recent.append(slot)
        has_text = bool(slot.text) or slot.token == self._word or slot.token >= self._n_special
        if self._start_ms is None:
            return self._wait(slot)
        if slot.turn == SPEAKING:
            self._end_ms, self._told, self._n_quiet = slot.end_ms, 0.0, 0
            return self._cut(slot)
        if slot.turn == TURN_END:
            self._end_ms = slot.end_ms
            self._n_quiet = min(self._n_quiet, N_TAIL - 1) if self._told else 0
            self._told = max(self._told, _likelihood(slot, TURN_END))
        elif not has_text:
            self._n_quiet += 1
        if has_text:  # a word that waits would follow at once, so one slot without is enough
            self._n_quiet = N_TAIL - 1 if self._told else 0
        quiet_ms = slot.end_ms - self._end_ms
        is_over = (self._told and self._n_quiet >= N_TAIL) or quiet_ms >= self._settings.silence_ms
        if is_over and not has_text and slot.end_ms - self._start_ms >= self._settings.min_ms:
            return [self._close(self._told or self._mean("idle"))]
        return self._cut(slot)

    def end(self) -> list[Turn]:
        """Return the end of the last turn, if it has none; there are no more slots."""
        told = self._backchannel()
        return told if self._start_ms is None else [self._close(self._told or None)]

    def _wait(self, slot: Piece) -> list[Turn]:
        if slot.turn == BACKCHANNEL:
            self._aside.append(slot)
            return []
        likely = self._mean(SPEAKING) + self._mean(TURN_END)
        if likely < self._settings.threshold or slot.turn not in (SPEAKING, TURN_END):
            return self._backchannel() if slot.turn == "idle" else []
        self._aside.clear()
        speaking = (s.start_ms for s in self._recent if s.turn in (SPEAKING, TURN_END))
        self._start_ms = max(min(speaking) - self._settings.prefix_ms, self._said_ms, 0)
        self._end_ms, self._n_quiet = slot.end_ms, 0
        self._told = _likelihood(slot, TURN_END) if slot.turn == TURN_END else 0.0
        return [Turn(SPEAKING, self._start_ms, slot.end_ms, min(likely, 1.0))]

    def _backchannel(self) -> list[Turn]:
        slots, self._aside = self._aside, []
        if len(slots) < N_TAIL:
            return []
        likely = sum(_likelihood(slot, BACKCHANNEL) for slot in slots) / len(slots)
        self._said_ms = slots[-1].end_ms
        return [Turn(BACKCHANNEL, slots[0].start_ms, slots[-1].end_ms, likely)]

    def _cut(self, slot: Piece) -> list[Turn]:
        """End a turn that has lasted too long, between two words."""
        assert self._start_ms is not None
        if not self._settings.is_too_long(slot.end_ms - self._start_ms):
            return []
        is_pause = not any(s.text or s.token == self._word for s in (*self._recent,)[-N_TAIL:])
        return [self._close(self._told or None)] if is_pause else []

    def _mean(self, state: str) -> float:
        return sum(_likelihood(slot, state) for slot in self._recent) / N_MEAN

    def _close(self, likely: float | None) -> Turn:
        assert self._start_ms is not None
        turn = Turn(TURN_END, self._start_ms, max(self._end_ms, self._start_ms), likely)
        self._said_ms, self._start_ms, self._told = turn.end_ms, None, 0.0
        self._recent.clear()
        return turn


def _likelihood(slot: Piece, state: str) -> float:
    return slot.turn_confidences[TURN_STATES.index(state)]
