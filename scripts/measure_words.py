"""What listing words is worth, and what it costs: the demo model on real people, in white noise.

    python scripts/measure_words.py [MODEL.gguf] [--bonus 1 2 3 4 6]

Listed and spoken: the names of drinks and of what goes into them, in orders by people whom the
model never heard, and the digits. Listed and not spoken: the other kind's words and all others of
the vocabulary that none of the clips has. Prints Markdown tables, a row for each bonus in logits; 0
is without words. Recall: of the listed words that were spoken, the share that was written in their
clip; false: listed words written beyond those that were spoken.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import voxtral_edge as vox
from voxtral_edge.text.wer import word_errors

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "scripts"), str(ROOT / "scripts" / "train_demo")]

import speech  # noqa: E402
from evaluate import EMBEDDED, in_noise  # noqa: E402
from vocabulary import ADDED, DRINKS, VOCABULARY  # noqa: E402

SNRS_DB = (None, 10, 5, 0, -5)
TERMS = sorted({word for name in (*DRINKS, *ADDED) for word in name.split()})


class Result(NamedTuple):
    n_words: int
    n_wrong: int
    n_listed: int  # of the words
    n_found: int  # of these
    n_false: int
    seconds: float


_model: vox.Model


def _open(path: str) -> None:
    global _model
    _model = vox.Model(path, threads=1)


def _hear(task: tuple[speech.Clip, Sequence[str], float]) -> Result:
    clip, words, bonus = task
    listed: Sequence[str] = words if bonus else ()
    text = _model.transcribe(clip.samples, words=listed, words_bonus=bonus or None).text.split()
    known = set(words)
    spoken, written = (Counter(w for w in some if w in known) for some in (clip.words, text))
    return Result(
        len(clip.words),
        word_errors(clip.words, text),
        spoken.total(),
        (spoken & written).total(),
        (written - spoken).total(),
        len(clip.samples) / speech.RATE,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="What listing words is worth.")
    parser.add_argument("model", nargs="?", type=Path, default=EMBEDDED)
    parser.add_argument("--bonus", type=float, nargs="+", default=[1, 2, 3, 4, 6])
    parser.add_argument("--words", type=int, default=1000, help="digits")
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    orders, digits = speech.strangers(), speech.digits(args.words)
    unspoken = set(VOCABULARY) - {word for clip in (*orders, *digits) for word in clip.words}
    sets = {
        "orders, their terms listed": (orders, TERMS),
        "digits, digits listed": (digits, speech.DIGITS),
        "orders, words listed that are not spoken": (orders, sorted({*unspoken, *speech.DIGITS})),
        "digits, words listed that are not spoken": (digits, sorted({*unspoken, *TERMS})),
    }
    with context.Pool(os.cpu_count(), _open, (str(args.model),)) as pool:
        for name, (clips, words) in sets.items():
            print(f"\n{name} ({len(words)} of them)\n")
            print("| noise | bonus | words | WER % | listed | recall % | false | false per hour |")
            print("|---|---|---|---|---|---|---|---|")
            for snr_db in SNRS_DB:
                noisy = clips if snr_db is None else list(in_noise(clips, snr_db))
                for bonus in (0.0, *args.bonus):
                    found = pool.map(_hear, [(clip, words, bonus) for clip in noisy], chunksize=4)
                    row(f"{snr_db} dB" if snr_db is not None else "none", bonus, found)


def row(noise: str, bonus: float, found: list[Result]) -> None:
    n_words, n_wrong, n_listed, n_found, n_false, seconds = (
        sum(result[i] for result in found) for i in range(6)
    )
    recall = f"{100 * n_found / n_listed:.1f}" if n_listed else "-"
    print(
        f"| {noise} | {bonus:g} | {n_words} | {100 * n_wrong / n_words:.2f} | {n_listed} | "
        f"{recall} | {n_false} | {n_false / seconds * 3600:.1f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
