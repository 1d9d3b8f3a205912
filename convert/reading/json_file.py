"""JSON configuration whose errors name the file and the key.

load() reads a file into a Section, a JSON object that knows where it stands. Each getter checks
what it returns, so that the code that uses the values need not.
"""

from __future__ import annotations

import json
import math
import os
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConversionError
from .limits import Limit
from .regular_file import open_regular

LARGEST_FILE = 1 << 28  # bytes; the tokenizer of the published model has 15 MB


def load(path: Path) -> Section:
    """Return the object in a JSON file."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            data = file.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise ConversionError(f"{path} is too large for what it should be: download it again")
        value = json.loads(data)
    except ConversionError:
        raise
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

    def count(self, key: str, limit: Limit) -> int:
        """Return a whole number within its limit."""
        value: int = self.get(key, int, "a whole number")
        if not limit.low <= value <= limit.high:
            raise self.wrong(
                key, f"is {shown(value)}, not a whole number from {limit.low} to {limit.high}"
            )
        return value

    def number(self, key: str) -> float:
        """Return a number that is positive and finite as the core has it, in 32 bits."""
        value = self.get(key, (int, float), "a number")  # type: ignore[arg-type]
        try:
            with np.errstate(over="ignore", under="ignore"):
                stored = float(np.float32(value))
        except OverflowError:
            stored = math.inf
        if not 0 < stored < math.inf:
            raise self.wrong(key, f"is {shown(value)}, not a positive number of 32 bits")
        return float(value)

    def text(self, key: str) -> str:
        """Return a string that has a form in UTF-8."""
        value: str = self.get(key, str, "a string")
        if not is_whole(value):
            raise self.wrong(key, f"is {shown(value)}, half of a pair of UTF-16")
        return value

    def require(self, **fixed: object) -> None:
        """Refuse keys that are there with another value than the one the architecture has."""
        for key, value in fixed.items():
            if key in self.values and self.values[key] != value:
                raise self.wrong(
                    key,
                    f"is {shown(self.values[key])}, not {value!r}: this is another architecture",
                )


def shown(value: object) -> str:
    """Return a value for a message, cut short if it is long."""
    return reprlib.repr(value)


def is_whole(text: str) -> bool:
    """Whether a text has a form in UTF-8, as halves of pairs of UTF-16 have not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
