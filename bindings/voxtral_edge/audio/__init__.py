"""Audio in: arrays, files, pipes and microphones become float32 samples at 16 kHz, one channel."""

from .arrays import RATE, ArrayLike, Floats, Samples, as_samples, resample
from .files import BLOCK, AudioLike, Chunks, Source, chunks, duration_s, read, read_pcm

__all__ = [
    "BLOCK",
    "RATE",
    "ArrayLike",
    "AudioLike",
    "Chunks",
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
