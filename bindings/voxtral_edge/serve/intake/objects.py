"""What strangers write: JSON that is not nested too deep and holds no half character; numbers."""

from __future__ import annotations

import json
from typing import Any

MAX_DEPTH = 32  # objects and arrays in one another
MAX_DIGITS = 16


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


def number_of(text: str) -> int | None:
    """Return a whole number as a query has it, None for what is none or could not be meant."""
    return int(text) if text.isdecimal() and len(text) < MAX_DIGITS else None


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
