"""Arrays of samples: what they must be, other rates and channels, and the lines that mend them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import soxr  # type: ignore[import-untyped]

from ..errors import AudioError, AudioTruncated

if TYPE_CHECKING:
    from typing_extensions import Buffer

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float32]]"
Samples: TypeAlias = Floats  # [n], 16 kHz mono
ArrayLike: TypeAlias = "np.ndarray[Any, Any] | Buffer"  # what as_samples() takes

RATE = 16_000  # samples per second; the model knows no other rate
RATES = range(1_000, 1_000_000)  # rates in a header that are believed


def as_samples(audio: ArrayLike) -> Samples:
    """Return the samples as a contiguous float32 array: `audio` itself if it is one already.

    `audio`: 1-D array or buffer [n] at 16 kHz of float32, float64 or int16 (divided by 32768).
    Raises AudioError with the line that mends it for anything else.
    """
    array = as_array(audio)
    if array is None:
        raise AudioError(
            f"audio must be an array of samples, not {type(audio).__name__}: "
            "use numpy.asarray(audio, numpy.float32)"
        )
    return convert(one_channel(array))


def resample(audio: ArrayLike, rate: float) -> Samples:
    """Return audio [n] of `rate` samples per second at 16 kHz: [about n * 16000 / rate] float32.

    Raises AudioError for audio that as_samples() refuses and for a rate that cannot be meant.
    """
    samples = as_samples(audio)
    check_rate(rate, "audio")
    resampled: Samples = soxr.resample(samples, rate, RATE, quality="HQ")
    return resampled


class Resampler:
    """Samples [n] of a rate that come in blocks, at 16 kHz."""

    def __init__(self, rate: float) -> None:
        """Begin anew."""
        self.rate = rate
        if rate != RATE:
            self._stream = soxr.ResampleStream(rate, RATE, 1, "float32", quality="HQ")

    def push(self, samples: Floats) -> Samples:
        """Return what is due after another block; some wait for the next one."""
        if self.rate == RATE:
            return samples
        resampled: Samples = self._stream.resample_chunk(samples)
        return resampled

    def end(self) -> Samples:
        """Return what still waits, after the last block."""
        rest: Samples = np.empty(0, np.float32)
        if self.rate != RATE:
            rest = self._stream.resample_chunk(rest, last=True)
        return rest


def to_rate(blocks: Iterable[tuple[int, Floats]], name: str) -> Iterator[Samples]:
    """Yield blocks [n] of mono samples, each with its rate, at 16 kHz; `name`: whose they are.

    Raises AudioError for samples that are not finite and for a rate that cannot be meant.
    """
    resampler: Resampler | None = None
    truncated: AudioTruncated | None = None
    read_s = 0.0
    try:
        for rate, samples in blocks:
            is_finite = np.isfinite(samples)
            if not is_finite.all():
                raise AudioError(
                    f"{name} holds samples that are not finite near "
                    f"{read_s + is_finite.argmin() / rate:.1f} s: "
                    "export it again as 16-bit PCM"
                )
            read_s += len(samples) / rate
            if resampler is None or resampler.rate != rate:
                check_rate(rate, name)
                if resampler:
                    yield resampler.end()
                resampler = Resampler(rate)
            yield resampler.push(samples)
    except AudioTruncated as error:  # what is in the resampler was there as well
        truncated = error
    if resampler and len(rest := resampler.end()):
        yield rest
    if truncated:
        raise truncated


def mixed(frames: np.ndarray[Any, Any]) -> Floats:
    """Return frames [n, n_channels] mixed down to one channel: [n], contiguous."""
    return np.ascontiguousarray(frames[:, 0]) if frames.shape[1] == 1 else frames.mean(axis=1)


def check_rate(rate: float, name: str) -> None:
    """Raise AudioError for a rate that cannot be meant."""
    if not RATES.start <= rate < RATES.stop:
        raise AudioError(
            f"{name} has a sampling rate of {rate} Hz, which cannot be right: "
            f"it must lie between {RATES.start} and {RATES.stop} Hz"
        )


def as_array(audio: object) -> np.ndarray[Any, Any] | None:
    """Return audio as an array without a copy, or None if it has no array layout."""
    if isinstance(audio, np.ndarray):
        return audio
    if hasattr(audio, "__array__"):
        return np.asarray(audio)
    try:
        return np.asarray(memoryview(audio))  # type: ignore[arg-type]
    except TypeError:
        return None


def one_channel(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the array if it is 1-D and of a type that convert() takes; raise if it is not."""
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


def convert(array: np.ndarray[Any, Any]) -> Floats:
    """Return an array as contiguous, aligned float32; signed whole numbers become [-1, 1)."""
    if array.dtype.kind == "i":
        scaled = array.astype(np.float32)
        scaled *= np.float32(2.0 ** (1 - 8 * array.dtype.itemsize))  # nothing is rounded
        return scaled
    with np.errstate(over="ignore"):  # a float64 too large becomes inf, which the core refuses
        return np.require(array, np.float32, ["C", "A"])
