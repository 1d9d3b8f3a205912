#!/usr/bin/env python3
"""Compares the tensors of two .npz files by name; exit status 1 if any differs too much.

    python scripts/compare_tensors.py all.npz all.core.npz

Rows are compared from the first on, as many as both have: the core stops at the last slot it needs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("a", type=Path)
    parser.add_argument("b", type=Path)
    parser.add_argument("--limit", type=float, default=1e-3, help="largest absolute difference")
    args = parser.parse_args()

    failed = False
    with np.load(args.a) as a_file, np.load(args.b) as b_file:
        print(f"{'tensor':<12} {'rows':>11} {'max':>9} {'mean':>9}")
        for name in sorted({*a_file.files, *b_file.files}):
            if name not in a_file.files or name not in b_file.files:
                print(f"{name:<12} missing in {args.a if name not in a_file.files else args.b}")
                failed = True
                continue
            a, b = a_file[name], b_file[name]
            n = min(len(a), len(b))
            if n == 0 or a.shape[1:] != b.shape[1:]:
                print(f"{name:<12} shapes {a.shape} and {b.shape}")
                failed = True
                continue
            difference = np.abs(a[:n].astype(np.float64) - b[:n])
            over = not difference.max() <= args.limit  # true for NaN as well
            rows = f"{len(a)}/{len(b)}"
            row = int(difference.reshape(n, -1).max(axis=1).argmax())
            note = f"  over {args.limit:g}, worst in row {row}" if over else ""
            print(f"{name:<12} {rows:>11} {difference.max():9.2e} {difference.mean():9.2e}{note}")
            failed |= over
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
