"""How well a model hears: word error rates, false words, and the times of words.

    python scripts/evaluate.py [MODEL.gguf] [--judge work/judge] [--spoken DATA] [--words N]
    python scripts/evaluate.py --types      the demo model in every type of weights
    python scripts/evaluate.py --delays     ... at delays from 80 to 2400 ms
    python scripts/evaluate.py --bounded    ... with windows of the decoder that are bounded
    python scripts/evaluate.py --stream 10 [--windows 750 8192]

Without MODEL it judges the embedded model. Real digits come from tests/data; --spoken names the
folder that scripts/train_demo's collect.py reads, of which the groups that the training leaves out
are judged, each by itself; --judge names the folder that scripts/train_demo makes, with voices that
the model was not trained on, foreign speech and music. --stream: one stream of so many minutes;
--windows: with attention windows of other sizes, in encoder frames and decoder slots. Prints
Markdown tables, all made by the project's own core.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soxr
import voxtral_edge as vox
from voxtral_edge.audio import resample
from voxtral_edge.convert import FILE_TYPES, convert
from voxtral_edge.text.wer import word_errors

ROOT = Path(__file__).parents[1]
EMBEDDED = ROOT / "bindings" / "voxtral_edge" / "demo.gguf"
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "scripts" / "train_demo")]

import speech  # noqa: E402
from bank import Bank  # noqa: E402
from folds import FINAL, left_out, table  # noqa: E402
from vocabulary import VOCABULARY  # noqa: E402

DELAYS_MS = (*range(80, 1201, 80), 2400)
RATE = speech.RATE


class Result(NamedTuple):
    words: int
    errors: int
    said: int  # words in the text
    seconds: float
    late_ms: list[float]  # marker's slot minus the true end, of words in clips without an error
    tokens: tuple[int, int, int, int]  # slots of pads, markers and text, and runs of pads


_model: vox.Model


def _open(path: str, window_s: float | None) -> None:
    global _model
    _model = vox.Model(path, window_s=window_s)


def _hear(task: tuple[speech.Clip, int]) -> Result:
    clip, delay_ms = task
    transcript = _model.transcribe(clip.samples, delay_ms=delay_ms)
    text = transcript.text.split()
    markers = [80.0 * (k + 1) for k, t in enumerate(transcript.tokens) if t == _model.token_word]
    late = []
    if text == clip.words and len(markers) == len(clip.ends):
        late = [at - end for at, end in zip(markers, clip.ends, strict=True)]
    errors = word_errors(clip.words, text)
    kinds = [(t == _model.token_pad, t == _model.token_word) for t in transcript.tokens]
    pads, words = (sum(kind[i] for kind in kinds) for i in range(2))
    runs = sum(key[0] for key, _ in itertools.groupby(kinds))
    tokens = pads, words, len(kinds) - pads - words, runs
    return Result(len(clip.words), errors, len(text), len(clip.samples) / RATE, late, tokens)


class Judge:
    """Transcribes clips in as many processes as there are cores."""

    def __init__(self, path: Path, window_s: float | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self.pool = context.Pool(os.cpu_count(), _open, (str(path), window_s))

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.terminate()

    def hear(self, clips: Iterable[speech.Clip], delay_ms: int = 480) -> Result:
        found = list(self.pool.imap(_hear, [(clip, delay_ms) for clip in clips], chunksize=4))
        late = [value for result in found for value in result.late_ms]
        words, errors, said, seconds = (sum(r[i] for r in found) for i in range(4))
        pads, markers, text, runs = (sum(r.tokens[i] for r in found) for i in range(4))
        return Result(words, errors, said, seconds, late, (pads, markers, text, runs))


# ---- sets ---------------------------------------------------------------------------------------


def at_level(clips: Iterable[speech.Clip], dbfs: float) -> Iterator[speech.Clip]:
    """The loudest sample at this level."""
    for clip in clips:
        gain = 10 ** (dbfs / 20) / np.abs(clip.samples).max()
        yield clip._replace(samples=speech.as_16_bits(clip.samples * gain))


def in_a_room(clips: Iterable[speech.Clip]) -> Iterator[speech.Clip]:
    """Light reverberation: decays by 60 dB in 0.3 s, 8 dB below the direct sound."""
    random = np.random.default_rng(5)
    t = np.arange(int(0.3 * RATE)) / RATE
    for clip in clips:
        echo = random.standard_normal(len(t)) * np.exp(-6.9 * t / 0.3) * (t > 0.003)
        echo *= 10 ** (-8 / 20) / np.linalg.norm(echo)
        echo[0] = 1
        wet = np.convolve(clip.samples, echo)
        yield clip._replace(samples=speech.as_16_bits(wet * min(1, 0.9 / np.abs(wet).max())))


def loud(samples: np.ndarray) -> float:
    """RMS of what is not silence."""
    return float(np.sqrt(np.mean(samples[np.abs(samples) > 0.01] ** 2)))


def in_noise(clips: Iterable[speech.Clip], snr_db: float) -> Iterator[speech.Clip]:
    random = np.random.default_rng(4)
    for clip in clips:
        noise = random.standard_normal(len(clip.samples))
        noise *= loud(clip.samples) * 10 ** (-snr_db / 20)
        yield clip._replace(samples=speech.as_16_bits(clip.samples + noise))


def over_music(clips: Iterable[speech.Clip], bank: Bank, snr_db: float) -> Iterator[speech.Clip]:
    audio, random = bank.audio(), np.random.default_rng(6)
    for clip in clips:
        piece = bank.segments[random.integers(len(bank.segments))]
        start = piece.start + random.integers(piece.length - len(clip.samples))
        music = audio[start : start + len(clip.samples)] / 32768
        music *= loud(clip.samples) * 10 ** (-snr_db / 20) / np.sqrt(np.mean(music**2))
        yield clip._replace(samples=speech.as_16_bits(clip.samples + music))


def through_48_khz(clips: Iterable[speech.Clip]) -> Iterator[speech.Clip]:
    """Up to 48 kHz and through the program's own way of reading audio of another rate."""
    for clip in clips:
        up = soxr.resample(clip.samples, RATE, 48000)
        yield clip._replace(samples=resample(up, 48000))


