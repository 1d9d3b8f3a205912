"""Lines for a person: answers to standard output, what is wrong to standard error."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
from typing import TextIO

from ..errors import VoxtralError
from .output import OutputError, write_all
from .printable import printable

SIZE = re.compile(r"[1-9]\d{0,3}")  # columns or lines that a terminal can have


def forget_odd_sizes() -> None:
    """Let what COLUMNS and LINES say be as if unset, if no terminal has that size."""
    for name in ("COLUMNS", "LINES"):
        if not SIZE.fullmatch(os.environ.get(name, "1")):
            del os.environ[name]


def columns(elsewhere: int) -> int:
    """Return the width of standard output: the terminal's, or what suits a pipe or a file."""
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return shutil.get_terminal_size().columns if is_terminal else elsewhere


def write(text: str) -> None:
    """Print at once, so that live text is live and a full disk is noticed here.

    A terminal gets nothing that it would obey but ends of lines and tabs.
    """
    try:
        if sys.stdout is None:
            raise OSError(errno.EBADF, "it is closed")
        put(sys.stdout, printable(text, "\n\t") if sys.stdout.isatty() else text)
    except OSError as error:
        raise OutputError(None, error) from error


def complain(error: BaseException | str) -> None:
    """Say in one line what is wrong."""
    text = str(error) or "out of memory"
    if isinstance(error, OSError) and not isinstance(error, (VoxtralError, OutputError)):
        text = f"{error.filename}: {error.strerror}" if error.filename else f"{error.strerror}"
    put(sys.stderr, f"voxtral: {printable(text)}\n")


def put(stream: TextIO, text: str) -> None:
    """Print at once, whether or not the stream waits for its reader.

    It does not if a program that shares the pipe or the terminal has set it so.
    """
    try:
        fd = stream.fileno()
    except (OSError, ValueError):  # it is no file
        print(text, end="", file=stream, flush=True)
        return
    stream.flush()
    write_all(fd, text.encode(stream.encoding, stream.errors or "strict"))
