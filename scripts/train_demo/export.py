"""Step 5, export: the averaged weights as a checkpoint in the official layout (BF16).

    python export.py --work work --out CHECKPOINT

CHECKPOINT gets consolidated.safetensors, params.json and tekken.json; the last two are demo/'s,
since the shape and the tokenizer stay. scripts/embed_demo then makes the embedded file from demo/.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from network import official_names
from safetensors.torch import save_file

DEMO = Path(__file__).parents[2] / "demo"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    state = args.work / "run" / "state.pt"
    saved = torch.load(state, map_location="cpu", weights_only=True)
    tensors = official_names(saved["average"])
    save_file(tensors, args.out / "consolidated.safetensors")
    for name in ("params.json", "tekken.json"):
        if (DEMO / name).resolve() != (args.out / name).resolve():
            shutil.copyfile(DEMO / name, args.out / name)
    print(f"step {saved['step']}: {sum(t.numel() for t in tensors.values())} parameters")


if __name__ == "__main__":
    main()
