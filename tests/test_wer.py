"""Words of a text as they are compared, and how many of them are wrong."""

from __future__ import annotations

import pytest
from voxtral_edge.text.wer import spoken_words, word_errors


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" ... - ?!", []),
        ("And so, my fellow Americans:", ["and", "so", "my", "fellow", "americans"]),
        ("Don't, don\u2019t - DON'T!", ["don't", "don't", "don't"]),
        ("in 1961, 3.5 of 1,000; 20th.", ["in", "1961", "3.5", "of", "1,000", "20th"]),
        ("well-known (\u201cquoted\u201d) words\nof two lines", ["well", "known", "quoted", "words",
                                                      "of", "two", "lines"]),
        ("\u00c9T\u00c9 e\u0301t\u00e9", ["\u00e9t\u00e9", "\u00e9t\u00e9"]),
        ("STRASSE stra\u00dfe", ["strasse", "strasse"]),
    ],
)  # fmt: skip
def test_words(text: str, words: list[str]) -> None:
    assert spoken_words(text) == words


@pytest.mark.parametrize(
    ("said", "heard", "wrong"),
    [
        ("", "", 0),
        ("a b c", "a b c", 0),
        ("a b c", "", 3),
        ("", "a b", 2),
        ("a b c", "a x c", 1),
        ("a b c d", "b c d", 1),
        ("a b c", "a b x c", 1),
        ("a b c d", "d c b a", 4),
        ("one two three", "two three four five", 3),
    ],
)
def test_errors(said: str, heard: str, wrong: int) -> None:
    assert word_errors(said.split(), heard.split()) == wrong
    assert word_errors(heard.split(), said.split()) == wrong
