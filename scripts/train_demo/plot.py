"""Step 8, plot: loss and word error rates over the training, as a picture.

python plot.py work/run/log.jsonl OUT.png
"""

from __future__ import annotations

import argparse
import json
import re
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
    checks = [row for row in rows if "errors" in row]
    for name in checks[-1]["errors"]:
        label = re.sub(r"-held-(\w+)-\d+", r", unseen voice: \1", name)
        counts = [row["errors"][name].values() for row in checks]
        rates = [100 * sum(w for w, _ in n) / sum(all for _, all in n) for n in counts]
        shown = [max(0.05, rate) for rate in rates]
        right.semilogy([row["step"] for row in checks], shown, marker="o", label=label)
    right.set(xlabel="step", ylabel="word error rate, % (0 drawn as 0.05)", title="not trained on")
    right.legend(fontsize=8)
    for axes in (left, right):
        axes.grid(alpha=0.3, which="both")
    figure.savefig(args.out, dpi=110)


if __name__ == "__main__":
    main()
