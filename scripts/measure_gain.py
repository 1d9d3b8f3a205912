"""What an automatic gain is worth: words wrong of quiet and loud recordings, without and with it.

    python scripts/measure_gain.py [MODEL.gguf]

Orders by people whom the demo model never heard, and digits, each clip a stream of its own, whose
loudest sample is at a level from -60 to 0 dBFS and rounded to 16 bits; clean, and in white noise at
10 dB. Prints a Markdown table of words wrong in percent.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from pathlib import Path

import voxtral_edge as vox
from voxtral_edge.text.wer import word_errors

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "scripts"), str(ROOT / "scripts" / "train_demo")]

import speech  # noqa: E402
from evaluate import EMBEDDED, at_level, in_noise  # noqa: E402

LEVELS_DBFS = range(-60, 1, 10)

_model: vox.Model


def _open(path: str) -> None:
    global _model
    _model = vox.Model(path, threads=1)


def _hear(clip: speech.Clip) -> tuple[int, int, int]:
    """Words, and how many are wrong without and with."""
    texts = [_model.transcribe(clip.samples, gain=gain).text.split() for gain in (None, "auto")]
    without, with_gain = (word_errors(clip.words, text) for text in texts)
    return len(clip.words), without, with_gain


def main() -> None:
    parser = argparse.ArgumentParser(description="What an automatic gain is worth.")
    parser.add_argument("model", nargs="?", type=Path, default=EMBEDDED)
    parser.add_argument("--words", type=int, default=500, help="digits")
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    sets = {"orders": speech.strangers(), "digits": speech.digits(args.words)}
    print("| set | noise | gain | " + " | ".join(f"{level} dBFS" for level in LEVELS_DBFS) + " |")
    print("|---" * (3 + len(LEVELS_DBFS)) + "|")
    with context.Pool(os.cpu_count(), _open, (str(args.model),)) as pool:
        for name, clips in sets.items():
            for noise, noisy in (("none", clips), ("10 dB", list(in_noise(clips, 10)))):
                by_level = [pool.map(_hear, [*at_level(noisy, level)]) for level in LEVELS_DBFS]
                n_words = sum(n for n, *_ in by_level[0])
                for i, gain in ((1, "none"), (2, "auto")):
                    wrong = [sum(heard[i] for heard in found) for found in by_level]
                    cells = " | ".join(f"{100 * n / n_words:.1f}" for n in wrong)
                    print(f"| {name}, {n_words} words | {noise} | {gain} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
