"""What a training is judged on along the way: clips of voices that it does not hear, and errors."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
from bank import RATE, Bank, Segment
from vocabulary import VOCABULARY

MOST = 40  # utterances of one voice


class Clip(NamedTuple):
    samples: np.ndarray  # int16 at 16 kHz
    words: list[str]
    voice: str


def connected_digits(
    segments: Sequence[Segment], audio: np.ndarray, voice: str, n: int
) -> list[Clip]:
    """n strings of 3 to 8 of a speaker's digits."""
    r = Random(voice)
    clips = []
    for _ in range(n):
        parts, words = [np.zeros(int(RATE * r.uniform(0.1, 0.6)))], []
        for segment in r.choices(segments, k=r.randint(3, 8)):
            samples = audio[segment.start : segment.start + segment.length] * segment.gain
            parts += [samples, np.zeros(int(RATE * r.uniform(0.05, 0.8)))]
            words.append(VOCABULARY[segment.words[0]])
        joined = np.concatenate(parts) * 10 ** (r.uniform(-12, 0) / 20)
        samples = np.clip(np.rint(joined * 32768), -32768, 32767).astype(np.int16)
        clips.append(Clip(samples, words, voice))
    return clips


def said(segments: Sequence[Segment], audio: np.ndarray, voice: str | None = None) -> list[Clip]:
    """Utterances with a little silence around them."""
    clips = []
    for s in segments:
        samples = audio[s.start : s.start + s.length]
        padded = np.concatenate([np.zeros(3200, np.int16), samples, np.zeros(1600, np.int16)])
        clips.append(Clip(padded, [VOCABULARY[word] for word in s.words], voice or s.voice))
    return clips


def sets(work: Path, without: Collection[str]) -> dict[str, list[Clip]]:
    """Real people whom the training leaves out (or, if it hears all, their unseen digits), and
    synthetic voices."""
    real = Bank.load([work / "recorded.npz"])
    audio = real.audio()
    digits: dict[str, list[Segment]] = {}
    found: dict[str, list[Clip]] = {"digits": [], "orders": [], "names": []}
    left_out = any(voice.startswith("fsdd-") for voice in without)
    for segment in real.segments:
        own = segment.voice.startswith("fsdd-")
        if own and (segment.voice in without if left_out else segment.kind == "unseen"):
            digits.setdefault(segment.voice, []).append(segment)
        for kind, name in (("spoken-order", "orders"), ("spoken-name", "names")):
            seen = sum(clip.voice == segment.voice for clip in found[name])
            if segment.kind == kind and segment.voice in without and seen < MOST:
                found[name] += said([segment], audio)
    for voice, segments in digits.items():
        found["digits"] += connected_digits(segments, audio, voice, 100 // len(digits))
    for path in sorted((work / "judge").glob("*-held-*.npz")):
        if path.stem.split("-")[2] in ("digits", "sentence", "order"):
            bank = Bank.load([path])
            found[path.stem] = said(bank.segments[:60], bank.audio(), path.stem)
    return {name: clips for name, clips in found.items() if clips}


def word_errors(reference: list[str], hypothesis: list[str]) -> int:
    """Substitutions, insertions and deletions: the Levenshtein distance in words."""
    row = list(range(len(hypothesis) + 1))
    for i, word in enumerate(reference, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(hypothesis, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1]
