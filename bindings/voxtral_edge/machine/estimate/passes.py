"""How long passes of known width take in a small model, and what else ran meanwhile.

The positions of a prompt that hear audio and do not speak take exactly as many slots per pass as
are there, so what is pushed chooses the width. A stream with the longest delay has 31 of them; it
is reset after each round. One pass of a round lasts some milliseconds, so that many of them go
undisturbed even while other programs run.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field

import numpy as np

from ...audio import RATE
from ...streaming.model import Model
from ...streaming.options import DELAYS_MS
from ...streaming.stream import Stream
from ...text.pieces import SLOT_MS
from ..host import Others

# After a first pass, which prepares a stream; each sum and one more fill the longest delay.
WIDTHS = ((1, 2, 4, 6, 16), (1, 3, 5, 8, 12))
N_QUIET = 8  # rounds that are enough
QUIET = 0.1  # share of the processors that others may have in a quiet round
N_SLOT = RATE * SLOT_MS // 1000  # samples
LOOK_AHEAD = 40  # samples after its slot that a slot's mel frames reach into

Times = dict[int, list[float]]  # ms of passes, by width in slots


@dataclass(frozen=True)
class Passes:
    """Times of undisturbed rounds, or of all if too few were; and the share that others had."""

    mel: list[float] = field(default_factory=list)  # of one slot
    encoder: Times = field(default_factory=dict)
    decoder: Times = field(default_factory=dict)
    others: float | None = None  # None: it cannot be known
    is_quiet: bool = True

    def add(self, other: Passes) -> None:
        """Take over the times of another."""
        self.mel.extend(other.mel)
        for mine, more in ((self.encoder, other.encoder), (self.decoder, other.decoder)):
            for width, ms in more.items():
                mine.setdefault(width, []).extend(ms)


def measure(model: Model, end: float) -> Passes:
    """Run rounds until enough were quiet, or the monotonic clock is at end, but at least one."""
    rounds: list[Passes] = []
    with model.stream(delay_ms=DELAYS_MS[-1]) as stream:
        _round(stream)  # prepares what all streams share
        others = Others()
        while sum(each.is_quiet for each in rounds) < N_QUIET:
            if rounds and time.monotonic() > end:
                break
            passes = _round(stream)
            share = others.share()
            quiet = share is None or share < QUIET
            rounds.append(
                Passes(passes.mel, passes.encoder, passes.decoder, others=share, is_quiet=quiet)
            )
    return chosen(rounds)


def chosen(rounds: list[Passes]) -> Passes:
    """Return the times of the quiet rounds if they are at least half of enough, else of all."""
    quiet = [each for each in rounds if each.is_quiet]
    is_quiet = 2 * len(quiet) >= N_QUIET
    used = quiet if is_quiet else rounds
    shares = [each.others for each in used if each.others is not None]
    total = Passes(others=statistics.fmean(shares) if shares else None, is_quiet=is_quiet)
    for each in used:
        total.add(each)
    return total


def _round(stream: Stream) -> Passes:
    """Push as many slots as each pass shall take, and look what it took."""
    passes = Passes()
    noise = np.random.default_rng(1).normal(0, 0.1, max(map(sum, WIDTHS)) * N_SLOT)
    samples = noise.astype(np.float32)
    for widths in WIDTHS:
        stream.reset()
        stream.push(np.zeros(LOOK_AHEAD, np.float32))  # completes the silence before the audio
        _hear(stream)
        n = 0
        for width in widths:
            before = stream.stats()
            stream.push(samples[n : n + width * N_SLOT])
            n += width * N_SLOT
            _hear(stream)
            after = stream.stats()
            passes.mel.append((after.mel_ns - before.mel_ns) / width / 1e6)
            for times, name in ((passes.encoder, "encoder_ns"), (passes.decoder, "prefill_ns")):
                ms = (getattr(after, name) - getattr(before, name)) / 1e6
                times.setdefault(width, []).append(ms)
    return passes


def _hear(stream: Stream) -> None:
    for _ in stream.slots():  # there are none yet, but asking is what computes
        pass
