"""JSON objects that strangers send: none that is nested deeper than any protocol needs."""

from __future__ import annotations

import json
from typing import Any

MAX_DEPTH = 32  # objects and arrays in one another


def json_object(text: str | bytes) -> dict[str, Any] | None:
    """Return the object, or None for what is none, or is nested too deep."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and not _is_deep(value) else None


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
