"""Opens what is read: regular files only, for a pipe or a device may never end."""

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
