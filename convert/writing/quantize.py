"""Which type each tensor is stored as, and the packing into that type.

A file type ("q4_k_m") names the types of the packed tensors; all others are F32. F32, F16 and BF16
are made here, the block types by the compiled module, which releases the interpreter lock, so that
threads pack in parallel.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, LlamaFileType
from voxtral_edge._voxtral import ffi, lib

from ..errors import ConversionError
from ..reading.safetensors_file import Floats
from ..reading.tensors import Tensor

Type = GGMLQuantizationType
Bytes = npt.NDArray[np.uint8]


class FileType(NamedTuple):
    """How a file type stores packed tensors: most of them, and the ones that matter more."""

    number: LlamaFileType
    most: Type
    finer: Type


FILE_TYPES = {
    "f32": FileType(LlamaFileType.ALL_F32, Type.F32, Type.F32),
    "f16": FileType(LlamaFileType.MOSTLY_F16, Type.F16, Type.F16),
    "bf16": FileType(LlamaFileType.MOSTLY_BF16, Type.BF16, Type.BF16),
    "q8_0": FileType(LlamaFileType.MOSTLY_Q8_0, Type.Q8_0, Type.Q8_0),
    "q6_k": FileType(LlamaFileType.MOSTLY_Q6_K, Type.Q6_K, Type.Q6_K),
    "q5_k_m": FileType(LlamaFileType.MOSTLY_Q5_K_M, Type.Q5_K, Type.Q6_K),
    "q4_k_m": FileType(LlamaFileType.MOSTLY_Q4_K_M, Type.Q4_K, Type.Q6_K),
    "q4_0": FileType(LlamaFileType.MOSTLY_Q4_0, Type.Q4_0, Type.Q4_0),
}
DEFAULT = "q4_k_m"  # docs/format.md says why
# The largest value that a type, or the half-precision scales of its blocks, can hold.
LARGEST = {Type.F32: float(np.finfo(np.float32).max), Type.BF16: 3.3895313892515355e38}
LARGEST_HALF = 65504.0


def file_type(name: str) -> FileType:
    """Return the file type of a name."""
    if name not in FILE_TYPES:
        raise ConversionError(f"there is no type {name}: choose one of {', '.join(FILE_TYPES)}")
    return FILE_TYPES[name]


def stored_type(tensor: Tensor, kind: FileType) -> Type:
    """Return the type that a tensor is stored as."""
    if not tensor.is_packed:
        return Type.F32
    wanted = kind.finer if _is_finer(tensor) else kind.most
    for choice in (wanted, Type.Q8_0):
        if tensor.stored_shape[-1] % GGML_QUANT_SIZES[choice][0] == 0:
            return choice
    return Type.F16


def _is_finer(tensor: Tensor) -> bool:
    """Whether a mixed type spends more bits here: llama.cpp's choice of tensors and layers."""
    if tensor.name == "dec.embed.weight":
        return True
    if not tensor.name.endswith((".attn_v.weight", ".ffn_down.weight")):
        return False
    i, n = tensor.layer, tensor.n_layers
    return i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2


def packed_size(kind: Type, n: int) -> int:
    """Return the bytes of n values, whole blocks."""
    block, size = GGML_QUANT_SIZES[kind]
    return n // block * size


def pack(values: Floats, kind: Type) -> Bytes:
    """Pack rows [n, n_row] of finite values; raise OverflowError if one is too large."""
    limit = LARGEST.get(kind, LARGEST_HALF)
    if values.size and max(values.max(), -values.min()) > limit:
        raise OverflowError(f"a value beyond {limit:g}, the largest of {kind.name}")
    if kind == Type.F32:
        return values.astype("<f4", copy=False).reshape(-1).view(np.uint8)
    if kind == Type.F16:
        return values.astype("<f2").reshape(-1).view(np.uint8)
    if kind == Type.BF16:  # the upper half, rounded to nearest, ties to even
        bits = values.reshape(-1).view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").view(np.uint8)
    blocks = np.empty(packed_size(kind, values.size), np.uint8)
    status = lib.vox_pack(
        int(kind),
        ffi.from_buffer("float[]", values),
        values.size,
        values.shape[-1],
        ffi.from_buffer(blocks),
    )
    if status != lib.VOX_OK:
        raise ValueError(f"vox_pack refuses {kind.name} rows of {values.shape[-1]}")
    return blocks


def unpack(blocks: bytes, kind: Type, n: int) -> Floats:
    """Return the n values of packed whole blocks."""
    values = np.empty(n, np.float32)
    status = lib.vox_unpack(
        int(kind), ffi.from_buffer(blocks), n, ffi.from_buffer("float[]", values)
    )
    if status != lib.VOX_OK:
        raise ValueError(f"vox_unpack refuses {n} values of {kind.name}")
    return values


class Bound(NamedTuple):
    """A limit of the error: relative to a block's largest magnitude, plus an absolute part."""

    block: int
    relative: float
    absolute: float


# docs/format.md derives these: of the K types, two steps of the finest grid over the whole range.
# A block of one is the value itself.
BOUNDS = {
    Type.F32: Bound(1, 0.0, 0.0),
    Type.F16: Bound(1, 2.0**-11, 2.0**-25),
    Type.BF16: Bound(1, 2.0**-8, 2.0**-134),
    Type.Q8_0: Bound(32, 1 / 254 + 2.0**-10, 2.0**-18),
    Type.Q6_K: Bound(256, 1 / 16, 2.0**-13),
    Type.Q5_K: Bound(256, 4 / 31, 2.0**-13),
    Type.Q4_K: Bound(256, 4 / 15, 2.0**-13),
    Type.Q4_0: Bound(32, 1 / 8 + 2.0**-10, 2.0**-22),
}


def error_limits(values: Floats, kind: Type) -> Floats:
    """Return the largest error that packing may make, [blocks, 1], for whole blocks."""
    bound = BOUNDS[kind]
    blocks = np.abs(values.reshape(-1, bound.block)).max(axis=1, keepdims=True)
    limits: Floats = blocks * np.float32(bound.relative) + np.float32(bound.absolute)
    return limits
