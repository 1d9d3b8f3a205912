"""Audio in: arrays, files and pipes become blocks of float32 samples, 16 kHz, mono, in [-1, 1).

Arrays are checked and refused with the line that mends them; files are decoded by libsndfile or, if
it does not know them, by the program ffmpeg, mixed down to one channel and resampled; pipes carry
raw 16-bit samples or a WAV stream and are read as the bytes arrive. Everything is done block by
block, so memory does not depend on the length of the audio.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, cast

import numpy as np
import soundfile  # type: ignore[import-untyped]
import soxr  # type: ignore[import-untyped]

from ..errors import AudioError
from . import ffmpeg, wav
from .wav import RATE, Floats

if TYPE_CHECKING:
    from typing_extensions import Buffer

Samples: TypeAlias = Floats  # [n], 16 kHz mono
ArrayLike: TypeAlias = "np.ndarray[Any, Any] | Buffer"  # what as_samples() takes
Source: TypeAlias = "str | os.PathLike[str] | BinaryIO"
AudioLike: TypeAlias = "Source | bytes | ArrayLike | Iterable[ArrayLike]"

BLOCK = 4 * RATE  # frames read at a time: large enough to be cheap, small enough to stop soon
RATES = range(1_000, 1_000_000)  # rates in a header that are believed


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
    """Yield the samples of a path, a binary file or its bytes, a 1-D array or some arrays."""
    if isinstance(audio, (bytes, bytearray)):
        audio = io.BytesIO(audio)
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


def duration_s(audio: AudioLike) -> float | None:
    """Return the seconds of a path or an array, None where only reading would tell them."""
    if isinstance(audio, (str, os.PathLike)):
        path = Path(audio)
        if not path.is_file():
            return None
        try:
            return float(soundfile.info(path).duration)
        except soundfile.LibsndfileError:
            program = ffmpeg.find()
            return ffmpeg.duration_s(program, path) if program else None
    if isinstance(audio, (bytes, bytearray)) or hasattr(audio, "read"):
        return None
    array = _as_array(audio)
    return None if array is None or array.ndim != 1 else len(array) / RATE


def read(source: Source) -> Iterator[Samples]:
    """Yield the audio of a file in blocks [n] of 16 kHz mono samples; memory is bounded.

    `source`: the path of a sound file (WAV, FLAC, Ogg, MP3, ...) or, if ffmpeg is on PATH, of any
    file with sound; or a binary file object of a sound file. Several channels are averaged. What
    cannot seek is read like read_pcm(). Raises AudioError for what is not audio or holds samples
    that are not finite, OSError for what cannot be opened.
    """
    if not isinstance(source, (str, os.PathLike)):
        if not source.seekable():
            yield from read_pcm(source)
            return
        name = str(getattr(source, "name", "the audio file"))
        try:
            sound = soundfile.SoundFile(source)
        except soundfile.LibsndfileError as error:
            raise AudioError(
                f"{name} is not audio that can be read ({_reason(error)}): give the path of a "
                "file, or of 16-bit samples numpy.frombuffer(audio, numpy.int16)"
            ) from None
        yield from _read_sound(sound, name)
        return
    path = Path(source)
    with path.open("rb", buffering=0) as file:  # the usual OSError if it cannot be opened
        if not file.seekable():
            yield from read_pcm(file)
        elif os.fstat(file.fileno()).st_size == 0:
            raise AudioError(f"{path} is empty (0 bytes): record or copy it again")
        else:
            yield from _read_file(file.fileno(), path)


def read_pcm(file: BinaryIO, *, raw: bool = False) -> Iterator[Samples]:
    """Yield 16 kHz mono samples from a pipe as its bytes arrive, until it ends.

    The pipe carries a WAV stream (16, 24 or 32-bit PCM or 32-bit float, any rate and channels,
    the sizes in its header may be unknown) or, if no RIFF header opens it or `raw` is set, raw
    16-bit little-endian mono samples at 16 kHz. An incomplete sample at the end is dropped.
    Raises AudioError for a header that cannot be used and samples that are not finite.
    """
    rate, blocks = wav.open_pipe(file, raw=raw)
    yield from _to_rate(blocks, rate, "the pipe")


def _read_file(descriptor: int, path: Path) -> Iterator[Samples]:
    """Decode a file; its descriptor stays open."""
    try:
        # By its descriptor: what a file holds is told by its first bytes, not by its name.
        sound = soundfile.SoundFile(descriptor, closefd=False)
    except soundfile.LibsndfileError as error:
        program = ffmpeg.find()
        if program is None:
            raise AudioError(
                f"{path} is not audio that can be read ({_reason(error)}): install ffmpeg, which "
                "reads video and many more kinds of files, if it is one of them"
            ) from None
        with ffmpeg.decoded(program, path) as pipe:
            rate, blocks = wav.open_pipe(pipe, raw=False)
            yield from _to_rate(blocks, rate, str(path))
        return
    yield from _read_sound(sound, str(path))


def _read_sound(sound: soundfile.SoundFile, name: str) -> Iterator[Samples]:
    """Decode what libsndfile knows, and close it."""
    try:
        with sound:
            yield from _to_rate(_sound_blocks(sound), sound.samplerate, name)
    except soundfile.LibsndfileError as error:
        raise AudioError(
            f"{name} breaks off or is damaged ({_reason(error)}): copy it again"
        ) from None


def _reason(error: soundfile.LibsndfileError) -> str:
    return str(error.error_string).rstrip(".")


def _sound_blocks(sound: soundfile.SoundFile) -> Iterator[Floats]:
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
        return wav.from_whole(array, 16)
    with np.errstate(over="ignore"):  # a float64 too large becomes inf, which the core refuses
        return np.require(array, np.float32, ["C", "A"])
