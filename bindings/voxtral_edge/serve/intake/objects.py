"""JSON objects that strangers send: none that is nested too deep, or holds half a character."""

from __future__ import annotations

import json
from typing import Any

MAX_DEPTH = 32  # objects and arrays in one another


def json_object(text: str | bytes) -> dict[str, Any] | None:
    """Return the object, or None for what is none, is nested too deep, or is no Unicode."""
    try:
        value = json.loads(text)
        if not isinstance(value, dict) or _is_deep(value):
            return None
        if (b"\\u" if isinstance(text, bytes) else "\\u") in text:  # type: ignore[operator]
            json.dumps(value, ensure_ascii=False).encode()  # half a pair of surrogates has no form
    except (ValueError, RecursionError):
        return None
    return value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True
