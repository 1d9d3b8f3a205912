"""Word error rate: the words of a text as they are compared, and how many of them are wrong."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

# Letters, digits and marks, with apostrophes and points inside: "don't", "3.5".
WORD = re.compile(r"\w+(?:['.,]\w+)*")


def spoken_words(text: str) -> list[str]:
    """Return the words of a text without case and punctuation; numbers stay as they are written."""
    plain = unicodedata.normalize("NFKC", text).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return WORD.findall(plain.casefold())


def word_errors(reference: Sequence[str], heard: Sequence[str]) -> int:
    """Return the least number of substitutions, insertions and deletions between words."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(reference, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1]
