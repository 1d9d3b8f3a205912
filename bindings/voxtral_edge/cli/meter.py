"""How much audio has passed, how loud, and how fast."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import numpy as np

from ..audio import RATE, Samples
from ..audio.loudness import QUIET_DBFS, dbfs
from ..system import here

STRETCH_S = 5.0  # loudness is that of the last one or two of these


class Meter:
    """Counts audio and time as blocks pass, and how loud the last one was."""

    def __init__(self) -> None:
        """Begin to count."""
        self.n_samples = 0
        self.level = self.loudest = 0.0  # largest sample of the last block; of all
        self._stretch, self._before = 0.0, 1.0  # of this stretch; of the one before, as if loud
        self._stretch_ends = int(STRETCH_S * RATE)
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
            self.loudest = max(self.loudest, self.level)
            if self.n_samples > self._stretch_ends:
                self._before, self._stretch = self._stretch, 0.0
                self._stretch_ends = self.n_samples + int(STRETCH_S * RATE)
            self._stretch = max(self._stretch, self.level)
            yield block

    @property
    def is_quiet(self) -> bool:
        """Whether nothing in the last five to ten seconds was as loud as speech should be."""
        return dbfs(max(self._stretch, self._before)) < QUIET_DBFS

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
