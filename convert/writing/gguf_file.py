"""The GGUF file: header out, header and tensors in.

write_header() puts metadata and the list of tensors at the beginning of a file and returns where
each tensor's data belongs, so that the data may follow in any order. GgufFile reads any GGUF
without mapping it. The gguf package's own reader makes an object of every element of an array, a
million for this tokenizer, so that reading here is done in whole arrays.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from gguf import (
    GGML_QUANT_SIZES,
    GGUF_DEFAULT_ALIGNMENT,
    GGMLQuantizationType,
    GGUFValueType,
    GGUFWriter,
)

from ..errors import ConversionError
from ..reading.checkpoint import GROUP_ROWS
from ..reading.regular_file import open_regular, read_at
from ..reading.safetensors_file import PIECE, Floats, TensorInfo
from .groups import LAYOUT, group, grouped_size, ungroup
from .quantize import Bytes, pack, packed_size, unpack

LAYOUT_KEY, ALIGNMENT_KEY = "voxtral_edge.matrix_layout", "general.alignment"


class Value(NamedTuple):
    """A metadata value; of an array, item is the type of its elements."""

    type: GGUFValueType
    value: Any
    item: GGUFValueType | None = None


def u32(value: int) -> Value:
    """Return a whole number as a metadata value."""
    return Value(GGUFValueType.UINT32, value)


def f32(value: float) -> Value:
    """Return a number as a metadata value."""
    return Value(GGUFValueType.FLOAT32, value)


def text(value: str) -> Value:
    """Return a text as a metadata value."""
    return Value(GGUFValueType.STRING, value)


def texts(value: list[str]) -> Value:
    """Return texts as a metadata value."""
    return Value(GGUFValueType.ARRAY, value, GGUFValueType.STRING)


class Place(NamedTuple):
    """Where a tensor's data is in the file, and what it is."""

    type: GGMLQuantizationType
    shape: tuple[int, ...]
    offset: int
    n_bytes: int
    is_grouped: bool

    def rows(self, start: int, stop: int) -> tuple[int, int]:
        """Return offset and bytes of rows start to stop; of groups, of all that have them."""
        n_rows = math.prod(self.shape[:-1])  # a vector is one row
        unit = GROUP_ROWS if self.is_grouped else 1
        n_bytes = self.n_bytes // -(-n_rows // unit)
        first, end = start // unit, -(-stop // unit)
        return self.offset + first * n_bytes, (end - first) * n_bytes

    def store(self, values: Floats) -> Bytes:
        """Return values [rows, n] of whole groups as they are stored.

        Raises OverflowError if one is too large for the type.
        """
        blocks = pack(values, self.type)
        return group(blocks, self.type, values.shape) if self.is_grouped else blocks


def place(
    kind: GGMLQuantizationType, shape: tuple[int, ...], offset: int, keys: Mapping[str, Value]
) -> Place:
    """Return the place of a tensor that begins at an offset in a file with such keys."""
    is_grouped = LAYOUT_KEY in keys and grouped_size(kind, shape) > 0
    n_bytes = grouped_size(kind, shape) if is_grouped else packed_size(kind, math.prod(shape))
    return Place(kind, shape, offset, n_bytes, is_grouped)


def _alignment(keys: Mapping[str, Value]) -> int:
    return int(keys[ALIGNMENT_KEY].value) if ALIGNMENT_KEY in keys else GGUF_DEFAULT_ALIGNMENT


def write_header(
    path: Path,
    architecture: str,
    metadata: dict[str, Value],
    tensors: Mapping[str, tuple[GGMLQuantizationType, tuple[int, ...]]],
) -> tuple[dict[str, Place], int]:
    """Write all but the data; return each tensor's place and the size of the whole file.

    tensors: type and shape, torch order, by name, in the order of the data.
    """
    writer = GGUFWriter(path, architecture)
    writer.data_alignment = alignment = _alignment(metadata)
    for key, entry in metadata.items():
        writer.add_key_value(key, entry.value, entry.type, entry.item)
    for name, (kind, shape) in tensors.items():
        n_bytes = place(kind, shape, 0, metadata).n_bytes
        writer.add_tensor_info(name, shape, np.dtype(np.float32), n_bytes, kind)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
    finally:
        writer.close()
    end = path.stat().st_size
    places = {}
    for name, (kind, shape) in tensors.items():
        places[name] = place(kind, shape, end + -end % alignment, metadata)
        end = places[name].offset + places[name].n_bytes
    return places, end + -end % alignment


