"""Real and artificial audio for judging the demo model, the same in every run.

digits() are single recordings joined to strings, as people read out numbers, strangers() whole
orders; the recordings are in tests/data. All audio is float32 at 16 kHz and representable in 16
bits, like a sound file's.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr
from voxtral_edge import TURN_STATES

DATA = Path(__file__).with_name("data")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPEAKERS = ("jackson", "lucas", "nicolas", "theo", "yweweler")
RATE = 16000
LEVEL = 0.1  # RMS of the loud part of a digit, -20 dBFS


class Clip(NamedTuple):
    samples: np.ndarray  # [n] float32
    words: list[str]
    ends: Sequence[float] = ()  # of the words, in milliseconds; empty if they are not known


@cache
def recordings(speaker: str) -> list[tuple[str, np.ndarray, float]]:
    """Word, samples at the same level, and end of the word in milliseconds, of each recording."""
    joined, rate = soundfile.read(DATA / "fsdd" / f"{speaker}.flac", dtype="float32")
    index = json.loads((DATA / "fsdd" / "index.json").read_text())[speaker]
    found = []
    for digit, _, start, length in index:
        samples = soxr.resample(joined[start : start + length], rate, RATE)
        frames = samples[: len(samples) // 320 * 320].reshape(-1, 320)
        energy = (frames**2).mean(1)
        loud = np.sqrt(energy[energy > 0.01 * energy.max()].mean())
        end = 20.0 * (int(np.nonzero(energy > energy.max() * 10**-2.8)[0][-1]) + 1)
        found.append((DIGITS[digit], samples * (LEVEL / loud), end))
    return found


def as_16_bits(samples: np.ndarray) -> np.ndarray:
    return (np.clip(np.rint(samples * 32768), -32768, 32767) / 32768).astype(np.float32)


def connected(speaker: str, n_words: int, seed: int, snr_db: float | None = None) -> list[Clip]:
    """Strings of 3 to 8 digits of one speaker, at least n_words in all."""
    random = np.random.default_rng([seed, *speaker.encode()])
    clips: list[Clip] = []
    while sum(len(clip.words) for clip in clips) < n_words:
        parts, words, ends = [np.zeros(int(RATE * random.uniform(0.1, 0.6)))], [], []
        for _ in range(random.integers(3, 9)):
            word, samples, end = recordings(speaker)[random.integers(len(recordings(speaker)))]
            ends.append(1000 * sum(map(len, parts)) / RATE + end)
            parts += [samples, np.zeros(int(RATE * random.uniform(0.05, 0.8)))]
            words.append(word)
        audio = np.concatenate(parts)
        if snr_db is not None:
            audio += random.standard_normal(len(audio)) * LEVEL * 10 ** (-snr_db / 20)
        level = 10 ** (random.uniform(-12, 0) / 20)
        clips.append(Clip(as_16_bits(audio * level), words, ends))
    return clips


def digits(n_words: int, snr_db: float | None = None) -> list[Clip]:
    """Recordings that were kept out of the training, of speakers who were in it."""
    share = -(-n_words // len(SPEAKERS))
    return [clip for speaker in SPEAKERS for clip in connected(speaker, share, 2, snr_db)]


def strangers() -> list[Clip]:
    """Orders by six people whom the demo model never heard in training."""
    return [clip for _, clip in spoken(DATA / "orders")]


def spoken(folder: Path, speakers: Collection[str] | None = None) -> Iterator[tuple[str, Clip]]:
    """Speaker and clip of each recording, or of some speakers', that index.json lists."""
    for row in json.loads((folder / "index.json").read_text()):
        if speakers is not None and row["group"] not in speakers:
            continue
        samples, rate = soundfile.read(folder / row["file"], dtype="float32")
        assert rate == RATE
        ends = [1000 * word["end"] for word in row["words"]]
        yield row["group"], Clip(samples, row["text"].split(), ends)


def held_out() -> list[tuple[Clip, list[int]]]:
    """The clips of tests/data/held_out with the tokens that transformers gives."""
    folder = DATA / "held_out"
    found = []
    for row in json.loads((folder / "expected.json").read_text()):
        samples, rate = soundfile.read(folder / row["file"], dtype="float32")
        assert rate == RATE
        clip = Clip(samples, row["reference"].split(), row["word_end_ms"])
        found.append((clip, row["tokens"]))
    return found


def states() -> list[list[str]]:
    """What transformers gives for the slots of these clips as the states of a turn."""
    rows = json.loads((DATA / "held_out" / "expected.json").read_text())
    return [[TURN_STATES[int(state)] for state in row["turns"]] for row in rows]


def not_speech(seconds: float) -> dict[str, np.ndarray]:
    """Silence, noises and tones."""
    random, n = np.random.default_rng(3), int(seconds * RATE)
    t = np.arange(n) / RATE
    noise = random.standard_normal(n)
    return {
        "silence": np.zeros(n, np.float32),
        "white noise at -40 dBFS": as_16_bits(0.01 * noise),
        "white noise at -20 dBFS": as_16_bits(0.1 * noise),
        "tone of 440 Hz": as_16_bits(0.2 * np.sin(2 * np.pi * 440 * t)),
        "tone of 2 kHz": as_16_bits(0.5 * np.sin(2 * np.pi * 2000 * t)),
    }
