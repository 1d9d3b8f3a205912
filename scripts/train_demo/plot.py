"""Step 6, plot: loss and word error rates over the training, as a picture.

python plot.py work/run/log.jsonl OUT.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.log.read_text().splitlines()]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    left.semilogy([row["step"] for row in rows], [row["loss"] for row in rows], color="#1f4e79")
    left.set(xlabel="step", ylabel="loss per slot (nats)", title="training loss")
    checks = [row for row in rows if "word_error_rate" in row]
    for name in checks[-1]["word_error_rate"]:
        label = name.rsplit("-", 1)[0].replace("-held-", ", unseen voice: ")
        rates = [max(0.05, row["word_error_rate"].get(name, 100)) for row in checks]
        right.semilogy([row["step"] for row in checks], rates, marker="o", label=label)
    right.set(xlabel="step", ylabel="word error rate, % (0 drawn as 0.05)", title="100 clips each")
    right.legend(fontsize=8)
    for axes in (left, right):
        axes.grid(alpha=0.3, which="both")
    figure.savefig(args.out, dpi=110)


if __name__ == "__main__":
    main()
