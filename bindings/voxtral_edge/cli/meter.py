"""How much audio has passed, how loud, and how fast."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import numpy as np

from ..audio import RATE, Samples
from ..system import here


class Meter:
    """Counts audio and time as blocks pass, and how loud the last one was."""

    def __init__(self) -> None:
        """Begin to count."""
        self.n_samples = 0
        self.level = 0.0
        self.start = time.monotonic()
        self.waited_s = 0.0  # for audio, while nothing could be computed

    def count(self, blocks: Iterable[Samples]) -> Iterator[Samples]:
        """Pass blocks on."""
        source = iter(blocks)
        while True:
            begun = time.monotonic()
            block = next(source, None)
            self.waited_s += time.monotonic() - begun
            if block is None:
                return
            self.n_samples += len(block)
            self.level = float(np.abs(block).max(initial=0.0))
            yield block

    @property
    def audio_s(self) -> float:
        """Seconds of audio so far."""
        return self.n_samples / RATE

    @property
    def rtf(self) -> float:
        """Computing time per second of audio."""
        taken_s = time.monotonic() - self.start - self.waited_s
        return taken_s / self.audio_s if self.n_samples else 0.0

    def report(self) -> str:
        """Return the line of --stats."""
        taken_s = time.monotonic() - self.start
        rtf = f"{taken_s / self.audio_s:.3f}" if self.n_samples else "-"
        peak = here.peak_memory() / 2**20
        return f"{self.audio_s:.2f} s of audio in {taken_s:.2f} s, RTF {rtf}, peak {peak:.0f} MiB"
