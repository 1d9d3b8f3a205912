"""Audio in: arrays, files, pipes and microphones become float32 samples at 16 kHz, one channel."""

from .files import (
    BLOCK,
    ArrayLike,
    AudioLike,
    Samples,
    Source,
    as_samples,
    chunks,
    duration_s,
    read,
    read_pcm,
    resample,
)
from .wav import RATE, Floats

__all__ = [
    "BLOCK",
    "RATE",
    "ArrayLike",
    "AudioLike",
    "Floats",
    "Samples",
    "Source",
    "as_samples",
    "chunks",
    "duration_s",
    "read",
    "read_pcm",
    "resample",
]
