"""Slots become words with times.

The model marks the slot in which a word ends, or the next free one, with token_word; the text of
the word follows, one token per slot. Words that end in one slot share a marker and make a group. So
the end of a group is that of its marker's slot, and the rest is estimated: a group begins where the
one before it ended, or later if its letters need less time than that, and words inside a group
divide its time by their letters. All times are approximate.

Joined, the texts of the words are the text of the slots; a word is complete, and never changes,
once a slot without text, the next marker or the end of the audio has followed it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from .stream import Piece

LETTER_MS = 90  # an unhurried speaker's time for a letter; longer times are taken for a pause


@dataclass(frozen=True, slots=True)
class Word:
    """A word and its punctuation, with approximate times from the first sample on.

    `text` brings its own leading space, if it has one: Chinese or Japanese words have none.
    """

    text: str
    start_ms: int
    end_ms: int


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
        self._text = ""  # of the group that is being collected
        self._end_ms: int | None = None  # the end of its marker's slot, None: there is no marker
        self._said_ms = 0  # the end of the last word

    def push(self, slot: Piece) -> list[Word]:
        """Take the next slot; return the words that it completes."""
        if slot.text:
            self._text += slot.text
            if self._end_ms is None:  # text without a marker stands for its own slot
                self._end_ms = slot.end_ms
            return []
        if slot.token >= self._n_special:  # the first bytes of a character
            return []
        if slot.token != self._word:
            return self._close() if self._text.strip() else []
        words = self._close()
        self._end_ms = slot.end_ms
        return words

    def end(self) -> list[Word]:
        """Return the last words; there are no more slots."""
        return self._close()

    def _close(self) -> list[Word]:
        texts = re.findall(r"\s*\S+", self._text)
        end_ms = self._end_ms
        if not texts or end_ms is None:
            return []
        # Space after the last word belongs to the next one.
        self._text = self._text[len("".join(texts)) :]
        self._end_ms = None
        # A model that sets no markers may have two groups in one slot.
        end_ms = max(end_ms, self._said_ms)
        lengths = [len(text.strip()) for text in texts]
        left = total = sum(lengths)
        start_ms = max(self._said_ms, end_ms - LETTER_MS * total)
        span_ms, words, at_ms = end_ms - start_ms, [], start_ms
        for text, length in zip(texts, lengths, strict=True):
            left -= length
            until_ms = end_ms - span_ms * left // total
            words.append(Word(text, at_ms, until_ms))
            at_ms = until_ms
        self._said_ms = end_ms
        return words


def words(slots: Iterable[Piece], tokens: Tokens) -> Iterator[Word]:
    """Yield the words of slots, those without text included, as Stream.slots() gives them.

    `tokens`: the model that the slots come from. Each word comes as soon as it is complete.
    """
    maker = Words(tokens)
    for slot in slots:
        yield from maker.push(slot)
    yield from maker.end()
