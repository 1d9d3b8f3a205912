"""Signals that ask to stop."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(BaseException):
    """A signal asked to stop, at once but tidily."""

    def __init__(self, number: int) -> None:
        """Keep the number of the signal."""
        super().__init__(number)
        self.number = number


@contextmanager
def stoppable(*numbers: int) -> Iterator[None]:
    """Raise Stopped for the first of some signals, and ignore them after that.

    So nothing disturbs the tidying up. What is ignored, as SIGHUP under nohup, stays ignored.
    """
    previous = {
        number: handler
        for number in numbers
        if (handler := signal.getsignal(number)) != signal.SIG_IGN
    }

    def stop(number: int, frame: FrameType | None) -> None:
        for each in previous:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(number)

    for number in previous:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
