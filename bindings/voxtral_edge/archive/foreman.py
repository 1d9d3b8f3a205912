"""Hands sources out, writes what comes back, notes it: the one process that an archive depends on.

A source that fails, stands still or ends its worker is tried once more in a process of its own; if
it fails there as well, it is set aside with its reason. What fails by the network's fault is left
for the next run, and a machine that fails, as by a full disk, ends this one.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..console.output import Output, is_text
from ..errors import ComputeError, ModelError
from .order import Hand, Order
from .post import Post, Task
from .results import Line, Results
from .sources import Source
from .work import parquet, state
from .work.job import (
    Broken,
    Failed,
    Fault,
    Finished,
    Job,
    Moved,
    News,
    Settings,
    Told,
    Unchanged,
)
from .work.process import Crew, Worker

TICK_S = 0.5
MOST_DEATHS = 3  # of workers one after the other that were not ready yet
MOST_UNREACHED = 8  # sources one after the other, after which the network is given up


class MachineError(ComputeError):
    """A worker's machine fails, whatever source it is given."""


@dataclass
class Tally:
    """What a run has done so far; `audio_s` of what is done, `at_work_s` of what is being done."""

    n_done: int = 0
    n_set_aside: int = 0
    n_unreached: int = 0
    n_left: int = 0
    audio_s: float = 0.0
    guessed_s: float = 0.0  # what was guessed for the same sources
    at_work_s: float = 0.0
    left_s: float = 0.0