def spoken_by_strangers(folder: Path, kind: str) -> dict[str, list[speech.Clip]]:
    """Clips of each speaker whom the last training left out; kind: orders or words."""
    recordings = [
        (name, row["group"])
        for of, name in (("orders", "spoken-order"), ("words", "spoken-name"))
        for row in json.loads((folder / of / "index.json").read_text())
    ]
    strangers = left_out(recordings, FINAL, digits=False)
    found: dict[str, list[speech.Clip]] = {}
    for speaker, clip in speech.spoken(folder / kind, strangers):
        found.setdefault(speaker, []).append(clip)
    return found


def said(bank: Bank, n_words: int) -> list[speech.Clip]:
    """Utterances with a little silence around them, up to n_words words."""
    audio = bank.audio()
    clips: list[speech.Clip] = []
    for s in bank.segments:
        samples = audio[s.start : s.start + s.length]
        padded = np.concatenate([np.zeros(3200, np.int16), samples, np.zeros(1600, np.int16)])
        words = [VOCABULARY[word] for word in s.words]
        ends = [200 + float(end) for end in s.ends]
        clips.append(speech.Clip(padded.astype(np.float32) / 32768, words, ends))
        n_words -= len(words)
        if n_words <= 0:
            break
    return clips


def pieces(bank: Bank, seconds: float) -> Iterator[speech.Clip]:
    """A bank's audio without words, in pieces."""
    for s in bank.segments:
        audio = bank.audio()[s.start : s.start + s.length].astype(np.float32) / 32768
        for start in range(0, len(audio), int(seconds * RATE)):
            yield speech.Clip(audio[start : start + int(seconds * RATE)], [])


# ---- tables -------------------------------------------------------------------------------------


def token_table(results: dict[str, Result]) -> None:
    """Shares of the kinds of tokens, and slots from the first of a run of pads to its last."""
    print("\n| set | slots | pads % | markers % | text % | mean run of pads |")
    print("|---|---|---|---|---|---|")
    for name, result in results.items():
        *kinds, runs = result.tokens
        shares = " | ".join(f"{100 * n / sum(kinds):.1f}" for n in kinds)
        print(f"| {name} | {sum(kinds)} | {shares} | {kinds[0] / max(1, runs):.1f} |", flush=True)


