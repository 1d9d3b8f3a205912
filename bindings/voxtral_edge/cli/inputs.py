"""What the words of a command line mean as input: files, folders, patterns, standard input.

Each input also has a place, its path without the folder that was named: where its output goes in an
output folder, so that a tree of files becomes a tree of texts.
"""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ..audio.names import is_named
from ..errors import AudioError

Tell: TypeAlias = Callable[[Exception | str], None]

STDIN = "-"


@dataclass(frozen=True)
class Input:
    """A file to transcribe; `path` is "-" for standard input."""

    path: str
    place: Path


def find(word: str, *, recursive: bool, tell: Tell) -> list[Input]:
    """Return the inputs that a word names, in the order of their names.

    A file that does not exist is one of them, so that opening it tells what is wrong. `tell` gets
    what a folder or a pattern leads to and cannot be used, as an exception, and in a line what is
    passed over: pipes and devices, which might never end. Raises AudioError for a folder without
    `recursive` and for a pattern or a folder without files.
    """
    if word == STDIN:
        return [Input(STDIN, Path("stdin"))]
    # What may not be looked at is no error yet, as it would be for Path.is_dir().
    if os.path.isdir(word):  # noqa: PTH112
        if not recursive:
            raise AudioError(f"{word} is a directory: add -r for the files in it")
        return _walk(Path(word), tell)
    if os.path.lexists(word) or not glob.has_magic(word):
        return [Input(word, Path(Path(word).name))]
    try:
        names = sorted(glob.glob(word, recursive=True))  # noqa: PTH207  (it keeps ./ and //)
    except RecursionError:
        raise AudioError(f"{word} leads too deep into folders: use -r") from None
    if not names:
        raise AudioError(f"no file is named like {word}: check the pattern")
    found: list[Input] = []
    for name in names:
        try:
            if not _is_special(name, tell):
                found += find(name, recursive=recursive, tell=tell)
        except AudioError as error:
            tell(error)
    return found


def _walk(top: Path, tell: Tell) -> list[Input]:
    """Return the files of sound and video below a folder; links to folders are not followed."""
    found: list[Path] = []
    folders, n_locked = [str(top)], 0
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                seen = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            tell(error)
            n_locked += 1
            continue
        folders += [entry.path for entry in seen if entry.is_dir(follow_symlinks=False)]
        found += [
            Path(entry.path)
            for entry in seen
            if is_named(Path(entry.name))
            and not os.path.isdir(entry.path)  # noqa: PTH112
            and not _is_special(entry.path, tell)
        ]
    if not found and not n_locked:
        raise AudioError(f"{top} holds no files of sound or video: name them one by one")
    return [Input(str(path), path.relative_to(top)) for path in sorted(found)]


def _is_special(path: str, tell: Tell) -> bool:
    """Whether a path is a pipe or a device, which is told."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except OSError:
        return False
    is_special = not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
    if is_special:
        tell(f"{path} is a pipe or a device, and passed over: name it if it is meant")
    return is_special
