"""What the demo model is judged on, and how: clips with their words, and word errors."""

from __future__ import annotations

from random import Random

import numpy as np
from bank import RATE, Bank
from vocabulary import VOCABULARY

Clip = tuple[np.ndarray, list[str]]  # int16 at 16 kHz, words


def connected_digits(bank: Bank, audio: np.ndarray, voice: str, n: int) -> list[Clip]:
    """n strings of 3 to 8 unseen recordings of one speaker."""
    r = Random(voice)
    segments = [s for s in bank.segments if s.voice == voice and s.kind == "unseen"]
    clips = []
    for _ in range(n):
        parts, words = [np.zeros(int(RATE * r.uniform(0.1, 0.6)))], []
        for segment in r.choices(segments, k=r.randint(3, 8)):
            samples = audio[segment.start : segment.start + segment.length] * segment.gain
            parts += [samples, np.zeros(int(RATE * r.uniform(0.05, 0.8)))]
            words.append(VOCABULARY[segment.words[0]])
        joined = np.concatenate(parts) * 10 ** (r.uniform(-12, 0) / 20)
        clips.append((np.clip(np.rint(joined * 32768), -32768, 32767).astype(np.int16), words))
    return clips


def said(bank: Bank, n: int) -> list[Clip]:
    """The first n utterances of a bank, with a little silence around them."""
    audio = bank.audio()
    clips = []
    for s in bank.segments[:n]:
        samples = audio[s.start : s.start + s.length]
        padded = np.concatenate([np.zeros(3200, np.int16), samples, np.zeros(1600, np.int16)])
        clips.append((padded, [VOCABULARY[word] for word in s.words]))
    return clips


def word_errors(reference: list[str], hypothesis: list[str]) -> int:
    """Substitutions, insertions and deletions: the Levenshtein distance in words."""
    row = list(range(len(hypothesis) + 1))
    for i, word in enumerate(reference, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(hypothesis, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1]
