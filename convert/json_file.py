"""JSON configuration whose errors name the file and the key.

load() reads a file into a Section, a JSON object that knows where it stands. Each getter checks
what it returns, so that the code that uses the values need not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import ConversionError


def load(path: Path) -> Section:
    """Return the object in a JSON file."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ConversionError(
            f"{path} is missing: download it beside the other files of the checkpoint"
        ) from None
    except OSError as error:
        raise ConversionError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConversionError(
            f"{path}: not valid JSON ({error}): download the file again"
        ) from error
    if not isinstance(value, dict):
        raise ConversionError(f"{path}: not a JSON object: download the file again")
    return Section(path, value)


class Section:
    """A JSON object, its file, and its place there."""

    def __init__(self, path: Path, values: dict[str, Any], place: str = "") -> None:
        """Keep the object's values; place is "" or ends with a dot."""
        self.path = path
        self.values = values
        self.place = place

    def wrong(self, key: str, what: str) -> ConversionError:
        """Return the error about a key."""
        return ConversionError(f"{self.path}: {self.place}{key} {what}")

    def get(self, key: str, kind: type, what: str) -> Any:
        """Return the value of a key that must be there and of a kind."""
        if key not in self.values:
            raise self.wrong(key, "is missing: use the file that came with the weights")
        value = self.values[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.wrong(key, f"is not {what}")
        return value

    def section(self, key: str) -> Section:
        """Return the object under a key."""
        return Section(self.path, self.get(key, dict, "an object"), f"{self.place}{key}.")

    def sections(self, key: str) -> Iterator[Section]:
        """Yield the objects of a list under a key."""
        for i, value in enumerate(self.get(key, list, "a list")):
            if not isinstance(value, dict):
                raise self.wrong(f"{key}[{i}]", "is not an object")
            yield Section(self.path, value, f"{self.place}{key}[{i}].")

    def count(self, key: str, low: int = 1) -> int:
        """Return a whole number from low on."""
        value: int = self.get(key, int, "a whole number")
        if value < low:
            raise self.wrong(key, f"is {value}, not a whole number from {low} on")
        return value

    def number(self, key: str) -> float:
        """Return a positive finite number."""
        value = float(self.get(key, (int, float), "a number"))  # type: ignore[arg-type]
        if not (math.isfinite(value) and value > 0):
            raise self.wrong(key, f"is {value}, not a positive number")
        return value

    def text(self, key: str) -> str:
        """Return a string."""
        value: str = self.get(key, str, "a string")
        return value

    def require(self, **fixed: object) -> None:
        """Refuse keys that are there with another value than the one the architecture has."""
        for key, value in fixed.items():
            if key in self.values and self.values[key] != value:
                raise self.wrong(
                    key, f"is {self.values[key]!r}, not {value!r}: this is another architecture"
                )
