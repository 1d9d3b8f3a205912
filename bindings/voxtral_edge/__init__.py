"""Streaming speech to text with Voxtral Realtime on an ordinary CPU.

    import voxtral_edge as vox

    with vox.Model() as model, model.stream() as stream:
        for chunk in chunks:                       # 1-D arrays of 16 kHz samples, any length
            for piece in stream.feed(chunk):
                print(piece.text, end="", flush=True)

Model() without a path is the small demo model inside this package. docs/api.md explains the rest.
"""

from importlib.metadata import version

from .audio import RATE, read, resample
from .audio.live import Device, Microphone, devices
from .errors import (
    ArgumentError,
    AudioError,
    AudioTruncated,
    ComputeError,
    ModelClosed,
    ModelError,
    ModelFormatError,
    ModelNotFound,
    OutOfMemory,
    StreamBusy,
    StreamClosed,
    StreamError,
    StreamFinished,
    StreamFormatError,
    VoxtralError,
)
from .streaming.aio import AsyncStream
from .streaming.model import Model
from .streaming.options import DELAYS_MS
from .streaming.stream import Stats, Stream
from .text.pieces import SLOT_MS, TURN_STATES, Alternative, Piece, Turn
from .text.subtitles import Segment
from .text.transcript import Transcript
from .text.words import Word, words

__version__ = version("voxtral-edge")

__all__ = [
    "DELAYS_MS",
    "RATE",
    "SLOT_MS",
    "TURN_STATES",
    "Alternative",
    "ArgumentError",
    "AsyncStream",
    "AudioError",
    "AudioTruncated",
    "ComputeError",
    "Device",
    "Microphone",
    "Model",
    "ModelClosed",
    "ModelError",
    "ModelFormatError",
    "ModelNotFound",
    "OutOfMemory",
    "Piece",
    "Segment",
    "Stats",
    "Stream",
    "StreamBusy",
    "StreamClosed",
    "StreamError",
    "StreamFinished",
    "StreamFormatError",
    "Transcript",
    "Turn",
    "VoxtralError",
    "Word",
    "__version__",
    "devices",
    "read",
    "resample",
    "words",
]