class GgufFile:
    """An open GGUF file. metadata and tensors by name; arrays are numpy's, or lists of strings."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open a file and read its header."""
        self.path = Path(path)
        try:
            self.file = os.fdopen(open_regular(self.path), "rb")
        except OSError as error:
            raise ConversionError(f"{path}: {error.strerror}") from error
        try:
            self.size = os.fstat(self.file.fileno()).st_size
            self._read_header(self.file)
        except OSError as error:
            self.close()
            raise ConversionError(f"{path}: cannot be read ({error.strerror})") from error
        except (ValueError, TypeError, OverflowError, MemoryError) as error:
            self.close()
            detail = f" ({error})" if isinstance(error, ConversionError) else ""
            raise ConversionError(
                f"{path}: not a whole GGUF file{detail}: copy or convert it again"
            ) from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> GgufFile:
        """Return the file."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file; repeating it is fine."""
        self.file.close()

    def read(self, offset: int, n: int) -> bytes:
        """Return n bytes at an offset; may be called from several threads."""
        data = read_at(self.file.fileno(), self.path, offset, n)
        if len(data) != n:
            raise ConversionError(f"{self.path}: ends too early: copy or convert it again")
        return data

    def pieces(self, name: str) -> Iterator[Floats]:
        """Yield the values of a tensor, unpacked to F32, in order, a piece at a time."""
        shape = self.tensors[name].shape
        n_rows, step = math.prod(shape[:-1]), max(PIECE // (shape[-1] * GROUP_ROWS), 1) * GROUP_ROWS
        for start in range(0, n_rows, step):
            yield self.values(name, start, min(start + step, n_rows))

    def values(self, name: str, start: int, stop: int) -> Floats:
        """Return the values of rows start to stop of a tensor, unpacked to F32, flat."""
        at = self.place(name)
        data, n_row = self.read_rows(name, start, stop), at.shape[-1]
        if not at.is_grouped:
            return unpack(data, at.type, (stop - start) * n_row)
        first = start // GROUP_ROWS * GROUP_ROWS
        return ungroup(data, at.type, (stop - first, n_row))[start - first :].reshape(-1)

    def read_rows(self, name: str, start: int, stop: int) -> bytes:
        """Return the stored bytes of rows start to stop, or of the groups that have them."""
        return self.read(*self.place(name).rows(start, stop))

    def place(self, name: str) -> Place:
        """Return where a tensor's data is."""
        info = self.tensors[name]
        return place(GGMLQuantizationType[info.type], info.shape, info.offset, self.metadata)

    def _read_header(self, file: BinaryIO) -> None:
        if self._take(4) != b"GGUF":
            raise ValueError
        version, n_tensors, n_keys = (self._scalar(kind) for kind in ("<u4", "<u8", "<u8"))
        if version not in (2, 3):
            raise ValueError
        self.metadata: dict[str, Value] = {}
        for _ in range(n_keys):
            key = self._string()
            self.metadata[key] = self._value(GGUFValueType(self._scalar("<u4")))
        listed = []
        for _ in range(n_tensors):
            name = self._string()
            n_dims = self._scalar("<u4")
            shape = tuple(self._array("<u8", n_dims).tolist()[::-1])
            kind = GGMLQuantizationType(self._scalar("<u4"))
            listed.append((name, kind, shape, self._scalar("<u8")))
        layout = self.metadata.get(LAYOUT_KEY)
        if layout and layout.value != LAYOUT:
            raise ConversionError(f"{LAYOUT_KEY} is {layout.value!r}, not {LAYOUT!r}")
        alignment = _alignment(self.metadata)
        if alignment < 1:
            raise ValueError
        self.header_size = file.tell()
        start = self.header_size + -self.header_size % alignment
        self.tensors = {}
        for name, kind, shape, offset in listed:
            if not shape or shape[-1] % GGML_QUANT_SIZES[kind][0] or 0 in shape:
                raise ValueError
            n_bytes = place(kind, shape, 0, self.metadata).n_bytes
            if start + offset + n_bytes > self.size:
                raise ConversionError(f"it ends inside tensor {name}")
            self.tensors[name] = TensorInfo(kind.name, shape, start + offset, n_bytes)

    def _take(self, n: int) -> bytes:
        if n > self.size:
            raise ValueError
        data = self.file.read(n)
        if len(data) != n:
            raise ValueError
        return data

    def _array(self, kind: str, n: int) -> np.ndarray[Any, Any]:
        return np.frombuffer(self._take(np.dtype(kind).itemsize * n), kind)

    def _scalar(self, kind: str) -> int:
        return int(self._array(kind, 1)[0])

    def _string(self) -> str:
        return self._take(self._scalar("<u8")).decode()

    def _value(self, kind: GGUFValueType) -> Value:
        if kind == GGUFValueType.STRING:
            return Value(kind, self._string())
        if kind != GGUFValueType.ARRAY:
            return Value(kind, self._array(SCALARS[kind], 1)[0].item())
        item, n = GGUFValueType(self._scalar("<u4")), self._scalar("<u8")
        if item == GGUFValueType.STRING:
            return Value(kind, [self._string() for _ in range(n)], item)
        if item not in SCALARS:
            raise ValueError
        return Value(kind, self._array(SCALARS[item], n), item)


SCALARS = {
    GGUFValueType.UINT8: "<u1",
    GGUFValueType.INT8: "<i1",
    GGUFValueType.UINT16: "<u2",
    GGUFValueType.INT16: "<i2",
    GGUFValueType.UINT32: "<u4",
    GGUFValueType.INT32: "<i4",
    GGUFValueType.UINT64: "<u8",
    GGUFValueType.INT64: "<i8",
    GGUFValueType.FLOAT32: "<f4",
    GGUFValueType.FLOAT64: "<f8",
    GGUFValueType.BOOL: "?",
}
