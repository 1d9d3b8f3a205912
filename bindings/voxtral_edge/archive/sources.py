"""What an archive is made of: files, lists of files, and what object stores hold.

A source has an id, by which the manifest of results knows it, and a place, which is where its
outputs go below the target. Its stamp says cheaply whether it may have changed; what it holds is
known by its hash, which who reads it takes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ..audio.names import stem
from ..errors import ArgumentError
from . import stores

BLOCK_BYTES = 1 << 20
# Bytes of a second of audio, where nobody has said how long a source is: of sound as it is mostly
# kept, and of video. Only the order and the time that is left are guessed by it.
PLAIN, LOSSLESS, CODED, VIDEO = 32_000, 16_000, 8_000, 150_000
UNKNOWN_S = 600.0  # of what has no size that is known
RATES = {
    **dict.fromkeys((".wav", ".aif", ".aiff", ".au", ".caf", ".w64"), PLAIN),
    **dict.fromkeys((".flac", ".wv"), LOSSLESS),
    **dict.fromkeys(
        (".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm",
         ".wmv"),
        VIDEO,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """A file to transcribe: `path` is one of this machine, or an address.

    `stamp` is None where nothing is known of it; `guess_s`: about how long it is.
    """

    id: str
    path: str
    place: str
    stamp: str | None
    guess_s: float


def of_file(
    path: str,
    place: PurePosixPath | Path,
    id: str | None = None,
    duration_s: float | None = None,
) -> Source:
    """Return a file as a source; `id` and `duration_s`: if a list tells them."""
    path = os.path.abspath(path)  # noqa: PTH100  (for workers elsewhere; links stay links)
    try:
        state = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):  # opening it will tell
        return _source(path, place, None, None, id, duration_s)
    stamp = f"{state.st_size} {state.st_mtime_ns}"
    return _source(path, place, state.st_size, stamp, id, duration_s)


def of_object(
    found: stores.Found, id: str | None = None, duration_s: float | None = None
) -> Source:
    """Return what a store holds as a source; the rest as for of_file()."""
    return _source(found.address, found.place, found.n_bytes, found.stamp, id, duration_s)


def _source(
    path: str,
    place: PurePosixPath | Path,
    n_bytes: int | None,
    stamp: str | None,
    id: str | None,
    duration_s: float | None,
) -> Source:
    """Return a source, whose place must be below the target."""
    name = place.as_posix() if id is None else id
    inside = PurePosixPath(name)
    if inside.is_absolute() or ".." in inside.parts or not inside.name or "\0" in name:
        raise ArgumentError(
            f"{name!r} cannot be the name of an output: give {path} an id that is a plain name"
        )
    guess_s = duration_s
    if guess_s is None:
        rate = RATES.get(PurePosixPath(path).suffix.lower(), CODED)
        guess_s = UNKNOWN_S if n_bytes is None else n_bytes / rate
    return Source(name, path, str(inside.with_name(stem(inside))), stamp, guess_s)


def check(sources: list[Source]) -> list[Source]:
    """Return the sources, each once; raise ArgumentError if two want the same name."""
    ids: dict[str, Source] = {}
    places: dict[str, Source] = {}
    for source in sources:
        other = ids.setdefault(source.id, source)
        if other is not source:
            if other.path != source.path:
                raise ArgumentError(
                    f"{other.path} and {source.path} are both called {source.id}: give them ids in "
                    "a list, or targets of their own"
                )
            continue
        other = places.setdefault(source.place, source)
        if other is not source:
            raise ArgumentError(
                f"{other.path} and {source.path} would both be written to {source.place}: give "
                "them ids in a list, or targets of their own"
            )
    return list(ids.values())


@contextmanager
def opened(source: Source, moved: Callable[[], None]) -> Iterator[tuple[str | BinaryIO, str]]:
    """Give what can be read as audio, and the SHA-256 of its bytes.

    `moved` is called as long as there is progress. Raises OSError, UnreachableError.
    """
    if stores.is_address(source.path):
        with stores.fetched(source.path, moved) as (file, sha256):
            yield file, sha256
        return
    digest = hashlib.sha256()
    with Path(source.path).open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            moved()
    yield source.path, digest.hexdigest()