def row(name: str, result: Result) -> None:
    wer = f"{100 * result.errors / result.words:.2f}" if result.words else "-"
    times = "- | -"
    if result.late_ms:
        times = f"{np.median(result.late_ms):.0f} | {np.percentile(result.late_ms, 95):.0f}"
    print(f"| {name} | {result.words} | {wer} | {times} |", flush=True)


def by_speaker(judge: Judge, spoken: Path) -> None:
    """People whom the training left out, each by himself, and the standard error by speaker."""
    for kind in ("orders", "words"):
        errors = {}
        for speaker, clips in spoken_by_strangers(spoken, kind).items():
            result = judge.hear(clips)
            errors[speaker] = [result.errors, result.words]
        print("\n" + "\n".join(table([{kind: errors}])))
        print(f"\n| {kind}, speaker | words | WER % |\n|---|---|---|")
        for speaker, (wrong, n) in errors.items():
            print(f"| {speaker} | {n} | {100 * wrong / n:.1f} |", flush=True)


def overall(judge: Judge, folder: Path | None, n: int) -> None:
    print("| set | words | WER % | marker minus word end, median ms | p95 ms |")
    print("|---|---|---|---|---|")
    strings = speech.digits(n)
    results: dict[str, Result] = {}

    def judged(name: str, clips: Iterable[speech.Clip]) -> None:
        results[name] = judge.hear(clips)
        row(name, results[name])

    judged("digits, unseen recordings", strings)
    judged("digits, white noise at 20 dB", speech.digits(n, 20))
    judged("digits, white noise at 10 dB", speech.digits(n, 10))
    orders = speech.strangers()
    judged("orders, people it never heard", orders)
    judged("orders, peak at -30 dBFS", at_level(orders, -30))
    judged("orders, peak at 0 dBFS", at_level(orders, 0))
    judged("orders, 48 kHz", through_48_khz(orders))
    judged("orders, white noise at 20 dB", in_noise(orders, 20))
    judged("orders, white noise at 10 dB", in_noise(orders, 10))
    judged("orders, light reverberation", in_a_room(orders))
    if folder:
        music = Bank.load([folder / "music.npz"])
        judged("digits, music at 15 dB", over_music(strings, music, 15))
        judged("orders, music at 15 dB", over_music(orders, music, 15))
        for path in sorted(folder.glob("*-held-*.npz")):
            engine, _, kind, _ = path.stem.split("-")
            if kind == "other":
                continue
            clips = said(Bank.load([path]), n)
            judged(f"{engine}, unseen voice: {kind}", clips)
            if kind == "digits":
                with_oh = [clip for clip in clips if "oh" in clip.words]
                judged(f'{engine}, unseen voice: digits with "oh"', with_oh)
    print("\n| no speech of its vocabulary | minutes | words written per minute |\n|---|---|---|")
    sets = {name: [speech.Clip(audio, [])] for name, audio in speech.not_speech(60).items()}
    if folder:
        sets["music"] = list(pieces(Bank.load([folder / "music.npz"]), 30))
        for path in sorted(folder.glob("*-held-other-*.npz")):
            name = f"{path.stem.split('-')[0]}, unseen voice: unknown English words"
            sets[name] = [clip._replace(words=[]) for clip in said(Bank.load([path]), 10**6)]
        sets["Italian and Russian"] = list(pieces(Bank.load([folder / "foreign.npz"]), 30))
    for name, clips in sets.items():
        result = judge.hear(clips)
        minutes = result.seconds / 60
        print(f"| {name} | {minutes:.1f} | {result.said / minutes:.2f} |", flush=True)
    token_table(results)


