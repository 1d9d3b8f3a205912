"""Who is left out of a training, to be judged by: real speakers in five folds; and what came of it.

    python folds.py work/fold-0/log.jsonl work/fold-1/log.jsonl ...

Groups of speakers, the most recorded first, go into the folds in turn; each fold leaves out one
speaker of digits as well. The last training leaves out the groups of fold 0, and no digits.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

N_FOLDS = 5
DIGIT_SPEAKERS = ("jackson", "lucas", "nicolas", "theo", "yweweler")
ENOUGH = 20  # words of a speaker who may be called the worst
FINAL = 0  # whose groups are for judging the last training


def left_out(recordings: Iterable[tuple[str, str]], fold: int, digits: bool) -> set[str]:
    """Voices that a training of this fold must not hear; digits: one of theirs too.

    recordings: kind and voice of every one, of which orders and names count.
    """
    counts = Counter(recordings)
    orders = {voice: n for (kind, voice), n in counts.items() if kind == "spoken-order"}
    names = {voice: n for (kind, voice), n in counts.items() if kind == "spoken-name"}
    out = {f"fsdd-{DIGIT_SPEAKERS[fold]}"} if digits else set()
    ranked = sorted(orders, key=lambda group: (-orders[group], group))
    ranked += sorted(names.keys() - orders.keys(), key=lambda group: (-names[group], group))
    return out | set(ranked[fold::N_FOLDS])


def table(rows: list[dict[str, dict[str, list[int]]]]) -> list[str]:
    """Markdown: error rates by set, over its speakers of all folds.

    The mean weighs all words alike. Its standard error comes from how the speakers differ, each
    weighed by his words: words of one speaker are not independent of each other.
    """
    lines = ["| set | speakers | words | WER % | standard error | worst speaker |"]
    lines += ["|---|---|---|---|---|---|"]
    for name in {name: 0 for row in rows for name in row}:
        voices = [(voice, *n) for row in rows for voice, n in row.get(name, {}).items()]
        words = sum(n for _, _, n in voices)
        mean = sum(wrong for _, wrong, _ in voices) / words
        spread = sum((wrong - mean * n) ** 2 for _, wrong, n in voices)
        error = math.sqrt(spread * len(voices) / max(1, len(voices) - 1)) / words
        enough = [(wrong / n, voice) for voice, wrong, n in voices if n >= ENOUGH]
        worst = f"{100 * max(enough)[0]:.1f} ({max(enough)[1]})" if enough else "-"
        lines.append(
            f"| {name} | {len(voices)} | {words} | {100 * mean:.2f} | {100 * error:.2f} | {worst} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logs", type=Path, nargs="+")
    logs = [
        {row["step"]: row["errors"] for row in map(json.loads, path.open()) if "errors" in row}
        for path in parser.parse_args().logs
    ]
    for step in sorted(set.intersection(*map(set, logs))):
        print(f"\nafter {step} steps\n")
        print("\n".join(table([log[step] for log in logs])))


if __name__ == "__main__":
    main()
