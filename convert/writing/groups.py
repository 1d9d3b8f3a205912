"""Matrices as the kernels read them, rows side by side in groups: docs/format.md, "Groups".

The layout is that of csrc/kernels/matrix.h, which the compiled module applies, so that it is
written down once.
"""

from __future__ import annotations

import numpy as np
from voxtral_edge._voxtral import ffi, lib

from ..reading.safetensors_file import Floats
from .quantize import Bytes, Type

LAYOUT = "groups_of_16"
ALIGNMENT = 64  # of a cache line, in which vectors are read


def grouped_size(kind: Type, shape: tuple[int, ...]) -> int:
    """Return the bytes of a matrix in groups; 0 if tensors of this type or shape stay in rows."""
    return int(lib.vox_grouped_size(int(kind), *shape)) if len(shape) == 2 else 0


def group(blocks: Bytes, kind: Type, shape: tuple[int, ...]) -> Bytes:
    """Return the groups of rows of packed blocks; shape [rows, n]."""
    n_rows, n = shape
    groups = np.empty(grouped_size(kind, shape), np.uint8)
    to = ffi.from_buffer(groups)
    if lib.vox_group(int(kind), ffi.from_buffer(blocks), n_rows, n, to) != lib.VOX_OK:
        raise ValueError(f"vox_group refuses {kind.name} of shape {shape}")
    return groups


def ungroup(groups: bytes, kind: Type, shape: tuple[int, ...]) -> Floats:
    """Return the values [rows, n] of whole groups, those that the blocks unpack to."""
    n_rows, n = shape
    values = np.empty(shape, np.float32)
    to = ffi.from_buffer("float[]", values)
    if lib.vox_ungroup(int(kind), ffi.from_buffer(groups), n_rows, n, to) != lib.VOX_OK:
        raise ValueError(f"vox_ungroup refuses {kind.name} of shape {shape}")
    return values
