"""Steps 3 and 4, train: from the banks to a checkpoint of the averaged weights.

    python train.py --work work [--device cuda] [--tokens 32000] [--steps N | --minutes M]
    python train.py --fold K --run work/fold-K ...             for cross-validation (folds.py)
    torchrun --standalone --nproc-per-node 2 train.py ...      on two GPUs

Every GPU has batches of its own; their gradients are averaged. The learning rate is constant, and
falls to zero over the last quarter of --steps or --minutes. Resumes from work/run/state.pt, which
is written every --save seconds. Clips of several lengths and attention windows of several sizes
are mixed, so that the model holds with its own short windows, which both wrap within a training
clip, as with longer ones and in streams of many minutes. People whom the training leaves out and a
few sets of work/judge (step 2 with --set judge) are transcribed on the way.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import torch
import torch.distributed as dist
from augment import Augmenter
from bank import Bank
from clips import BOS, PAD, Batch, Planner
from folds import FINAL, N_FOLDS, left_out
from judge import Clip, sets, word_errors
from muon import Muon
from network import DECODER, ENCODER, NOT_JUDGED, Layer, Mel, Network
from torch import Tensor
from vocabulary import VOCABULARY

LENGTHS = (100, 200, 400, 1600, 8000)  # slots of a clip; 32000 are a multiple of each
SHARES = (0.27, 0.48, 0.17, 0.05, 0.03)
LONG = 1000  # slots; from here on
WARM_UP = 300  # steps
DECAY = 0.25  # of the run, in which the rate falls
AVERAGE = 0.999
CLOCK = 20  # steps between looks at the clock, which all processes share


class Batches(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
    def __init__(
        self, seed: int, bank: Bank, tokens: list[list[int]], without: set[str], n_slots: int
    ) -> None:
        self.seed, self.bank, self.tokens, self.n_slots = seed, bank, tokens, n_slots
        self.without = without

    def __iter__(self) -> Iterator[Batch]:
        worker = torch.utils.data.get_worker_info()
        seed = self.seed * 1000 + (worker.id if worker else 0)
        planner = Planner(self.bank, self.tokens, seed, self.without)
        lengths = [n for n in LENGTHS if 2 * n <= self.n_slots]
        return planner.batches(self.n_slots, lengths, SHARES[: len(lengths)])


def windows(r: Random, n_slots: int) -> tuple[int, int]:
    """Encoder and decoder window of a step."""
    encoder = r.choices([ENCODER.window, 512, 750], [0.5, 0.15, 0.35])[0]
    if n_slots < LONG:
        return encoder, r.choices([DECODER.window, n_slots], [0.6, 0.4])[0]
    return encoder, r.choices([DECODER.window, 1024, n_slots], [0.2, 0.2, 0.6])[0]


def forced_tokens(batch: Batch, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """The decoder's input and targets [clips, n_slots].

    The input is the prompt, then what was to be written, now and then something else.
    """
    b, prompt = len(wanted), 33 + batch.n_delay
    ids = torch.full((b, batch.n_slots), PAD, device=wanted.device)
    ids[:, 0] = BOS
    ids[:, prompt:] = wanted[:, : batch.n_slots - prompt]
    targets = torch.full_like(ids, NOT_JUDGED)
    targets[:, prompt - 1 :] = wanted
    other = ids.flatten()[torch.randint(0, ids.numel(), (ids.numel(),), device=ids.device)]
    wrong = torch.rand(ids.shape, device=ids.device) < 0.02
    wrong[:, :prompt] = False
    return torch.where(wrong, other.view_as(ids), ids), targets


@torch.no_grad()
def errors(
    network: Network, mel: Mel, judged: dict[str, list[Clip]], pieces: dict[int, bytes]
) -> dict[str, dict[str, list[int]]]:
    """Word errors and words of each voice of each set."""
    network.eval()
    torch.compiler.set_stance("force_eager")  # for the shapes are others here
    found: dict[str, dict[str, list[int]]] = {}
    device = next(network.parameters()).device
    for name, clips in judged.items():
        n_slots = [-(-len(clip.samples) // 1280) for clip in clips]
        audio = torch.zeros(len(clips), max(n_slots) * 1280, device=device)
        for i, clip in enumerate(clips):
            samples = torch.from_numpy(clip.samples.astype(np.float32) / 32768)
            audio[i, : len(samples)] = samples
        heard = network.greedy(mel(audio, max(n_slots) + 32 + 6 + 11), 6).cpu().tolist()
        found[name] = {clip.voice: [0, 0] for clip in clips}
        for clip, tokens, n in zip(clips, heard, n_slots, strict=True):
            text = b"".join(pieces.get(token, b"") for token in tokens[: n + 10])
            wrong = word_errors(clip.words, text.decode("utf-8", "replace").split())
            found[name][clip.voice][0] += wrong
            found[name][clip.voice][1] += len(clip.words)
    torch.compiler.set_stance("default")
    network.train()
    return found


class Optimizer:
    """Muon for the layers' matrices, AdamW for everything else."""

    def __init__(self, network: Network, rate: float, fused: bool) -> None:
        named = dict(network.named_parameters())
        self.rate = rate
        matrices = [
            p
            for name, p in named.items()
            if p.dim() == 2 and "embedding" not in name and "ada_rms" not in name
        ]
        taken = {id(p) for p in matrices}
        others = [p for p in named.values() if id(p) not in taken]
        self.parts = [
            Muon(matrices, lr=rate),
            torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0, fused=fused),
        ]

    def step(self, share: float) -> None:
        """share: of the greatest learning rate."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = self.rate * share
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict]:
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict]) -> None:
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)


def averaged_over_processes(parameters: list[Tensor]) -> None:
    """Every gradient becomes the mean of the processes' gradients."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    parts = flat.split([g.numel() for g in gradients])
    torch._foreach_copy_(gradients, [p.view_as(g) for p, g in zip(parts, gradients, strict=True)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--run", type=Path, help="folder of the training's state; work/run")
    parser.add_argument("--fold", type=int, choices=range(N_FOLDS), help="cross-validation")
    parser.add_argument("--steps", type=int, default=10000)
    parser.add_argument("--minutes", type=float, help="of training; steps are then not counted")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tokens", type=int, default=32000, help="slots in a batch")
    parser.add_argument("--workers", type=int, default=12, help="processes that plan clips, each")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="greatest learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", type=float, default=60, help="seconds between saved states")
    parser.add_argument("--check", type=int, default=2000, help="steps between transcriptions")
    args = parser.parse_args()
    rank, n_ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    on_gpu = args.device.startswith("cuda")
    device = torch.device(args.device)
    if n_ranks > 1:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
        dist.init_process_group("nccl", device_id=device)
    run = args.run or args.work / "run"
    run.mkdir(parents=True, exist_ok=True)
    log = (run / "log.jsonl").open("a")

    token_table = json.loads((args.work / "tokens.json").read_text())
    tokens = [token_table["words"][word] for word in VOCABULARY]
    pieces = {int(k): bytes.fromhex(v) for k, v in token_table["bytes"].items()}
    bank = Bank.load([args.work / "recorded.npz", *sorted((args.work / "train").glob("*.npz"))])
    audio = bank.audio()
    validating = args.fold is not None
    recordings = ((segment.kind, segment.voice) for segment in bank.segments)
    without = left_out(recordings, args.fold if validating else FINAL, digits=validating)
    judged = sets(args.work, without) if rank == 0 else {}
    augmenter = Augmenter(torch.from_numpy(np.pad(audio, (1, 3))).to(device))
    bank.chunks.clear()
    del audio
    print(f"{len(bank.segments)} segments, {bank.n_samples / 16000 / 3600:.1f} h", flush=True)

    torch.manual_seed(args.seed)
    network, average, mel = Network().to(device), Network().to(device), Mel().to(device)
    average.load_state_dict(network.state_dict())
    parameters = list(network.parameters())
    optimizer = Optimizer(network, args.rate, fused=on_gpu)
    step, before = 0, 0.0  # seconds of training before this start
    state = run / "state.pt"
    if state.exists():
        saved = torch.load(state, map_location=device, weights_only=True)
        step, before = saved["step"], saved["seconds"]
        network.load_state_dict(saved["network"])
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
    torch.manual_seed(1000 * step + 10 * args.seed + rank)
    if on_gpu:
        torch._dynamo.config.cache_size_limit = 64
        for owner, name in (
            (Layer, "before"),
            (Layer, "after"),
            (Network, "adapted"),
            (Network, "judged"),
        ):
            setattr(owner, name, torch.compile(getattr(owner, name), dynamic=False))

    # A resumed run plans other clips than the first part of it did.
    planned = Batches(args.seed + step + 100_000 * rank, bank, tokens, without, args.tokens)
    prefetch = 4 if args.workers else None
    loader = iter(
        torch.utils.data.DataLoader(
            planned,
            batch_size=None,
            num_workers=args.workers,
            prefetch_factor=prefetch,
            pin_memory=on_gpu,
        )
    )
    r = Random(args.seed + step + 100_000 * rank)
    begun = saved_at = time.time()
    sums, waited, seconds, progress = torch.zeros(4, device=device), 0.0, 0.0, 0.0

    def elapsed() -> float:
        """Seconds of training, by the clock of the first process."""
        if n_ranks == 1:
            return before + time.time() - begun
        now = torch.tensor([before + time.time() - begun], device=device)
        dist.broadcast(now, 0)
        return float(now)

    while True:
        if args.minutes is None:
            progress = step / args.steps
        elif step % CLOCK == 0:
            progress = elapsed() / (60 * args.minutes)
        done = progress >= 1
        if rank == 0 and (done or time.time() - saved_at > args.save):
            values = {"network": network.state_dict(), "average": average.state_dict()}
            values |= {"step": step, "seconds": before + time.time() - begun}
            part = state.with_suffix(".part")
            torch.save({**values, "optimizer": optimizer.state_dict()}, part)
            part.rename(state)
            saved_at = time.time()
        if step % 100 == 0 or done:
            values = (sums[:3] / sums[3].clamp(min=1)).tolist()
            row = {
                "step": step,
                "seconds": round(before + time.time() - begun, 1),
                "loss": round(values[0], 4),
                "right": round(values[1], 4),
                "norm": round(values[2], 3),
                "audio_hours": round(n_ranks * seconds / 3600, 1),
                "waited": round(waited, 1),
            }
            sums.zero_()
            if rank == 0 and step:
                if step % args.check == 0 or done:
                    row["errors"] = errors(average, mel, judged, pieces)
                print(json.dumps(row), flush=True)
                log.write(json.dumps(row) + "\n")
                log.flush()
        if done:
            break

        asked = time.time()
        batch = next(loader)
        waited += time.time() - asked
        frames = augmenter.features(batch, mel)
        wanted = torch.as_tensor(batch.targets).to(device, non_blocking=True)
        ids, targets = forced_tokens(batch, wanted)
        encoder_window, decoder_window = windows(r, batch.n_slots)
        with torch.autocast(device.type, torch.bfloat16):
            embeddings = network.encode(frames, encoder_window)
            hidden = network.decode(ids, embeddings, batch.n_delay, decoder_window)
            loss, right = network.judged(hidden, targets.flatten())
        loss.backward()
        if n_ranks > 1:
            averaged_over_processes(parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step(min(1.0, (step + 1) / WARM_UP, (1 - progress) / DECAY))
        step += 1
        seconds += len(ids) * batch.n_audio * 0.08
        with torch.no_grad():
            keep = min(AVERAGE, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(average.parameters()), parameters, 1 - keep)
            sums += torch.stack([loss.detach(), right, norm, torch.ones((), device=device)])


if __name__ == "__main__":
    main()
