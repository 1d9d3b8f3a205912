"""How fast the published 4B model would be on this machine, without having it.

A model file of its widths but few layers is made of random weights, and the core runs it as it
would run the real one: the same threads, kernels and passes. The time of a stage is nearly that of
reading its weights and multiplying by them, so it grows with their bytes:

    time of a stage = measured time * bytes of the stage's weights in the 4B model / bytes here
    RTF = (mel + encoder + decoder + head, ms per slot) / 80 ms

The decoder is measured in passes over one slot. A stream that is behind, or a file, takes several
slots per pass where it guesses tokens right, and is faster then. Attention is that of a short
context: later in a stream, a pass reads up to 1.1 GB of keys and values besides 2.5 GB of weights.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import tempfile
import time
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFValueType

from ..audio import RATE
from ..convert.conversion import write_all
from ..convert.gguf_file import GgufFile, Place, Value, write_header
from ..convert.metadata import ARCHITECTURE, sizes
from ..convert.params import PUBLISHED as PUBLISHED
from ..convert.params import Params
from ..convert.quantize import Bytes, Type, file_type, pack, packed_size, stored_type
from ..convert.tensors import Tensor, tensors
from ..streaming.model import Model
from ..streaming.stream import SLOT_MS, Stats, Stream

TYPE = "q4_0"
# Together larger than the caches of nearly all processors, and small for their memory: 0.3 GB.
N_ENCODER_LAYERS, N_DECODER_LAYERS = 6, 3
BYTES_PER_THREAD = 64 << 20  # csrc/model.c: weights that make the core take another thread
MEASURE_S = 1.5
MOST_SLOTS = 50
WIDE = 16  # slots in the widest pass of the encoder
N_SLOT = RATE * SLOT_MS // 1000  # samples
PATTERN = 1 << 16  # random values that are repeated in all matrices
WRITE_BYTES = 4 << 20  # about, at once


def weight_bytes(params: Params, type: str) -> int:
    """Return the bytes of all weights in a file type."""
    return sum(_bytes(tensor, type) for tensor in tensors(params))


def stream_bytes(params: Params) -> int:
    """Return the bytes of keys and values when both windows are full, in halves."""
    return sum(
        2 * 2 * stack.n_layers * stack.window * stack.n_kv_heads * stack.head_dim
        for stack in (params.encoder, params.decoder)
    )


def estimate(threads: int | None = None) -> dict[str, Any]:
    """Measure for some seconds; return times in ms per slot of the 4B model, and RTFs.

    `threads`: None: as many as the core would take for it. Raises OSError if there is no room for
    a temporary file, and what Model and Stream raise.
    """
    here = dataclasses.replace(
        PUBLISHED,
        encoder=dataclasses.replace(PUBLISHED.encoder, n_layers=N_ENCODER_LAYERS),
        decoder=dataclasses.replace(PUBLISHED.decoder, n_layers=N_DECODER_LAYERS),
    )
    most = 1 + weight_bytes(PUBLISHED, TYPE) // BYTES_PER_THREAD
    threads = threads or min(len(os.sched_getaffinity(0)), most)
    with tempfile.TemporaryDirectory(prefix="voxtral-") as folder:
        path = Path(folder) / "random.gguf"
        here = _write(path, here)
        with Model(path, threads=threads) as model:
            kernels = model.kernels
            path.unlink()  # it is mapped
            with model.stream() as stream:
                one, wide = _run(stream)
    encoder = _ratio(here, "encoder")
    decoder = _ratio(here, "decoder")
    live = {
        "mel": one["mel"],
        "encoder": one["encoder"] * encoder,
        "decoder": (one["decoder"] + one["head"]) * decoder,
    }
    offline = {**live, "encoder": wide * encoder}
    return {
        "type": TYPE,
        "kernels": kernels,
        "threads": threads,
        "live_ms_per_slot": live,
        "offline_ms_per_slot": offline,
        "live_rtf": sum(live.values()) / SLOT_MS,
        "offline_rtf": sum(offline.values()) / SLOT_MS,
    }


def _run(stream: Stream) -> tuple[dict[str, float], float]:
    """Return ms per slot: of all stages in passes over one, of the encoder in wide passes."""
    noise = np.random.default_rng(1).normal(0, 0.1, (MOST_SLOTS + 2 * WIDE + 20) * N_SLOT)
    samples = noise.astype(np.float32)
    n = 0

    def hear(n_slots: int) -> tuple[Stats, Stats]:
        nonlocal n
        before = stream.stats()
        stream.push(samples[n : n + n_slots * N_SLOT])
        n += n_slots * N_SLOT
        for _ in stream.slots():
            pass
        return before, stream.stats()

    while not stream.stats().n_accepted:  # the prompt, which is made once
        hear(1)
    ms: dict[str, list[float]] = {stage: [] for stage in ("mel", "encoder", "decoder", "head")}
    end = time.monotonic() + MEASURE_S
    for _ in range(MOST_SLOTS):
        before, after = hear(1)
        for stage, times in ms.items():
            name = f"{stage}_ns"
            times.append((getattr(after, name) - getattr(before, name)) / 1e6)
        if time.monotonic() > end and len(ms["mel"]) > 2:
            break
    before, after = hear(WIDE)
    wide = (after.encoder_ns - before.encoder_ns) / 1e6 / WIDE
    return {stage: statistics.median(times) for stage, times in ms.items()}, wide


def _write(path: Path, params: Params) -> Params:
    """Write a model file of random weights with the tokenizer of the demo model.

    Return its sizes, which are the given ones but for the vocabulary.
    """
    demo = resources.files("voxtral_edge") / "demo.gguf"
    with resources.as_file(demo) as file, GgufFile(file) as source:
        keys = {key: _plain(value) for key, value in source.metadata.items()}
    del keys["general.architecture"]  # the writer puts it first
    n_vocab = int(keys["voxtral_edge.decoder.n_vocab"].value)
    params = dataclasses.replace(params, n_vocab=n_vocab)
    keys |= sizes(params)
    layout = {
        tensor.name: (stored_type(tensor, file_type(TYPE)), tensor.stored_shape)
        for tensor in tensors(params)
    }
    places, size = write_header(path, ARCHITECTURE, keys, layout)
    values = np.random.default_rng(0).normal(0, 0.02, (1, PATTERN)).astype(np.float32)
    fd = os.open(path, os.O_RDWR)
    try:
        os.posix_fallocate(fd, 0, size)  # a full disk is noticed now
        patterns: dict[Type, Bytes] = {}
        for name, place in places.items():
            if place.type not in patterns:
                packed = pack(values, place.type)
                patterns[place.type] = np.tile(packed, max(WRITE_BYTES // packed.size, 1))
            if name.endswith("norm.weight"):
                ones = np.ones(place.n_bytes // 4, "<f4").view(np.uint8)
                write_all(fd, ones, place.offset)
            else:
                _fill(fd, place, patterns[place.type])
    finally:
        os.close(fd)
    return params


def _plain(value: Value) -> Value:
    """An array as the writer takes it."""
    if not isinstance(value.value, np.ndarray):
        return value
    is_bytes = value.item == GGUFValueType.UINT8
    return value._replace(value=value.value.tobytes() if is_bytes else value.value.tolist())


def _fill(fd: int, place: Place, pattern: Bytes) -> None:
    for start in range(0, place.n_bytes, pattern.size):
        write_all(fd, pattern[: place.n_bytes - start], place.offset + start)


def _ratio(here: Params, part: str) -> float:
    """Bytes of the weights of a part in the published model over those here."""
    names = ("enc.", "adapter.") if part == "encoder" else ("dec.",)
    published, measured = (
        sum(_bytes(tensor, TYPE) for tensor in tensors(params) if tensor.name.startswith(names))
        for params in (PUBLISHED, here)
    )
    return published / measured


def _bytes(tensor: Tensor, type: str) -> int:
    n = int(np.prod(tensor.shape, dtype=np.int64))
    return packed_size(stored_type(tensor, file_type(type)), n)
