"""Words to expect, as clients list them, under the name that their protocol has for it."""

from __future__ import annotations

from typing import Any

from ..errors import BadRequest

MAX_BYTES, MAX_WORD_BYTES = 1 << 16, 255  # the limits of the core


def listed(given: Any, param: str) -> list[str]:
    """Return the words, none for null; raise BadRequest for what cannot be a list of them."""
    if given is None:
        return []
    if not isinstance(given, list) or not all(isinstance(word, str) for word in given):
        raise BadRequest(f"{param} must be a list of words", param=param)
    for word in given:
        if not word.isprintable() or len(word.encode()) > MAX_WORD_BYTES:
            raise BadRequest(
                f"{param}: a word has at most {MAX_WORD_BYTES} bytes, all of which can be printed",
                param=param,
            )
    if sum(len(word.encode()) + 1 for word in given) > MAX_BYTES:
        raise BadRequest(f"{param}: more than {MAX_BYTES} bytes of words", param=param)
    return given
