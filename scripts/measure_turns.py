"""How well ends of turns are found: clips one after the other, with pauses in them and between.

    python scripts/measure_turns.py [MODEL.gguf] [--silence MS] [--delay MS]

A turn is a clip: a string of digits as somebody reads them out, or an order or a sentence with one
pause or two in it, by people and voices that the embedded model has never heard. It ends with its
last word. Counted are turns whose end was told within 400 ms (by a slot that ends no later, to
which the delay comes), turns whose end was not told before the next began (missed), ends told while
a turn lasted (false, per minute of turns), and how long after the end it was told, in audio.

Ways: the states that a model with a head for it tells; pads after text and the level of the audio,
for any model; and a plain threshold of energy, which is told what the noise is.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import voxtral_edge as vox
from voxtral_edge.text.pauses import Pauses, Settings
from voxtral_edge.text.pieces import TURN_END
from voxtral_edge.text.turns import States, Turns

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import speech  # noqa: E402

GAPS_S = (1.2, 2.5)  # between turns
PAUSES_S = (0.3, 1.0)  # in orders and sentences
FADE = 80  # samples in which a clip that is cut goes and comes
SLOT = 1280
FOUND_MS = 400

Spans = list[tuple[float, float]]
Told = list[tuple[float, float]]  # where an end is, and at what audio it was told, in ms


class Result(NamedTuple):
    n: int
    found: float  # share told within 400 ms of their end and the delay
    missed: int
    false: float  # a minute of turns
    late_ms: list[float]  # told after the end


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?", help="a GGUF file; the embedded one")
    parser.add_argument("--silence", type=int, default=500, metavar="MS")
    parser.add_argument("--delay", type=int, default=480, metavar="MS")
    args = parser.parse_args()
    settings = Settings(silence_ms=args.silence)
    sentences = [clip for clip, _ in speech.held_out() if clip.words[0] not in speech.DIGITS]
    sets = {
        "digits": speech.digits(400),
        "orders": [paused(clip, i) for i, clip in enumerate(3 * speech.strangers())],
        "sentences": [paused(clip, i) for i, clip in enumerate(6 * sentences)],
    }
    print("| turns | noise | way | n | told in 400 ms, % | missed | false a minute | p50 | p95 |")
    print("|---|---|---|---|---|---|---|---|---|")
    with vox.Model(args.model) as model:
        for (name, clips), noise_db in itertools.product(sets.items(), (None, -50, -40)):
            audio, spans = scene(clips, noise_db)
            slots = list(model.slots(audio, delay_ms=args.delay))
            noise = "none" if noise_db is None else f"{noise_db} dBFS"
            pauses = Pauses(model, settings, delay_ms=args.delay)
            ways = {"pads and level": by_turns(pauses, audio, slots, args.delay)}
            if model.has_turns:
                states = by_turns(States(model, settings), audio, slots, args.delay)
                ways = {"states": states, **ways}
            ways["energy alone"] = by_energy(audio, noise_db, args.silence)
            for way, told in ways.items():
                found = judged(spans, told, args.delay)
                p50, p95 = np.percentile(found.late_ms, [50, 95])
                print(
                    f"| {name} | {noise} | {way} | {found.n} | {100 * found.found:.0f} "
                    f"| {found.missed} | {found.false:.1f} | {p50:.0f} ms | {p95:.0f} ms |"
                )


def paused(clip: speech.Clip, seed: int) -> speech.Clip:
    """The clip with silence at the ends of one word or two."""
    random = np.random.default_rng(seed)
    inside = sorted({end for end in clip.ends if end < clip.ends[-1] - 60})
    cuts = sorted(random.choice(inside, min(len(inside), random.integers(1, 3)), replace=False))
    fade = np.minimum(np.arange(len(clip.samples)), FADE) / FADE
    parts, added, end = [], 0.0, 0
    for cut in cuts:
        start, end = end, int(16 * cut)
        part = clip.samples[start:end]
        silence = np.zeros(int(random.uniform(*PAUSES_S) * vox.RATE), np.float32)
        parts += [part * np.minimum(fade[: len(part)], fade[: len(part)][::-1]), silence]
        added += len(silence) / 16
    rest = clip.samples[end:]
    samples = np.concatenate([*parts, rest * fade[: len(rest)]]).astype(np.float32)
    return speech.Clip(samples, clip.words, [clip.ends[-1] + added])


def scene(clips: list[speech.Clip], noise_db: float | None) -> tuple[np.ndarray, Spans]:
    """Audio, and where turns begin and end in it, in ms."""
    random = np.random.default_rng(1)
    parts: list[np.ndarray] = [np.zeros(vox.RATE, np.float32)]
    spans, n = [], vox.RATE
    for i in random.permutation(len(clips)):
        samples, ends = clips[i].samples, clips[i].ends
        samples = samples * np.float32(0.1 / np.sqrt(np.square(samples).mean()))
        loud = np.flatnonzero(np.abs(samples) > 0.05 * np.abs(samples).max())
        spans.append(((n + loud[0]) / 16, n / 16 + ends[-1]))
        gap = np.zeros(int(random.uniform(*GAPS_S) * vox.RATE), np.float32)
        samples = samples[: int(16 * ends[-1]) + vox.RATE // 10]  # what is left is the gap's
        parts += [samples, gap]
        n += len(samples) + len(gap)
    audio = np.concatenate(parts)
    if noise_db is not None:
        audio += 10 ** (noise_db / 20) * random.standard_normal(len(audio)).astype(np.float32)
    return audio, spans


def by_turns(turns: Turns, audio: np.ndarray, slots: list[vox.Piece], delay_ms: int) -> Told:
    turns.hear(audio)
    return [
        (turn.end_ms, slot.end_ms + delay_ms)
        for slot in slots
        for turn in turns.push(slot)
        if turn.state == TURN_END
    ]


def by_energy(audio: np.ndarray, noise_db: float | None, silence_ms: int) -> Told:
    """By level alone: loud is 12 dB above the noise."""
    whole = audio[: len(audio) // SLOT * SLOT].reshape(-1, SLOT)
    level = 10 * np.log10(np.square(whole).mean(axis=1) + 1e-12)
    threshold = max(-50.0, (noise_db or -99.0) + 12)
    told, end_ms = [], None
    for i, is_loud in enumerate(level > threshold):
        now_ms = 80.0 * (i + 1)
        if is_loud:
            end_ms = now_ms
        elif end_ms is not None and now_ms - end_ms >= silence_ms:
            told.append((end_ms, now_ms))
            end_ms = None
    return told


def judged(spans: Spans, told: Told, delay_ms: int) -> Result:
    times = [at for _, at in told]
    missed = false = 0
    late = []
    for i, (start, end) in enumerate(spans):
        until = spans[i + 1][0] if i + 1 < len(spans) else float("inf")
        false += sum(start < at < end for at in times)
        after = [at - end for at in times if end <= at < until]
        missed += not after
        late += after[:1]
    found = sum(at <= delay_ms + FOUND_MS for at in late) / len(spans)
    minutes = sum(end - start for start, end in spans) / 60_000
    return Result(len(spans), found, missed, false / minutes, late)


if __name__ == "__main__":
    main()
