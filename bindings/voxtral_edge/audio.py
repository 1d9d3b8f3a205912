"""Audio in: arrays, files and pipes become blocks of float32 samples, 16 kHz, mono, in [-1, 1).

Arrays are checked and refused with the line that mends them; files are decoded, mixed down to one
channel and resampled; pipes carry raw 16-bit samples or a WAV stream and are read as the bytes
arrive. Everything is done block by block, so memory does not depend on the length of the audio.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeAlias, cast

import numpy as np
import soundfile  # type: ignore[import-untyped]
import soxr  # type: ignore[import-untyped]

from .errors import AudioError

if TYPE_CHECKING:
    from typing_extensions import Buffer

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float32]]"
Samples: TypeAlias = Floats  # [n], 16 kHz mono
ArrayLike: TypeAlias = "np.ndarray[Any, Any] | Buffer"  # what as_samples() takes
Source: TypeAlias = "str | os.PathLike[str] | BinaryIO"
AudioLike: TypeAlias = "Source | ArrayLike | Iterable[ArrayLike]"

RATE = 16_000  # samples per second; the model knows no other rate
BLOCK = 4 * RATE  # frames read at a time: large enough to be cheap, small enough to stop soon
RATES = range(1_000, 1_000_000)  # rates in a header that are believed

# What makes whole numbers lie in [-1, 1); powers of two, so nothing is rounded.
INT16 = 2.0**-15
INT32 = 2.0**-31

# The first bytes of formats that a pipe cannot carry, so that they are not taken for raw samples.
MAGIC = {b"OggS": "Ogg", b"fLaC": "FLAC", b"ID3": "MP3", b"FORM": "AIFF", b"RF64": "RF64"}

# Streaming writers do not know the length: ffmpeg and others put 0 or a number near 2^31 or 2^32.
ENDLESS = 0x7FFF_F000


def as_samples(audio: ArrayLike) -> Samples:
    """Return the samples as a contiguous float32 array: `audio` itself if it is one already.

    `audio`: 1-D array or buffer [n] at 16 kHz of float32, float64 or int16 (divided by 32768).
    Raises AudioError with the line that mends it for anything else.
    """
    array = _as_array(audio)
    if array is None:
        raise AudioError(
            f"audio must be an array of samples, not {type(audio).__name__}: "
            "use numpy.asarray(audio, numpy.float32)"
        )
    return _convert(_one_channel(array))


def resample(audio: ArrayLike, rate: float) -> Samples:
    """Return audio [n] of `rate` samples per second at 16 kHz: [about n * 16000 / rate] float32.

    Raises AudioError for audio that as_samples() refuses and for a rate that cannot be meant.
    """
    samples = as_samples(audio)
    _check_rate(rate, "audio")
    resampled: Samples = soxr.resample(samples, rate, RATE, quality="HQ")
    return resampled


def chunks(audio: AudioLike) -> Iterator[Samples]:
    """Yield the samples of a path, a binary file, a 1-D array or an iterable of arrays."""
    if isinstance(audio, (str, os.PathLike)) or hasattr(audio, "read"):
        yield from read(cast("Source", audio))
        return
    array = _as_array(audio)
    if array is not None:
        array = _one_channel(array)
        for start in range(0, len(array), BLOCK):
            yield _convert(array[start : start + BLOCK])
    elif isinstance(audio, Iterable):
        yield from map(as_samples, audio)
    else:
        raise AudioError(
            f"audio must be a path, an array or an iterable of arrays, not {type(audio).__name__}"
        )


def read(source: Source) -> Iterator[Samples]:
    """Yield the audio of a file in blocks [n] of 16 kHz mono samples; memory is bounded.

    `source`: the path of a sound file (WAV, FLAC, Ogg, MP3, ...) or a binary file object; several
    channels are averaged. What cannot seek is read like read_pcm(). Raises AudioError for what
    is not audio or holds samples that are not finite, OSError for what cannot be opened.
    """
    if not isinstance(source, (str, os.PathLike)):
        yield from (_read_file(source) if source.seekable() else read_pcm(source))
        return
    path = Path(source)
    with path.open("rb") as file:  # Python's own OSError for a path that cannot be opened
        if not file.seekable():
            yield from read_pcm(file)
            return
        if not file.read(1):
            raise AudioError(f"{path} is empty (0 bytes): record or copy it again")
    yield from _read_file(path)


def read_pcm(file: BinaryIO, *, raw: bool = False) -> Iterator[Samples]:
    """Yield 16 kHz mono samples from a pipe as its bytes arrive, until it ends.

    The pipe carries a WAV stream (16, 24 or 32-bit PCM or 32-bit float, any rate and channels,
    the sizes in its header may be unknown) or, if no RIFF header opens it or `raw` is set, raw
    16-bit little-endian mono samples at 16 kHz. An incomplete sample at the end is dropped.
    Raises AudioError for a header that cannot be used and samples that are not finite.
    """
    head = b"" if raw else _take(file, 12)
    if head[:4] == b"RIFF":
        form, n_bytes = _wav_header(file, head)
        head = b""
    else:
        form, n_bytes = _RAW, None
        for magic, name in MAGIC.items():
            if head.startswith(magic):
                raise AudioError(
                    f"the pipe carries {name}, not WAV or raw samples: decode it on the way, "
                    "as in ffmpeg -i FILE -f wav - | ..."
                )
    yield from _to_rate(_pcm_blocks(file, head, form, n_bytes), form.rate, "the pipe")


class _Form(NamedTuple):
    """The layout of the samples in a pipe."""

    rate: int
    n_channels: int
    width: int  # bytes of one sample
    decode: Callable[[bytes], Floats]


def _decode_int16(pcm: bytes) -> Floats:
    return _scale(np.frombuffer(pcm, "<i2"), INT16)


def _decode_int24(pcm: bytes) -> Floats:
    wide = np.zeros((len(pcm) // 3, 4), np.uint8)
    wide[:, 1:] = np.frombuffer(pcm, np.uint8).reshape(-1, 3)  # the high three of four bytes
    return _decode_int32(wide.tobytes())


def _decode_int32(pcm: bytes) -> Floats:
    return _scale(np.frombuffer(pcm, "<i4"), INT32)


def _decode_float32(pcm: bytes) -> Floats:
    return np.frombuffer(pcm, "<f4").astype(np.float32, copy=False)


_RAW = _Form(RATE, 1, 2, _decode_int16)

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


def _wav_header(file: BinaryIO, head: bytes) -> tuple[_Form, int | None]:
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
            form = _wav_form(_take(file, size + size % 2))
            continue
        left = size + size % 2  # chunks are padded to even sizes
        while left and (skipped := _take(file, min(left, BLOCK))):
            left -= len(skipped)
    raise AudioError("the WAV header in the pipe is broken: send it again, or raw with --raw")


def _wav_form(fmt: bytes) -> _Form:
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


def _pcm_blocks(file: BinaryIO, rest: bytes, form: _Form, n_bytes: int | None) -> Iterator[Floats]:
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


def _read_file(source: Path | BinaryIO) -> Iterator[Samples]:
    """Decode what libsndfile knows."""
    name = str(source) if isinstance(source, Path) else getattr(source, "name", "the audio file")
    try:
        with soundfile.SoundFile(source) as sound:
            yield from _to_rate(_sound_blocks(sound), sound.samplerate, name)
    except soundfile.LibsndfileError as error:
        raise AudioError(
            f"{name} is not audio that can be read ({error.error_string.rstrip('.')}): "
            "convert it first, as in ffmpeg -i FILE out.wav"
        ) from None


def _sound_blocks(
    sound: soundfile.SoundFile,
) -> Iterator[Floats]:
    """Yield frames [n, n_channels] of an open sound file."""
    while len(frames := sound.read(BLOCK, dtype="float32", always_2d=True)):
        yield frames


def _to_rate(blocks: Iterable[Floats], rate: int, name: str) -> Iterator[Samples]:
    """Mix frames [n, n_channels] down to one channel and resample them to 16 kHz."""
    _check_rate(rate, name)
    resampler = soxr.ResampleStream(rate, RATE, 1, dtype="float32", quality="HQ")
    n_read = 0
    for frames in blocks:
        if not np.isfinite(frames).all():
            raise AudioError(
                f"{name} holds samples that are not finite near {n_read / rate:.1f} s: "
                "export it again as 16-bit PCM"
            )
        n_read += len(frames)
        mono = np.ascontiguousarray(frames[:, 0]) if frames.shape[1] == 1 else frames.mean(axis=1)
        yield mono if rate == RATE else resampler.resample_chunk(mono)
    if rate != RATE:
        yield resampler.resample_chunk(np.empty(0, np.float32), last=True)


def _check_rate(rate: float, name: str) -> None:
    if not RATES.start <= rate < RATES.stop:
        raise AudioError(
            f"{name} has a sampling rate of {rate} Hz, which cannot be right: "
            f"it must lie between {RATES.start} and {RATES.stop} Hz"
        )


def _as_array(audio: object) -> np.ndarray[Any, Any] | None:
    """Return audio as an array without a copy, or None if it has no array layout."""
    if isinstance(audio, np.ndarray):
        return audio
    if hasattr(audio, "__array__"):
        return np.asarray(audio)
    try:
        return np.asarray(memoryview(audio))  # type: ignore[arg-type]
    except TypeError:
        return None


def _one_channel(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the array if it is 1-D and of a type that _convert() takes; raise if it is not."""
    if array.ndim == 2:
        axis = int(array.shape[0] >= array.shape[1])  # there are fewer channels than samples
        raise AudioError(
            f"audio has shape {array.shape}, but one channel is needed: use audio.mean(axis={axis})"
        )
    if array.ndim != 1:
        raise AudioError(f"audio has {array.ndim} dimensions, but must have one: [n] samples")
    kind, width = array.dtype.kind, array.dtype.itemsize
    if (kind, width) in {("f", 4), ("f", 8), ("i", 2)}:
        return array
    if kind == "u" and width == 1:
        fix = "if these are the bytes of 16-bit samples, use numpy.frombuffer(audio, numpy.int16)"
    elif kind == "i" and width == 4:
        fix = "use (audio / 2**31).astype(numpy.float32)"
    else:
        fix = "use audio.astype(numpy.float32), scaled to [-1, 1)"
    raise AudioError(f"audio has samples of type {array.dtype}, not float32 or int16: {fix}")


def _convert(array: np.ndarray[Any, Any]) -> Samples:
    """Return a 1-D array that _one_channel() let pass as contiguous, aligned float32."""
    if array.dtype.kind == "i":
        return _scale(array, INT16)
    with np.errstate(over="ignore"):  # a float64 too large becomes inf, which the core refuses
        return np.require(array, np.float32, ["C", "A"])


def _scale(whole: np.ndarray[Any, Any], step: float) -> Floats:
    """Return whole numbers as multiples of a step."""
    scaled = whole.astype(np.float32)
    scaled *= np.float32(step)
    return scaled
