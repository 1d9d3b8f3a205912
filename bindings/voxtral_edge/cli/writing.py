"""The text of an input on its way to standard output and files."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Sequence
from typing import Any

from ..errors import ArgumentError
from ..streaming.model import Model
from ..text.formats import FORMATS, Feed, Origin
from ..text.pieces import Piece, Turn
from .inputs import STDIN
from .outputs import Job
from .terminal import Screen


class Writing:
    """Takes the slots of one input; files become whole or not."""

    def __init__(
        self, job: Job, model: Model, screen: Screen, delay_ms: int | None, head: str
    ) -> None:
        """Write nothing yet; `head`: what the text on standard output opens with."""
        name = None if job.input.path == STDIN else _plain(job.input.path)
        origin = Origin(name, model.name, delay_ms or model.default_delay_ms)
        self._feed = Feed(model, [FORMATS[format](origin) for format, _ in job.outputs])
        self._files = [output for _, output in job.outputs]
        self._screen, self._head = screen, head

    def __enter__(self) -> Writing:
        """Open the files."""
        with contextlib.ExitStack() as stack:
            for file in self._files:
                if file:
                    stack.enter_context(file)
            self._write(self._feed.begin())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        """Close the files."""
        self._stack.__exit__(*error)

    def slot(self, slot: Piece) -> None:
        """Take the next slot."""
        self._write(self._feed.slot(slot))

    def turn(self, turn: Turn) -> None:
        """Take what the slots so far say of turns."""
        self._write(self._feed.turn(turn))

    def end(self, duration_s: float) -> None:
        """Take the end of the audio."""
        texts = self._feed.end(duration_s)
        if self._head.isspace():  # an object in an array, which brings the line ends itself
            texts = [text.rstrip("\n") for text in texts]
        self._write(texts)

    def _write(self, texts: list[str]) -> None:
        for file, text in zip(self._files, texts, strict=True):
            if not text:
                continue
            if file:
                file.write(text.encode())
            else:
                self._screen.text(self._head + text)
                self._head = ""


def _plain(path: str) -> str:
    """Return a file name as text that can be written anywhere."""
    return os.fsencode(path).decode(errors="replace")


def check_shown(args: argparse.Namespace, jobs: Sequence[Job]) -> None:
    """Refuse to compute what would not be seen."""
    formats = {format for job in jobs for format, _ in job.outputs}
    if (args.confidence or args.alternatives) and not formats & {"json", "jsonl"}:
        raise ArgumentError(
            "only json and jsonl show --confidence and --alternatives: add --format json"
        )
