"""A file that grows line by line, whatever happens to who writes it.

A line is there, on the disk, when append() returns. What a kill, a failing disk or a power cut left
of one that was being written is removed when the file is opened again; lines before it never
change. One process at a time has it open.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import ArgumentError
from ..system import here
from .output import OutputError, write_all

BLOCK_BYTES = 1 << 16


class Journal:
    """Such a file; what cannot be done raises OutputError."""

    def __init__(self, path: Path) -> None:
        """Open nothing yet."""
        self.path = path
        self._fd = -1

    def __enter__(self) -> Journal:
        """Open it, or make it, and heal its end; ArgumentError if another process has it open."""
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | here.BINARY, 0o666)
            here.lock(self._fd)
            self._size = self._end_of_lines()
            os.ftruncate(self._fd, self._size)
        except BlockingIOError:
            self._close()
            raise ArgumentError(
                f"{self.path} is being written by another run: wait for its end, or stop it"
            ) from None
        except OSError as error:
            self._close()
            raise OutputError(str(self.path), error) from error
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self._close()

    def __iter__(self) -> Iterator[bytes]:
        """Yield the lines that were there when it was opened, and since, without their ends."""
        with os.fdopen(os.dup(self._fd), "rb") as file:
            file.seek(0)
            for line in file:
                yield line.rstrip(b"\n")

    def append(self, line: bytes) -> None:
        """Add a line; it is there whole, or it is not."""
        try:
            os.lseek(self._fd, self._size, os.SEEK_SET)
            write_all(self._fd, line + b"\n")
            os.fsync(self._fd)
        except OSError as error:
            with contextlib.suppress(OSError):  # else it is done when the file is opened again
                os.ftruncate(self._fd, self._size)
            raise OutputError(str(self.path), error) from error
        self._size += len(line) + 1

    def _end_of_lines(self) -> int:
        """Return how many bytes are whole lines."""
        end = os.fstat(self._fd).st_size
        while end > 0:
            start = max(end - BLOCK_BYTES, 0)
            place = here.read_at(self._fd, end - start, start).rfind(b"\n")
            if place >= 0:
                return start + place + 1
            end = start
        return 0

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
