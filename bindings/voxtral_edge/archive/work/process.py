"""Workers on this machine: a process with a model, and one for a file that is tried alone."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import wait
from typing import Protocol

from ...system import here
from .job import Job, News, Ready, Settings


class Worker(Protocol):
    """Who does jobs, so many at once as n_lanes says; 0: not ready yet."""

    n_lanes: int
    ended: str | None  # why it has ended, if it has
    is_lost: bool  # it has ended by no fault of its jobs

    def start(self, job: Job) -> None:
        """Give it a job."""

    def news(self) -> list[News]:
        """Return what it has told since; never waits."""
        ...

    def stop(self) -> None:
        """End it at once."""


class Crew(Protocol):
    """Where workers come from."""

    def hire(self, workers: Sequence[Worker], n_jobs: int) -> list[Worker]:
        """Return further workers, if these are not enough for so many more jobs."""
        ...

    def alone(self) -> Worker:
        """Return a worker that is to do one job, in a process of its own."""
        ...

    def wait(self, workers: Sequence[Worker], seconds: float) -> None:
        """Wait until one of them may have news."""

    def close(self) -> None:
        """End; its workers have been stopped."""


class Process:
    """A worker in a process of its own."""

    def __init__(self, settings: Settings) -> None:
        """Start it."""
        self.n_lanes, self.ended, self.is_lost = 0, None, False
        command = [sys.executable, "-m", "voxtral_edge.archive.work.child"]
        self._child, self.connection = here.start_child(command)
        self._send(settings)

    ended: str | None

    def start(self, job: Job) -> None:
        """Give it a job."""
        self._send(job)

    def news(self) -> list[News]:
        """Return what it has told since."""
        told: list[News] = []
        if self.ended is not None:
            return told
        try:
            while self.connection.poll():
                news: News = self.connection.recv()
                if isinstance(news, Ready):
                    self.n_lanes = news.n_lanes
                told.append(news)
        except (EOFError, OSError):
            self.ended = _reason(self._child.wait())
            self.connection.close()
        return told

    def stop(self) -> None:
        """End it at once."""
        if self._child.poll() is None:
            self._child.kill()
        self.ended = self.ended or _reason(self._child.wait())
        self.connection.close()

    def _send(self, what: Settings | Job) -> None:
        with contextlib.suppress(OSError):  # it has ended, which news() will find
            self.connection.send(what)


class Machine:
    """This machine: one process for all jobs at once, since they share the model's passes."""

    def __init__(self, settings: Settings) -> None:
        """Start nothing yet."""
        self._settings = settings

    def hire(self, workers: Sequence[Worker], n_jobs: int) -> list[Worker]:
        """Return a process if there is none."""
        return [] if workers or not n_jobs else [Process(self._settings)]

    def alone(self) -> Worker:
        """Return a process for one job."""
        return Process(replace(self._settings, n_lanes=1))

    def wait(self, workers: Sequence[Worker], seconds: float) -> None:
        """Wait until one of them may have news."""
        wait([each.connection for each in workers if isinstance(each, Process)], seconds)

    def close(self) -> None:
        """End; nothing is left but processes, which have been stopped."""


def _reason(status: int) -> str:
    if status >= 0:
        return f"its process ended with status {status}"
    try:
        return f"its process was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"its process was ended by signal {-status}"
