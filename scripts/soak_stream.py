"""A stream of DAYS simulated days (30): soak_stream.py [DAYS].

Each hour somebody says the recordings of samples/ and is silent for the rest; the silence gate
shuts, as for whoever listens all day. Every hour's text must be that of the hour before, and once a
day of a fresh stream whose windows have been filled with the same. The stream's memory, and the
process's, must stop growing. At the end of each day the stream is saved, and another goes on.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import numpy as np
import voxtral_edge as vox

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
HOUR = 3600 * vox.RATE
BLOCK = 60 * vox.RATE
GATE_MS = 4000


def hour() -> np.ndarray:
    """What is heard in an hour."""
    audio = np.zeros(HOUR, np.float32)
    at = HOUR // 6
    for path in sorted(SAMPLES.glob("*.wav")):
        clip = np.concatenate(list(vox.read(path)))
        audio[at : at + len(clip)] = clip
        at += len(clip) + 2 * vox.RATE
    return audio


def hear(stream: vox.Stream, audio: np.ndarray) -> str:
    """The text of an hour."""
    text = []
    for start in range(0, len(audio), BLOCK):
        text += [piece.text for piece in stream.feed(audio[start : start + BLOCK])]
    return "".join(text)


def main() -> None:
    days = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    audio, start = hour(), time.monotonic()
    with vox.Model(threads=1) as model:
        stream = model.stream(silence_gate_ms=GATE_MS)
        said, sizes = [], []
        for day in range(days):
            for _ in range(24):
                said.append(hear(stream, audio))
            assert len(set(said[2:])) <= 1, f"day {day}: {sorted(set(said[2:]))}"
            with model.stream(silence_gate_ms=GATE_MS) as fresh:
                hear(fresh, audio)
                hear(fresh, audio)
                assert hear(fresh, audio) == said[-1], f"day {day}"
            sizes.append((stream.stats().state_bytes,
                          resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))  # fmt: skip
            assert sizes[-1][0] == sizes[0][0], sizes
            assert day < 2 or sizes[-1][1] <= sizes[1][1] * 1.01, sizes
            saved = stream.save()
            stream.close()
            stream = model.load_stream(saved)
        stream.close()
    speed = days * 24 * 3600 / (time.monotonic() - start)
    print(f"{days} days: {len(said[-1].split())} words in each hour, {sizes[-1][0] / 1e6:.1f} MB, "
          f"{speed:.0f} times as fast as speech")  # fmt: skip


if __name__ == "__main__":
    main()
