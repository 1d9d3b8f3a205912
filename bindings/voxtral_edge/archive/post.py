"""What a worker is at: its jobs, how far they are, and how fast it is."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from .sources import Source
from .work.job import Job


@dataclass
class Task:
    """A job at work: since when it stands, and how far it is."""

    job: Job
    moved_at: float = field(default_factory=time.monotonic)
    done_s: float = 0.0


class Post:
    """The jobs of one worker; seconds of audio are those that were guessed."""

    def __init__(self) -> None:
        """Begin without jobs."""
        self.tasks: dict[str, Task] = {}
        self._ended_s = self._busy_s = 0.0
        self._seen_at = time.monotonic()

    def start(self, job: Job) -> None:
        """Take a job."""
        self._pass()
        self.tasks[job.source.id] = Task(job)

    def end(self, id: str) -> Source:
        """Take a job away; return its source."""
        self._pass()
        source = self.tasks.pop(id).job.source
        self._ended_s += source.guess_s
        return source

    def to_do_s(self) -> float:
        """Return how much its jobs have left."""
        return sum(max(each.job.source.guess_s - each.done_s, 0.0) for each in self.tasks.values())

    def rate(self) -> float:
        """Return how much it does per second with jobs, 0.0: not known yet."""
        self._pass()
        done = [min(each.done_s, each.job.source.guess_s) for each in self.tasks.values()]
        return (self._ended_s + sum(done)) / self._busy_s if self._busy_s else 0.0

    def _pass(self) -> None:
        now = time.monotonic()
        if self.tasks:
            self._busy_s += now - self._seen_at
        self._seen_at = now
