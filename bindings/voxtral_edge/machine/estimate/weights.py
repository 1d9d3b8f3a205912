"""A model file of the published model's widths with few layers, made of random weights."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
from gguf import GGUFValueType

from ...convert.conversion import write_all
from ...convert.gguf_file import GgufFile, Place, Value, u32, write_header
from ...convert.metadata import ARCHITECTURE, sizes
from ...convert.params import PUBLISHED as PUBLISHED
from ...convert.params import Params
from ...convert.quantize import Bytes, Type, file_type, pack, packed_size, stored_type
from ...convert.tensors import Tensor, tensors

TYPE = "q4_0"
# Together larger than the caches of nearly all processors, and small for their memory: 0.3 GB.
N_ENCODER_LAYERS, N_DECODER_LAYERS = 6, 3
PATTERN = 1 << 16  # random values that are repeated in all matrices
WRITE_BYTES = 4 << 20  # about, at once


def weight_bytes(
    params: Params, type: str = TYPE, belongs: Callable[[Tensor], bool] = lambda tensor: True
) -> int:
    """Return the bytes in a file type of all weights, or of those that belong."""
    return sum(_bytes(tensor, type) for tensor in tensors(params) if belongs(tensor))


def stream_bytes(params: Params) -> int:
    """Return the bytes of keys and values when both windows are full, in halves."""
    return sum(
        2 * 2 * stack.n_layers * stack.window * stack.n_kv_heads * stack.head_dim
        for stack in (params.encoder, params.decoder)
    )


def write(path: Path, n_left_pad: int) -> Params:
    """Write the file, with the tokenizer of the demo model; return its sizes.

    n_left_pad: slots of silence that every stream hears before its first sample.
    """
    demo = resources.files("voxtral_edge") / "demo.gguf"
    with resources.as_file(demo) as file, GgufFile(file) as source:
        keys = {key: _plain(value) for key, value in source.metadata.items()}
    del keys["general.architecture"]  # the writer puts it first
    params = dataclasses.replace(
        PUBLISHED,
        encoder=dataclasses.replace(PUBLISHED.encoder, n_layers=N_ENCODER_LAYERS),
        decoder=dataclasses.replace(PUBLISHED.decoder, n_layers=N_DECODER_LAYERS),
        n_vocab=int(keys["voxtral_edge.decoder.n_vocab"].value),
    )
    keys |= sizes(params)
    keys["voxtral_edge.stream.n_left_pad"] = u32(n_left_pad)
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


def _bytes(tensor: Tensor, type: str) -> int:
    n = int(np.prod(tensor.shape, dtype=np.int64))
    return packed_size(stored_type(tensor, file_type(type)), n)
