"""Where text goes: standard output, or files that appear only when they are whole.

A file is written under another name beside its own, and takes its name when all is written; if that
fails, nothing is left behind and a file of that name stays as it was.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from ..errors import ArgumentError
from ..text.formats import FORMATS
from .inputs import Input
from .terminal import OutputError

ONE_BY_ONE = ("srt", "vtt", "tsv")  # formats that cannot hold several files

_parts: set[Path] = set()  # files that have not got their names yet


class Job(NamedTuple):
    """An input and its outputs: formats, and the path of each, None for standard output."""

    input: Input
    outputs: list[tuple[str, Path | None]]


def plan(inputs: Sequence[Input], formats: Sequence[str], target: str | None) -> list[Job]:
    """Return what is to be written for each input.

    `formats`: none means that of the target's name, or txt. `target`: a file, a folder (it exists,
    ends with a slash, or is needed, and is made), or None for standard output. Raises ArgumentError
    for what does not fit together.
    """
    if target is None:
        formats = formats or ["txt"]
        if len(formats) > 1:
            raise ArgumentError("several formats do not fit standard output: add -o FOLDER")
        if len(inputs) > 1 and formats[0] in ONE_BY_ONE:
            raise ArgumentError(f"several files do not fit one {formats[0]}: add -o FOLDER")
        return [Job(input, [(formats[0], None)]) for input in inputs]
    path = Path(target)
    is_folder = path.is_dir() or target.endswith(os.sep)
    if not is_folder and len(inputs) == 1 and len(formats) < 2:
        suffix = path.suffix.lower().removeprefix(".")
        named = suffix if suffix in FORMATS else "txt"
        return [Job(inputs[0], [(formats[0] if formats else named, path)])]
    if path.exists() and not path.is_dir():
        raise ArgumentError(f"{target} is a file, but several have to be written: name a folder")
    jobs, owners = [], dict[Path, str]()
    for input in inputs:
        outputs: list[tuple[str, Path | None]] = []
        for format in formats or ["txt"]:
            file = path / input.place.with_suffix(f".{format}")
            other = owners.setdefault(file, input.path)
            if other != input.path:
                raise ArgumentError(
                    f"{other} and {input.path} would both be written to {file}: "
                    "name different folders for them"
                )
            outputs.append((format, file))
        jobs.append(Job(input, outputs))
    return jobs


class OutFile:
    """A text file that takes its name when `with` ends without an error.

    Raises OutputError from any of its methods.
    """

    def __init__(self, path: Path) -> None:
        """Keep the path; nothing is written yet."""
        # A link stays a link: what it points to is replaced.
        self._path = Path(os.path.realpath(path))
        self._shown = path

    def __enter__(self) -> OutFile:
        """Open it, and make its folder."""
        # Devices and pipes cannot be replaced; and what was written there is gone anyway.
        self._is_direct = self._path.exists() and not self._path.is_file()
        part = self._path.with_name(f".{self._path.name}.{os.getpid()}.part")
        if not self._is_direct:
            _parts.add(part)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = (self._path if self._is_direct else part).open("w", encoding="utf-8")
        except OSError as error:
            raise OutputError(str(self._shown), error) from error
        return self

    def write(self, text: str) -> None:
        """Add text."""
        try:
            self._file.write(text)
        except OSError as error:
            raise OutputError(str(self._shown), error) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give it its name, or remove it."""
        part = Path(self._file.name)
        try:
            self._file.close()  # writes the rest
            if kind is None and not self._is_direct:
                part.replace(self._path)
        except OSError as failure:
            if kind is None:
                raise OutputError(str(self._shown), failure) from failure
        finally:
            if not self._is_direct:
                part.unlink(missing_ok=True)
                _parts.discard(part)


def sweep() -> None:
    """Remove what a signal has left that came where no `with` could tidy up, if anything."""
    while _parts:
        with contextlib.suppress(OSError):  # there may be no such folder
            _parts.pop().unlink()
