#!/usr/bin/env python3
"""Writes the tensors of one component, or of all, that the numpy model computes from a clip.

    python scripts/reference_forward.py encoder CHECKPOINT clip.wav -o encoder.npz

CHECKPOINT is a directory in the official layout; its weights are held in memory as f32. With --core
MODEL.gguf the core's tensors go to encoder.core.npz beside it, for scripts/compare_tensors.py.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from reference import Reference, log_mel

# Each component needs those before it. The names are those of vox_stream_watch().
COMPONENTS = {
    "mel": ("mel",),
    "conv": ("conv",),
    "encoder": ("enc.blk", "enc.out"),
    "adapter": ("audio",),
    "decoder": ("dec.blk", "dec.logits", "tokens"),
}


def reference_probes(model: Reference, samples: np.ndarray, delay_ms: int, depth: int) -> dict:
    """The probes of the first depth components."""
    n_delay = delay_ms // 80
    probes = {"mel": log_mel(model.pad(samples, n_delay))}
    if depth > 1:
        probes["conv"] = model.conv_stem(probes["mel"])
    if depth > 2:
        model.encode(probes)
    if depth > 3:
        probes["audio"] = model.adapt(probes["enc.out"])
    if depth > 4:
        model.decode(probes, n_delay, forced=None)
    return probes


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("component", choices=[*COMPONENTS, "all"])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("audio", type=Path, help="16 kHz mono")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--delay-ms", type=int, default=480)
    parser.add_argument("--core", type=Path, metavar="MODEL.gguf", help="also run the core on this")
    args = parser.parse_args()

    samples, rate = soundfile.read(args.audio, dtype="float32")
    if rate != 16000 or samples.ndim != 1:
        parser.error(f"{args.audio}: {rate} Hz, {samples.ndim} axes; make it 16 kHz mono")
    names = list(COMPONENTS)
    if args.component == "all":
        depth, wanted = len(names), sum(COMPONENTS.values(), ())
    else:
        depth, wanted = names.index(args.component) + 1, COMPONENTS[args.component]

    def write(path: Path, probes: dict) -> None:
        chosen = {name: rows for name, rows in probes.items() if name.startswith(wanted)}
        np.savez(path, **chosen)
        print(f"{path}: " + ", ".join(f"{name} {rows.shape}" for name, rows in chosen.items()))

    model = Reference(args.checkpoint)
    write(args.output, reference_probes(model, samples, args.delay_ms, depth))
    if args.core:
        from core import core_run

        probes = core_run(args.core, samples, args.delay_ms)
        write(args.output.with_suffix(".core.npz"), probes)


if __name__ == "__main__":
    main()
