"""Measure this program and transcribe-cpp by turns on the same audio, and print the ratios.

    python scripts/plant.py planted
    voxtral convert planted ours.gguf
    python scripts/peer_gguf.py planted peer.gguf
    python scripts/side_by_side.py ours.gguf peer.gguf --audio samples/*.wav --seconds 20

Offline: the whole clip in one call. Live: chunks of 480 ms, each as soon as the one before is done,
each followed by all text that it brings. The time of a run begins before a stream is opened, when
the model has been loaded, and ends with the last text. Every run is a process of its own, so that
memory is its own and threads of one do not spin beside the other; programs change places from one
repetition to the next, and both files are read once before, so that none waits for the disk. Given
are medians, and the other program's over ours: above 1, ours is the faster or the smaller.

That program's offline call has a fixed delay of 2400 ms, 24 slots more than the usual 480; compare
live runs for equal work. Needs transcribe-cpp: pip install 'voxtral-edge[peer]'.
"""

from __future__ import annotations

import argparse
import array
import importlib.util
import json
import multiprocessing
import resource
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import voxtral_edge as vox
from rich.console import Console
from rich.table import Table

CHUNK = vox.RATE * 480 // 1000  # samples
SLOT_MS = 80
MODES = ("offline", "live")
ROWS = {  # what is compared: its name and the digits to print
    "rtf": ("RTF", 3),
    "wall_s": ("wall, s", 2),
    "open_s": ("open a stream, s", 3),
    "call_p50_s": ("a chunk, p50, s", 3),
    "call_p95_s": ("a chunk, p95, s", 3),
    "finish_s": ("last words, s", 3),
    "load_s": ("load, s", 2),
    "peak_rss_mb": ("peak memory, MB", 0),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ours", metavar="OURS.gguf")
    parser.add_argument("peer", metavar="PEER.gguf", help="made by scripts/peer_gguf.py")
    parser.add_argument("--audio", nargs="+", required=True, metavar="FILE", help="joined")
    parser.add_argument("--seconds", type=float, help="cut or repeat the clip to this length")
    parser.add_argument("--threads", type=int, default=2, help="(default: 2)")
    parser.add_argument("--delay", type=int, default=480, metavar="MS", help="(default: 480)")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="(default: 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all runs there")
    args = parser.parse_args()
    try:
        result = compare(args)
    except (vox.VoxtralError, OSError, ValueError, RuntimeError) as error:  # the last: the peer's
        print(f"side_by_side: {error}", file=sys.stderr)
        return 2
    report(result)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def compare(args: argparse.Namespace) -> dict[str, Any]:
    if importlib.util.find_spec("transcribe_cpp") is None:
        raise ValueError("transcribe-cpp is missing: pip install 'voxtral-edge[peer]'")
    if args.repeat < 1 or args.threads < 1 or (args.seconds is not None and args.seconds <= 0):
        raise ValueError("--repeat, --threads and --seconds must be positive")
    if args.delay not in vox.DELAYS_MS:
        raise ValueError(f"--delay {args.delay} is not 80 to 1200 in steps of 80, or 2400")
    samples = np.concatenate([block for path in args.audio for block in vox.read(path)])
    if args.seconds is not None:
        samples = np.resize(samples, int(args.seconds * vox.RATE))
    programs = {"ours": (ours, args.ours), "peer": (peer, args.peer)}
    for _, path in programs.values():
        warm(path)
    runs = []
    for i in range(args.repeat):
        for mode in MODES:
            for program in sorted(programs, reverse=i % 2 == 1):
                function, path = programs[program]
                # A fresh interpreter, which inherits neither memory nor threads.
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                    job = pool.submit(function, path, samples, mode, args.threads, args.delay)
                    run = {"program": program, "mode": mode, **job.result()}
                print(f"{program} {mode}: RTF {run['rtf']:.3f}", file=sys.stderr)
                runs.append(run)
    return {
        "audio_s": len(samples) / vox.RATE,
        "threads": args.threads,
        "delay_ms": args.delay,
        "repeat": args.repeat,
        "runs": runs,
    }


def warm(path: str) -> None:
    """Read a file into the system's cache."""
    with Path(path).open("rb") as file:
        while file.read(1 << 24):
            pass


