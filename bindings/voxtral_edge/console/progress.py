"""How far something long is: on a terminal in its place, otherwise a line now and then."""

from __future__ import annotations

import os
import shutil
import sys
import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from .lines import complain, put
from .printable import printable

LINE_SECONDS = 5.0
DRAWN_S, PRINTED_S = 0.5, 60.0  # between two pictures of a line, and two lines


class Line:
    """A context manager to be called with a text about the whole run; `quiet`: it shows none."""

    def __init__(self, *, quiet: bool) -> None:
        """Show nothing yet."""
        self._quiet = quiet
        self._in_place = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._due = time.monotonic() + (DRAWN_S if self._in_place else PRINTED_S)
        self._is_drawn = False

    def __enter__(self) -> Line:
        """Return the line."""
        return self

    def __exit__(self, *error: object) -> None:
        """Take the line away."""
        self._erase()

    def __call__(self, text: str) -> None:
        """Show a text, if it is time for another one."""
        now = time.monotonic()
        if self._quiet or now < self._due:
            return
        if not self._in_place:
            self._due = now + PRINTED_S
            complain(text)
            return
        self._due = now + DRAWN_S
        width = max(shutil.get_terminal_size().columns - 1, 1)  # a full row would wrap
        put(sys.stderr, f"\r{printable(text)[:width]}\x1b[K")
        self._is_drawn = True

    def tell(self, text: str) -> None:
        """Say something that stays."""
        self._erase()
        complain(text)

    def _erase(self) -> None:
        if self._is_drawn:
            put(sys.stderr, "\r\x1b[K")
            self._is_drawn = False


class Bar:
    """A context manager to be called with a tensor's name and the bytes done since."""

    def __init__(self, verb: str, n_bytes: int) -> None:
        """Count up to n_bytes; verb is the first word of each line."""
        self.verb, self.n_bytes = verb, n_bytes
        self.done = 0
        self.start = self.shown = time.monotonic()
        self.bar: Progress | None = None
        if sys.stderr.isatty():
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[tensor]}", markup=False),
                console=Console(stderr=True),
                transient=True,
            )
            self.task = self.bar.add_task(verb, total=n_bytes, tensor="")

    def __enter__(self) -> Bar:
        """Begin to show."""
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Take the bar away."""
        if self.bar:
            self.bar.stop()

    def __call__(self, tensor: str, n_bytes: int) -> None:
        """Add bytes that belong to a tensor."""
        before, self.done = self.done, self.done + n_bytes
        if self.bar:
            self.bar.update(self.task, advance=n_bytes, tensor=printable(tensor))
            return
        now = time.monotonic()
        tenth = before * 10 // self.n_bytes != self.done * 10 // self.n_bytes
        if now - self.shown < (1.0 if tenth else LINE_SECONDS):
            return
        self.shown = now
        rate = self.done / (now - self.start)
        left_s = (self.n_bytes - self.done) / rate
        print(
            f"{self.verb}: {self.done / self.n_bytes:.0%} of {self.n_bytes / 1e9:.2f} GB, "
            f"{rate / 1e9:.2f} GB/s, {left_s:.0f} s left, {printable(tensor)}",
            file=sys.stderr,
            flush=True,
        )
