"""Draws the slots of a stream one by one and keeps what each pass took, by its stage.

The stream's statistics are taken after each slot, so that the time of every pass is known.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from typing import Any

import numpy as np

from ...audio import RATE, Samples
from ...streaming.stream import Stats, Stream
from ...system import here
from ...text.pieces import SLOT_MS, Piece

Result = dict[str, Any]

N_SLOT = RATE * SLOT_MS // 1000  # samples
LOOK_AHEAD = 40  # samples after its slots that a slot's mel frames reach into
STAGES = {  # stage: what counts its passes and its slots
    "mel": "encoder",
    "encoder": "encoder",
    "prefill": "prefill",
    "decoder": "decoder",
    "head": "decoder",
}
PROGRESS_S = 1.0  # between two words about it, rarely enough not to be measured with the rest


class Drawn:
    """Draws the slots of a stream and keeps what came out and the time of each pass.

    The stream has heard n_heard samples, which gave n_before slots, when the run begins.
    """

    def __init__(
        self, name: str, stream: Stream, samples: Samples, delay_ms: int, heard_s: float
    ) -> None:
        """Hear heard_s seconds of samples, over and over, before anything is kept."""
        self.name, self.stream, self.samples, self.delay_ms = name, stream, samples, delay_ms
        self.total_s = len(samples) / RATE
        self.n_heard, self.n_before = round(heard_s * RATE), 0
        if self.n_heard:
            print(f"voxtral: hearing {heard_s:g} s before {name}", file=sys.stderr)
        for i in range(0, self.n_heard, len(samples)):
            stream.push(samples[: self.n_heard - i])
            self.n_before += sum(1 for _ in stream.slots())
        print(f"voxtral: measuring {name}", file=sys.stderr)
        self.shown = time.monotonic()
        self.first = self.before = stream.stats()
        self.text: list[str] = []
        self.tokens: list[int] = []
        self.ms: dict[str, list[float]] = {stage: [] for stage in STAGES}
        self.n_slots = dict.fromkeys(STAGES, 0)
        self.by_width: dict[str, dict[int, list[float]]] = {s: defaultdict(list) for s in STAGES}

    def next(self) -> Piece | None:
        """Draw the next slot, if the audio so far allows one."""
        piece = next(self.stream.slots(), None)
        after = self.stream.stats()
        self._keep(self.before, after)
        self.before = after
        if piece:
            self.text.append(piece.text)
            self.tokens.append(piece.token)
            if here.draws(sys.stderr) and time.monotonic() > self.shown + PROGRESS_S:
                self.shown = time.monotonic()
                done_s = min(piece.end_ms / 1000, self.total_s)
                # In place of the line above, which grows.
                line = f"voxtral: measuring {self.name}: {done_s:.0f} of {self.total_s:.0f} s"
                print(f"\x1b[A{line}", file=sys.stderr)
        return piece

    def drain(self) -> int:
        """Draw all slots that the audio so far allows; return how many."""
        n = len(self.tokens)
        while self.next():
            pass
        return len(self.tokens) - n

    def due(self) -> int:
        """Samples of the run's after which the slot drawn last could be computed."""
        return needed(self.n_before + len(self.tokens) - 1, self.delay_ms) - self.n_heard

    def _keep(self, before: Stats, after: Stats) -> None:
        def grown(name: str) -> int:
            return int(getattr(after, name) - getattr(before, name))

        for stage, counter in STAGES.items():
            n_slots = grown(f"n_{counter}_slots")
            # The head has no work, but a clock, where no position of a pass speaks.
            if not (n_slots if stage == "head" else grown(f"{stage}_ns")):
                continue
            # What a model's first stream prepares, and the head of the prompt, are passes too.
            n_passes = max(grown(f"n_{counter}_passes"), 1)
            ms = grown(f"{stage}_ns") / n_passes / 1e6
            self.ms[stage] += n_passes * [ms]
            self.n_slots[stage] += n_slots
            if n_passes == 1:
                self.by_width[stage][n_slots].append(ms)

    def result(self, work_s: float) -> Result:
        """Return what all runs have in common; work_s is time without waiting."""
        stats, first, model = self.before, self.first, self.stream.model
        return {
            "rtf": work_s / self.total_s,
            "n_slots": len(self.tokens),
            "n_pads": self.tokens.count(model.token_pad),
            "n_words": self.tokens.count(model.token_word),
            "n_decoder_passes": stats.n_decoder_passes - first.n_decoder_passes,
            "n_drafted": stats.n_drafted - first.n_drafted,
            "n_agreed": stats.n_agreed - first.n_agreed,
            "stages": {
                stage: {
                    "n_passes": len(ms),
                    "n_slots": self.n_slots[stage],
                    "p50_ms": percentile(ms, 50),
                    "p95_ms": percentile(ms, 95),
                    "ms_per_audio_s": sum(ms) / self.total_s,
                    "by_width": {
                        str(width): {"n_passes": len(times), "p50_ms": percentile(times, 50)}
                        for width, times in sorted(self.by_width[stage].items())
                    },
                }
                for stage, ms in self.ms.items()
            },
            "text": "".join(self.text).lstrip(),
            "memory": {
                "weight_bytes": stats.weight_bytes,
                "state_bytes": stats.state_bytes,
                "scratch_bytes": stats.scratch_bytes,
            },
        }


def needed(slot: int, delay_ms: int) -> int:
    """Samples after which a slot can be computed."""
    return N_SLOT * (slot + 1 + delay_ms // SLOT_MS) + LOOK_AHEAD


def percentile(values: list[float], percent: float) -> float | None:
    """Return a percentile; None of no values."""
    return float(np.percentile(values, percent)) if values else None
