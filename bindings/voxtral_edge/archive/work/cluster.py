"""Workers on the machines of a Ray cluster: actors, each with a model and threads like a process's.

As many actors are asked for as the nodes have room for, and one more, which is what tells an
autoscaler that another node would be of use. A model's file is mapped, so that all actors of a node
share its memory. A node that goes takes the work of its actors along, which others do again.
"""

from __future__ import annotations

import queue
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ...errors import ArgumentError, VoxtralError
from ...machine import host
from .job import Broken, Job, Moved, News, Ready, Settings
from .lanes import Lanes, check_model
from .process import Worker

LOCAL = "local"  # an address: this machine as a cluster
POLL_S = 1.0  # how long an actor waits for news before it says that there are none
NODES_S = 5.0  # between two looks at the nodes
CONNECT_S = 10.0
LOST = ("its node has died", "killed by `ray.kill`")


class Actor:
    """What runs on a node."""

    def __init__(self, settings: Settings, n_processors: int) -> None:
        """Open the model; `n_processors` are this actor's, 0: as many as it takes."""
        self._news: queue.SimpleQueue[News] = queue.SimpleQueue()
        if settings.threads is None and 0 < n_processors < host.n_processors():
            settings = replace(settings, threads=n_processors)
        try:
            check_model(settings)
            self._lanes = Lanes(settings, self._news.put)
        except (VoxtralError, OSError, MemoryError, RuntimeError) as error:
            self._news.put(Broken(str(error) or "out of memory"))
        else:
            self._news.put(Ready(self._lanes.n))

    def start(self, job: Job) -> None:
        """Do a job when a thread is free."""
        self._lanes.start(job)

    def news(self) -> list[News]:
        """Return what has happened since; wait a while for something that matters."""
        told, end = list[News](), time.monotonic() + POLL_S
        while (left_s := end - time.monotonic()) > 0:
            try:
                told.append(self._news.get(timeout=left_s))
            except queue.Empty:
                break
            if not isinstance(told[-1], Moved) and self._news.empty():
                break
        return told


class Hired:
    """An actor, as the foreman sees it."""

    def __init__(self, actor: Any) -> None:
        """Ask for its news; it may have to wait for a node."""
        self.n_lanes, self.is_lost = 0, False
        self.ended: str | None = None
        self._actor = actor
        self.answer = actor.news.remote()

    def start(self, job: Job) -> None:
        """Give it a job."""
        self._actor.start.remote(job)

    def news(self) -> list[News]:
        """Return what it has told since."""
        import ray

        told: list[News] = []
        try:
            while self.ended is None and ray.wait([self.answer], timeout=0)[0]:
                told += ray.get(self.answer)
                self.answer = self._actor.news.remote()
                for news in told:
                    if isinstance(news, Ready):
                        self.n_lanes = news.n_lanes
        except ray.exceptions.RayError as error:
            self._end(error)
        return told

    def stop(self) -> None:
        """End it at once."""
        import ray

        ray.kill(self._actor, no_restart=True)
        self.ended = self.ended or "its actor was stopped"

    def _end(self, error: Exception) -> None:
        import ray

        # What is unreachable may be at work still. What else ended no file has ended, which Ray
        # tells in its text alone.
        is_away = isinstance(error, ray.exceptions.ActorUnavailableError)
        self.is_lost = is_away or any(cause in str(error) for cause in LOST)
        ray.kill(self._actor, no_restart=True)
        self.ended = "its process died"


def _reach(address: str) -> None:
    """Raise ArgumentError if nobody answers there, which Ray itself takes minutes to say."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()) or "://" in address:
        return
    try:
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise ArgumentError(f"there is no Ray cluster at {address}: {error}") from None


class Cluster:
    """The nodes of a Ray cluster."""

    def __init__(self, address: str, settings: Settings) -> None:
        """Join the cluster at an address, or make one of this machine: "local".

        Raises ArgumentError if Ray is missing or the cluster cannot be reached.
        """
        try:
            import ray
        except ImportError:
            raise ArgumentError("--ray needs Ray: pip install 'voxtral-edge[cluster]'") from None
        self._settings = settings
        _reach(address)
        handler = signal.getsignal(signal.SIGTERM)  # which Ray would replace
        try:
            ray.init(
                None if address == LOCAL else address,
                log_to_driver=False,
                logging_level="error",
                include_dashboard=False,
            )
        except Exception as error:  # Ray has no class for what may be wrong here
            reason = str(error).partition("\n")[0]
            raise ArgumentError(f"there is no Ray cluster at {address}: {reason}") from None
        finally:
            signal.signal(signal.SIGTERM, handler)
        self._looked_at = -NODES_S
        self._look()

    def close(self) -> None:
        """Leave the cluster."""
        import ray

        ray.shutdown()

    def hire(self, workers: Sequence[Worker], n_jobs: int) -> list[Worker]:
        """Return an actor for each node that has room, and one that waits for another node."""
        if not n_jobs:
            return []
        self._look()
        n = min(self._n_fitting + 1 - len(workers), n_jobs)
        return [self._actor(self._n_processors, self._settings) for _ in range(n)]

    def alone(self) -> Worker:
        """Return an actor for one job, which waits for nobody's processors."""
        return self._actor(0, replace(self._settings, n_lanes=1))

    def wait(self, workers: Sequence[Worker], seconds: float) -> None:
        """Wait until one of them may have news."""
        import ray

        answers = [each.answer for each in workers if isinstance(each, Hired) and not each.ended]
        if answers:
            ray.wait(answers, timeout=seconds)

    def _actor(self, n_processors: int, settings: Settings) -> Worker:
        import ray

        kind = ray.remote(Actor).options(
            num_cpus=n_processors,
            max_concurrency=4,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
        )
        return Hired(kind.remote(settings, n_processors))

    def _look(self) -> None:
        """See how many actors the nodes have room for, each with the processors of the least."""
        import ray

        if time.monotonic() < self._looked_at + NODES_S:
            return
        self._looked_at = time.monotonic()
        counts = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
        counts = [count for count in counts if count]
        self._n_processors = min(counts, default=1)
        self._n_fitting = sum(count // self._n_processors for count in counts)
