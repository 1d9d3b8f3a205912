"""WAV: its header, and samples that stand there as they are, from a file or as they arrive.

Who writes to a pipe, or is stopped before the end, leaves a size that stands for none: 0, or one
near 2^31 or 2^32, which some round down to whole frames. Then there are as many samples as come.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..arrays import RATE, Floats, convert, mixed
from ..source import ByteSource
from .signatures import tag_bytes

ORDERS = {b"RIFF": "<", b"RIFX": ">", b"RF64": "<", b"BW64": "<"}  # of the bytes of a number
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE  # format tags
TYPES = {
    (PCM, 1): "u1",
    (PCM, 2): "i2",
    (PCM, 3): "i3",
    (PCM, 4): "i4",
    (FLOAT, 4): "f4",
    (FLOAT, 8): "f8",
}
FARTHEST = 1 << 20  # bytes of other chunks that may stand before the samples
NO_SIZE = (
    range(1), range(0x7FFF_0000, 0x8000_0001), range(0xFFFF_0000, 1 << 32), range(1 << 62, 1 << 64),
)  # fmt: skip
BLOCK = 1 << 16  # most bytes taken at a time


class Form(NamedTuple):
    """Where samples are, and how they are written."""

    type: str | None  # as numpy names it, but for i3; None: coded in some way
    n_channels: int
    rate: int
    start: int  # bytes before the first one
    n_bytes: int | None  # of samples; None: as many as come


RAW = Form("<i2", 1, RATE, 0, None)


def form(source: ByteSource) -> Form | None:
    """Return the form of a WAV file or stream, None for what has no header that can be used."""
    at = tag_bytes(source.head(12))
    if at > FARTHEST:
        return None
    opening = source.head(at + 12)[at:]
    order = ORDERS.get(opening[:4])
    if order is None or opening[8:] != b"WAVE":
        return None
    described, long_size, at = None, 0, at + 12
    while at < FARTHEST and len(chunk := source.head(at + 8)[at:]) == 8:
        name, size = struct.unpack(f"{order}4sI", chunk)
        at += 8
        body = source.head(at + min(size, 40))[at:] if name in (b"fmt ", b"ds64") else b""
        if name == b"data" and described:
            n_bytes = size if opening[:2] == b"RI" else long_size
            has_size = not any(n_bytes in numbers for numbers in NO_SIZE)
            return described._replace(start=at, n_bytes=n_bytes if has_size else None)
        if name == b"fmt " and len(body) >= 16:
            tag, n_channels, rate, _, frame = struct.unpack_from(f"{order}HHIIH", body)
            if tag == EXTENSIBLE and len(body) >= 26:  # the tag proper opens the sub-format
                (tag,) = struct.unpack_from(f"{order}H", body, 24)
            width = frame // n_channels if n_channels else 0
            type = TYPES.get((tag, width)) if rate and width * n_channels == frame else None
            described = Form(type and order + type, n_channels, rate, 0, None)
        elif name == b"ds64" and len(body) >= 16:
            (long_size,) = struct.unpack_from("<Q", body, 8)
        at += size + size % 2  # chunks are padded to even sizes
    return None


def samples(source: ByteSource, form: Form) -> Iterator[Floats]:
    """Yield samples that are not coded, mixed down to one channel: [n]."""
    assert form.type
    frame = int(form.type[-1]) * form.n_channels
    skipped = form.start
    while skipped and (header := source.read(skipped)):
        skipped -= len(header)
    rest, left = b"", form.n_bytes
    while left is None or left:
        more = source.read(BLOCK if left is None else min(BLOCK, left))
        source.check()
        if not more:
            return
        left = None if left is None else left - len(more)
        rest += more
        if whole := len(rest) - len(rest) % frame:
            yield mixed(_decoded(rest[:whole], form.type).reshape(-1, form.n_channels))
            rest = rest[whole:]


def _decoded(data: bytes, type: str) -> Floats:
    if type[1:] == "i3":
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        high = slice(1, 4) if type[0] == "<" else slice(3)  # the high three of four bytes
        wide[:, high] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return convert(wide.view(f"{type[0]}i4")[:, 0])
    values = np.frombuffer(data, type)
    if type[1:] == "u1":
        values = (values ^ 0x80).view(np.int8)  # 128 is silence
    return convert(values)
