"""The terminal side of the command: live text over a line of status, and Ctrl-C.

Text goes to standard output as it is decided and is never written again. The status line goes to
standard error, if that is a terminal: it is drawn below the text while the cursor stays at the end
of the text, so that erasing all below the cursor leaves text alone, however often the window
changes its size. Where standard output is no terminal, it gets the text and nothing else.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, BinaryIO

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..audio.live import Live
from ..audio.loudness import dbfs
from ..console.lines import complain, put, write
from ..console.output import OutputError
from ..console.printable import printable
from ..console.signals import Stopped
from ..errors import AudioError
from ..system import here
from ..text.pieces import Piece

if TYPE_CHECKING:
    from ..streaming.model import Model

STATUS_S = 0.1  # time between two pictures of the status line
METER_DB = 60  # the level meter reaches from this far below full scale up to it
BAR_COLUMNS, LABEL_COLUMNS = 12, 24
ROOM = 10  # columns that must be left where a word begins, for its later pieces

PAD, MARKER, TEXT, PART, OTHER, BEHIND, CAUGHT_UP, LOST = ".", "|", "=", "~", "?", "<", ">", "!"

# From the end of the text: make sure that there is a row below, note the place, go to that row.
BELOW = "\x1bD\x1b[A\x1b7\x1b[B\r"
# Erase what is left of a longer line, or of lines that a narrower window has wrapped; and go back.
BACK = "\x1b[J\x1b8"


class Interrupt:
    """Ctrl-C and SIGTERM end the audio gently: what has come so far still becomes text.

    A second one raises KeyboardInterrupt or Stopped.
    """

    def __init__(self, live: Live) -> None:
        """Change nothing yet."""
        self._live = live
        self.asked = False

    def __enter__(self) -> Interrupt:
        """Take over both signals."""
        self._previous = {
            number: signal.signal(number, self._on_signal)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *error: object) -> None:
        """Give them back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt if number == signal.SIGINT else Stopped(number)
        self.asked = True
        self._live.stop()


