"""Step 2, synthesise: some 83 hours of speech from five synthesisers, one process per core.

    python synthesise.py --out work [--scale 1.0] [--set train|judge]

Writes work/train/*.npz or work/judge/*.npz, a bank file per job. The judge's utterances have voices
that no training job uses, and other texts. Digits of real people are also stretched to other tempi.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import multiprocessing.queues
import os
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import voices
from bank import NOT_WRITTEN, Bank, trimmed
from vocabulary import DIGITS, KINDS, UNAMBIGUOUS, WORD_ID, sentence

LONGEST = 9  # seconds; longer utterances do not fit the training clips


class Job(NamedTuple):
    engine: str  # "espeak", "espeak-foreign", "espeak-held", "flite", "festival", "tempo", ...
    kind: str | None  # of the sentences; None: mixed as in training
    seed: int
    n: int


Task = tuple[Job, Path, Path]  # the folder with the words, the file to write
Done = tuple[str, int, float, float]  # file, utterances, seconds of speech, seconds it took


def train_jobs(scale: float) -> list[Job]:
    """Long jobs first, so that all processes end at about the same time."""
    jobs: list[Job] = []
    for engine, kind, shards, n in (
        ("pico", None, 32, 120),
        ("festival", None, 16, 400),
        ("hibari", None, 32, 900),
        ("flite", None, 24, 900),
        ("espeak", None, 16, 3000),
        ("hibari", "alone", 8, 1500),
        ("flite", "alone", 4, 1500),
        ("espeak", "alone", 4, 2500),
        ("festival", "alone", 2, 800),
        ("respelt", "digit", 4, 1000),
        ("hibari", "other", 2, 600),
        ("hibari", "mixed", 2, 600),
        ("flite", "other", 2, 800),
        ("flite", "mixed", 2, 800),
        ("espeak", "other", 2, 1500),
        ("espeak", "mixed", 2, 1500),
        ("espeak-accented", "other", 2, 1500),
        ("espeak-foreign", "foreign", 6, 2000),
        ("pico-foreign", "foreign", 4, 1000),
    ):
        first = len(jobs) + 1
        jobs += [Job(engine, kind, first + i, max(4, int(n * scale))) for i in range(shards)]
    return [*jobs, Job("tempo", None, 999, 0)]


def judge_jobs(scale: float) -> list[Job]:
    """Enough for 1000 words of each kind; "digits" with an "oh" among them are counted apart."""
    jobs = []
    for engine in ("espeak-held", "flite-held"):
        for kind in KINDS:
            jobs.append(Job(engine, kind, 5000 + len(jobs), max(4, int(320 * scale))))
    for engine in ("espeak-held", "flite-held"):
        jobs.append(Job(engine, "other", 5000 + len(jobs), max(4, int(120 * scale))))
    return jobs


def say(kind: str | None, r: Random, other: list[str]) -> tuple[list[str], list[int], str]:
    """Words, their ids, and the kind of a new sentence."""
    if kind == "other":
        words = [r.choice(other) for _ in range(r.randint(1, 10))]
        return words, [NOT_WRITTEN] * len(words), "other"
    if kind in ("alone", "digit"):  # as in recordings of single words
        words = [r.choice(DIGITS if kind == "digit" or r.random() < 0.6 else UNAMBIGUOUS)]
        return words, [WORD_ID[words[0]]], "alone"
    if kind == "mixed":
        known, _ = sentence(r)
        words = [r.choice(other) if r.random() < 0.4 else word for word in known]
        return words, [WORD_ID.get(word, NOT_WRITTEN) for word in words], "mixed"
    words, kind = sentence(r, kind)
    return words, [WORD_ID[word] for word in words], kind


def utterances(
    job: Job, texts: list[tuple[list[str], list[int], str]], folder: Path, r: Random
) -> Iterator[voices.Utterance | None]:
    words = [text[0] for text in texts]
    if job.engine == "festival":
        yield from voices.festival(words, voices.FESTIVAL_VOICES, r)
        return
    engine = {
        "espeak": lambda: voices.Espeak(),
        "espeak-held": lambda: voices.Espeak(voices.ESPEAK_HELD),
        "espeak-accented": lambda: voices.Espeak(accents=voices.ESPEAK_ACCENTED),
        "flite": lambda: voices.Flite(),
        "flite-held": lambda: voices.Flite(voices.FLITE_HELD),
        "respelt": lambda: voices.Respeller(),
        "pico": lambda: voices.Pico(),
        "hibari": lambda: voices.Hibari(folder / "phonemes.json"),
    }[job.engine]()
    for text in words:
        yield engine(text, r)


def foreign(job: Job, lists: dict[str, list[str]], r: Random) -> Iterator[tuple[np.ndarray, str]]:
    """Speech of other languages, without words, and the voice."""
    espeak, pico = voices.Espeak(), voices.Pico()
    for _ in range(job.n):
        which = voices.PICO_FOREIGN if job.engine == "pico-foreign" else voices.FOREIGN
        voice = r.choice(sorted(which))
        words = r.choices(lists[which[voice]], k=r.randint(1, 8))
        if job.engine == "pico-foreign":
            yield pico.say(" ".join(words), voice, r.uniform(0.7, 1.4), r), f"pico-{voice}"
        elif made := espeak(words, r, voice):
            yield made[0], made[2]


def stretched(samples: np.ndarray, factor: float) -> np.ndarray:
    """factor times as long at the same pitch: WSOLA (Verhelst and Roelands, 1993).

    Windows of 25 ms overlap by half; each is taken within 6 ms of where it should be, where it
    continues the previous one best.
    """
    size, hop, slack = 400, 200, 96
    x = np.concatenate([np.zeros(slack), samples.astype(np.float64), np.zeros(size + 2 * slack)])
    n = int(len(samples) * factor)
    out = np.zeros(n + 2 * size)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    follow = x[slack : slack + size]
    for at in range(0, n, hop):
        centre = slack + int(at / factor)
        area = x[centre - slack : centre + slack + size]
        if len(area) < size + 2 * slack or len(follow) < size:
            break
        likeness = np.correlate(area, follow, "valid")
        energy = np.convolve(area**2, np.ones(size), "valid")
        best = centre - slack + int(np.argmax(likeness / np.sqrt(energy + 1e3)))
        out[at : at + size] += window * x[best : best + size]
        follow = x[best + hop : best + hop + size]
    return np.clip(np.rint(out[:n]), -32768, 32767).astype(np.int16)


def tempi(recorded: Path, bank: Bank) -> None:
    """The training digits of real people, slower and faster."""
    real = Bank.load([recorded])
    audio = real.audio()
    for segment in real.segments:
        if segment.kind != "digit":
            continue
        samples = audio[segment.start : segment.start + segment.length]
        for factor in (0.78, 0.88, 1.14, 1.3, 1.5):
            slow = stretched(samples, factor)
            bank.add(slow, segment.words, segment.ends * factor, "digit", segment.voice)


def run(task: Task) -> Done:
    job, folder, path = task
    start = time.perf_counter()
    r, bank = Random(job.seed), Bank()
    if job.engine == "tempo":
        tempi(folder / "recorded.npz", bank)
    elif job.kind == "foreign":
        lists = json.loads((folder / "foreign_words.json").read_text())
        for samples, voice in foreign(job, lists, r):
            if 0 < len(samples) <= LONGEST * voices.RATE and np.abs(samples).max() > 500:
                bank.add(trimmed(samples, [])[0], [], [], "other", voice)
    else:
        held = folder / "judge" if job.engine.endswith("held") else folder
        other = (held / "other_words.txt").read_text().split()
        texts = [say(job.kind, r, other) for _ in range(job.n)]
        for (_, ids, kind), made in zip(texts, utterances(job, texts, folder, r), strict=True):
            if made is None or len(made[0]) > LONGEST * voices.RATE:
                continue
            samples, ends, voice = made
            if np.abs(samples.astype(np.int32)).max() < 500:
                continue
            samples, ends = trimmed(samples, ends)
            if kind == "alone":
                samples, ends = trimmed(samples, ends, r.uniform(0.01, 0.2), margin=0)
            bank.add(samples, ids, ends, kind, voice)
    bank.save(path)
    return path.name, len(bank.segments), bank.n_samples / 16000, time.perf_counter() - start


def _put(queue: multiprocessing.queues.Queue[Done], task: Task) -> None:
    queue.put(run(task))


def in_processes(tasks: list[Task]) -> Iterator[Done]:
    """Each task in a process of its own: a synthesiser that crashes takes only its task along."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    waiting, running = tasks[::-1], {}
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            task = waiting.pop()
            process = context.Process(target=_put, args=(queue, task))
            process.start()
            running[process] = task[2].name
        time.sleep(0.05)
        while not queue.empty():
            yield queue.get()
        for process in [p for p in running if not p.is_alive()]:
            name = running.pop(process)
            if process.exitcode:
                print(f"{name}: the synthesiser crashed; start again to try again", flush=True)
    while not queue.empty():
        yield queue.get()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("work"))
    parser.add_argument("--set", choices=("train", "judge"), default="train")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the utterances")
    args = parser.parse_args()
    folder = args.out / args.set
    folder.mkdir(parents=True, exist_ok=True)
    jobs = (train_jobs if args.set == "train" else judge_jobs)(args.scale)
    tasks = []
    for job in jobs:
        path = folder / f"{job.engine}-{job.kind or 'all'}-{job.seed}.npz"
        if not path.exists():
            tasks.append((job, args.out, path))
    total = 0.0
    for name, n, seconds, took in in_processes(tasks):
        total += seconds
        print(f"{name}: {n} utterances, {seconds / 3600:.2f} h in {took:.0f} s", flush=True)
    print(f"{total / 3600:.1f} h in all")


if __name__ == "__main__":
    main()
