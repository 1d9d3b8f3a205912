"""Clips for the head that tells turns: people speak, pause, finish; others are heard, or nobody.

A turn is one utterance, or a string of single digits, with pauses in it at the ends of words, as
somebody makes who thinks or reads out. It is "speaking" from its beginning to the slot in which its
last word ends; that slot and the next are "turn_end", all others "idle". Speech of which nothing is
written is "noidle". Nothing is labelled "backchannel" or "uncertain".
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from bank import MARGIN, NOT_WRITTEN, RATE, Segment
from clips import TRACT, TWISTED, Planner

IDLE, NOIDLE, SPEAKING, TURN_END = range(4)  # as X2-Turn counts them
N_STATES = 6
N_END = 2  # slots of an end
SLOT_MS = 80
LEAST_GAP = 1.0  # seconds between turns
SHORTEST = 60  # milliseconds of a word: what ends sooner ended with the word before it

Parts = list[tuple[Segment, float]]  # each with the seconds of silence after it


class TurnPlanner(Planner):
    """Endless batches whose targets are states, reproducible by seed."""

    def pause(self) -> float:
        """Seconds within a turn."""
        r = self.r
        return r.uniform(0.15, 0.7) if r.random() < 0.65 else r.uniform(0.7, 1.2)

    def paused(self, segment: Segment, most: int) -> Parts:
        """An utterance with up to so many pauses at ends of words."""
        ends = np.minimum(segment.ends, segment.length / 16).tolist()
        inside = [end for end, later in itertools.pairwise(ends) if later - end > SHORTEST]
        n = min(len(inside), self.r.choice([0, 0, 1, 1, most]))
        cuts = [0.0, *sorted(self.r.sample(inside, n)), segment.length / 16]
        parts: Parts = []
        for begin, stop in itertools.pairwise(cuts):
            kept = [i for i, end in enumerate(ends) if begin < end <= stop]
            part = segment._replace(
                start=segment.start + int(16 * begin),
                length=int(16 * (stop - begin)),
                words=segment.words[kept],
                ends=segment.ends[kept] - begin,
            )
            parts.append((part, self.pause()))
        return parts

    def turn(self) -> Parts:
        """What is said without a gap between turns."""
        r = self.r
        order, name, prompt, alone = (
            people.one(r) for people in (self.orders, self.names, self.prompts, self.alone)
        )
        kinds: Sequence[tuple[float, Sequence[int]]] = (
            (0.38, self.said),
            (0.08, self.said_orders),
            (0.22, order),
            (0.14, r.choice(self.speakers) if self.speakers else ()),
            (0.04, alone),
            (0.04, name),
            (0.05, self.other),
            (0.05, prompt),
        )
        shares = [share if indices else 0.0 for share, indices in kinds]
        _, indices = r.choices(kinds, shares)[0]
        segment = self.segments[r.choice(indices)]
        if segment.kind in ("digit", "alone"):
            n = r.choice([1, r.randint(2, 8), r.randint(3, 8)])
            return [(self.part(self.segments[r.choice(indices)]), self.gap()) for _ in range(n)]
        return self.paused(segment, 3)

    def gap(self) -> float:
        """Seconds between digits that are read out."""
        r = self.r
        return r.uniform(0.05, 0.8) if r.random() < 0.9 else r.uniform(0.8, 1.2)

    def clip(
        self, seconds: float, n_targets: int, most: int
    ) -> tuple[list[tuple[float, ...]], np.ndarray]:
        """Rows of a plan (clips.Batch), and the state of each slot."""
        r = self.r
        states = np.full(n_targets, IDLE, np.int64)
        rows: list[tuple[float, ...]] = []
        at = r.uniform(0.1, 2.5)
        while True:
            parts, placed = self.turn(), list[tuple[float, ...]]()
            pace = math.exp(r.uniform(-0.2, 0.2))
            warp, twist = r.uniform(-TRACT, TRACT), r.uniform(-TWISTED, TWISTED)
            lead = MARGIN if parts[0][0].kind.startswith("spoken") else 0.0
            begin, end = at + lead / pace, at
            is_written = any(word != NOT_WRITTEN for part, _ in parts for word in part.words)
            for part, pause in parts:
                start, length = int(at * RATE), int(part.length / pace)
                gain = part.gain * 10 ** (r.gauss(0, 1) / 20)
                tract, bend = math.exp(warp), math.exp(twist)
                placed.append((start, part.start, length, pace, gain, tract, bend, 0.0))
                last = part.ends[-1] / 1000 if is_written else part.length / RATE
                end = start / RATE + last / pace
                at = (start + length) / RATE + pause
            if at > seconds or len(rows) + len(placed) > most:
                return rows, states
            rows += placed
            first, last_slot = int(1000 * begin / SLOT_MS), int(1000 * end / SLOT_MS)
            states[first:last_slot] = SPEAKING if is_written else NOIDLE
            states[last_slot : last_slot + N_END] = TURN_END if is_written else NOIDLE
            at = max(at - parts[-1][1], end) + LEAST_GAP + r.expovariate(1 / 1.2)
