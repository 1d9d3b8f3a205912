"""The options of a stream, for all who open one, and their way into the core."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal, TypedDict

from .._voxtral import ffi, lib
from ..errors import ArgumentError

DELAYS_MS = (*range(80, 1201, 80), 2400)  # the delays that the model was trained for
MAX_BONUS = 10.0  # of words, in logits; the limit of the core
MAX_GAIN_DB = 60.0  # likewise
MAX_ALTERNATIVES: int = lib.VOX_MAX_ALTERNATIVES  # of a token


class StreamOptions(TypedDict, total=False):
    """What a stream may be asked for, all of which may be left out; Model.stream() explains it."""

    delay_ms: int | None
    pad_guard_ms: int | None
    silence_gate_ms: int | None
    confidence: bool
    alternatives: int
    background: bool
    words: Collection[str]
    words_bonus: float | None
    gain: float | Literal["auto"] | None


def core_params(
    delay_ms: int | None = None,
    pad_guard_ms: int | None = None,
    silence_gate_ms: int | None = None,
    confidence: bool = False,
    alternatives: int = 0,
    background: bool = False,
    words: Collection[str] = (),
    words_bonus: float | None = None,
    gain: float | Literal["auto"] | None = None,
) -> dict[str, Any]:
    """Return StreamOptions as the fields of a vox_stream_params, which borrows the words in it.

    Raises ArgumentError for what the core could not be told, or would not say as well.
    """
    if delay_ms is not None and delay_ms not in DELAYS_MS:
        raise ArgumentError(
            f"a delay of {delay_ms} ms is not possible: the model knows 80 to 1200 ms in steps "
            "of 80, and 2400 ms"
        )
    params: dict[str, Any] = {
        "delay_ms": delay_ms or 0,
        "pad_guard_ms": pad_guard_ms or 0,
        "silence_gate_ms": silence_gate_ms or 0,
        "confidence": bool(confidence),
        "n_alternatives": alternatives,
        "background": bool(background),
    }
    for name, value in params.items():
        if not 0 <= value < 2**31:
            raise ArgumentError(f"{name} cannot be {value}: give a number from 0 on")
    if words_bonus is not None and not 0 < words_bonus <= MAX_BONUS:
        raise ArgumentError(
            f"a bonus of {words_bonus} is not possible: above 0 and at most {MAX_BONUS:g} logits"
        )
    if gain != "auto" and (isinstance(gain, str) or not abs(gain or 0) <= MAX_GAIN_DB):
        raise ArgumentError(f"a gain of {gain!r} is not possible: 'auto', or -60 to 60 dB")
    params["auto_gain"] = gain == "auto"
    params["gain_db"] = 0.0 if gain == "auto" else gain or 0.0
    params["words_bonus"] = words_bonus or 0.0
    params["words"] = ffi.new("char[]", _lines(words))
    return params


def _lines(words: Collection[str]) -> bytes:
    """Return words as the core takes them, one a line."""
    if isinstance(words, str) or not isinstance(words, Collection):
        raise ArgumentError(f"words must be a list of texts, not {words!r}")
    for word in words:
        if not isinstance(word, str) or not word.isprintable():
            raise ArgumentError(f"{word!r} is no word: leave out what cannot be printed")
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise ArgumentError(f"{word!r} is no word: it is not Unicode") from error
    return "\n".join(words).encode()
