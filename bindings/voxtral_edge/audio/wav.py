"""WAV streams and raw samples from a pipe become frames as their bytes arrive.

Unlike a file, a pipe cannot seek, its writer did not know the length when it wrote the header, and
bytes come in any portions. So the header is read chunk by chunk, its sizes are believed only where
they can be true, and incomplete frames wait for their remaining bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np

from ..errors import AudioError

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float32]]"

RATE = 16_000  # samples per second; the model knows no other rate
BLOCK = 1 << 16  # most bytes read at a time

# The first bytes of formats that a pipe cannot carry, so that they are not taken for raw samples.
MAGIC = {b"OggS": "Ogg", b"fLaC": "FLAC", b"ID3": "MP3", b"FORM": "AIFF", b"RF64": "RF64"}

# Streaming writers do not know the length: ffmpeg and others put 0 or a number near 2^31 or 2^32.
ENDLESS = 0x7FFF_F000


def open_pipe(file: BinaryIO, *, raw: bool) -> tuple[int, Iterator[Floats]]:
    """Return the sampling rate of a pipe and its frames, blocks of [n, n_channels] in [-1, 1).

    Without a RIFF header, or if `raw` is set, it carries 16-bit little-endian mono at 16 kHz.
    Raises AudioError for a header that cannot be used.
    """
    head = b"" if raw else _take(file, 12)
    if head[:4] == b"RIFF":
        form, n_bytes = _read_header(file, head)
        return form.rate, _blocks(file, b"", form, n_bytes)
    for magic, name in MAGIC.items():
        if head.startswith(magic):
            raise AudioError(
                f"the pipe carries {name}, not WAV or raw samples: decode it on the way, "
                "as in ffmpeg -i FILE -f wav - | ..."
            )
    return RATE, _blocks(file, head, _Form(RATE, 1, 2, _decode_int16), None)


def from_whole(whole: np.ndarray[Any, Any], bits: int) -> Floats:
    """Return signed whole numbers of so many bits as float32 in [-1, 1)."""
    scaled = whole.astype(np.float32)
    scaled *= np.float32(2.0 ** (1 - bits))  # a power of two: nothing is rounded
    return scaled


class _Form(NamedTuple):
    """The layout of the samples in a pipe."""

    rate: int
    n_channels: int
    width: int  # bytes of one sample
    decode: Callable[[bytes], Floats]


def _decode_int16(pcm: bytes) -> Floats:
    return from_whole(np.frombuffer(pcm, "<i2"), 16)


def _decode_int24(pcm: bytes) -> Floats:
    wide = np.zeros((len(pcm) // 3, 4), np.uint8)
    wide[:, 1:] = np.frombuffer(pcm, np.uint8).reshape(-1, 3)  # the high three of four bytes
    return _decode_int32(wide.tobytes())


def _decode_int32(pcm: bytes) -> Floats:
    return from_whole(np.frombuffer(pcm, "<i4"), 32)


def _decode_float32(pcm: bytes) -> Floats:
    return np.frombuffer(pcm, "<f4").astype(np.float32, copy=False)


# (format tag of the WAV header, bits per sample): 1 is PCM, 3 is IEEE float
_DECODERS = {
    (1, 16): _decode_int16,
    (1, 24): _decode_int24,
    (1, 32): _decode_int32,
    (3, 32): _decode_float32,
}


def _take(file: BinaryIO, n: int) -> bytes:
    """Read n bytes, or fewer only at the end of the file."""
    taken = b""
    while len(taken) < n and (more := file.read(n - len(taken))):
        taken += more
    return taken


def _read_header(file: BinaryIO, head: bytes) -> tuple[_Form, int | None]:
    """Read up to the first sample; return the layout and the bytes of audio, None if unknown."""
    if head[8:12] != b"WAVE":
        raise AudioError("the pipe carries a RIFF file that is not WAV: send WAV or raw samples")
    form = None
    while len(chunk := _take(file, 8)) == 8:
        name, size = struct.unpack("<4sI", chunk)
        if name == b"data":
            if form is None:
                break
            return form, size if 0 < size < ENDLESS else None
        if name == b"fmt " and 16 <= size <= 1024:
            form = _read_form(_take(file, size + size % 2))
            continue
        left = size + size % 2  # chunks are padded to even sizes
        while left and (skipped := _take(file, min(left, BLOCK))):
            left -= len(skipped)
    raise AudioError("the WAV header in the pipe is broken: send it again, or raw with --raw")


def _read_form(fmt: bytes) -> _Form:
    """Return the layout that a format chunk describes."""
    if len(fmt) < 16:
        raise AudioError("the WAV header in the pipe ends too early")
    tag, n_channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", fmt)
    if tag == 0xFFFE and len(fmt) >= 26:  # extensible: the tag proper opens the sub-format
        (tag,) = struct.unpack_from("<H", fmt, 24)
    decode = _DECODERS.get((tag, bits))
    if decode is None or n_channels == 0:
        raise AudioError(
            f"the WAV stream has format {tag} with {bits} bits and {n_channels} channels: "
            "send 16, 24 or 32-bit PCM or 32-bit float"
        )
    return _Form(rate, n_channels, bits // 8, decode)


def _blocks(file: BinaryIO, rest: bytes, form: _Form, n_bytes: int | None) -> Iterator[Floats]:
    """Yield frames [n, n_channels] from a pipe; `rest`: bytes of it that were read before."""
    frame = form.width * form.n_channels
    # read1 returns what has arrived; read would wait for a full block and delay live text.
    receive: Callable[[int], bytes] = getattr(file, "read1", file.read)
    left = n_bytes
    while left is None or left > 0:
        more = receive(BLOCK if left is None else min(BLOCK, left))
        if left is not None:
            left -= len(more)
        rest += more
        whole = len(rest) - len(rest) % frame
        if whole:
            yield form.decode(rest[:whole]).reshape(-1, form.n_channels)
            rest = rest[whole:]
        if not more:
            return
