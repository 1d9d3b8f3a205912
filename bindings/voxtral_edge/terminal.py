"""The terminal side of the command: pipes that close, disks that fill, and Ctrl-C."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import BinaryIO

from .audio import Samples
from .errors import AudioError, VoxtralError


class OutputError(Exception):
    """Standard output cannot be written; the cause is an OSError."""


class Interrupt:
    """Ctrl-C ends the audio gently: it breaks off the wait for audio, never the making of text.

    A second Ctrl-C raises KeyboardInterrupt wherever it meets the program.
    """

    def __init__(self) -> None:
        """Change nothing yet."""
        self.asked = False
        self.waiting = False

    def __enter__(self) -> Interrupt:
        """Take over SIGINT."""
        self.previous = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *error: object) -> None:
        """Give SIGINT back."""
        signal.signal(signal.SIGINT, self.previous)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        again, self.asked = self.asked, True
        if self.waiting or again:
            raise KeyboardInterrupt

    def until(self, blocks: Iterator[Samples]) -> Iterator[Samples]:
        """Yield blocks up to the first Ctrl-C."""
        while True:
            try:
                self.waiting = True
                block = None if self.asked else next(blocks, None)
            except KeyboardInterrupt:
                block = None
            finally:
                self.waiting = False
            if block is None:
                return
            yield block


def pipe_in() -> BinaryIO:
    """Return standard input; raise AudioError if nothing is piped into it."""
    if sys.stdin is None or sys.stdin.isatty():
        raise AudioError("standard input is no pipe: pipe audio in, as in voxtral stream - < FILE")
    return sys.stdin.buffer


def write(text: str) -> None:
    """Print at once, so that live text is live and a full disk is noticed here."""
    try:
        print(text, end="", flush=True)
    except OSError as error:
        raise OutputError(f"cannot write to standard output: {error.strerror}") from error


def complain(error: BaseException) -> None:
    """Say in one line what is wrong."""
    text = str(error) or "out of memory"
    if isinstance(error, OSError) and not isinstance(error, VoxtralError):
        text = f"{error.filename}: {error.strerror}" if error.filename else f"{error.strerror}"
    text = text.replace("\n", " ")
    print(f"voxtral: {text}", file=sys.stderr)