class Foreman:
    """One run over the sources that have no line yet."""

    def __init__(
        self,
        order: Order,
        crew: Crew,
        results: Results,
        target: Path,
        settings: Settings,
        *,
        patience_s: float,
        tell: Callable[[str], None],
        show: Callable[[Tally], None],
    ) -> None:
        """Begin nothing yet.

        patience_s: how long a job may stand still; tell: gets lines for a person; show: is called
        now and then.
        """
        self._order, self._crew, self._results = order, crew, results
        self._target, self._settings, self._patience_s = target, settings, patience_s
        self._tell, self._show = tell, show
        self._workers: dict[Worker, Post] = {}
        self._alone: Worker | None = None
        self._suspects: deque[Source] = deque()
        self._n_deaths = self._n_unreached = 0
        self.tally = Tally(n_left=len(order), left_s=order.left_s)

    def run(self) -> Tally:
        """Do all; return what was done. Raises OutputError, MachineError, ModelError."""
        try:
            while (len(self._order) or self._suspects or self._n_at_work()) and (
                self._n_unreached < MOST_UNREACHED
            ):
                self._hand_out()
                self._crew.wait([*self._workers], TICK_S)
                for worker in [*self._workers]:
                    for news in worker.news():
                        self._take(worker, news)
                    if worker.ended is not None:
                        self._bury(worker)
                self._look_for_stuck()
                self._show(self._counted())
        finally:
            for worker in self._workers:
                worker.stop()
        return self._counted()

    def _n_at_work(self) -> int:
        return sum(len(post.tasks) for post in self._workers.values())

    def _hand_out(self) -> None:
        crew = [worker for worker in self._workers if worker is not self._alone]
        for worker in self._crew.hire(crew, len(self._order)):
            self._workers[worker] = Post()
            crew.append(worker)
        ready = [worker for worker in crew if worker.n_lanes]
        posts = [self._workers[worker] for worker in ready]
        rates = [post.rate() for post in posts]
        known = [rate for rate in rates if rate] or [1.0]
        mean = sum(known) / len(known)
        hands = [
            Hand(post.to_do_s(), rate or mean, worker.n_lanes - len(post.tasks))
            for worker, post, rate in zip(ready, posts, rates, strict=True)
        ]
        rate, at_work_s = sum(hand.rate for hand in hands), sum(hand.to_do_s for hand in hands)
        for number, source in self._order.deal(hands, len(hands), rate, at_work_s):
            self._start(ready[number], source)
        if self._suspects and self._alone is None:
            self._alone = self._crew.alone()
            self._workers[self._alone] = Post()
            self._start(self._alone, self._suspects.popleft())

    def _start(self, worker: Worker, source: Source) -> None:
        known = self._results.known.get(source.id)
        job = Job(source, known.sha256 if known and known.is_done else None)
        self._workers[worker].start(job)
        worker.start(job)

    def _take(self, worker: Worker, news: News) -> None:
        post = self._workers[worker]
        if isinstance(news, Broken):
            raise ModelError(news.error)
        if isinstance(news, Told):
            self._tell(news.text)
            return
        if isinstance(news, Moved):
            if task := post.tasks.get(news.id):
                task.moved_at, task.done_s = time.monotonic(), news.done_s
            return
        if not isinstance(news, (Finished, Unchanged, Failed)):
            self._n_deaths = 0  # it is ready
            for task in post.tasks.values():
                task.moved_at = time.monotonic()
            return
        source = post.end(news.id)
        if not isinstance(news, Failed):
            self._n_unreached = 0
            self._finish(source, news)
        elif news.fault is Fault.MACHINE:
            raise MachineError(f"{source.id}: {news.error}")
        elif news.fault is Fault.NETWORK:
            self._n_unreached += 1
            self.tally.n_unreached += 1
            self._tell(news.error)
        elif worker is self._alone:
            self._set_aside(source, news.error, news.sha256)
        else:
            self._suspects.append(source)
        if worker is self._alone:
            worker.stop()

    def _finish(self, source: Source, news: Finished | Unchanged) -> None:
        self.tally.n_done += 1
        if isinstance(news, Unchanged):
            return
        paths = []
        for format, data in news.outputs.items():
            path = self._target / f"{source.place}.{format}"
            over = parquet.is_parquet if format == parquet.NAME else is_text
            with Output(path, inputs={}, over=over, make_folder=True) as output:
                output.write(data)
            paths.append(path)
        rtf = news.taken_s / news.duration_s
        self._note(
            source, paths, sha256=news.sha256, duration_s=news.duration_s, rtf=round(rtf, 4),
            words=news.n_words, error=news.error,
        )  # fmt: skip
        self.tally.audio_s += news.duration_s
        self.tally.guessed_s += source.guess_s
        if news.error:
            self._tell(f"{source.id}: {news.error}")

    def _set_aside(self, source: Source, error: str, sha256: str | None = None) -> None:
        self._note(source, [], sha256=sha256, error=error)
        self.tally.n_set_aside += 1
        self._tell(f"{source.id} is set aside: {error}")

    def _note(self, source: Source, outputs: list[Path], **known: Any) -> None:
        model, options = self._results.about
        line = Line(source.id, source.path, source.stamp, model=model, options=options, **known)
        self._results.add(line, outputs)
        if self._settings.states:
            state.path(self._settings.states, source.id).unlink(missing_ok=True)

    def _bury(self, worker: Worker) -> None:
        """Give the jobs of a worker that has ended to others."""
        tasks = self._workers.pop(worker).tasks
        was_alone = worker is self._alone
        if was_alone:
            self._alone = None
        if worker.n_lanes == 0 and not worker.is_lost:
            self._n_deaths += 1
            if self._n_deaths == MOST_DEATHS:
                raise MachineError(f"nothing can be transcribed here: {worker.ended}")
        is_innocent = worker.is_lost or worker.n_lanes == 0
        for task in tasks.values():
            if was_alone and not is_innocent:
                self._set_aside(task.job.source, str(worker.ended))
            elif was_alone or not is_innocent:
                self._suspects.append(task.job.source)
            else:
                self._order.put_back(self._rest(task))

    def _rest(self, task: Task) -> Source:
        """Return the source of a job that was not ended, as long as what its state leaves of it."""
        source = task.job.source
        done_s = task.done_s if self._settings.states else 0.0
        return replace(source, guess_s=max(source.guess_s - done_s, 0.0))

    def _look_for_stuck(self) -> None:
        latest = time.monotonic() - self._patience_s
        for worker in [*self._workers]:
            tasks = self._workers[worker].tasks
            stuck = [task for task in tasks.values() if task.moved_at < latest]
            if not stuck or worker.n_lanes == 0:
                continue
            worker.stop()
            for task in stuck:
                source = tasks.pop(task.job.source.id).job.source
                if worker is self._alone:
                    where = f"for {self._patience_s:g} s, after {task.done_s:.0f} s of its audio"
                    self._set_aside(source, f"it stood still {where}")
                else:
                    self._suspects.append(source)
            worker.is_lost = True  # the others have done nothing
            self._bury(worker)

    def _counted(self) -> Tally:
        tasks = [task for post in self._workers.values() for task in post.tasks.values()]
        tally = self.tally
        tally.n_left = len(self._order) + len(self._suspects) + len(tasks)
        tally.n_left += tally.n_unreached
        tally.at_work_s = sum(task.done_s for task in tasks)
        tally.left_s = self._order.left_s + sum(source.guess_s for source in self._suspects)
        tally.left_s += sum(task.job.source.guess_s for task in tasks)
        return tally
