"""Writes what transformers makes of random checkpoints, into tests/fixtures/*.npz, and of the demo
model, into tests/data/held_out/expected.json (PYTHONPATH=tests python -m oracle.write_fixtures).

A fixture names its checkpoint (preset, seed), its clip (int16) and its delay, and holds tokens and
probes. Large probes are thinned; <name>.stride says how. A clip whose logits come close to a tie is
refused: which token wins it depends on the last bit, so it would test nothing.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import speech
import tiny_model
from tolerances import margin

from oracle.transformers_run import TransformersModel, demo_model

FIXTURES = Path(__file__).parents[1] / "fixtures"
STRIDES = {"mel": (5, 1), "conv": (3, 1), "audio": (1, 1), "dec.logits": (1, 7)}
MIN_MARGIN = 0.02
# preset, seed of weights and clip, samples, delay in ms, whether there is a head for turns. All
# clips outlast both windows.
CASES = [
    ("micro", 0, 48000, 480, False),
    ("micro", 3, 40001, 80, False),
    ("micro", 1, 40959, 240, True),
    ("kquant", 1, 38401, 960, False),
    ("kquant", 1, 32000, 2400, True),
]


def write_demo_tokens() -> None:
    path = speech.DATA / "held_out" / "expected.json"
    with tempfile.TemporaryDirectory() as directory:
        model = demo_model(Path(directory))
    rows = json.loads(path.read_text())
    for row, (clip, _) in zip(rows, speech.held_out(), strict=True):
        probes = model.run(clip.samples)
        row["tokens"] = probes["tokens"].tolist()
        row["turns"] = "".join(map(str, probes["turns"].argmax(axis=1)))
    path.write_text("[\n" + ",\n".join(f"  {json.dumps(row)}" for row in rows) + "\n]\n")


def main() -> None:
    write_demo_tokens()
    FIXTURES.mkdir(exist_ok=True)
    for preset, seed, n, delay_ms, has_turns in CASES:
        with tempfile.TemporaryDirectory() as directory:
            tiny_model.write_transformers(Path(directory), seed, preset, has_turns=has_turns)
            model = TransformersModel(Path(directory))
        samples = tiny_model.make_audio(n, seed)
        probes = model.run(samples, delay_ms)
        distance = margin(probes["dec.logits"])
        if distance < MIN_MARGIN:
            raise SystemExit(f"{preset} seed {seed}: {distance:.4f} from a tie; take another seed")
        arrays = {
            "preset": np.array(preset),
            "seed": np.array(seed),
            "delay_ms": np.array(delay_ms),
            "clip": np.rint(samples * 32768).astype(np.int16),
            "tokens": probes["tokens"].astype(np.int32),
        }
        if has_turns:
            arrays["turns"] = probes["turns"]
        for name, (rows, columns) in STRIDES.items():
            arrays[name] = probes[name][::rows, ::columns]
            arrays[name + ".stride"] = np.array([rows, columns])
        path = FIXTURES / f"{preset}_{delay_ms}ms.npz"
        np.savez_compressed(path, **arrays)
        print(f"{path.name}: {len(probes['tokens'])} tokens, {distance:.3f} from a tie")


if __name__ == "__main__":
    main()
