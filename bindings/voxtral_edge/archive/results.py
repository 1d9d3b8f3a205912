"""The manifest of results, manifest.jsonl: a line for each source that is done or set aside.

A source is done when its line is on the disk, which is after its outputs are; a run takes what has
no line. Of several lines of one source, which has changed or was tried again, the last one counts.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..console.journal import Journal
from ..errors import ArgumentError
from ..system import here
from .sources import Source

NAME = "manifest.jsonl"
PART = re.compile(r"\.[0-9a-f]{8}\.part")  # what console/output.py calls a file that is not whole


@dataclass(frozen=True)
class Line:
    """What is known of a source.

    `path`: where it is; `stamp`: by which a change is noticed; `sha256`: of its bytes; `model`: the
    SHA-256 of the model's file; `options`: what decides about the outputs; `duration_s` of audio;
    `rtf`: time over duration, beside other files; `words`: their number; `error`: why it was set
    aside, or that it breaks off. What is not known is None.
    """

    source: str
    path: str
    stamp: str | None
    model: str
    options: Mapping[str, Any]
    sha256: str | None = None
    duration_s: float | None = None
    rtf: float | None = None
    words: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What a run must know of a line that is there."""

    stamp: str | None
    sha256: str | None
    is_done: bool  # else it is set aside
    is_whole: bool  # it does not break off


def _known(fields: Mapping[str, Any]) -> Known:
    is_done = fields["words"] is not None
    return Known(fields["stamp"], fields["sha256"], is_done, fields["error"] is None)


class Results:
    """The manifest of a target, which one run at a time has open."""

    def __init__(self, target: Path, model: str, options: Mapping[str, Any]) -> None:
        """Look at nothing yet; `model` and `options` as in a line."""
        self._target, self.about = target, (model, dict(options))
        self._journal = Journal(target / NAME)
        self.known: dict[str, Known] = {}

    def __enter__(self) -> Results:
        """Open it; ArgumentError if its lines are of another model or other options."""
        self._journal.__enter__()
        try:
            self._read()
        except BaseException:
            self._journal.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self._journal.__exit__(*error)

    def missing(self, sources: Iterable[Source], *, again: bool) -> list[Source]:
        """Return the sources that are to be worked on; `again`: those set aside as well."""
        return [source for source in sources if not self._is_settled(source, again)]

    def add(self, line: Line, outputs: Iterable[Path]) -> None:
        """Note a source, after the names of its outputs are on the disk."""
        for folder in {output.parent for output in outputs}:
            here.sync_folder(folder)
        fields = asdict(line)
        try:
            data = json.dumps(fields, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # a name with bytes that are no text
            data = json.dumps(fields).encode()
        self._journal.append(data)
        self.known[line.source] = _known(fields)

    def flaws(self, sources: Iterable[Source]) -> tuple[int, int]:
        """Return how many of the sources are set aside, and how many break off."""
        lines = [self.known[source.id] for source in sources if source.id in self.known]
        n_aside = sum(not known.is_done for known in lines)
        return n_aside, sum(not known.is_whole for known in lines) - n_aside

    def sweep(self, places: Iterable[str]) -> None:
        """Remove what a run that was killed has left beside outputs: files without their names."""
        for folder in {(self._target / place).parent for place in places}:
            with contextlib.suppress(OSError):
                for entry in os.scandir(folder):
                    if PART.fullmatch(entry.name):
                        os.unlink(entry.path)  # noqa: PTH108

    def _is_settled(self, source: Source, again: bool) -> bool:
        known = self.known.get(source.id)
        if known is None or known.stamp != source.stamp:
            return False
        return known.is_done or not again

    def _read(self) -> None:
        for number, line in enumerate(self._journal, 1):
            try:
                fields = json.loads(line)
                source, options = str(fields["source"]), fields["options"]
                known = _known(fields)
            except (ValueError, KeyError, TypeError):
                raise ArgumentError(
                    f"{self._journal.path}, line {number}, is none of this command's: name another "
                    "target"
                ) from None
            if (fields.get("model"), options) != self.about:
                is_same = fields.get("model") == self.about[0]
                what = "other options" if is_same else "another model"
                raise ArgumentError(f"{self._target} was begun with {what}: name another target")
            self.known[source] = known
