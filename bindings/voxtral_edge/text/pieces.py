"""What streams give, and everything behind them reads: Piece, the text of a slot, and Turn."""

from __future__ import annotations

from dataclasses import dataclass

SLOT_MS = 80  # audio of one slot, and so of one token
TURN_STATES = ("idle", "noidle", "speaking", "turn_end", "backchannel", "uncertain")
SPEAKING, TURN_END, BACKCHANNEL = TURN_STATES[2:5]


@dataclass(frozen=True, slots=True)
class Alternative:
    """What might have been said instead: `text`, and its probability `confidence`, 0 to 1."""

    text: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Piece:
    """The text of one token, which may be part of a word and brings its own leading space.

    `start_ms` and `end_ms` are the bounds of the token's slot, from the first sample on: an
    estimate of when the text was spoken. A word ends in the slot of its first piece or a little
    before it; further pieces of the word follow in later slots.

    If the stream was asked for them: `confidence`, the probability of the token among all that
    might have stood in its slot, and `alternatives`, the likeliest other texts. Tokens that never
    have text have none.

    If the model has a head for it: `turn`, one of TURN_STATES, which is what the speaker does at
    that moment, and `turn_confidences`, the probability of each of these.
    """

    text: str
    token: int
    start_ms: int
    end_ms: int
    confidence: float | None = None
    alternatives: tuple[Alternative, ...] = ()
    turn: str | None = None
    turn_confidences: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """What a speaker does: `state` is "speaking" when a turn begins, and "turn_end" at its end.

    `start_ms` and `end_ms` are the bounds of the turn, from the first sample on, and approximate;
    while it lasts, `end_ms` is as far as it is known. A model with a head for it also tells a
    "backchannel", a word or two of a listener, and how sure it is: `confidence`, 0 to 1.
    """

    state: str
    start_ms: int
    end_ms: int
    confidence: float | None = None
