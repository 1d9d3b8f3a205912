"""How well ends of turns are found: clips one after the other, with pauses and noise between.

A turn is a clip; it ends with its last loud sample. Counted are turns whose end was not told before
the next began (missed), ends that were told while a turn lasted (false), and how long after the end
it was told, in audio. Beside it: a plain threshold of energy, which is told what the noise is.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import voxtral_edge as vox
from voxtral_edge.text.pieces import TURN_END
from voxtral_edge.text.turns import turns_of

CLIPS = Path(__file__).parents[1] / "tests" / "data" / "held_out"
PAUSES_S = (1.2, 2.5)
SLOT = 1280
N_ROUNDS = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--silence", type=int, default=500, metavar="MS")
    args = parser.parse_args()
    clips = [np.concatenate(list(vox.read(path))) for path in sorted(CLIPS.glob("*.flac"))]
    print("| noise | way | turns | missed | false | told after, p50 | p95 |")
    print("|---|---|---|---|---|---|---|")
    with vox.Model() as model:
        for noise_db in (None, -60, -50, -40):
            audio, spans = scene(clips, noise_db)
            slots = list(model.slots(audio))
            for way, told in (
                ("pads and level", by_turns(model, audio, slots, args.silence)),
                ("energy alone", by_energy(audio, noise_db, args.silence)),
            ):
                noise = "none" if noise_db is None else f"{noise_db} dBFS"
                print(f"| {noise} | {way} | {len(spans)} | {judged(spans, told)} |")


def scene(
    clips: list[np.ndarray], noise_db: float | None
) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Audio, and where turns begin and end in it, in ms."""
    random = np.random.default_rng(1)
    parts: list[np.ndarray] = [np.zeros(vox.RATE, np.float32)]
    spans, n = [], vox.RATE
    for _ in range(N_ROUNDS):
        for i in random.permutation(len(clips)):
            clip = clips[i] * np.float32(0.1 / np.sqrt(np.square(clips[i]).mean()))
            loud = np.flatnonzero(np.abs(clip) > 0.05 * np.abs(clip).max())
            spans.append(((n + loud[0]) / 16, (n + loud[-1]) / 16))
            pause = np.zeros(int(random.uniform(*PAUSES_S) * vox.RATE), np.float32)
            parts += [clip, pause]
            n += len(clip) + len(pause)
    audio = np.concatenate(parts)
    if noise_db is not None:
        audio += 10 ** (noise_db / 20) * random.standard_normal(len(audio)).astype(np.float32)
    return audio, spans


def by_turns(
    model: vox.Model, audio: np.ndarray, slots: list[vox.Piece], silence_ms: int
) -> list[tuple[float, float]]:
    """Ends that are told: where they are, and at what audio they are told."""
    delay_ms = model.default_delay_ms
    turns, told = turns_of(model, delay_ms=delay_ms, silence_ms=silence_ms), []
    turns.hear(audio)
    for slot in slots:
        told += [
            (turn.end_ms, slot.end_ms + delay_ms)
            for turn in turns.push(slot)
            if turn.state == TURN_END
        ]
    return told


def by_energy(
    audio: np.ndarray, noise_db: float | None, silence_ms: int
) -> list[tuple[float, float]]:
    """The same by level alone: loud is 12 dB above the noise."""
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


def judged(spans: list[tuple[float, float]], told: Iterable[tuple[float, float]]) -> str:
    told = list(told)
    missed = false = 0
    late = []
    for i, (start, end) in enumerate(spans):
        until = spans[i + 1][0] if i + 1 < len(spans) else float("inf")
        false += sum(start < at < end for _, at in told)
        after = [at - end for _, at in told if end <= at < until]
        missed += not after
        late += after[:1]
    p50, p95 = np.percentile(late, [50, 95])
    return f"{missed} | {false} | {p50:.0f} ms | {p95:.0f} ms"


if __name__ == "__main__":
    main()
