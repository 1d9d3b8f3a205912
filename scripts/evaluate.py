"""Word error rates of the demo model by weight type and by delay; --long: one endless stream.

    python scripts/evaluate.py [MODEL.gguf] [--words N] [--long]

MODEL: judge this file only, at 480 ms. Prints Markdown tables. The audio is built from tests/data.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import voxtral_edge as vox
from voxtral_edge.convert import FILE_TYPES, convert

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import speech  # noqa: E402

DELAYS_MS = (80, 240, 480, 960, 2400)


def error_rate(model: vox.Model, clips: list[speech.Clip], delay_ms: int = 480) -> float:
    """Percent of words that are wrong. Clips run side by side, one thread each."""

    def errors(clip: speech.Clip) -> int:
        text = model.transcribe(clip.samples, delay_ms=delay_ms).text
        return speech.word_errors(clip.words, text.split())

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        wrong = sum(pool.map(errors, clips))
    return 100 * wrong / sum(len(clip.words) for clip in clips)


def row(path: Path, sets: list[list[speech.Clip]], delay_ms: int = 480) -> str:
    with vox.Model(path) as model:
        return " | ".join(f"{error_rate(model, clips, delay_ms):.2f}" for clips in sets)


def long_stream(path: Path, minutes: float) -> None:
    """One stream over concatenated clips; the error rate per third and the memory at its ends."""
    thirds = []
    with vox.Model(path) as model, model.stream() as stream:
        start = time.perf_counter()
        for third in range(3):
            reference: list[str] = []
            text, n = "", 0
            clips = speech.connected(speech.TRAINING_SPEAKERS[third], 3000, 10 + third)
            while n < minutes * 60 * speech.RATE / 3:
                clip = clips[len(reference) % len(clips)]
                text += "".join(piece.text for piece in stream.feed(clip.samples))
                reference += clip.words
                n += len(clip.samples)
            silence = np.zeros(2 * speech.RATE, np.float32)  # the last words come out
            text += "".join(piece.text for piece in stream.feed(silence))
            wrong = speech.word_errors(reference, text.split())
            memory = stream.memory / 1e6
            thirds.append((len(reference), 100 * wrong / len(reference), memory))
        stream.finish()
        seconds = time.perf_counter() - start
    print(
        f"\n| third of {minutes:g} minutes | words | WER % | stream memory MB |\n|---|---|---|---|"
    )
    for number, (words, rate, memory) in enumerate(thirds, 1):
        print(f"| {number} | {words} | {rate:.2f} | {memory:.1f} |")
    print(f"\nRTF {seconds / (60 * minutes):.3f} on one thread")


def main() -> None:
    parser = argparse.ArgumentParser(description="Word error rates of the demo model.")
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--words", type=int, default=1000, help="words per set")
    parser.add_argument("--long", action="store_true", help="one stream of 30 minutes instead")
    args = parser.parse_args()
    embedded = ROOT / "bindings" / "voxtral_edge" / "demo.gguf"
    if args.long:
        long_stream(args.model or embedded, 30)
        return
    sets = [speech.unseen_speaker(args.words), speech.training_speakers(args.words)]
    header = "unseen speaker | training speakers, unseen recordings |"
    with tempfile.TemporaryDirectory() as folder:
        print(f"| type | MB | {header}\n|---|---|---|---|")
        for name in ["given"] if args.model else FILE_TYPES:
            path = args.model or Path(folder, f"{name}.gguf")
            if not args.model:
                convert(ROOT / "demo", path, type=name)
            size = path.stat().st_size / 1e6
            print(f"| {name} | {size:.1f} | {row(path, sets)} |", flush=True)
    if not args.model:
        print(f"\n| delay ms | {header}\n|---|---|---|")
        for delay_ms in DELAYS_MS:
            print(f"| {delay_ms} | {row(embedded, sets, delay_ms)} |", flush=True)


if __name__ == "__main__":
    main()
