"""List the tensors of a GGUF or safetensors file, and with --dump the statistics of their values.

    python scripts/inspect_weights.py FILE [--filter REGEX] [--dump]

Packed tensors are unpacked a piece at a time, so that memory stays small for any file. Two files
with the same weights, or a file and its source, can be compared line by line.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from pathlib import Path

import numpy as np
from voxtral_edge.convert import ConversionError, GgufFile, SafetensorsFile
from voxtral_edge.machine.inspect import inspect, open_weights


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, metavar="FILE", help="a GGUF or safetensors file")
    parser.add_argument("--filter", metavar="REGEX", help="only tensors with this in their name")
    parser.add_argument("--dump", action="store_true", help="print statistics of the values")
    args = parser.parse_args()
    try:
        listing = inspect(args.file, args.filter)
        if args.dump:
            with open_weights(args.file) as file:
                dump(file, args.filter or "")
        else:
            print(listing, end="")
    except ConversionError as error:
        print(f"inspect_weights: {error}", file=sys.stderr)
        return 2
    return 0


def dump(file: GgufFile | SafetensorsFile, pattern: str) -> None:
    columns = ("min", "max", "mean", "std", "rms")
    print("\t".join(("tensor", "type", "values", "not finite", *columns)))
    for name, info in file.tensors.items():
        if not re.search(pattern, name):
            continue
        n = n_bad = 0
        low, high, total, squares = math.inf, -math.inf, 0.0, 0.0
        for piece in file.pieces(name):
            values = piece[np.isfinite(piece)].astype(np.float64)
            n_bad += piece.size - values.size
            if values.size:
                n += values.size
                low, high = min(low, values.min()), max(high, values.max())
                total, squares = total + values.sum(), squares + np.vdot(values, values)
        mean, mean_square = total / max(n, 1), squares / max(n, 1)
        std = math.sqrt(max(mean_square - mean**2, 0.0))
        statistics = (low, high, mean, std, math.sqrt(mean_square))
        numbers = "\t".join(f"{value:.6g}" for value in statistics)
        print(f"{name}\t{info.type}\t{n + n_bad}\t{n_bad}\t{numbers}")


if __name__ == "__main__":
    sys.exit(main())
