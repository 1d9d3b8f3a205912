"""Bytes of samples, at any rate and in the encodings of the protocols, become 16 kHz samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...audio import RATE, Samples
from ...errors import AudioError
from .resampler import Resampler

RATES = range(1_000, 384_001)  # that are believed


def _scaled(whole: np.ndarray[Any, Any], bits: int) -> Samples:
    """Return signed whole numbers of so many bits as float32 in [-1, 1)."""
    scaled: Samples = whole.astype(np.float32)
    scaled *= np.float32(2.0 ** (1 - bits))  # a power of two: nothing is rounded
    return scaled


def _mulaw() -> Samples:
    """Return the samples [256] that the bytes of G.711 mu-law stand for."""
    code = ~np.arange(256) & 0xFF
    magnitude = (((code & 0xF) << 3) + 0x84 << (code >> 4 & 7)) - 0x84
    return _scaled(np.where(code & 0x80, -magnitude, magnitude), 16)


def _alaw() -> Samples:
    """Return the samples [256] that the bytes of G.711 A-law stand for."""
    code = np.arange(256) ^ 0x55
    exponent = code >> 4 & 7
    magnitude = ((code & 0xF) << 4) + 8
    magnitude = np.where(exponent, magnitude + 0x100 << np.maximum(exponent - 1, 0), magnitude)
    return _scaled(np.where(code & 0x80, magnitude, -magnitude), 16)


MULAW, ALAW = _mulaw(), _alaw()


def _floats(kind: str) -> Callable[[bytes], Samples]:
    def decode(data: bytes) -> Samples:
        floats: Samples = np.frombuffer(data, kind).astype(np.float32)
        if not np.isfinite(floats).all():
            raise AudioError("the audio holds samples that are not finite: send others")
        return floats

    return decode


def _whole(kind: str, bits: int) -> Callable[[bytes], Samples]:
    return lambda data: _scaled(np.frombuffer(data, kind), bits)


ENCODINGS: dict[str, tuple[int, Callable[[bytes], Samples]]] = {  # bytes of a sample; decoder
    "pcm_s16le": (2, _whole("<i2", 16)),
    "pcm_s32le": (4, _whole("<i4", 32)),
    "pcm_f16le": (2, _floats("<f2")),
    "pcm_f32le": (4, _floats("<f4")),
    "pcm_mulaw": (1, lambda data: MULAW[np.frombuffer(data, np.uint8)]),
    "pcm_alaw": (1, lambda data: ALAW[np.frombuffer(data, np.uint8)]),
}


class Inlet:
    """Takes bytes in portions of any size; `n_samples`: how many came, at their own rate."""

    def __init__(
        self,
        rate: int,
        encoding: str = "pcm_s16le",
        n_channels: int = 1,
        *,
        is_kept: bool = False,
    ) -> None:
        """Begin; raise AudioError for what is not known. `is_kept`: it may be pickled later on."""
        if encoding not in ENCODINGS:
            raise AudioError(f"the encoding {encoding!r} is not one of {', '.join(ENCODINGS)}")
        if rate not in RATES or n_channels not in range(1, 33):
            raise AudioError(
                f"{rate} Hz with {n_channels} channels cannot be meant: "
                f"{RATES.start} to {RATES[-1]} Hz and 1 to 32 channels are understood"
            )
        self.rate, self.n_samples = rate, 0
        self._encoding, self._n_channels = encoding, n_channels
        self._rest = b""  # of an incomplete sample
        self._resampler = None if rate == RATE else Resampler(rate, is_kept=is_kept)

    def __getstate__(self) -> dict[str, Any]:
        """Return what it takes to go on after the last whole sample."""
        return {**vars(self), "_rest": b""}

    @property
    def duration_s(self) -> float:
        """Seconds of audio that came."""
        return self.n_samples / self.rate

    def feed(self, data: bytes) -> Samples:
        """Return the 16 kHz samples [n] that follow from more bytes."""
        data = self._rest + data if self._rest else data
        width, decode = ENCODINGS[self._encoding]
        whole = len(data) - len(data) % (width * self._n_channels)
        data, self._rest = data[:whole], data[whole:]
        samples = decode(data)
        if self._n_channels > 1:
            samples = samples.reshape(-1, self._n_channels).mean(axis=1)
        self.n_samples += len(samples)
        return samples if self._resampler is None else self._resampler.feed(samples)

    def end(self) -> Samples:
        """Return the last samples; an incomplete one is dropped."""
        none = np.empty(0, np.float32)
        return none if self._resampler is None else self._resampler.feed(none, last=True)
