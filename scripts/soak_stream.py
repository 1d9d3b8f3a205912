"""A stream of simulated days: soak_stream.py [--days N] [--start DAY].

Each hour somebody says the recordings of samples/ and is silent for the rest; the silence gate
shuts, as for whoever listens all day. Every hour's text must be that of the hour before, and once a
day of a fresh stream whose windows have been filled with the same. The stream's memory, and the
process's, must stop growing. At the end of each day the stream is saved, and another goes on.

The stream's positions begin where they would be on day 482, so that in thirty days they pass 2^31
frames of the encoder; those of the fresh ones begin at zero.
"""

from __future__ import annotations

import argparse
import resource
import struct
import sys
import time
from pathlib import Path

import numpy as np
import voxtral_edge as vox

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
HOUR = 3600 * vox.RATE
BLOCK = 60 * vox.RATE
SLOTS_PER_DAY = 24 * 3600 * 1000 // 80
GATE_MS = 4000
# Of a saved stream: csrc/state.c.
SUM_AT, HEADER_END, CLOCK_AT = 56, 64, 128


def hour() -> np.ndarray:
    """What is heard in an hour."""
    audio = np.zeros(HOUR, np.float32)
    at = HOUR // 6
    for path in sorted(SAMPLES.glob("*.wav")):
        clip = np.concatenate(list(vox.read(path)))
        audio[at : at + len(clip)] = clip
        at += len(clip) + 2 * vox.RATE
    return audio


def hashed(h: int, data: bytes) -> int:
    """What csrc/hash.h says."""
    for at in range(0, len(data), 8):
        h = (h ^ int.from_bytes(data[at : at + 8], "little")) * 0x9E3779B97F4A7C15 % 2**64
        h ^= h >> 32
    return h ^ len(data)


def opened(model: vox.Model, slot: int) -> vox.Stream:
    """Open a stream whose positions begin at a slot."""
    with model.stream(silence_gate_ms=GATE_MS) as fresh:
        saved = bytearray(fresh.save())
    assert saved[CLOCK_AT : CLOCK_AT + 40] == bytes(40), "all counts are zero"
    struct.pack_into("<q", saved, CLOCK_AT, slot)
    summed = hashed(hashed(0, saved[:SUM_AT]), saved[HEADER_END:])
    struct.pack_into("<Q", saved, SUM_AT, summed)
    return model.load_stream(bytes(saved))


def hear(stream: vox.Stream, audio: np.ndarray) -> str:
    """The text of an hour."""
    text = []
    for start in range(0, len(audio), BLOCK):
        text += [piece.text for piece in stream.feed(audio[start : start + BLOCK])]
    return "".join(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=30, metavar="N")
    parser.add_argument("--start", type=int, default=482, metavar="DAY")
    args = parser.parse_args()
    audio, start = hour(), time.monotonic()
    with vox.Model(threads=1) as model:
        stream = opened(model, args.start * SLOTS_PER_DAY)
        said, sizes = [], []
        for day in range(args.days):
            for _ in range(24):
                said.append(hear(stream, audio))
            assert len(set(said[2:])) <= 1, f"day {day}: {sorted(set(said[2:]))}"
            with model.stream(silence_gate_ms=GATE_MS) as fresh:
                hear(fresh, audio)
                hear(fresh, audio)
                assert hear(fresh, audio) == said[-1], f"day {day}"
            sizes.append((stream.stats().state_bytes,
                          resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))  # fmt: skip
            if day >= 2:  # the first stream has not been saved: its rooms are of other sizes
                assert sizes[-1][0] == sizes[1][0], sizes
                assert sizes[-1][1] <= sizes[1][1] * 1.01, sizes
            print(f"day {args.start + day + 1}: {len(said[-1].split())} words in each hour, "
                  f"{sizes[-1][0] / 1e6:.1f} MB, the process {sizes[-1][1] / 1e3:.0f} MB, "
                  f"{time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)  # fmt: skip
            saved = stream.save()
            stream.close()
            stream = model.load_stream(saved)
        stream.close()
    speed = args.days * 24 * 3600 / time.process_time()
    print(f"{args.days} days: {len(said[-1].split())} words in each hour, "
          f"{sizes[-1][0] / 1e6:.1f} MB, {speed:.0f} times as fast as speech")  # fmt: skip


if __name__ == "__main__":
    main()