def by_type(n: int) -> None:
    sets = [speech.digits(n), speech.strangers()]
    print("| type | MB | digits | orders |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in FILE_TYPES:
            path = Path(folder, f"{name}.gguf")
            convert(ROOT / "demo", path, type=name)
            with Judge(path) as judge:
                rates = [judge.hear(clips) for clips in sets]
            cells = " | ".join(f"{100 * r.errors / r.words:.2f}" for r in rates)
            print(f"| {name} | {path.stat().st_size / 1e6:.1f} | {cells} |", flush=True)


def by_delay(path: Path, n: int) -> None:
    sets = [speech.digits(n), speech.strangers()]
    print("| delay ms | digits | orders |\n|---|---|---|")
    with Judge(path) as judge:
        for delay_ms in DELAYS_MS:
            rates = [judge.hear(clips, delay_ms) for clips in sets]
            cells = " | ".join(f"{100 * r.errors / r.words:.2f}" for r in rates)
            print(f"| {delay_ms} | {cells} |", flush=True)


def by_bound(path: Path, n: int) -> None:
    """Clips of some seconds, and one stream, in which much is forgotten."""
    sets = [speech.digits(n), speech.strangers()]
    print("| window, s | digits | orders | 10 minutes of digits | memory of that stream, MB |")
    print("|---|---|---|---|---|")
    for window_s in (None, 8, 4, 2, 1):
        with Judge(path, window_s) as judge:
            rates = [judge.hear(clips) for clips in sets]
        thirds = list(one_stream(path, 10, window_s))
        wrong, words = (sum(third[i] for third in thirds) for i in range(2))
        cells = " | ".join(f"{100 * r.errors / r.words:.2f}" for r in rates)
        rate, memory = 100 * wrong / words, thirds[-1][2] / 1e6
        print(f"| {window_s or 'its own'} | {cells} | {rate:.2f} | {memory:.1f} |", flush=True)


def with_windows(folder: Path, encoder: int, decoder: int, type: str) -> Path:
    """The demo model with other attention windows."""
    source = folder / "source"
    source.mkdir()
    for file in (ROOT / "demo").iterdir():
        shutil.copy(file, source)
    params = json.loads((source / "params.json").read_text())
    params["sliding_window"] = decoder
    params["multimodal"]["whisper_model_args"]["encoder_args"]["sliding_window"] = encoder
    (source / "params.json").write_text(json.dumps(params))
    convert(source, folder / "windows.gguf", type=type)
    return folder / "windows.gguf"


def one_stream(
    path: Path, minutes: float, window_s: float | None = None
) -> Iterator[tuple[int, int, int]]:
    """One stream over concatenated clips: wrong words, words, and bytes of it at each third."""
    with vox.Model(path, window_s=window_s) as model, model.stream() as stream:
        for third in range(3):
            reference: list[str] = []
            text, n = "", 0
            clips = iter(speech.connected(speech.SPEAKERS[third], 3000, 10 + third))
            while n < minutes * 60 * RATE / 3:
                clip = next(clips)
                text += "".join(piece.text for piece in stream.feed(clip.samples))
                reference += clip.words
                n += len(clip.samples)
            silence = np.zeros(2 * RATE, np.float32)  # the last words come out
            text += "".join(piece.text for piece in stream.feed(silence))
            yield word_errors(reference, text.split()), len(reference), stream.memory
        stream.finish()


def by_third(path: Path, minutes: float) -> None:
    print(f"| third of {minutes:g} minutes | words | WER % | stream memory MB |\n|---|---|---|---|")
    for i, (wrong, words, memory) in enumerate(one_stream(path, minutes)):
        print(f"| {i + 1} | {words} | {100 * wrong / words:.2f} | {memory / 1e6:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="How well a model hears.")
    parser.add_argument("model", nargs="?", type=Path, default=EMBEDDED)
    parser.add_argument("--judge", type=Path, help="folder of scripts/train_demo's judging sets")
    parser.add_argument("--spoken", type=Path, help="folder of real orders and words")
    parser.add_argument("--words", type=int, default=1000, help="words per set")
    parser.add_argument("--types", action="store_true")
    parser.add_argument("--delays", action="store_true")
    parser.add_argument("--bounded", action="store_true")
    parser.add_argument("--stream", type=float, metavar="MINUTES")
    parser.add_argument("--windows", type=int, nargs=2, metavar=("ENCODER", "DECODER"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = args.model
        if args.windows:
            with vox.Model(path) as model:
                path = with_windows(Path(folder), *args.windows, type=model.file_type)
        if args.types:
            by_type(args.words)
        elif args.delays:
            by_delay(path, args.words)
        elif args.stream:
            by_third(path, args.stream)
        elif args.bounded:
            by_bound(path, args.words)
        else:
            with Judge(path) as judge:
                overall(judge, args.judge, args.words)
                if args.spoken:
                    by_speaker(judge, args.spoken)


if __name__ == "__main__":
    main()
