"""What listing words is worth, and what it costs, with the demo model.

    python scripts/measure_words.py [MODEL.gguf] [--judge work/judge] [--bonus 2 3 4] [--words N]

Spoken: orders by people whom the model never heard, in white noise, with all names of drinks and of
what goes into them listed; with --judge, sentences and random words of a voice that it was not
trained on and hears badly, with every tenth word of its vocabulary listed. Not spoken: digits,
orders and, with --judge, commands and sentences of an unseen voice, with words listed that none of
them has. Prints Markdown tables, a row for each bonus in logits; 0 is without words. Recall: of the
listed words that were spoken, the share that was written in their clip; false: listed words written
beyond those that were spoken.
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
from bank import Bank  # noqa: E402
from evaluate import EMBEDDED, in_noise, said  # noqa: E402
from vocabulary import ADDED, DRINKS, VOCABULARY  # noqa: E402

SNRS_DB = (10, 0, -5)
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
        sum(spoken.values()),
        sum((spoken & written).values()),
        sum((written - spoken).values()),
        len(clip.samples) / speech.RATE,
    )


def sets(
    judge: Path | None, n_words: int
) -> dict[str, dict[str, tuple[list[speech.Clip], list[str]]]]:
    """Clips and the words that are listed for them; those that have them, and those that do not."""
    orders, digits = speech.strangers(), speech.digits(n_words)
    spoken = {"orders": (orders, TERMS)}
    for snr_db in SNRS_DB:
        spoken[f"orders, noise at {snr_db} dB"] = (list(in_noise(orders, snr_db)), TERMS)
    others = {"orders": orders, "digits": digits}
    if judge:
        tenth = sorted(VOCABULARY)[5::10]
        for path in sorted(judge.glob("flite-held-[rs]*-*.npz")):
            kind = path.stem.split("-")[2]
            clips = said(Bank.load([path]), n_words)
            spoken[f"flite, unseen voice: {kind}"] = (clips, tenth)
        for path in sorted(judge.glob("espeak-held-[cs]*-*.npz")):
            kind = path.stem.split("-")[2]
            others[f"espeak, unseen voice: {kind}"] = said(Bank.load([path]), n_words)
    unspoken = {
        name: (clips, sorted(set(VOCABULARY) - {word for clip in clips for word in clip.words}))
        for name, clips in others.items()
    }
    return {"words listed that are spoken": spoken, "words listed that are not spoken": unspoken}


def main() -> None:
    parser = argparse.ArgumentParser(description="What listing words is worth.")
    parser.add_argument("model", nargs="?", type=Path, default=EMBEDDED)
    parser.add_argument("--judge", type=Path, help="folder of scripts/train_demo's judging sets")
    parser.add_argument("--bonus", type=float, nargs="+", default=[2, 3, 4])
    parser.add_argument("--words", type=int, default=1000, help="words per set")
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with context.Pool(os.cpu_count(), _open, (str(args.model),)) as pool:
        for title, group in sets(args.judge, args.words).items():
            print(f"\n| {title} | bonus | words | WER % | listed | recall % | false | per hour |")
            print("|---|---|---|---|---|---|---|---|")
            for name, (clips, words) in group.items():
                for bonus in (0.0, *args.bonus):
                    tasks = [(clip, words, bonus) for clip in clips]
                    found = pool.map(_hear, tasks, chunksize=4)
                    print(row(f"{name} ({len(words)} listed)", bonus, found), flush=True)


def row(name: str, bonus: float, found: list[Result]) -> str:
    n_words, n_wrong, n_listed, n_found, n_false, seconds = (
        sum(result[i] for result in found) for i in range(6)
    )
    recall = f"{100 * n_found / n_listed:.1f}" if n_listed else "-"
    return (
        f"| {name} | {bonus:g} | {n_words} | {100 * n_wrong / n_words:.2f} | {n_listed} | {recall} "
        f"| {n_false} | {n_false / seconds * 3600:.1f} |"
    )


if __name__ == "__main__":
    main()
