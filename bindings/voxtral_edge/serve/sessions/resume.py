"""What is kept of a live session whose connection broke, so that it can be taken up again.

A client that asked for it gets a token. What is kept under it is all that the session has come to
after so many samples: the state of its stream, and what its protocol has made of the slots. Since
that goes on bit for bit, not one word is lost or doubled.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
import pickle
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ... import __version__

T = TypeVar("T")

KEEP_S = 600.0  # how long something is kept
MOST, MOST_BYTES = 200, 2 << 30  # sessions, and what they take; the oldest go first
SAVE_S = 10.0  # between two states that are kept in a folder, in case the server dies
TAKE_S = 20.0  # that a connection may take to give up its session

TEXTS = ("voxtral_edge.text.", "voxtral_edge.serve.")  # whose classes are among what is kept
OTHERS = {
    ("collections", "deque"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "_reconstruct"),
}


class Holder(Protocol):
    """A connection that has a session which another one may take up."""

    def give_up(self) -> None:
        """Keep the session, and end."""


class Store:
    """Keeps sessions by their tokens, in a folder or, without one, in memory."""

    def __init__(self, folder: Path | None, model: str) -> None:
        """Make the folder, which nobody else may read; raise OSError.

        `model`: of what the states are; those of another one, or another version, are of no use.
        """
        self.folder, self._version = folder, f"{__version__} {model}"
        self._held: dict[str, tuple[Holder, asyncio.Event]] = {}
        self._kept: dict[str, tuple[float, bytes]] = {}
        if folder:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def take(self, token: str) -> dict[str, Any] | None:
        """Return what is kept under a token, None: nothing; it stays until something newer is.

        A connection that has the session, and does not know yet that it broke, gives it up; raises
        TimeoutError if it cannot.
        """
        if token in self._held:
            holder, is_over = self._held[token]
            holder.give_up()
            await asyncio.wait_for(is_over.wait(), TAKE_S)
        if self.folder:
            data = await asyncio.to_thread(self._read, token)
        else:
            self._sweep()
            data = self._kept.get(token, (0.0, None))[1]
        kept = _unpacked(data) if data else None
        return kept if kept and kept.get("version") == self._version else None

    @contextlib.contextmanager
    def held(self, token: str | None, holder: Holder) -> Iterator[None]:
        """Know who has a session, if it may be taken up, until that is over."""
        if token is None:
            yield
            return
        if token in self._held:  # taken up twice at once: the later one has it
            self._held[token][0].give_up()
        holding = self._held[token] = holder, asyncio.Event()
        try:
            yield
        finally:
            holding[1].set()
            if self._held[token] is holding:
                del self._held[token]

    async def put(self, token: str, kept: dict[str, Any]) -> None:
        """Keep a session, in place of what was kept of it."""
        data = pickle.dumps({**kept, "version": self._version})
        if self.folder:
            await asyncio.to_thread(self._write, token, data)
            return
        self._kept.pop(token, None)
        self._kept[token] = time.monotonic(), data
        self._sweep()

    async def drop(self, token: str) -> None:
        """Forget a session."""
        self._kept.pop(token, None)
        if self.folder:
            await asyncio.to_thread(self._path(token).unlink, missing_ok=True)

    def _sweep(self) -> None:
        known = [(since, len(data), token) for token, (since, data) in self._kept.items()]
        for token in _overdue(known, time.monotonic()):
            del self._kept[token]

    def _path(self, token: str) -> Path:
        """Return the file of a token, which its name does not give away."""
        assert self.folder
        return self.folder / f"{hashlib.sha256(token.encode()).hexdigest()}.session"

    def _write(self, token: str, data: bytes) -> None:
        path = self._path(token)
        part = path.with_suffix(f".{os.getpid()}.part")
        with open(part, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(data)
        part.replace(path)
        known = []
        for old in path.parent.glob("*.session"):
            with contextlib.suppress(OSError):  # somebody else was faster
                known.append((old.stat().st_mtime, old.stat().st_size, old))
        for old in _overdue(known, time.time()):
            old.unlink(missing_ok=True)

    def _read(self, token: str) -> bytes | None:
        path = self._path(token)
        try:
            return path.read_bytes() if time.time() - path.stat().st_mtime <= KEEP_S else None
        except OSError:
            return None


def _overdue(known: list[tuple[float, int, T]], now_s: float) -> Iterator[T]:
    """Yield what is too old, or too much; `known`: since when, bytes, and what."""
    n_bytes = 0
    for n, (since_s, size, what) in enumerate(sorted(known, key=lambda one: -one[0])):
        n_bytes += size
        if now_s - since_s > KEEP_S or n >= MOST or (n > 0 and n_bytes > MOST_BYTES):
            yield what


def new_token() -> str:
    """Return one that nobody guesses."""
    return secrets.token_urlsafe(24)


class _Unpickler(pickle.Unpickler):
    """Makes nothing but what a session consists of, whatever a file says."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in OTHERS:
            return super().find_class(module, name)
        if module.startswith(TEXTS):
            found = super().find_class(module, name)
            if isinstance(found, type) and found.__module__ == module:
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a session")


def _unpacked(data: bytes) -> dict[str, Any] | None:
    """Return what was kept, None for what nobody of ours wrote."""
    try:
        kept = _Unpickler(io.BytesIO(data)).load()
    except Exception:  # of a damaged file anything may come
        return None
    return kept if isinstance(kept, dict) else None
