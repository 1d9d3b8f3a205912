"""A bank of audio segments, each with its words and their ends, and its file form.

All audio of a bank lies in one int16 array at 16 kHz; segments are slices of it. A word id of -1
marks a word that is not to be written. The kind and the voice of a segment say what it may be used
for: "digits" of "fsdd-lucas", "other" of "espeak".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

RATE = 16000
NOT_WRITTEN = -1
MARGIN = 0.15  # seconds of a recording of several words, or of a name, that stay beside its speech
LEVEL = 0.1  # what the loud part of a segment is brought to: RMS, -20 dBFS


class Segment(NamedTuple):
    start: int  # in samples, in the bank's audio
    length: int
    gain: float  # brings int16 samples to LEVEL
    words: np.ndarray  # [n] int, NOT_WRITTEN or an index into VOCABULARY
    ends: np.ndarray  # [n] float, milliseconds from the segment's start
    kind: str
    voice: str


def loudness(samples: np.ndarray) -> tuple[float, int]:
    """RMS of the loud part, of full scale 1, and the sample at which speech ends."""
    squares = np.concatenate([np.zeros(161), samples.astype(np.float64) ** 2, np.zeros(160)])
    total = np.cumsum(squares)
    energy = (total[320:] - total[:-320])[: len(samples)] / 320
    peak = energy.max() + 1e-9
    end = int(np.nonzero(energy > peak * 10**-2.8)[0][-1]) + 1
    return float(np.sqrt(energy[energy > 0.01 * peak].mean())) / 32768, end


def trimmed(
    samples: np.ndarray, ends: Sequence[float], share: float = 0.01, margin: int = 320
) -> tuple[np.ndarray, list[float]]:
    """Without what is quieter than a share of the peak at both ends, but for a margin."""
    size = np.abs(samples.astype(np.int32))
    loud = np.nonzero(size > share * size.max())[0]
    first, last = max(0, int(loud[0]) - margin), min(len(samples), int(loud[-1]) + margin)
    length = (last - first) / 16
    return samples[first:last], [min(max(end - first / 16, 0.0), length) for end in ends]


class Bank:
    """Segments in the order they were added; audio() joins their samples."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.chunks: list[np.ndarray] = []
        self.n_samples = 0

    def add(
        self,
        samples: np.ndarray,
        words: Sequence[int],
        ends: Sequence[float],
        kind: str,
        voice: str,
    ) -> None:
        level, _ = loudness(samples)
        if level < 1e-4:
            return
        gain = LEVEL / level / 32768
        segment = Segment(
            self.n_samples,
            len(samples),
            gain,
            np.asarray(words, np.int32),
            np.asarray(ends, np.float32),
            kind,
            voice,
        )
        self.segments.append(segment)
        self.chunks.append(samples)
        self.n_samples += len(samples)

    def audio(self) -> np.ndarray:
        return np.concatenate(self.chunks) if self.chunks else np.zeros(0, np.int16)

    def save(self, path: Path) -> None:
        counts = [len(segment.words) for segment in self.segments]
        columns = {
            "audio": self.audio(),
            "start": np.array([s.start for s in self.segments], np.int64),
            "length": np.array([s.length for s in self.segments], np.int64),
            "gain": np.array([s.gain for s in self.segments], np.float64),
            "word_offset": np.cumsum([0, *counts]),
            "words": np.concatenate([s.words for s in self.segments]),
            "ends": np.concatenate([s.ends for s in self.segments]),
            "kind": np.array([s.kind for s in self.segments]),
            "voice": np.array([s.voice for s in self.segments]),
        }
        part = path.with_suffix(".part.npz")
        np.savez(part, **columns)
        part.rename(path)

    @classmethod
    def load(cls, paths: Iterable[Path]) -> Bank:
        bank = cls()
        for path in paths:
            with np.load(path) as file:
                column = {name: file[name] for name in file.files}
            offset = column["word_offset"]
            rows = zip(
                column["start"].tolist(), column["length"].tolist(), column["gain"].tolist(),
                column["kind"].tolist(), column["voice"].tolist(), strict=True,
            )  # fmt: skip
            for i, (start, length, gain, kind, voice) in enumerate(rows):
                words = column["words"][offset[i] : offset[i + 1]]
                ends = column["ends"][offset[i] : offset[i + 1]]
                at = bank.n_samples + start
                bank.segments.append(Segment(at, length, gain, words, ends, kind, voice))
            bank.chunks.append(column["audio"])
            bank.n_samples += len(column["audio"])
        return bank