class Screen:
    """Standard output and standard error together; `quiet`: only text and errors."""

    def __init__(self, *, quiet: bool = False, monitor: bool = False) -> None:
        """Write nothing yet."""
        is_terminal = here.draws(sys.stderr) and os.environ.get("TERM") != "dumb"
        self._console = Console(stderr=True)
        self.has_status = is_terminal and not quiet and not monitor
        self._monitor = monitor
        self._on_terminal = sys.stdout is not None and sys.stdout.isatty()
        self._column = 0  # of the cursor, if text or glyphs have been written in this line
        self._is_drawn = False
        self._due = 0.0
        self._whole_s = 0  # seconds behind, as told by the monitor

    @classmethod
    def of(cls, args: argparse.Namespace) -> Screen:
        """Return the screen that options ask for."""
        return cls(quiet=args.quiet, monitor=args.monitor)

    def __enter__(self) -> Screen:
        """Return the screen."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave text alone on the screen, and the cursor at the begin of a line."""
        self.erase()
        if kind is not None and not issubclass(kind, OutputError):
            self.finish_line()

    def text(self, text: str) -> None:
        """Write text to standard output, at once."""
        if not text:
            return
        self.erase()
        write(self._laid_out(text))

    def is_due(self) -> bool:
        """Whether it is time for another status."""
        return self.has_status and time.monotonic() >= self._due

    def status(self, row: Table) -> None:
        """Show a status line below the text."""
        self._due = time.monotonic() + STATUS_S
        with self._console.capture() as picture:
            # A full row would make some terminals wrap.
            width = max(self._console.width - 1, 1)
            self._console.print(row, end="", width=width, no_wrap=True, overflow="ellipsis")
        line = picture.get().split("\n", 1)[0]
        self._tell(BELOW + line + BACK)
        self._is_drawn = True

    def erase(self) -> None:
        """Take the status away."""
        if self._is_drawn:
            self._tell(BELOW + BACK)
            self._is_drawn = False

    def slot(self, slot: Piece, model: Model, behind_s: float) -> None:
        """Show what a slot was, if the monitor is wanted.

        Every whole second behind, and having caught up, are events of their own.
        """
        if not self._monitor:
            return
        if int(behind_s) > self._whole_s:
            self.event(BEHIND)
        elif int(behind_s) == 0 < self._whole_s:
            self.event(CAUGHT_UP)
        self._whole_s = int(behind_s)
        if slot.text:
            self.event(TEXT)
        elif slot.token >= model.n_special:
            self.event(PART)
        else:
            self.event({model.token_pad: PAD, model.token_word: MARKER}.get(slot.token, OTHER))

    def event(self, glyph: str) -> None:
        """Show a glyph, if the monitor is wanted."""
        if self._monitor:
            self._tell(self._laid_out(glyph))

    def complain(self, error: BaseException | str) -> None:
        """Say in one line what is wrong."""
        self.finish_line()
        complain(error)

    def finish_line(self) -> None:
        """End a line that was begun, so that what comes next stands alone."""
        self.erase()
        if self._column:
            self._column = 0
            write("\n")

    def _laid_out(self, text: str) -> str:
        """Return text as a terminal may get it, with line ends that keep words whole."""
        if not self._on_terminal:
            self._column = 0 if text.endswith("\n") else 1
            return text
        text = printable(text, "\n\t")
        width = self._console.width
        column = self._column % width  # as the terminal has laid it out, if it was made smaller
        after = column + cell_len(text)
        # Where a word begins there must be room for more of it; where it goes on, it is wrapped by
        # the terminal, but never ends in the last column, where the cursor is on the text.
        is_full = after + min(ROOM, width // 4) >= width if text[0].isspace() else after == width
        start = ""
        if column and is_full and text != "\n":
            start, text, self._column = "\n", text.lstrip(" "), 0
        last = text.rsplit("\n", 1)[-1]
        self._column = cell_len(last) + (0 if "\n" in text else self._column)
        return start + text

    def _tell(self, text: str) -> None:
        put(sys.stderr, text)


def live_status(
    audio_s: float, level: float, behind_s: float, rtf: float, *, is_ending: bool, is_quiet: bool
) -> Table:
    """Return a status line: time, level of the sound (largest sample, 0 to 1), lag and speed."""
    decibels = dbfs(level) + METER_DB
    colour = "red" if level >= 0.99 else "yellow" if is_quiet else "green"
    meter = ProgressBar(
        METER_DB, min(max(decibels, 0), METER_DB), BAR_COLUMNS,
        complete_style=colour, finished_style=colour,
    )  # fmt: skip
    lag = f"[{'yellow' if behind_s >= 1 else 'default'}]lag {behind_s:.1f} s"
    hint = "last words; Ctrl-C again to stop" if is_ending else "Ctrl-C to end"
    if is_quiet and not is_ending:
        hint = "too quiet for speech: turn it up, or use --gain auto"
    return _row(clock(audio_s), meter, lag, f"RTF {rtf:.2f}", Text(hint, "dim"))


def file_status(name: str, done_s: float, total_s: float | None, taken_s: float) -> Table:
    """Return a status line: how much of a file is done, how fast, and how long it will take."""
    speed = done_s / taken_s if taken_s else 0.0
    name = printable(name)
    label = name if cell_len(name) <= LABEL_COLUMNS else "..." + name[3 - LABEL_COLUMNS :]
    cells: list[RenderableType] = [Text(label, "dim"), clock(done_s)]
    if total_s:
        share = min(done_s / total_s, 1.0)
        left = clock((total_s - min(done_s, total_s)) / speed) if speed else "-"
        cells += [ProgressBar(1.0, share, BAR_COLUMNS), f"{share:.0%}"]
        return _row(*cells, f"{speed:.1f}x real time", f"{left} left")
    return _row(*cells, f"{speed:.1f}x real time")


def clock(seconds: float) -> str:
    """Return a time as hours:minutes:seconds."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def pipe_in() -> BinaryIO:
    """Return standard input, unbuffered; raise AudioError if nothing is piped into it."""
    if sys.stdin is None or sys.stdin.isatty():
        raise AudioError("standard input is no pipe: pipe audio in, as in voxtral stream - < FILE")
    # A thread that waits in the buffer's lock could not be left behind at the end.
    raw: BinaryIO = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
    return raw


def _row(*cells: RenderableType) -> Table:
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_row(*cells)
    return row
