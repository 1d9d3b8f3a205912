"""How fast the published 4B model would be on this machine, without having it.

A model file of its widths but few layers is made of random weights (weights.py), and the core runs
it as it would run the real one: the same threads, kernels and passes, with the encoder's window
full and the decoder's as full as half a minute into a stream. Passes of every width are timed while
nothing else runs (passes.py), scaled to the layers of the real model, and put together as a
transcription would (schedule.py), with guesses as often right as the demo model's are.

Every number comes three times: as it is expected, and between which it should lie, by the spread of
the times, by speech that is guessed easily or badly, and by what scaling and schedule may be wrong.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ...convert.params import Params
from ...convert.tensors import Tensor, tensors
from ...streaming.model import Model
from .. import host
from . import schedule, weights
from .passes import Passes, Times, measure
from .schedule import DIGITS, SAMPLES, SENTENCES, Costs

BYTES_PER_THREAD = 64 << 20  # csrc/model.c: weights that make the core take another thread
# Slots of silence that the measured model hears first: with them a stream is 30 s old.
N_LEFT_PAD = 400
AUDIO_MS, DELAY_MS = 60_000, 480  # of the clip whose RTF is estimated: voxtral bench --seconds 60
CHUNKS_MS = {"offline": None, "live_480_ms": 480, "live_80_ms": 80}
MARGIN = 0.1  # what scaling and schedule may be wrong by


def estimate(threads: int | None = None) -> dict[str, Any]:
    """Measure for some seconds; return RTFs of the 4B model, and ms of its passes by width.

    `threads`: None: as many as the core would take for it. Raises OSError if there is no room for
    a temporary file, and what Model and Stream raise.
    """
    most = 1 + weights.weight_bytes(weights.PUBLISHED) // BYTES_PER_THREAD
    threads = threads or min(host.n_processors(), most)
    with tempfile.TemporaryDirectory(prefix="voxtral-") as folder:
        path = Path(folder) / "random.gguf"
        here = weights.write(path, N_LEFT_PAD)
        with Model(path, threads=threads) as model:
            kernels = model.kernels
            path.unlink()  # it is mapped
            passes = measure(model)
    expected = costs(passes, here, 50 if passes.is_quiet else 0)
    return {
        "type": weights.TYPE,
        "kernels": kernels,
        "threads": threads,
        "is_quiet": passes.is_quiet,
        "others_share": passes.others,
        "pass_ms": {
            "mel": expected.mel,
            **{stage: getattr(expected, stage) for stage in ("encoder", "decoder", "head")},
        },
        "rtf": rtfs(passes, here),
    }


def rtfs(passes: Passes, here: Params) -> dict[str, dict[str, float]]:
    """Return the expected RTF of each kind of run, and the least and greatest likely one.

    Where other programs ran, the shortest passes are the ones to go by.
    """
    middle, high = (50, 75) if passes.is_quiet else (0, 50)
    return {
        name: {
            key: factor
            * schedule.rtf(costs(passes, here, percent), chances, AUDIO_MS, DELAY_MS, ms)
            for key, percent, chances, factor in (
                ("expected", middle, SAMPLES, 1.0),
                ("least", 0, DIGITS, 1 - MARGIN),
                ("greatest", high, SENTENCES, 1 + MARGIN),
            )
        }
        for name, ms in CHUNKS_MS.items()
    }


def costs(passes: Passes, here: Params, percent: float) -> Costs:
    """Return what passes cost in the published model, from a percentile of the times `here`.

    All of the decoder is layers, and the head is as large as some of them. In the encoder, a pass
    over one slot is bound by reading all weights, and what further slots add by multiplying.
    """
    encoder, decoder = (_percentiles(times, percent) for times in (passes.encoder, passes.decoder))
    multiply = _encoder_products(weights.PUBLISHED) / _encoder_products(here)
    read = weights.weight_bytes(weights.PUBLISHED, belongs=_is_encoder) / weights.weight_bytes(
        here, belongs=_is_encoder
    )
    layers = weights.PUBLISHED.decoder.n_layers / here.decoder.n_layers
    head = weights.weight_bytes(
        weights.PUBLISHED, belongs=lambda t: t.name == "dec.embed.weight"
    ) / weights.weight_bytes(here, belongs=lambda t: t.name.startswith("dec.blk."))
    one = encoder[1]
    return Costs(
        mel=statistics.median(passes.mel),
        encoder={w: one * read + (ms - one) * multiply for w, ms in encoder.items()},
        decoder={w: ms * layers for w, ms in decoder.items()},
        head={w: ms * head for w, ms in decoder.items()},
    )


def _is_encoder(tensor: Tensor) -> bool:
    return tensor.name.startswith(("enc.", "adapter."))


def _encoder_products(params: Params) -> int:
    """Multiplications by weights for a slot, which has 8 frames, then 4, then one."""
    return sum(
        int(np.prod(tensor.shape, dtype=np.int64)) * _columns(tensor)
        for tensor in tensors(params)
        if _is_encoder(tensor)
    )


def _columns(tensor: Tensor) -> int:
    if tensor.name.startswith("enc.conv1."):
        return 8
    return 1 if tensor.name.startswith("adapter.") else 4


def _percentiles(times: Times, percent: float) -> dict[int, float]:
    return {width: float(np.percentile(ms, percent)) for width, ms in times.items()}
