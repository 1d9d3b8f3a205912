"""Training clips: which segments where, at which speed and level, and what is to be written.

A clip is put together from segments of the bank; the audio itself is made later, on the training
device, from the plan's numbers. The target of a slot is [STREAMING_PAD], or [STREAMING_WORD] in the
first free slot after a word has ended, and then the tokens of the words that wait, one per slot.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from random import Random
from typing import NamedTuple

import numpy as np
from bank import NOT_WRITTEN, RATE, Bank, Segment
from vocabulary import KINDS

BOS, PAD, WORD = 1, 32, 33
SAMPLES_PER_SLOT = 1280
N_LEFT_PAD, N_RIGHT_EXTRA = 32, 11
SLOT = SAMPLES_PER_SLOT / RATE  # seconds
DELAYS = (2, 4, 5, 7, 8, 9, 10, 11, 13, 14, 15, 30)  # beside the common 6, 3, 12 and 1
LEVELS_OF_MUSIC = (5, 28)  # dB that speech is above it
REAL = 0.2  # share of clips of nothing but real people
SINGLE = ("digit", "alone", "spoken-name", "word")  # kinds of recordings of one word
LEVELS_OF_HISS = (8, 40)  # dB that speech is above the noise that comes and goes with it
TRACT, TWISTED = 0.2, 0.1  # how far vocal tracts differ, and high formants beside low ones

# Columns of a plan, one row per segment
START, SOURCE, LENGTH, SPEED, GAIN, WARP, TWIST, HISS = range(8)


class Batch(NamedTuple):
    n_slots: int  # decoder positions of each clip, padding and delay included
    n_delay: int
    n_audio: int  # slots of audio
    plan: np.ndarray  # [clips, segments, 8]; unused rows start at infinity
    music: np.ndarray  # [clips, 3]: start and length in the bank, gain (0: none)
    targets: np.ndarray  # [clips, n_audio + 11]


def targets(
    ends: Sequence[tuple[float, int]], n: int, tokens: Sequence[Sequence[int]]
) -> np.ndarray:
    """ends: (milliseconds, word id) in order of time; what does not fit into n slots is cut."""
    out = np.full(n, PAD, np.int64)
    queue: list[int] = []
    i = 0
    for slot in range(n):
        if queue:
            out[slot] = queue.pop(0)
        elif i < len(ends) and ends[i][0] < 80 * (slot + 1):
            while i < len(ends) and ends[i][0] < 80 * (slot + 1):
                queue += tokens[ends[i][1]]
                i += 1
            out[slot] = WORD
    return out


class People:
    """Recordings by speaker, drawn by the square root of how many there are of each."""

    def __init__(self, recordings: Mapping[str, list[int]]) -> None:
        self.recordings = [recordings[name] for name in sorted(recordings)]
        self.weights = [math.sqrt(len(of_one)) for of_one in self.recordings]

    def one(self, r: Random) -> list[int]:
        return r.choices(self.recordings, self.weights)[0] if self.recordings else []


class Planner:
    """Endless batches, reproducible by seed; without: voices that are left out."""

    def __init__(
        self, bank: Bank, tokens: Sequence[Sequence[int]], seed: int, without: Collection[str] = ()
    ) -> None:
        self.segments, self.tokens, self.r = bank.segments, tokens, Random(seed)
        groups: dict[str, list[int]] = defaultdict(list)
        people: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for i, segment in enumerate(bank.segments):
            if segment.voice not in without:
                groups[segment.kind].append(i)
                people[segment.kind][segment.voice].append(i)
        self.digits, self.words = groups["digit"], groups["word"]
        self.said_digits, self.said_orders = groups["digits"], groups["order"]
        self.speakers = [people["digit"][name] for name in sorted(people["digit"])]
        self.alone = People(people["alone"])
        self.orders, self.names = People(people["spoken-order"]), People(people["spoken-name"])
        self.said = [i for kind in (*KINDS, "mixed") for i in groups[kind]]
        self.other, self.prompts = groups["other"], People(people["prompt"])
        self.music = groups["music"]

    def gap(self) -> float:
        r, u = self.r, self.r.random()
        if u < 0.78:
            return r.uniform(0.05, 0.8)
        return r.uniform(0, 0.05) if u < 0.88 else r.uniform(0.8, 2.5)

    def sources(self) -> tuple[Sequence[Sequence[int]], float]:
        """Lists to draw each segment from, and how far the speed may differ, for one clip."""
        r, said, digits = self.r, self.said, self.digits
        order, other_order, name = self.orders.one(r), self.orders.one(r), self.names.one(r)
        prompts, other_prompts = self.prompts.one(r), self.prompts.one(r)
        styles = (
            (REAL * 0.30, [r.choice(self.speakers)], 0.28),
            (REAL * 0.16, [digits], 0.28),
            (REAL * 0.06, [digits, *[self.words] * 3], 0.24),
            (REAL * 0.30, [order], 0.22),
            (REAL * 0.14, [order, other_order, self.said_orders], 0.22),
            (REAL * 0.14, [name], 0.22),
            (0.07, [digits, order, name, self.words, said], 0.22),
            (0.08, [self.said_digits], 0.22),
            (0.06, [self.alone.one(r)], 0.28),
            (0.03, [self.alone.one(r), self.alone.one(r), digits, order], 0.24),
            (0.50 - REAL, [said], 0.22),
            (0.05, [digits, order, self.other, prompts, said], 0.2),
            (0.06, [self.other], 0.2),
            (0.06, [prompts], 0.2),
            (0.05, [prompts, other_prompts, self.other], 0.2),
            (0.03, [], 0.0),
        )
        _, lists, spread = r.choices(styles, [style[0] for style in styles])[0]
        return lists, spread

    def part(self, segment: Segment) -> Segment:
        """What of a segment is used.

        Of a real order now and then only some words, so that its wording is not learnt; of single
        words now and then not the very ends, as recordings are cut by programs.
        """
        r, n = self.r, len(segment.words)
        if n == 1 and segment.kind in SINGLE:
            begin = int(segment.length * r.uniform(0, 0.15) * (r.random() < 0.3))
            stop = int(segment.length * (1 - r.uniform(0, 0.2) * (r.random() < 0.3)))
            return segment._replace(
                start=segment.start + begin,
                length=stop - begin,
                ends=np.minimum(segment.ends - begin / 16, (stop - begin) / 16),
            )
        if segment.kind != "spoken-order" or n < 2 or r.random() < 0.5:
            return segment
        first = r.randrange(n)
        last = r.randrange(first, min(n, first + 6))
        begin = segment.ends[first - 1] if first else 0.0
        stop = min(segment.ends[last] + 20, segment.length / 16)
        return segment._replace(
            start=segment.start + int(16 * begin),
            length=int(16 * (stop - begin)),
            words=segment.words[first : last + 1],
            ends=segment.ends[first : last + 1] - begin,
        )

    def clip(
        self, seconds: float, n_targets: int, most: int
    ) -> tuple[list[tuple[float, ...]], np.ndarray]:
        r = self.r
        lists, spread = self.sources()
        lists = [indices for indices in lists if indices]
        at = r.choice([0.0, r.uniform(0, 0.3), r.uniform(0, 1), r.uniform(0, 1), r.uniform(0, 3)])
        stop = seconds if r.random() < 0.75 else r.uniform(0.3, 1) * seconds
        speed = 1.0 if r.random() < 0.15 else math.exp(r.uniform(-spread, spread))
        warp, twist = 0.0, 0.0
        if r.random() < 0.8:
            warp, twist = r.uniform(-TRACT, TRACT), r.uniform(-TWISTED, TWISTED)
        # Recordings of single words bring their own noise along, and silence is between them.
        hiss = 10 ** (-r.uniform(*LEVELS_OF_HISS) / 20) if r.random() < 0.4 else 0.0
        each = r.random() < 0.5  # a new vocal tract and speed for each segment
        rows: list[tuple[float, ...]] = []
        ends: list[tuple[float, int]] = []
        while lists and len(rows) < most:
            segment = self.part(self.segments[r.choice(r.choice(lists))])
            pace = math.exp(r.uniform(-spread, spread)) if each else speed
            pace *= math.exp(r.gauss(0, 0.03))
            tract = math.exp(r.uniform(-TRACT, TRACT) if each else warp + r.gauss(0, 0.01))
            bend = math.exp(r.uniform(-TWISTED, TWISTED) if each else twist)
            length = int(segment.length / pace)
            if at + length / RATE > stop:
                break
            start = int(at * RATE)
            gain = segment.gain * 10 ** (r.gauss(0, 2) / 20)
            noise = hiss * 10 ** (r.gauss(0, 3) / 20) if segment.kind in SINGLE else 0.0
            rows.append((start, segment.start, length, pace, gain, tract, bend, noise))
            ends += [
                (start / 16 + end / pace, int(word))
                for end, word in zip(segment.ends, segment.words, strict=True)
                if word != NOT_WRITTEN
            ]
            at = (start + length) / RATE + self.gap()
        return rows, targets(ends, n_targets, self.tokens)

    def batch(self, n_slots: int, n_delay: int, n_clips: int) -> Batch:
        r = self.r
        n_audio = n_slots - N_LEFT_PAD - n_delay - N_RIGHT_EXTRA
        most = max(48, n_audio // 6)
        plan = np.zeros((n_clips, most, 8))
        plan[:, :, START] = math.inf
        music = np.zeros((n_clips, 3))
        wanted = np.zeros((n_clips, n_audio + N_RIGHT_EXTRA), np.int64)
        for c in range(n_clips):
            rows, wanted[c] = self.clip(n_audio * SLOT, n_audio + N_RIGHT_EXTRA, most)
            if rows:
                plan[c, : len(rows)] = rows
            if self.music and r.random() < (0.14 if rows else 0.4):
                piece = self.segments[r.choice(self.music)]
                skip = r.randrange(piece.length // 2)
                level = 10 ** (-r.uniform(*LEVELS_OF_MUSIC if rows else (-6, 30)) / 20)
                music[c] = (piece.start + skip, piece.length - skip, piece.gain * level)
        return Batch(n_slots, n_delay, n_audio, plan, music, wanted)

    def batches(
        self, n_slots_in_all: int, lengths: Sequence[int], shares: Sequence[float]
    ) -> Iterator[Batch]:
        """lengths: of clips in slots, drawn with these shares; one delay for a whole batch."""
        r = self.r
        while True:
            length = r.choices(lengths, shares)[0]
            n_delay = r.choices([6, 3, 12, 1, r.choice(DELAYS)], [0.46, 0.11, 0.11, 0.09, 0.23])[0]
            yield self.batch(length, n_delay, max(2, n_slots_in_all // length))
