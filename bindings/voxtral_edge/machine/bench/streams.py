"""Many streams over one model at once, each in a thread of its own.

"flat", all audio is there at once, which gives the audio per second that the machine can carry;
and "paced", in which each stream's audio arrives in chunks at the speed of the clock, the streams
evenly staggered, which gives the lag that live speakers see.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import dataclass, field

import numpy as np

from ... import __version__
from ...audio import RATE, Samples
from ...streaming.model import Model
from ...streaming.stream import Stats, Stream
from ...system import here
from ...text.pieces import SLOT_MS
from .. import host
from .slots import Result, needed, percentile

KINDS = ("flat", "paced")


@dataclass
class _Run:
    """One of the streams of a run, and what came of it."""

    stream: Stream
    samples: Samples
    delay_ms: int
    starts_s: float  # when its audio begins
    n_heard: int  # samples before it
    lag_ms: list[float] = field(default_factory=list)
    stats: Stats | None = None
    error: BaseException | None = None

    def drain(self, since: float) -> None:
        """Take the slots that are there; those whose audio has arrived count from `since`."""
        for piece in self.stream.slots():
            slot = piece.start_ms // SLOT_MS
            if needed(slot, self.delay_ms) <= self.n_heard + len(self.samples):
                self.lag_ms.append(1000 * (time.perf_counter() - since))


def measure(
    path: str | os.PathLike[str] | None,
    samples: Samples,
    counts: tuple[int, ...],
    *,
    chunk_ms: int,
    delay_ms: int | None = None,
    threads: int | None = None,
    heard_s: float = 0.0,
    late_ms: float = 500.0,
) -> Result:
    """Run as many streams as each of counts says, flat out and paced, with samples [n].

    Each stream hears the clip from another point on, around its end. The rest as for
    runs.measure().
    """
    result: Result = {
        "version": __version__,
        "machine": host.describe(),
        "threads": threads,
        "audio_s": len(samples) / RATE,
        "heard_s": heard_s,
        "chunk_ms": chunk_ms,
        "late_ms": late_ms,
        "runs": [],
    }
    with Model(path, threads=threads) as model:
        delay_ms = delay_ms or model.default_delay_ms
        result |= {
            "model": model.name,
            "type": model.file_type,
            "kernels": model.kernels,
            "n_params": model.n_params,
            "delay_ms": delay_ms,
        }
        with model.stream(delay_ms=delay_ms) as first:  # what all streams share
            first.push(samples[: needed(0, delay_ms)])
            first.end()
            next(first.slots())
        for n in counts:
            for kind in KINDS:
                print(f"voxtral: measuring {n} streams, {kind}", file=sys.stderr)
                result["runs"].append(_run(model, samples, n, kind, chunk_ms, delay_ms, heard_s))
    for run in result["runs"]:
        run["late_share"] = sum(ms > late_ms for ms in run["lag_ms"]) / max(len(run["lag_ms"]), 1)
        del run["lag_ms"]
    result["peak_rss_bytes"] = here.peak_memory()
    return result


def _run(
    model: Model,
    samples: Samples,
    n: int,
    kind: str,
    chunk_ms: int,
    delay_ms: int,
    heard_s: float,
) -> Result:
    runs = _opened(model, samples, n, chunk_ms, delay_ms, heard_s)
    before = [run.stream.stats() for run in runs]
    seconds = _at_once(runs, None if kind == "flat" else RATE * chunk_ms // 1000)
    memory = [run.stream.memory for run in runs]
    for run in runs:
        run.stream.close()
        if run.error:
            raise run.error
    pairs = [(a, run.stats) for a, run in zip(before, runs, strict=True) if run.stats]

    def grown(name: str) -> int:
        return sum(int(getattr(after, name)) - int(getattr(a, name)) for a, after in pairs)

    def per(what: str, passes: str) -> float:
        return grown(what) / max(grown(passes), 1)

    lag = [ms for run in runs for ms in run.lag_ms]
    worst = [percentile(run.lag_ms, 95) or 0.0 for run in runs]
    return {
        "n_streams": n,
        "kind": kind,
        "audio_s_per_s": n * len(samples) / RATE / seconds,
        "lag_p50_ms": percentile(lag, 50),
        "lag_p95_ms": percentile(lag, 95),
        "lag_p95_worst_stream_ms": max(worst),
        "lag_max_ms": max(lag, default=None),
        "decoder_columns": per("n_decoder_shared", "n_decoder_passes"),
        "decoder_own": per("n_decoder_slots", "n_decoder_passes"),
        "encoder_slots": per("n_encoder_shared", "n_encoder_passes"),
        "encoder_own": per("n_encoder_slots", "n_encoder_passes"),
        "memory_per_stream_bytes": max(memory),
        "lag_ms": lag,
    }


def _opened(
    model: Model, samples: Samples, n: int, chunk_ms: int, delay_ms: int, heard_s: float
) -> list[_Run]:
    """Return streams that have heard what comes before they are measured."""
    runs = []
    for i in range(n):
        own = np.roll(samples, -(len(samples) * i // n))
        n_heard, starts_s = round(heard_s * RATE), chunk_ms / 1000 * i / n
        run = _Run(model.stream(delay_ms=delay_ms), own, delay_ms, starts_s, n_heard)
        for at in range(0, n_heard, len(own)):
            run.stream.push(own[: n_heard - at])
            for _ in run.stream.slots():
                pass
        runs.append(run)
    return runs


def _at_once(runs: list[_Run], n_chunk: int | None) -> float:
    """Have each hear its clip, in chunks that arrive, or at once if None; return the seconds."""
    start = time.perf_counter()

    def work(run: _Run) -> None:
        try:
            if n_chunk is None:
                _flat(run)
            else:
                _paced(run, start, n_chunk)
            run.stats = run.stream.stats()
        except BaseException as error:  # raised again by who waits
            run.error = error

    threads = [threading.Thread(target=work, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


def _flat(run: _Run) -> None:
    run.stream.push(run.samples)
    run.stream.end()
    for _ in run.stream.slots():
        pass


def _paced(run: _Run, start: float, n_chunk: int) -> None:
    for at in range(0, len(run.samples), n_chunk):
        arrives = start + run.starts_s + min(at + n_chunk, len(run.samples)) / RATE
        time.sleep(max(arrives - time.perf_counter(), 0))
        run.stream.push(run.samples[at : at + n_chunk])
        run.drain(arrives)
    run.stream.end()
    for _ in run.stream.slots():
        pass
