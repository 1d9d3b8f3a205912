"""The options of a stream, for all who open one, and their way into the core."""

from __future__ import annotations

from typing import TypedDict

from .._voxtral import lib
from ..errors import ArgumentError

DELAYS_MS = (*range(80, 1201, 80), 2400)  # the delays that the model was trained for
MAX_ALTERNATIVES: int = lib.VOX_MAX_ALTERNATIVES  # of a token


class StreamOptions(TypedDict, total=False):
    """What a stream may be asked for, all of which may be left out; Model.stream() explains it."""

    delay_ms: int | None
    pad_guard_ms: int | None
    silence_gate_ms: int | None
    confidence: bool
    alternatives: int
    background: bool


def core_params(
    delay_ms: int | None = None,
    pad_guard_ms: int | None = None,
    silence_gate_ms: int | None = None,
    confidence: bool = False,
    alternatives: int = 0,
    background: bool = False,
) -> dict[str, int]:
    """Return StreamOptions as the fields of a vox_stream_params.

    Raises ArgumentError for what the core could not be told, or would not say as well.
    """
    if delay_ms is not None and delay_ms not in DELAYS_MS:
        raise ArgumentError(
            f"a delay of {delay_ms} ms is not possible: the model knows 80 to 1200 ms in steps "
            "of 80, and 2400 ms"
        )
    params = {
        "delay_ms": delay_ms or 0,
        "pad_guard_ms": pad_guard_ms or 0,
        "silence_gate_ms": silence_gate_ms or 0,
        "confidence": bool(confidence),
        "n_alternatives": alternatives,
        "background": bool(background),
    }
    for name, value in params.items():
        if not 0 <= value < 2**31:
            raise ArgumentError(f"{name} cannot be {value}")
    return params
