"""Speed and memory of one model on this machine.

    python scripts/bench.py [MODEL.gguf] [--audio WAV] [--seconds N] [--threads N] [--json]

Offline: the clip pushed whole. Live: the clip in chunks, each fed as soon as the last is done; the
factor is computing time over audio time, so below 1 keeps up. A chunk's time is what a live caller
waits for. The clip is samples/*.wav joined, and repeated up to --seconds.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
import voxtral_edge as vox

ROOT = Path(__file__).parents[1]
RATE, CHUNKS_MS = 16000, (80, 160, 320, 480)


def clip(path: Path | None, seconds: float) -> np.ndarray:
    paths = [path] if path else sorted((ROOT / "samples").glob("*.wav"))
    samples = np.concatenate([block for name in paths for block in vox.read(name)])
    return np.resize(samples, int(seconds * RATE))


def offline(model: vox.Model, samples: np.ndarray) -> dict[str, float]:
    start = time.perf_counter()
    with model.stream() as stream:
        opened = time.perf_counter()
        stream.push(samples)
        stream.end()
        slots = [time.perf_counter() for _ in stream.slots()]
        memory = stream.memory
    gaps = 1000 * np.diff(slots)
    return {
        "rtf": (slots[-1] - start) * RATE / len(samples),
        "open_ms": 1000 * (opened - start),
        "first_slot_ms": 1000 * (slots[0] - opened),
        "slot_p50_ms": float(np.percentile(gaps, 50)),
        "slot_p95_ms": float(np.percentile(gaps, 95)),
        "stream_mb": memory / 1e6,
    }


def live(model: vox.Model, samples: np.ndarray, chunk_ms: int) -> dict[str, float]:
    n, times = RATE * chunk_ms // 1000, []
    with model.stream() as stream:
        for i in range(0, len(samples), n):
            start = time.perf_counter()
            stream.feed(samples[i : i + n])
            times.append(time.perf_counter() - start)
        start = time.perf_counter()
        stream.finish()
        times.append(time.perf_counter() - start)
    # The first chunks bring nothing or the prompt's 39 slots; the rest is the steady state.
    steady = 1000 * np.array(times[1 + RATE // n : -1])
    return {
        "rtf": sum(times) * RATE / len(samples),
        "chunk_p50_ms": float(np.percentile(steady, 50)),
        "chunk_p95_ms": float(np.percentile(steady, 95)),
        "finish_ms": 1000 * times[-1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed and memory of one model on this machine.")
    parser.add_argument("model", nargs="?", help="default: the embedded one")
    parser.add_argument("--audio", type=Path)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--threads", type=int, help="default: what suits the model")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    samples = clip(args.audio, args.seconds)
    start = time.perf_counter()
    with vox.Model(args.model, threads=args.threads) as model:
        load_ms = 1000 * (time.perf_counter() - start)
        result = {
            "model": model.name,
            "type": model.file_type,
            "audio_s": len(samples) / RATE,
            "load_ms": load_ms,
            "offline": offline(model, samples),
            "live": {str(ms): live(model, samples, ms) for ms in CHUNKS_MS},
        }
    result["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    if args.json:
        print(json.dumps(result))
        return
    print(f"{result['model']}, {result['type']}, {result['audio_s']:.0f} s of audio")
    print(f"load {load_ms:.1f} ms, peak memory {result['peak_rss_mb']:.0f} MB")
    print("offline: " + ", ".join(f"{k} {v:.3g}" for k, v in result["offline"].items()))
    for chunk_ms, numbers in result["live"].items():
        print(f"live, {chunk_ms} ms: " + ", ".join(f"{k} {v:.3g}" for k, v in numbers.items()))


if __name__ == "__main__":
    main()
