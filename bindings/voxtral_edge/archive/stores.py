"""Object stores, by addresses such as s3://bucket/talks and https://host/talk.mp3.

fsspec reaches them, with the package of each store and its usual credentials. What is fetched goes
to a nameless temporary file, which is gone with the process. A network that fails is asked again;
in the end it is the network's failure, not the source's.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit

from ..audio.names import is_named
from ..errors import ArgumentError

ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
BLOCK_BYTES = 1 << 20
PAUSES_S = (1.0, 4.0, 16.0)  # before a store is asked again
OWN_FAULTS = (FileNotFoundError, PermissionError, IsADirectoryError)  # of what is asked for


class UnreachableError(OSError):
    """A store does not answer; its name and the reason are the message."""


@dataclass(frozen=True, slots=True)
class Found:
    """An object: `place` is its name below what was asked for."""

    address: str
    place: PurePosixPath
    n_bytes: int | None
    stamp: str | None


def is_address(word: str) -> bool:
    """Whether a word is an address, not a path."""
    return ADDRESS.match(word) is not None


def find(address: str) -> list[Found]:
    """Return the files of sound and video below an address, or the one that it names.

    A pattern is allowed as well. Raises ArgumentError if there are none.
    """
    fs, root = _store(address)

    def look() -> list[Found]:
        if "*" in root:
            names = {name: fs.info(name) for name in fs.glob(root)}
            top = PurePosixPath(root.partition("*")[0] + "x").parent
        elif fs.isfile(root):
            return [_found(fs, root, fs.info(root), PurePosixPath(root).parent)]
        else:
            names, top = fs.find(root, detail=True), PurePosixPath(root)
        return [
            _found(fs, name, info, top)
            for name, info in sorted(names.items())
            if is_named(PurePosixPath(urlsplit(name).path))
        ]

    found: list[Found] = _asked(look, address)
    if not found:
        raise ArgumentError(f"{address} holds no files of sound or video: name them in a list")
    return found


def named(address: str) -> Found:
    """Return what an address names, of which nothing else is known; no store is asked."""
    path = urlsplit(address).path if address.startswith("http") else address.partition("://")[2]
    parts = [part for part in PurePosixPath(unquote(path)).parts if part not in ("/", "..", ".")]
    return Found(address, PurePosixPath(*parts), None, None)


def beside(address: str, path: str) -> str:
    """Return the address of a path that stands in a list at an address."""
    return f"{address.rpartition('/')[0]}/{path}"


def read(address: str) -> bytes:
    """Return the bytes of an object; raise OSError."""
    fs, path = _store(address)
    data: bytes = _asked(lambda: fs.cat_file(path), address)
    return data


@contextmanager
def fetched(address: str, moved: Callable[[], None]) -> Iterator[tuple[BinaryIO, str]]:
    """Give an object as a file, and the SHA-256 of its bytes; raise OSError."""
    fs, path = _store(address)
    with tempfile.TemporaryFile() as spool:
        file = cast("BinaryIO", spool)

        def fetch() -> str:
            file.seek(0)
            file.truncate()
            digest, n_bytes = hashlib.sha256(), 0
            with fs.open(path, "rb", cache_type="readahead", block_size=4 * BLOCK_BYTES) as remote:
                while block := remote.read(BLOCK_BYTES):
                    digest.update(block)
                    _spool(file, block)
                    n_bytes += len(block)
                    moved()
                size = getattr(remote, "size", None)
            if size is not None and n_bytes != size:
                raise ConnectionError(f"{n_bytes} of {size} bytes came")
            return digest.hexdigest()

        sha256: str = _asked(fetch, address, moved)
        file.seek(0)
        yield file, sha256


class _FullError(Exception):
    """The temporary file takes no more, which is no fault of a store's."""


def _spool(file: BinaryIO, block: bytes) -> None:
    try:
        file.write(block)
        file.flush()
    except OSError as error:
        raise _FullError from error


def _asked(what: Callable[[], Any], address: str, moved: Callable[[], None] = lambda: None) -> Any:
    """Return what a store answers, which is asked again if it does not."""
    for pause_s in (*PAUSES_S, None):
        try:
            return what()
        except OWN_FAULTS:
            raise
        except _FullError as full:
            assert full.__cause__
            raise full.__cause__ from None
        except Exception as error:  # each store has errors of its own
            if pause_s is None:
                reason = " ".join(str(error).split()) or type(error).__name__
                raise UnreachableError(f"{address} cannot be reached: {reason}") from error
        moved()
        time.sleep(pause_s)
    raise AssertionError


def _store(address: str) -> tuple[Any, str]:
    """Return the file system of an address, and what it calls the rest of it."""
    try:
        import fsspec
    except ImportError:
        raise ArgumentError(
            f"{address} needs fsspec: pip install 'voxtral-edge[archive]'"
        ) from None
    try:
        fs, path = fsspec.core.url_to_fs(address)
    except (ValueError, ImportError) as error:
        raise ArgumentError(f"{address} cannot be read: {error}") from None
    return fs, path


def _found(fs: Any, name: str, info: dict[str, Any], top: PurePosixPath) -> Found:
    size = info.get("size")
    marks = [info.get(key) for key in ("ETag", "etag", "md5", "LastModified", "mtime", "updated")]
    stamp = " ".join(str(mark) for mark in (size, *marks) if mark is not None)
    place = PurePosixPath(unquote(name) if "://" in name else name)
    inside = place.relative_to(top) if place.is_relative_to(top) else PurePosixPath(place.name)
    return Found(fs.unstrip_protocol(name), inside, size, stamp or None)
