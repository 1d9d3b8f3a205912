"""Slots become words with times.

The model marks the slot in which a word ends, or the next free one, with token_word; the text of
the word follows, one token per slot. Words that end in one slot share a marker and make a group. So
the end of a group is that of its marker's slot, and the rest is estimated: a group begins where the
one before it ended, or later if its letters need less time than that, and words inside a group
divide its time by their letters. All times are approximate.

Joined, the texts of the words are the text of the slots; a word is complete, and never changes,
once a slot without text, the next marker or the end of the audio has followed it.

Of slots that know how sure they are, a word has the product of what its tokens have: the
probability of all of them, given what was said before. Its alternatives are words that differ in
one token; what follows that token is taken as it was said.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from .pieces import Alternative, Piece

LETTER_MS = 90  # an unhurried speaker's time for a letter; longer times are taken for a pause


@dataclass(frozen=True, slots=True)
class Word:
    """A word and its punctuation, with approximate times from the first sample on.

    `text` brings its own leading space, if it has one: Chinese or Japanese words have none.
    `confidence`, 0 to 1, and `alternatives`, likeliest first, are there if the slots have them.
    """

    text: str
    start_ms: int
    end_ms: int
    confidence: float | None = None
    alternatives: tuple[Alternative, ...] = ()


class Tokens(Protocol):
    """What must be known of a tokenizer; a Model does."""

    @property
    def token_word(self) -> int:
        """The token that says that a word group follows."""

    @property
    def n_special(self) -> int:
        """Ids below this carry no text."""


class Words:
    """Makes words of slots that come one by one."""

    def __init__(self, tokens: Tokens) -> None:
        """Begin before the first slot."""
        self._word, self._n_special = tokens.token_word, tokens.n_special
        self._rest = ""  # text that the last group has left over
        self._slots: list[Piece] = []  # of the group that is being collected, those with text
        self._end_ms: int | None = None  # the end of its marker's slot, None: there is no marker
        self._said_ms = 0  # the end of the last word

    def push(self, slot: Piece) -> list[Word]:
        """Take the next slot; return the words that it completes."""
        if slot.text or slot.token >= self._n_special:  # maybe the first bytes of a character
            self._slots.append(slot)
            if slot.text and self._end_ms is None:  # text without a marker stands for its own slot
                self._end_ms = slot.end_ms
            return []
        if slot.token != self._word:
            return self._close() if any(slot.text.strip() for slot in self._slots) else []
        words = self._close()
        self._end_ms = slot.end_ms
        return words

    def end(self) -> list[Word]:
        """Return the last words; there are no more slots."""
        return self._close()

    def _close(self) -> list[Word]:
        text, spans = self._rest, list[tuple[int, int, Piece]]()
        for slot in self._slots:
            spans.append((len(text), len(text) + len(slot.text), slot))
            text += slot.text
        found = list(re.finditer(r"\s*\S+", text))
        end_ms = self._end_ms
        if not found or end_ms is None:
            return []
        self._end_ms = None
        # A model that sets no markers may have two groups in one slot.
        end_ms = max(end_ms, self._said_ms)
        lengths = [len(match[0].strip()) for match in found]
        left = total = sum(lengths)
        start_ms = max(self._said_ms, end_ms - LETTER_MS * total)
        span_ms, words, at_ms = end_ms - start_ms, [], start_ms
        for match, length in zip(found, lengths, strict=True):
            left -= length
            until_ms = end_ms - span_ms * left // total
            first, last = match.span()
            tokens = [
                (begin - first, slot)
                for begin, end, slot in spans
                if begin < last and (end > first or begin == end >= first)
            ]
            words.append(Word(match[0], at_ms, until_ms, *_weigh(match[0], tokens)))
            at_ms = until_ms
        self._said_ms = end_ms
        # Space after the last word belongs to the next one, and so do bytes that are no character.
        self._rest = text[last:]
        self._slots = [slot for begin, end, slot in spans if last <= begin == end]
        return words


def _weigh(
    word: str, tokens: list[tuple[int, Piece]]
) -> tuple[float | None, tuple[Alternative, ...]]:
    """Return confidence and alternatives; `tokens`: where they begin in the word, and they."""
    known = [slot.confidence for _, slot in tokens if slot.confidence is not None]
    if not known or len(known) < len(tokens):
        return None, ()
    confidence, others = math.prod(known), dict[str, float]()
    is_torn = False  # whether the token before holds the first bytes of a character
    for (at, slot), alone in zip(tokens, known, strict=True):
        is_whole = slot.text and not is_torn and 0 <= at <= len(word) - len(slot.text)
        is_torn = not slot.text
        for other in slot.alternatives if is_whole else ():
            text = word[:at] + other.text + word[at + len(slot.text) :]
            if text != word and re.fullmatch(r"\s*[^\s\ufffd]+", text):
                others[text] = max(others.get(text, 0.0), confidence * other.confidence / alone)
    n = max(len(slot.alternatives) for _, slot in tokens)
    ranked = sorted(others.items(), key=lambda item: -item[1])[:n]
    return confidence, tuple(Alternative(text, share) for text, share in ranked)


def words(slots: Iterable[Piece], tokens: Tokens) -> Iterator[Word]:
    """Yield the words of slots, those without text included, as Stream.slots() gives them.

    `tokens`: the model that the slots come from. Each word comes as soon as it is complete.
    """
    maker = Words(tokens)
    for slot in slots:
        yield from maker.push(slot)
    yield from maker.end()
