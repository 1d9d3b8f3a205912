"""Opens and reads files: regular ones only, for a pipe or a device may never end."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from voxtral_edge.system import here

from ..errors import ConversionError


def open_regular(path: str | os.PathLike[str]) -> int:
    """Return the descriptor of a file; raise ConversionError if it is none, OSError if it fails."""
    none = ConversionError(f"{path} is no file: name one, not a folder, a pipe or a device")
    if Path(path).is_dir():  # which not every system opens
        raise none
    fd = os.open(path, os.O_RDONLY | here.BINARY | here.NO_WAIT)  # a pipe does not wait
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise none
    return fd


def read_at(fd: int, path: str | os.PathLike[str], offset: int, n: int) -> bytes:
    """Return n bytes at an offset, or fewer at the end; raise ConversionError if it fails.

    A system may give less at a time than is asked for.
    """
    parts = []
    while n > 0:
        try:
            part = here.read_at(fd, n, offset)
        except OSError as error:
            raise ConversionError(f"{path}: cannot be read ({error.strerror})") from error
        if not part:
            break
        parts.append(part)
        offset, n = offset + len(part), n - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