class Timer:
    """Seconds since it was made or last asked."""

    def __init__(self) -> None:
        self.start = time.perf_counter()

    def lap(self) -> float:
        now, start = time.perf_counter(), self.start
        self.start = now
        return now - start


def ours(path: str, samples: np.ndarray, mode: str, threads: int, delay_ms: int) -> dict[str, Any]:
    timer = Timer()
    with vox.Model(path, threads=threads) as model:
        load_s = timer.lap()
        if mode == "offline":
            text = model.transcribe(samples, delay_ms=delay_ms).text
            return summary(samples, load_s, timer.lap(), text)
        with model.stream(delay_ms=delay_ms) as stream:
            opened_s, calls, pieces = timer.lap(), [], []
            for i in range(0, len(samples), CHUNK):
                pieces += stream.feed(samples[i : i + CHUNK])
                calls.append(timer.lap())
            pieces += stream.finish()
            text = "".join(piece.text for piece in pieces)
            return live_summary(samples, load_s, opened_s, calls, timer.lap(), text)


def peer(path: str, samples: np.ndarray, mode: str, threads: int, delay_ms: int) -> dict[str, Any]:
    import transcribe_cpp

    transcribe_cpp.set_log_callback(lambda level, message: None)
    pcm = array.array("f", samples.tobytes())
    timer = Timer()
    with transcribe_cpp.Model(path, backend="cpu") as model:
        load_s = timer.lap()
        with model.session(n_threads=threads) as session:
            if mode == "offline":
                text = session.run(pcm).text
                return summary(samples, load_s, timer.lap(), text)
            # No pause between partial results: text as soon as there is any, as ours.
            options = transcribe_cpp.VoxtralRealtimeStreamOptions(
                num_delay_tokens=delay_ms // SLOT_MS, min_decode_interval_ms=0
            )
            with session.stream(family=options) as stream:
                opened_s, calls = timer.lap(), []
                for i in range(0, len(pcm), CHUNK):
                    stream.feed(pcm[i : i + CHUNK])
                    calls.append(timer.lap())
                stream.finalize()
                text = stream.text().full
                return live_summary(samples, load_s, opened_s, calls, timer.lap(), text)


def live_summary(
    samples: np.ndarray,
    load_s: float,
    opened_s: float,
    calls: list[float],
    finish_s: float,
    text: str,
) -> dict[str, Any]:
    p50, p95 = np.percentile(calls, [50, 95]).tolist()
    return {
        **summary(samples, load_s, opened_s + sum(calls) + finish_s, text),
        "open_s": opened_s,
        "call_p50_s": p50,
        "call_p95_s": p95,
        "finish_s": finish_s,
    }


def summary(samples: np.ndarray, load_s: float, wall_s: float, text: str) -> dict[str, Any]:
    return {
        "rtf": wall_s * vox.RATE / len(samples),
        "wall_s": wall_s,
        "load_s": load_s,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
        "text": text.strip(),
    }


def report(result: dict[str, Any]) -> None:
    table = Table("", "ours", "peer", "peer / ours")
    for column in table.columns[1:]:
        column.justify = "right"
    for mode in MODES:
        runs = {
            program: [r for r in result["runs"] if (r["program"], r["mode"]) == (program, mode)]
            for program in ("ours", "peer")
        }
        for key, (name, digits) in ROWS.items():
            if key not in runs["ours"][0]:
                continue
            ours, peer = (statistics.median(r[key] for r in runs[p]) for p in ("ours", "peer"))
            ratio = f"{peer / ours:.2f}" if ours > 0 else "-"
            table.add_row(f"{mode}: {name}", f"{ours:.{digits}f}", f"{peer:.{digits}f}", ratio)
        table.add_section()
        for program in runs:
            texts = {run["text"] for run in runs[program]}
            print(f"{program}, {mode}: {' | '.join(sorted(texts))}")
    print(
        f"{result['audio_s']:.1f} s of audio, {result['threads']} threads, "
        f"delay {result['delay_ms']} ms, medians of {result['repeat']}"
    )
    Console(width=None if sys.stdout.isatty() else 100).print(table)


if __name__ == "__main__":
    sys.exit(main())
