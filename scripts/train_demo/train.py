"""Step 3, train: from the banks to a checkpoint of the averaged weights.

    python train.py --work work --steps 17300 [--device cuda] [--tokens 26000]

Resumes from work/run/state.pt, which is written every --save seconds; work/run/early.pt has the
averaged weights of the first quarter of the run, which export.py needs. Clips of several lengths
and attention windows of several sizes are mixed, so that the model holds with its own short
windows, which both wrap within a training clip, as with longer ones and in streams of many minutes.
A few sets of work/judge (step 2 with --set judge) are transcribed on the way; nothing is chosen by
them.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import torch
from augment import Augmenter
from bank import Bank
from clips import BOS, PAD, Batch, Planner
from judge import connected_digits, said, word_errors
from network import DECODER, ENCODER, Mel, Network
from torch import Tensor
from vocabulary import VOCABULARY

LENGTHS = (104, 184, 352, 1600, 8000)  # slots of a clip
SHARES = (0.29, 0.48, 0.155, 0.05, 0.025)
LONG = 1000  # slots; from here on
WARM_UP = 300  # steps
AVERAGE = 0.999


class Batches(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
    def __init__(
        self, planner_seed: int, bank: Bank, tokens: list[list[int]], n_slots: int, long: bool
    ) -> None:
        self.seed, self.bank, self.tokens, self.n_slots, self.long = (
            planner_seed,
            bank,
            tokens,
            n_slots,
            long,
        )

    def __iter__(self) -> Iterator[Batch]:
        worker = torch.utils.data.get_worker_info()
        seed = self.seed * 1000 + (worker.id if worker else 0)
        shares = SHARES if self.long else SHARES[:3]
        planner = Planner(self.bank, self.tokens, seed)
        return planner.batches(self.n_slots, LENGTHS[: len(shares)], shares)


def windows(r: Random, n_slots: int) -> tuple[int, int]:
    """Encoder and decoder window of a step."""
    encoder = r.choices([ENCODER.window, 512, 750], [0.5, 0.15, 0.35])[0]
    if n_slots < LONG:
        return encoder, r.choices([DECODER.window, n_slots], [0.6, 0.4])[0]
    return encoder, r.choices([DECODER.window, 1024, n_slots], [0.2, 0.2, 0.6])[0]


def forced_tokens(batch: Batch, wanted: Tensor) -> Tensor:
    """The decoder's input: the prompt, then what was to be written, now and then something else."""
    b, prompt = len(wanted), 33 + batch.n_delay
    ids = torch.full((b, batch.n_slots), PAD, device=wanted.device)
    ids[:, 0] = BOS
    ids[:, prompt:] = wanted[:, : batch.n_slots - prompt]
    other = ids.flatten()[torch.randint(0, ids.numel(), (ids.numel(),), device=ids.device)]
    wrong = torch.rand(ids.shape, device=ids.device) < 0.02
    wrong[:, :prompt] = False
    return torch.where(wrong, other.view_as(ids), ids)


