"""A resampler that can be put down in the middle of its work, and taken up in another process.

The library's keeps its state to itself. So each stretch of the audio has one of its own, which
begins a little earlier, so that its first samples are as if it had always been there, and ends a
little later. Where stretches meet is fixed: what comes out depends on the audio alone, not on how
it was cut, and to go on bit for bit takes no more than the audio of the last stretch.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np
import soxr  # type: ignore[import-untyped]

from ...audio import RATE, Samples

STRETCH_S = 10
LEAD_S = 0.5  # of audio before a stretch; the filter reaches over some hundredths of a second


class _Run:
    """One of the library's; `at`: the number of the sample that comes out of it next."""

    def __init__(self, rate: int, begin: int) -> None:
        self._stream = soxr.ResampleStream(rate, RATE, 1, dtype="float32", quality="HQ")
        self.begin, self.at = begin, begin * RATE // rate
        self._ready: deque[Samples] = deque()

    def feed(self, samples: Samples, *, last: bool) -> None:
        self._ready.append(self._stream.resample_chunk(samples, last=last))

    def take(self, first: int, until: float) -> list[Samples]:
        """Return what is ready from one number up to another; forget what is before."""
        taken = []
        while self._ready and self.at < until:
            samples = self._ready.popleft()
            n = int(min(len(samples), until - self.at))
            if n < len(samples):
                self._ready.appendleft(samples[n:])
            taken.append(samples[max(first - self.at, 0) : n])
            self.at += n
        return taken


class Resampler:
    """Takes samples of one rate in portions of any size, and gives them at 16 kHz."""

    _early: Samples  # what is ready already

    def __init__(self, rate: int, *, is_kept: bool) -> None:
        """Begin; `is_kept`: whether it may be pickled later on."""
        self._begin(rate, 0, 0)
        self._heard: deque[tuple[int, Samples]] | None = deque() if is_kept else None

    def feed(self, samples: Samples, *, last: bool = False) -> Samples:
        """Return what follows from more samples [n]; `last`: there are no more."""
        out = [self._early]
        self._early = np.empty(0, np.float32)
        while True:
            whole = samples[: self._next_begin - self._n_in]
            samples = samples[len(whole) :]
            if self._heard is not None:
                self._heard.append((self._n_in, whole))
            for run in self._runs:
                run.feed(whole, last=last and not len(samples))
            self._n_in += len(whole)
            out += self._taken()
            if self._n_in == self._next_begin:
                self._runs.append(_Run(self._rate, self._n_in))
            if not len(samples):
                return np.concatenate(out)

    def __getstate__(self) -> dict[str, Any]:
        """Return what it takes to go on: the audio of this stretch."""
        assert self._heard is not None
        heard = [samples for _, samples in self._heard]
        return {
            "rate": self._rate,
            "n_out": self._n_out,
            "number": self._number,
            "heard": np.concatenate([*heard, np.empty(0, np.float32)]).tobytes(),
            "early": self._early.tobytes(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Hear the audio of the stretch again."""
        early = np.frombuffer(state["early"], np.float32)
        self._begin(state["rate"], state["number"], state["n_out"])
        self._heard = deque()
        self._early = np.concatenate([early, self.feed(np.frombuffer(state["heard"], np.float32))])

    @property
    def _seam(self) -> int:
        """Where the next stretch meets this one, in samples that come out."""
        return (self._number + 1) * STRETCH_S * RATE

    @property
    def _next_begin(self) -> int:
        """Where the next resampler begins, in samples that come."""
        number = self._number + len(self._runs)
        return number * STRETCH_S * self._rate - self._lead

    def _begin(self, rate: int, number: int, n_out: int) -> None:
        whole = rate // math.gcd(rate, RATE)  # samples that come for a whole number that go out
        self._rate, self._lead = rate, whole * math.ceil(LEAD_S * rate / whole)
        self._number, self._n_out = number, n_out  # of the stretch; samples that went out
        self._n_in = number * STRETCH_S * rate - (self._lead if number else 0)
        self._runs = [_Run(rate, self._n_in)]
        self._early = np.empty(0, np.float32)

    def _taken(self) -> list[Samples]:
        taken = []
        while True:
            run = self._runs[0]
            taken += run.take(self._n_out, self._seam if len(self._runs) > 1 else math.inf)
            self._n_out = max(self._n_out, run.at)
            if len(self._runs) == 1 or run.at < self._seam:
                return taken
            del self._runs[0]
            self._number += 1
            while self._heard and self._heard[0][0] < self._runs[0].begin:
                self._heard.popleft()
