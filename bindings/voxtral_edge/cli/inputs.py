"""What the words of a command line mean as input: files, folders, patterns, standard input.

Each input also has a place, its path without the folder that was named: where its output goes in an
output folder, so that a tree of files becomes a tree of texts.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import AudioError

STDIN = "-"

# What is taken from a folder: kinds that libsndfile reads, then kinds for ffmpeg.
SUFFIXES = (
    *(".aif", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".w64", ".wav"),
    *(".3gp", ".aac", ".ac3", ".amr", ".avi", ".flv", ".m4a", ".m4b", ".m4v", ".mka", ".mkv"),
    *(".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wma", ".wmv"),
)


@dataclass(frozen=True)
class Input:
    """A file to transcribe; `path` is "-" for standard input."""

    path: str
    place: Path


def find(word: str, *, recursive: bool) -> list[Input]:
    """Return the inputs that a word names, in the order of their names.

    A file that does not exist is one of them, so that opening it tells what is wrong. Raises
    AudioError for a folder without `recursive` and for a pattern or a folder without files.
    """
    if word == STDIN:
        return [Input(STDIN, Path("stdin"))]
    path = Path(word)
    if path.is_dir():
        if not recursive:
            raise AudioError(f"{word} is a directory: add -r for the files in it")
        found = [Input(str(file), file.relative_to(path)) for file in sorted(_walk(path))]
        if not found:
            raise AudioError(f"{word} holds no files of sound or video: name them one by one")
        return found
    if not path.exists() and glob.has_magic(word):
        names = sorted(glob.glob(word, recursive=True))  # noqa: PTH207  (it keeps ./ and //)
        if not names:
            raise AudioError(f"no file is named like {word}: check the pattern")
        return [each for name in names for each in find(name, recursive=recursive)]
    return [Input(word, Path(path.name))]


def _walk(folder: Path) -> Iterator[Path]:
    """Yield files of sound and video below a folder, hidden ones left out."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                yield Path(place, name)
