"""Three kinds of runs over the same clip.

"offline", all audio at once; "live", in chunks, each pushed as soon as the one before is done,
which gives the work per second of audio; and "paced", in which audio arrives at the speed of the
clock, as from a microphone, which gives the lag.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial

from ... import __version__
from ...audio import RATE, Samples
from ...streaming.model import Model
from ...system import here
from .. import host
from .slots import Drawn, Result, needed, percentile

PARTS = ("offline", "live", "paced")
CHUNKS_MS = (80, 160, 320, 480)
BLOCK = RATE // 50  # samples that arrive at once in a paced run: 20 ms, as from a sound card


def measure(
    path: str | os.PathLike[str] | None,
    samples: Samples,
    parts: tuple[str, ...] = PARTS,
    *,
    delay_ms: int | None = None,
    threads: int | None = None,
    chunks_ms: tuple[int, ...] = CHUNKS_MS,
    heard_s: float = 0.0,
    late_ms: float = 500.0,
) -> Result:
    """Run the parts with samples [n]; path as for Model. Raises what Model and Stream raise.

    Before it is measured, each stream hears heard_s seconds of samples, over and over: its rings
    are then as full as those of a stream that old. Times are in ms unless named otherwise, memory
    in bytes; None stands where nothing was measured.
    """
    start = time.perf_counter()
    with Model(path, threads=threads) as model:
        load_ms = _ms_since(start)
        delay_ms = delay_ms or model.default_delay_ms
        result: Result = {
            "version": __version__,
            "machine": host.describe(),
            "model": model.name,
            "type": model.file_type,
            "kernels": model.kernels,
            "n_params": model.n_params,
            "encoder_window": model.encoder_window,
            "decoder_window": model.decoder_window,
            "threads": threads,
            "delay_ms": delay_ms,
            "audio_s": len(samples) / RATE,
            "heard_s": heard_s,
            "load_ms": load_ms,
            "streams": [_first_slot(model, samples, delay_ms) for _ in range(2)],
            "runs": {},
        }
        runs = result["runs"]
        wanted: dict[str, dict[str, Callable[[Drawn], Result]]] = {
            "offline": {"offline": _offline},
            "live": {f"live {ms} ms": partial(_live, chunk_ms=ms) for ms in chunks_ms},
            "paced": {"paced": partial(_paced, late_ms=late_ms)},
        }
        for part in parts:
            for name, work in wanted[part].items():
                with model.stream(delay_ms=delay_ms) as stream:
                    runs[name] = work(Drawn(name, stream, samples, delay_ms, heard_s))
    memory = [run.pop("memory") for run in runs.values()]
    result["memory"] = {key: max(each[key] for each in memory) for key in memory[0]}
    result["memory"]["peak_rss_bytes"] = here.peak_memory()
    return result


def _first_slot(model: Model, samples: Samples, delay_ms: int) -> Result:
    """Open a stream and compute its first slot, whose audio is there already."""
    start = time.perf_counter()
    with model.stream(delay_ms=delay_ms) as stream:
        open_ms = _ms_since(start)
        start = time.perf_counter()
        n = needed(0, delay_ms)
        stream.push(samples[:n])
        if len(samples) < n:
            stream.end()
        next(stream.slots())
        return {"open_ms": open_ms, "first_slot_ms": _ms_since(start)}


def _offline(run: Drawn) -> Result:
    start = time.perf_counter()
    run.stream.push(run.samples)
    run.stream.end()
    run.drain()
    return run.result(_ms_since(start) / 1000)


def _live(run: Drawn, chunk_ms: int) -> Result:
    n, calls, work_ms = RATE * chunk_ms // 1000, [], 0.0
    for i in range(0, len(run.samples), n):
        start = time.perf_counter()
        run.stream.push(run.samples[i : i + n])
        n_new, ms = run.drain(), _ms_since(start)
        work_ms += ms
        if n_new and len(run.tokens) > n_new:  # not the first, which the prompt makes longer
            calls.append(ms)
    start = time.perf_counter()
    run.stream.end()
    run.drain()
    finish_ms = _ms_since(start)
    return {
        **run.result((work_ms + finish_ms) / 1000),
        "call_p50_ms": percentile(calls, 50),
        "call_p95_ms": percentile(calls, 95),
        "finish_ms": finish_ms,
    }


def _paced(run: Drawn, late_ms: float) -> Result:
    stream, n, n_pushed, ended = run.stream, len(run.samples), 0, False
    due, lag = [], []  # s, ms: of each slot that came of heard audio
    first_text: Result = {"first_text_s": None, "first_text_lag_ms": None}
    start, waited_s = time.perf_counter(), 0.0
    while True:
        now_s = time.perf_counter() - start
        arrived = min(int(now_s * RATE) // BLOCK * BLOCK, n) if now_s * RATE < n else n
        if arrived > n_pushed:
            stream.push(run.samples[n_pushed:arrived])
            n_pushed = arrived
        if arrived == n and not ended:
            stream.end()
            ended = True
        piece = run.next()
        if piece:
            done_s = time.perf_counter() - start
            needed = run.due()
            due_s = min(-(-needed // BLOCK) * BLOCK, n) / RATE
            if needed <= n:
                due.append(due_s)
                lag.append(1000 * (done_s - due_s))
            if piece.text and first_text["first_text_s"] is None:
                first_text = {
                    "first_text_s": done_s,
                    "first_text_lag_ms": 1000 * (done_s - due_s),
                }
        elif ended:
            break
        else:
            before_s = time.perf_counter() - start
            next_s = min(n_pushed + BLOCK, n) / RATE
            time.sleep(max(next_s - before_s, 0))
            waited_s += time.perf_counter() - start - before_s
    total_s = time.perf_counter() - start
    return {
        **run.result(total_s - waited_s),
        "lag_p50_ms": percentile(lag, 50),
        "lag_p95_ms": percentile(lag, 95),
        "lag_max_ms": max(lag, default=None),
        "late_ms": late_ms,
        "late_share": sum(each > late_ms for each in lag) / len(lag) if lag else None,
        **first_text,
        "finish_ms": 1000 * (total_s - n / RATE),
        "due_s": due,
        "lag_ms": lag,
    }


def _ms_since(start: float) -> float:
    return 1000 * (time.perf_counter() - start)
