"""What of the published 4B model a machine's memory has room for: a file type and a window.

The default type comes before the smallest one, which may lose speech, and each with as much of the
decoder's window as is possible.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..text.pieces import SLOT_MS
from .estimate.weights import PUBLISHED, TYPE, stream_bytes, weight_bytes

TYPES = (TYPE, "q4_0")
BESIDE_BYTES = 150_000_000  # Python, its libraries, what passes compute in: docs/performance.md
LEAST_S, STEP_S = 60, 10  # of a window that is bounded


@dataclass(frozen=True)
class Room:
    """A model as it would be opened (`window_s`, None: its own), and bytes of it and a stream."""

    fits: bool
    type: str
    window_s: int | None
    weight_bytes: int
    stream_bytes: int


def find(n_bytes: int) -> Room:
    """Return the best model that fits with one stream; where none does, the smallest there is."""
    for type in TYPES:
        left = n_bytes - BESIDE_BYTES - weight_bytes(PUBLISHED, type)
        if left >= stream_bytes(PUBLISHED):
            return _room(type, None)
        most_s = PUBLISHED.decoder.window * SLOT_MS // 1000 // STEP_S * STEP_S
        for window_s in range(most_s, LEAST_S - 1, -STEP_S):
            if left >= _stream_bytes(window_s):
                return _room(type, window_s)
    return _room(TYPES[-1], LEAST_S, fits=False)


def _room(type: str, window_s: int | None, *, fits: bool = True) -> Room:
    return Room(fits, type, window_s, weight_bytes(PUBLISHED, type), _stream_bytes(window_s))


def _stream_bytes(window_s: int | None) -> int:
    if window_s is None:
        return stream_bytes(PUBLISHED)
    decoder = replace(PUBLISHED.decoder, window=window_s * 1000 // SLOT_MS)
    return stream_bytes(replace(PUBLISHED, decoder=decoder))
