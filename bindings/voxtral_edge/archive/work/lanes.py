"""The threads of a worker, each with a job at a time, over one model whose passes they share."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from ...errors import ModelFormatError
from ...machine import host
from ...machine.models import sha256_of
from ...streaming.model import Model
from ...system import here
from . import transcription
from .job import Job, News, Settings

MOST = 16  # streams in a pass: docs/performance.md, many streams
SHARE = 0.8  # of the memory that is available
HALF = 2  # bytes of a key or a value


class Lanes:
    """A model, and threads that do jobs with it: `n` at once."""

    def __init__(self, settings: Settings, tell: Callable[[News], None]) -> None:
        """Open the model and wait for jobs; raise what Model raises."""
        self._settings, self._tell = settings, tell
        self._model = Model(settings.model, threads=settings.threads, window_s=settings.window_s)
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self.n = settings.n_lanes or fitting(settings.model, self._model)
        for _ in range(self.n):
            threading.Thread(target=self._work, daemon=True).start()

    def start(self, job: Job) -> None:
        """Do a job as soon as a thread is free; `tell` gets how it ends."""
        self._jobs.put(job)

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            self._tell(transcription.run(job, self._settings, self._model, self._tell))


def fitting(path: str | None, model: Model) -> int:
    """Return how many streams of a model at once suit this machine; a path of None: the demo model.

    One more than processors, so that passes are full while a file is opened or ends; and each must
    find the memory that it has once its windows are full.
    """
    n, available = min(host.n_processors() + 1, MOST), here.memory()[1]
    if path is None or available is None:
        return n
    return max(min(n, int(SHARE * available / stream_bytes(Path(path), model))), 1)


def stream_bytes(path: Path, model: Model) -> int:
    """Return the bytes of a stream's keys and values, once its windows are full."""
    from ...convert import GgufFile  # takes long to import, and every command reads this file

    with GgufFile(path) as file:

        def of(part: str, heads: str, window: int) -> int:
            n_bytes = 2 * HALF * window
            for name in ("n_layers", heads, "head_dim"):
                n_bytes *= int(file.metadata[f"voxtral_edge.{part}.{name}"].value)
            return n_bytes

        encoder = of("encoder", "n_heads", model.encoder_window)
        return encoder + of("decoder", "n_kv_heads", model.decoder_window)


def model_sha256(model: str | None) -> str:
    """Return the SHA-256 of a model's file; None: the demo model."""
    if model is not None:
        return sha256_of(Path(model))
    with resources.as_file(resources.files("voxtral_edge") / "demo.gguf") as demo:
        return sha256_of(demo)


def check_model(settings: Settings) -> None:
    """Raise ModelFormatError unless the model's file is what it is where the run was begun."""
    if model_sha256(settings.model) != settings.sha256:
        raise ModelFormatError(
            f"{settings.model} is another file on {host.describe()['system']}: copy the same one "
            "to all machines"
        )
