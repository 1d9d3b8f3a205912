"""Reads a safetensors file slice by slice, without mapping it.

The format: eight bytes with the header's length, a JSON header that gives each tensor's type, shape
and byte range, then the data. Reading with pread keeps memory at one slice, which a memory map
would not (its pages count as the process's own), and needs no library that knows BF16.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from voxtral_edge.system import here

from ..errors import ConversionError
from .regular_file import open_regular, read_at

Floats = npt.NDArray[np.float32]
ITEM_SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "F16": 2,
    "BF16": 2, "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip
FLOATS = ("BF16", "F16", "F32")
PIECE = 1 << 20  # values that pieces() yields at once
HEADER_LIMIT = 100_000_000  # what the reference implementation accepts


class TensorInfo(NamedTuple):
    """A tensor in a file: its type's name, shape in torch order, place and size in bytes."""

    type: str
    shape: tuple[int, ...]
    offset: int
    n_bytes: int


class SafetensorsFile:
    """An open file. tensors: by name, in the order of the data; header_bytes: all before it."""

    metadata: dict[str, str]

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open a file and check its header against its size."""
        self.path = Path(path)
        try:
            self.fd = open_regular(self.path)
        except OSError as error:
            raise ConversionError(f"{path}: {error.strerror}") from error
        try:
            self.size = os.fstat(self.fd).st_size
            here.read_ahead(self.fd)
            self.tensors = self._read_header()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> SafetensorsFile:
        """Return the file."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file; repeating it is fine."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def read(self, offset: int, n: int) -> bytes:
        """Return n bytes at an offset."""
        data = read_at(self.fd, self.path, offset, n)
        if len(data) != n:
            raise ConversionError(
                f"{self.path}: the file became shorter while it was read: run it again"
            )
        return data

    def pieces(self, name: str) -> Iterator[Floats]:
        """Yield the values of a tensor as F32, in order, a piece at a time."""
        info = self.tensors[name]
        if info.type not in FLOATS:
            raise ConversionError(f"{self.path}: tensor {name} is {info.type}: no weights")
        step = PIECE * ITEM_SIZES[info.type]
        for start in range(0, info.n_bytes, step):
            raw = self.read(info.offset + start, min(step, info.n_bytes - start))
            yield decode(raw, info)

    def read_rows(self, info: TensorInfo, start: int, stop: int) -> bytes:
        """Return the bytes of rows start to stop of a tensor, along its first axis."""
        row = info.n_bytes // info.shape[0]
        return self.read(info.offset + start * row, (stop - start) * row)

    def _read_header(self) -> dict[str, TensorInfo]:
        n = int.from_bytes(self.read(0, 8), "little") if self.size >= 8 else self.size
        if n > HEADER_LIMIT or n < 2 or 8 + n > self.size:
            raise self._damaged("it is not a safetensors file, or not all of one")
        self.header_bytes = self.read(0, 8 + n)
        try:
            header = json.loads(self.header_bytes[8:])
            self.metadata = dict(header.pop("__metadata__", None) or {})
            found = {name: _info(entry, 8 + n) for name, entry in header.items()}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise self._damaged("its header is not valid") from error
        found = dict(sorted(found.items(), key=lambda item: item[1].offset))
        end = 8 + n
        for name, info in found.items():
            size = math.prod(info.shape) * ITEM_SIZES.get(info.type, 0)
            if info.type not in ITEM_SIZES or info.n_bytes != size or info.offset != end:
                raise self._damaged(f"its header has a wrong entry for {name}")
            end += size
        if end != self.size:
            raise self._damaged(f"it has {self.size:,} bytes, but its header wants {end:,}")
        return found

    def _damaged(self, what: str) -> ConversionError:
        return ConversionError(f"{self.path}: {what}: download the file again")


def _info(entry: dict[str, Any], start: int) -> TensorInfo:
    begin, end = entry["data_offsets"]
    shape = tuple(entry["shape"])
    if not all(type(n) is int and n >= 0 for n in (begin, *shape)) or type(end) is not int:
        raise ValueError
    return TensorInfo(str(entry["dtype"]), shape, start + begin, end - begin)


def decode(raw: bytes, info: TensorInfo) -> Floats:
    """Return the values of whole rows, [n] F32."""
    if info.type == "BF16":  # the upper half of an F32
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(raw, "<f2" if info.type == "F16" else "<f4").astype(np.float32, copy=False)
