"""Audio in: arrays, files and pipes become blocks of float32 samples, 16 kHz, mono, in [-1, 1).

Arrays are checked and refused with the line that mends them. Samples that are not coded, in WAV or
raw in a pipe, are taken as they are; all else is decoded by the libraries of FFmpeg. Channels are
averaged. Everything is done block by block, as the bytes arrive, so memory does not depend on the
length of the audio.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

from ..errors import AudioError, AudioTruncated
from .arrays import (
    RATE,
    ArrayLike,
    Floats,
    Samples,
    as_array,
    as_samples,
    convert,
    one_channel,
    to_rate,
)
from .containers import media, signatures, truncation, wav
from .source import NAMELESS, ByteSource

Source: TypeAlias = "str | os.PathLike[str] | BinaryIO"
AudioLike: TypeAlias = "Source | bytes | ArrayLike | Iterable[ArrayLike]"

BLOCK = 4 * RATE  # frames read at a time: large enough to be cheap, small enough to stop soon


def chunks(audio: AudioLike) -> Iterator[Samples]:
    """Yield the samples of a path, a binary file or its bytes, a 1-D array or some arrays."""
    if isinstance(audio, (bytes, bytearray)):
        audio = io.BytesIO(audio)
    if isinstance(audio, (str, os.PathLike)) or hasattr(audio, "read"):
        yield from read(cast("Source", audio))
        return
    array = as_array(audio)
    if array is not None:
        array = one_channel(array)
        for start in range(0, len(array), BLOCK):
            yield convert(array[start : start + BLOCK])
    elif isinstance(audio, Iterable):
        yield from map(as_samples, audio)
    else:
        raise AudioError(
            f"audio must be a path, an array or an iterable of arrays, not {type(audio).__name__}"
        )


class Chunks:
    """The chunks() of `audio`, to be used once; that it breaks off is told when all are used."""

    def __init__(self, audio: AudioLike) -> None:
        """Read nothing yet."""
        self._audio = audio
        self.truncated: AudioTruncated | None = None

    def __iter__(self) -> Iterator[Samples]:
        """Yield them."""
        try:
            yield from chunks(self._audio)
        except AudioTruncated as truncated:
            self.truncated = truncated

    def check(self) -> None:
        """Raise AudioTruncated if the audio breaks off."""
        if self.truncated:
            raise self.truncated


def duration_s(audio: AudioLike) -> float | None:
    """Return the seconds of a path or an array, None where only reading would tell them."""
    if isinstance(audio, (str, os.PathLike)):
        path = Path(audio)
        if not path.is_file():
            return None
        with path.open("rb", buffering=0) as file:
            try:
                return _duration_s(ByteSource(file, str(path)))
            except AudioError:
                return None
    if isinstance(audio, (bytes, bytearray)) or hasattr(audio, "read"):
        return None
    array = as_array(audio)
    return None if array is None or array.ndim != 1 else len(array) / RATE


def read(source: Source) -> Iterator[Samples]:
    """Yield the audio of a file in blocks [n] of 16 kHz mono samples; memory is bounded.

    `source`: the path of a file of sound or video, of any common kind, or a binary file object of
    one. Several channels are averaged. What cannot seek is read like read_pcm(). Raises AudioError
    for what is not audio or holds samples that are not finite, AudioTruncated after the last
    samples of what breaks off, OSError for what cannot be opened.
    """
    if isinstance(source, (str, os.PathLike)):
        with Path(source).open("rb", buffering=0) as file:  # the usual OSError if it cannot be
            yield from _read(ByteSource(file, str(source)))
    else:
        name = getattr(source, "name", None)
        yield from _read(ByteSource(source, name if isinstance(name, str) else NAMELESS))


def read_pcm(file: BinaryIO, *, raw: bool = False) -> Iterator[Samples]:
    """Yield 16 kHz mono samples from a pipe as its bytes arrive, until it ends.

    The pipe carries sound or video of any kind that can be read without going back, or, if its
    first bytes can be nothing else or `raw` is set, raw 16-bit little-endian mono samples at 16
    kHz; an incomplete one at the end is dropped. Raises AudioError for what cannot be decoded and
    for samples that are not finite, AudioTruncated after the last samples of what breaks off.
    """
    source = ByteSource(file, "the pipe", from_here=True)
    yield from _decoded(source, raw=raw or signatures.is_raw(source))


def _read(source: ByteSource) -> Iterator[Samples]:
    if source.size == 0:
        raise AudioError(f"{source.name} is empty (0 bytes): record or copy it again")
    yield from _decoded(source, raw=not source.seekable() and signatures.is_raw(source))


def _decoded(source: ByteSource, *, raw: bool) -> Iterator[Samples]:
    if raw:
        blocks = _plain(source, wav.RAW)
    else:
        signatures.refuse(source)
        form = wav.form(source)
        if form and form.type:
            blocks = _plain(source, form)
        else:
            blocks = media.decode(source, endless=form is not None and form.n_bytes is None)
    yield from to_rate(blocks, source.name)


def _plain(source: ByteSource, form: wav.Form) -> Iterator[tuple[int, Floats]]:
    """Yield mono samples [n] that are not coded, with their rate."""
    n = 0
    for samples in wav.samples(source, form):
        n += len(samples)
        yield form.rate, samples
    if form.n_bytes and not source.has(form.start + form.n_bytes):
        raise truncation.truncated(source, n / form.rate)


def _duration_s(source: ByteSource) -> float | None:
    signatures.refuse(source)
    form = wav.form(source)
    if form and form.type and source.size:
        n_bytes = min(form.n_bytes or source.size, source.size - form.start)
        return n_bytes / (int(form.type[-1]) * form.n_channels * form.rate)
    return media.duration_s(source)
