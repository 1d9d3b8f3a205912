"""Model files of random weights that have parts of the published model's cost.

Some have its widths but few layers; another the keys and values of its decoder, in all layers, and
next to nothing else.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
from gguf import GGUFValueType

from ...convert.conversion import write_all
from ...convert.reading.checkpoint import GROUP_ROWS
from ...convert.reading.params import PUBLISHED as PUBLISHED
from ...convert.reading.params import Params
from ...convert.reading.tensors import Tensor, tensors
from ...convert.writing.gguf_file import GgufFile, Place, Value, u32, write_header
from ...convert.writing.groups import grouped_size
from ...convert.writing.metadata import ARCHITECTURE, sizes
from ...convert.writing.quantize import (
    DEFAULT,
    Bytes,
    Type,
    file_type,
    packed_size,
    stored_type,
)
from ...system import here

TYPE = DEFAULT
NARROW = 256  # width of what shall cost nothing
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


def layers(n_encoder: int, n_decoder: int) -> Params:
    """Return the sizes of a model that costs what so many layers cost, and what is not layers."""
    return dataclasses.replace(
        PUBLISHED,
        encoder=dataclasses.replace(PUBLISHED.encoder, n_layers=n_encoder),
        decoder=dataclasses.replace(PUBLISHED.decoder, n_layers=n_decoder),
    )


def only_rings() -> Params:
    """Return the sizes of the model that costs what the decoder's attention costs."""
    narrow = {"dim": NARROW, "hidden_dim": NARROW}
    return dataclasses.replace(
        PUBLISHED,
        encoder=dataclasses.replace(PUBLISHED.encoder, n_layers=1, **narrow),
        decoder=dataclasses.replace(PUBLISHED.decoder, **narrow),
    )


def write(path: Path, params: Params, n_left_pad: int) -> None:
    """Write a file of these sizes, but with the tokenizer of the demo model.

    n_left_pad: slots of silence, 1 to 1024, that every stream hears before its first sample.
    """
    demo = resources.files("voxtral_edge") / "demo.gguf"
    with resources.as_file(demo) as file, GgufFile(file) as source:
        keys = {key: _plain(value) for key, value in source.metadata.items()}
    del keys["general.architecture"]  # the writer puts it first
    n_vocab = int(keys["voxtral_edge.decoder.n_vocab"].value)
    params = dataclasses.replace(params, n_vocab=n_vocab)
    keys |= sizes(params)
    keys["voxtral_edge.stream.n_left_pad"] = u32(n_left_pad)
    layout = {
        tensor.name: (stored_type(tensor, file_type(TYPE)), tensor.stored_shape)
        for tensor in tensors(params)
    }
    places, size = write_header(path, ARCHITECTURE, keys, layout)
    values = np.random.default_rng(0).normal(0, 0.02, PATTERN).astype(np.float32)
    fd = os.open(path, os.O_RDWR | here.BINARY)
    try:
        here.reserve(fd, size)  # a full disk is noticed now
        patterns: dict[tuple[Type, int], Bytes] = {}
        for name, place in places.items():
            kind = place.type, place.shape[-1]
            if kind not in patterns:
                packed = place.store(np.resize(values, (GROUP_ROWS, place.shape[-1])))
                patterns[kind] = np.tile(packed, max(WRITE_BYTES // packed.size, 1))
            if name.endswith("norm.weight"):
                ones = np.ones(place.n_bytes // 4, "<f4").view(np.uint8)
                write_all(fd, ones.data, place.offset)
            else:
                _fill(fd, place, patterns[kind])
    finally:
        os.close(fd)


def _plain(value: Value) -> Value:
    """An array as the writer takes it."""
    if not isinstance(value.value, np.ndarray):
        return value
    is_bytes = value.item == GGUFValueType.UINT8
    return value._replace(value=value.value.tobytes() if is_bytes else value.value.tolist())


def _fill(fd: int, place: Place, pattern: Bytes) -> None:
    for start in range(0, place.n_bytes, pattern.size):
        write_all(fd, pattern[: place.n_bytes - start].data, place.offset + start)


def _bytes(tensor: Tensor, type: str) -> int:
    kind, shape = stored_type(tensor, file_type(type)), tensor.stored_shape
    return grouped_size(kind, shape) or packed_size(kind, math.prod(shape))
