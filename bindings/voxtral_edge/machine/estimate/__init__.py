"""How fast the published 4B model would be on this machine, without having it.

Model files of its widths but few layers are made of random weights (weights.py), and the core runs
them as it would run the real one: the same threads, kernels and passes, with the encoder's window
full and the decoder's as full as half a minute into a stream. Passes of every width are timed while
nothing else runs (passes.py), scaled to the layers of the real model, and put together as a
transcription would (schedule.py), with guesses as often right as the demo model's are. Another file
has nothing but the decoder's attention, which tells what each further row of its window costs.

Every number comes three times: as it is expected, and between which it should lie, by the spread of
the times, by speech that is guessed easily or badly, and by what scaling and schedule may be wrong.
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from ...convert.reading.params import Params
from ...streaming.model import Model
from .. import host
from . import schedule, weights
from .passes import Passes, Times, measure
from .schedule import DIGITS, SAMPLES, SENTENCES, Costs

BYTES_PER_THREAD = 64 << 20  # csrc/model.c: weights that make the core take another thread
# Layers of the encoder and the decoder: some, together larger than the caches of nearly all
# processors, and small for their memory, 0.5 GB; and fewest, with all that is not layers. Of each,
# and of what they differ by, half are of the finer types, as in the published model.
N_FEW, N_FEWEST = (8, 4), (2, 1)
# Slots of silence that these hear first: with them a stream is 30 s old. And that the model of
# nothing but rings does: few, and as many as a file may ask for.
N_LEFT_PAD, N_RING_PADS = 400, (32, 1024)
PATIENCE_S = 20.0  # after which rounds that were disturbed must do
AUDIO_MS, DELAY_MS = 60_000, 480  # of the clip whose RTF is estimated: voxtral bench --seconds 60
RUNS = {  # chunks in ms, and whether the decoder's window is full
    "offline": (None, False),
    "live_480_ms": (480, False),
    "live_80_ms": (80, False),
    "live_480_ms_window_full": (480, True),
}
MARGIN = 0.1  # what scaling and schedule may be wrong by


def estimate(threads: int | None = None) -> dict[str, Any]:
    """Measure for some seconds; return RTFs of the 4B model, and ms of its passes by width.

    `threads`: None: as many as the core would take for it. Raises OSError if there is no room for a
    temporary file, and what Model and Stream raise.
    """
    most = 1 + weights.weight_bytes(weights.PUBLISHED) // BYTES_PER_THREAD
    threads = threads or min(host.n_processors(), most)
    end = time.monotonic() + PATIENCE_S
    few, fewest = (
        _measured(weights.layers(*n), N_LEFT_PAD, threads, end) for n in (N_FEW, N_FEWEST)
    )
    rings = [_measured(weights.only_rings(), n, threads, end) for n in N_RING_PADS]
    expected = costs(few, fewest, 50 if few.is_quiet else 0)
    return {
        "type": weights.TYPE,
        "threads": threads,
        "is_quiet": few.is_quiet,
        "others_share": few.others,
        "pass_ms": {
            "mel": expected.mel,
            **{stage: getattr(expected, stage) for stage in ("encoder", "decoder", "head")},
        },
        "rtf": rtfs(few, fewest, row_ms(*rings)),
    }


def _measured(sizes: Params, n_left_pad: int, threads: int, end: float) -> Passes:
    with tempfile.TemporaryDirectory(prefix="voxtral-") as folder:
        path = Path(folder) / "random.gguf"
        weights.write(path, sizes, n_left_pad)
        with Model(path, threads=threads, cache=False) as model:
            with contextlib.suppress(PermissionError):  # it is mapped, which not all can do without
                path.unlink()
            return measure(model, end)


def rtfs(few: Passes, fewest: Passes, rows: dict[int, float]) -> dict[str, dict[str, float]]:
    """Return the expected RTF of each kind of run, and the least and greatest likely one.

    rows: what row_ms() gives. Where other programs ran, the shortest passes are the ones to go by.
    """
    middle, high = (50, 75) if few.is_quiet else (0, 50)
    found: dict[str, dict[str, float]] = {name: {} for name in RUNS}
    for key, percent, chances, factor in (
        ("expected", middle, SAMPLES, 1.0),
        ("least", 0, DIGITS, 1 - MARGIN),
        ("greatest", high, SENTENCES, 1 + MARGIN),
    ):
        young = costs(few, fewest, percent)
        old = with_full_window(young, rows)
        for name, (chunk_ms, is_full) in RUNS.items():
            cost = old if is_full else young
            rtf = schedule.rtf(cost, chances, AUDIO_MS, DELAY_MS, chunk_ms)
            found[name][key] = factor * rtf
    return found


def row_ms(few: Passes, many: Passes) -> dict[int, float]:
    """Return what a further row in the decoder's window adds to a pass, by its width.

    The two differ in nothing but N_RING_PADS; their shortest passes are compared.
    """
    n = N_RING_PADS[1] - N_RING_PADS[0]
    short, long = (_percentiles(passes.decoder, 0) for passes in (few, many))
    return {width: max(long[width] - ms, 0.0) / n for width, ms in short.items()}


def with_full_window(costs: Costs, rows: dict[int, float]) -> Costs:
    """Return the costs of passes that see as many rows as the decoder's window has."""
    n = weights.PUBLISHED.decoder.window - N_LEFT_PAD
    return dataclasses.replace(
        costs, decoder={width: ms + n * rows[width] for width, ms in costs.decoder.items()}
    )


def costs(few: Passes, fewest: Passes, percent: float) -> Costs:
    """Return what passes cost in the published model, from a percentile of those of N_FEW layers.

    What layers of the encoder cost is what the times of few and fewest differ by; all of the
    decoder is layers, and the head is as large as some of them.
    """
    encoder, ends, decoder = (
        _percentiles(times, percent) for times in (few.encoder, fewest.encoder, few.decoder)
    )
    published, here = weights.PUBLISHED, weights.layers(*N_FEW)
    further = (published.encoder.n_layers - N_FEW[0]) / (N_FEW[0] - N_FEWEST[0])
    layers = published.decoder.n_layers / N_FEW[1]
    head = weights.weight_bytes(
        published, belongs=lambda t: t.name == "dec.embed.weight"
    ) / weights.weight_bytes(here, belongs=lambda t: t.name.startswith("dec.blk."))
    return Costs(
        mel=statistics.median(few.mel),
        encoder={w: ms + further * max(ms - ends[w], 0.0) for w, ms in encoder.items()},
        decoder={w: ms * layers for w, ms in decoder.items()},
        head={w: ms * head for w, ms in decoder.items()},
    )


def _percentiles(times: Times, percent: float) -> dict[int, float]:
    return {width: float(np.percentile(ms, percent)) for width, ms in times.items()}