@torch.no_grad()
def error_rate(
    network: Network, mel: Mel, sets: dict[str, list], pieces: dict[int, bytes]
) -> dict[str, float]:
    network.eval()
    rates = {}
    device = next(network.parameters()).device
    for name, clips in sets.items():
        n_slots = [-(-len(samples) // 1280) for samples, _ in clips]
        audio = torch.zeros(len(clips), max(n_slots) * 1280, device=device)
        for i, (samples, _) in enumerate(clips):
            audio[i, : len(samples)] = torch.from_numpy(samples.astype(np.float32) / 32768)
        found = network.greedy(mel(audio, max(n_slots) + 32 + 6 + 11), 6).cpu().tolist()
        wrong = 0
        for (_, words), tokens, n in zip(clips, found, n_slots, strict=True):
            text = b"".join(pieces.get(token, b"") for token in tokens[: n + 10])
            wrong += word_errors(words, text.decode("utf-8", "replace").split())
        rates[name] = round(100 * wrong / max(1, sum(len(words) for _, words in clips)), 2)
    network.train()
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--steps", type=int, default=17300)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tokens", type=int, default=26000, help="slots in a batch")
    parser.add_argument("--workers", type=int, default=12, help="processes that plan clips")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="greatest learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", type=float, default=60, help="seconds between saved states")
    parser.add_argument("--check", type=int, default=2000, help="steps between transcriptions")
    args = parser.parse_args()
    device, on_gpu = torch.device(args.device), args.device.startswith("cuda")
    run = args.work / "run"
    run.mkdir(parents=True, exist_ok=True)
    log = (run / "log.jsonl").open("a")

    token_table = json.loads((args.work / "tokens.json").read_text())
    tokens = [token_table["words"][word] for word in VOCABULARY]
    pieces = {int(k): bytes.fromhex(v) for k, v in token_table["bytes"].items()}
    bank = Bank.load([args.work / "recorded.npz", *sorted((args.work / "train").glob("*.npz"))])
    audio = bank.audio()
    sets = {"unseen speaker": connected_digits(bank, audio, "fsdd-lucas", 100)}
    for path in sorted((args.work / "judge").glob("*.npz")):
        if path.name.split("-")[2] in ("digits", "sentence"):
            sets[path.stem] = said(Bank.load([path]), 100)
    augmenter = Augmenter(torch.from_numpy(audio).to(device))
    bank.chunks.clear()
    del audio
    print(f"{len(bank.segments)} segments, {bank.n_samples / 16000 / 3600:.1f} h", flush=True)

    torch.manual_seed(args.seed)
    network, average, mel = Network().to(device), Network().to(device), Mel().to(device)
    average.load_state_dict(network.state_dict())
    matrices = [p for n, p in network.named_parameters() if p.dim() >= 2 and "embedding" not in n]
    others = [p for n, p in network.named_parameters() if p.dim() < 2 or "embedding" in n]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=args.rate, betas=(0.9, 0.98), fused=on_gpu)
    step = 0
    state = run / "state.pt"
    if state.exists():
        saved = torch.load(state, map_location=device, weights_only=True)
        step = saved["step"]
        network.load_state_dict(saved["network"])
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
    if on_gpu:  # one compilation per layer and length; the few long clips go without
        torch._dynamo.config.cache_size_limit = 64
        for layer in [*network.encoder, *network.decoder]:
            layer.fast = torch.compile(layer.forward, dynamic=False)  # type: ignore[attr-defined]
            layer.slow = layer.forward  # type: ignore[attr-defined]

    def save() -> None:
        part = state.with_suffix(".part")
        values = {"step": step, "network": network.state_dict(), "average": average.state_dict()}
        torch.save({**values, "optimizer": optimizer.state_dict()}, part)
        part.rename(state)

    # A resumed run plans other clips than the first part of it did.
    planned = Batches(args.seed + step, bank, tokens, args.tokens, args.tokens >= 2 * LENGTHS[-1])
    loader = iter(
        torch.utils.data.DataLoader(
            planned,
            batch_size=None,
            num_workers=args.workers,
            prefetch_factor=4 if args.workers else None,
        )
    )
    r = Random(args.seed + step)
    begun = saved_at = time.time()
    sums, waited, seconds = torch.zeros(4, device=device), 0.0, 0.0
    while step < args.steps:
        share = 0.5 * (1 + math.cos(math.pi * step / args.steps)) * 0.99 + 0.01
        for group in optimizer.param_groups:
            group["lr"] = args.rate * min(1.0, (step + 1) / WARM_UP) * share
        asked = time.time()
        batch = next(loader)
        waited += time.time() - asked
        frames = augmenter.features(batch, mel)
        wanted = torch.as_tensor(batch.targets, device=device)
        ids = forced_tokens(batch, wanted)
        encoder_window, decoder_window = windows(r, batch.n_slots)
        if on_gpu:
            for layer in [*network.encoder, *network.decoder]:
                layer.forward = layer.fast if batch.n_slots < LONG else layer.slow
        with torch.autocast(device.type, torch.bfloat16):
            embeddings = network.encode(frames, encoder_window)
            logits = network.decode(ids, embeddings, batch.n_delay, decoder_window)
        logits = logits[:, 32 + batch.n_delay :]
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), wanted.flatten())
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        seconds += len(wanted) * batch.n_audio * 0.08
        with torch.no_grad():
            keep = min(AVERAGE, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - keep)
            said_something = wanted != PAD
            n_said = said_something.sum().clamp(min=1)
            right = ((logits.argmax(-1) == wanted) & said_something).sum() / n_said
            sums += torch.stack([loss.detach(), right, norm, torch.ones((), device=device)])
        if step % 100 == 0 or step == args.steps:
            values = (sums[:3] / sums[3]).tolist()
            row = {
                "step": step,
                "seconds": round(time.time() - begun, 1),
                "loss": round(values[0], 4),
                "right": round(values[1], 4),
                "norm": round(values[2], 3),
                "audio_hours": round(seconds / 3600, 1),
                "waited": round(waited, 1),
            }
            if step % args.check == 0 or step == args.steps:
                row["word_error_rate"] = error_rate(average, mel, sets, pieces)
            sums.zero_()
            print(json.dumps(row), flush=True)
            log.write(json.dumps(row) + "\n")
            log.flush()
        if step == args.steps // 4:
            torch.save(average.state_dict(), run / "early.pt")
        if time.time() - saved_at > args.save or step == args.steps:
            save()
            saved_at = time.time()


if __name__ == "__main__":
    main()
