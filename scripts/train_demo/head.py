"""Step 6, head: the rows that tell turns, trained on top of a finished checkpoint.

    python head.py --work work --out CHECKPOINT [--batches 16]

The network of CHECKPOINT stays as it is, so what it writes does. Quantised as it is shipped, it
hears clips of turns (turns.py) with the project's own core, and six rows are fitted to the states
that it reads its tokens from: multinomial logistic regression, in which ends weigh more, since a
false one is taken back where speech goes on. CHECKPOINT/consolidated.safetensors gets them as
X2-Turn's has them, in the rows 35 to 40 of vad_lm_head.weight.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from augment import Augmenter
from bank import Bank
from clips import Batch
from folds import FINAL, left_out
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from turns import IDLE, N_STATES, NOIDLE, SPEAKING, TURN_END, TurnPlanner
from vocabulary import VOCABULARY
from voxtral_edge.convert import convert

sys.path.append(str(Path(__file__).parents[2] / "tests"))

from core import core_run

TYPE = "q4_0"  # that is shipped
EPS = 1e-5
NAME, FIRST = "vad_lm_head.weight", 35
N_VOCAB, N_LAYERS = 4096, 5
SLOTS, LENGTH = 9600, 300  # of a batch and of a clip
END_WEIGHT = 3.0
DECAY = 1e-5  # of the rows' squares
STATES = {IDLE: "idle", NOIDLE: "noidle", SPEAKING: "speaking", TURN_END: "turn_end"}
SETS = ("train", "judge")


def heard(
    model: Path, norm: Tensor, augmenter: Augmenter, batches: Iterable[Batch]
) -> Iterator[tuple[Tensor, Tensor]]:
    """What a clip's tokens are read from, [slots, dim], and its states [slots]."""
    for batch in batches:
        for samples, labels in zip(augmenter.audio(batch).numpy(), batch.targets, strict=True):
            found = core_run(model, samples, 80 * batch.n_delay, batch_ms=1280)
            n = len(found["tokens"])
            h = torch.from_numpy(found[f"dec.blk.{N_LAYERS - 1}"][-n:])
            y = h * torch.rsqrt(h.square().mean(-1, keepdim=True) + EPS) * norm
            yield y, torch.from_numpy(labels[:n])


def fitted(states: Tensor, labels: Tensor) -> Tensor:
    """states [n, dim] and labels [n] -> rows [6, dim]."""
    weights = torch.ones(N_STATES)
    weights[TURN_END] = END_WEIGHT
    rows = torch.zeros(N_STATES, states.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([rows], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(states @ rows.T, labels, weights) + DECAY * rows.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return rows.detach()


def judged(rows: Tensor, states: Tensor, labels: Tensor) -> str:
    """The share of slots whose likeliest state is right, in percent."""
    found = (states @ rows.T).argmax(-1)
    right = [(found == labels)[labels == state].float().mean().item() for state in STATES]
    return ", ".join(
        f"{name} {100 * x:.1f}" for name, x in zip(STATES.values(), right, strict=True)
    )


def bank_of(work: Path, held: bool) -> Bank:
    """What the network was trained on, or people, recordings and voices that it has not heard."""
    recorded = Bank.load([work / "recorded.npz"]).segments
    strangers = left_out(((s.kind, s.voice) for s in recorded), FINAL, digits=False)
    bank = Bank.load([work / "recorded.npz", *sorted((work / SETS[held]).glob("*.npz"))])
    unheard = [s.kind == "unseen" or s.voice in strangers for s in recorded]
    kept = [s for s, is_unheard in zip(recorded, unheard, strict=True) if is_unheard == held]
    kept += bank.segments[len(recorded) :]
    bank.segments = [s._replace(kind="digit") if s.kind == "unseen" else s for s in kept]
    return bank


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--batches", type=int, default=16, help="of 11 minutes")
    args = parser.parse_args()
    torch.manual_seed(1)
    token_table = json.loads((args.work / "tokens.json").read_text())
    tokens = [token_table["words"][word] for word in VOCABULARY]
    weights = args.out / "consolidated.safetensors"
    tensors = load_file(weights)
    norm = tensors["norm.weight"].float()

    def listened(model: Path, held: bool, n: int) -> tuple[Tensor, Tensor]:
        bank = bank_of(args.work, held)
        augmenter = Augmenter(torch.from_numpy(np.pad(bank.audio(), (1, 3))))
        batches = TurnPlanner(bank, tokens, seed=held).batches(SLOTS, [LENGTH], [1.0])
        states, labels = zip(
            *heard(model, norm, augmenter, itertools.islice(batches, n)), strict=True
        )
        return torch.cat(states), torch.cat(labels)

    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.gguf"
        convert(args.out, model, type=TYPE)
        states, labels = listened(model, False, args.batches)
        rows = fitted(states, labels)
        print("right of slots that it was fitted to, %:", judged(rows, states, labels))
        print("of others:", judged(rows, *listened(model, True, max(1, args.batches // 4))))
    head = torch.zeros(N_VOCAB, len(norm))
    head[FIRST : FIRST + N_STATES] = rows
    save_file({**tensors, NAME: head.to(torch.bfloat16)}, weights)


if __name__ == "__main__":
    main()
