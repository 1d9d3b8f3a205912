"""Lists of sources: a text file with a path in each line, CSV with a header, or JSON lines.

CSV and JSON lines have a `path`, and may have an `id` and a `duration_s`. A path is an address or a
file, seen from where the list is.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import ArgumentError
from . import stores
from .sources import Source, of_file, of_object

SUFFIXES = (".txt", ".csv", ".jsonl")


def is_list(word: str) -> bool:
    """Whether a name is that of a list."""
    return PurePosixPath(word).suffix.lower() in SUFFIXES


def read(word: str) -> list[Source]:
    """Return the sources of a list, a file or an address; raise ArgumentError or OSError."""
    data = stores.read(word) if stores.is_address(word) else Path(word).read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ArgumentError(f"{word} is not UTF-8 text: save it so, or name the files") from None
    kind = PurePosixPath(word).suffix.lower()
    entries = {".txt": _txt, ".csv": _csv, ".jsonl": _jsonl}[kind](text)
    found = []
    for number, entry in entries:
        try:
            found.append(_source(word, entry))
        except (KeyError, TypeError, ValueError) as error:
            wrong = str(error) if isinstance(error, ArgumentError) else "it has no path"
            raise ArgumentError(f"{word}, line {number}: {wrong}") from None
    if not found:
        raise ArgumentError(f"{word} names no files: write a path in each line")
    return found


def _source(word: str, entry: dict[str, Any]) -> Source:
    path = entry["path"]
    if not isinstance(path, str) or not path:
        raise ArgumentError("it has no path")
    id, duration_s = str(entry.get("id") or "") or None, _seconds(entry)
    if stores.is_address(path):
        return of_object(stores.named(path), id, duration_s)
    if stores.is_address(word):
        return of_object(stores.named(stores.beside(word, path)), id, duration_s)
    # A place has no way up and no root: what is left of them is a name.
    parts = [part for part in PurePosixPath(path).parts if part not in ("/", "..", ".")]
    return of_file(os.path.join(Path(word).parent, path), PurePosixPath(*parts), id, duration_s)  # noqa: PTH118


def _seconds(entry: dict[str, Any]) -> float | None:
    text: Any = entry.get("duration_s")
    if text in (None, ""):
        return None
    try:
        seconds = float(text)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ArgumentError(f"{text!r} is not a number of seconds")
    return seconds


def _txt(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, {"path": line.strip()}


def _csv(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    rows = csv.DictReader(io.StringIO(text, newline=""))
    for row in rows:
        yield rows.line_num, row


def _jsonl(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                entry = json.loads(line)
            except ValueError:
                entry = None
            yield number, entry if isinstance(entry, dict) else {}
