"""What is kept of a live session whose connection broke, so that it can be taken up again.

A client that asked for it gets a token. What is kept under it says how many samples are in the
saved state, so that the client sends those that follow, and what text came of them. Since a state
goes on bit for bit, text that a client has had already is known to come again, and is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

KEEP_S = 600.0  # how long something is kept
MOST = 200  # sessions


@dataclass(frozen=True)
class Kept:
    """One session at a moment: `n_samples` of its audio are in `state`, and gave `text`."""

    n_samples: int
    n_slots: int
    n_tokens: int
    delay_ms: int
    text: str
    state: bytes


class Store:
    """Keeps sessions by their tokens, in a folder or, without one, in memory."""

    def __init__(self, folder: Path | None) -> None:
        """Make the folder, which nobody else may read; raise OSError."""
        self.folder = folder
        self._kept: dict[str, tuple[float, Kept]] = {}
        if folder:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def put(self, token: str, kept: Kept) -> None:
        """Keep a session, in place of what was kept of it."""
        if self.folder:
            await asyncio.to_thread(self._write, token, kept)
            return
        self._kept.pop(token, None)
        self._kept[token] = time.monotonic(), kept
        self._sweep()

    async def get(self, token: str) -> Kept | None:
        """Return what is kept under a token; None if there is nothing, or no longer."""
        if self.folder:
            return await asyncio.to_thread(self._read, token)
        self._sweep()
        found = self._kept.get(token)
        return found[1] if found else None

    async def drop(self, token: str) -> None:
        """Forget a session."""
        self._kept.pop(token, None)
        if self.folder:
            await asyncio.to_thread(self._path(token).unlink, missing_ok=True)

    def _sweep(self) -> None:
        now = time.monotonic()
        for token, (since, _) in tuple(self._kept.items()):
            if now - since > KEEP_S or len(self._kept) > MOST:
                del self._kept[token]

    def _path(self, token: str) -> Path:
        """Return the file of a token, which its name does not give away."""
        assert self.folder
        return self.folder / f"{hashlib.sha256(token.encode()).hexdigest()}.session"

    def _write(self, token: str, kept: Kept) -> None:
        path = self._path(token)
        for old in path.parent.glob("*.session"):
            with contextlib.suppress(OSError):  # somebody else was faster
                if time.time() - old.stat().st_mtime > KEEP_S:
                    old.unlink()
        head = {name: value for name, value in asdict(kept).items() if name != "state"}
        part = path.with_suffix(f".{os.getpid()}.part")
        with open(part, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(json.dumps(head).encode() + b"\n" + kept.state)
        part.replace(path)

    def _read(self, token: str) -> Kept | None:
        path = self._path(token)
        try:
            if time.time() - path.stat().st_mtime > KEEP_S:
                return None
            head, _, state = path.read_bytes().partition(b"\n")
            return Kept(**json.loads(head), state=state)
        except (OSError, ValueError, TypeError):
            return None
