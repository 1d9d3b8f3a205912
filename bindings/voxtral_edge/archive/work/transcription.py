"""A source becomes outputs: what every worker does, wherever it is."""

from __future__ import annotations

import errno
import io
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

from ...audio import RATE, Chunks, Samples
from ...console.output import OutputError
from ...errors import AudioError, VoxtralError
from ...streaming.model import Model
from ...text.formats import FORMATS, Feed, Format, Origin
from ...text.words import Word
from .. import sources, stores
from .job import Failed, Fault, Finished, Job, Moved, News, Settings, Told, Unchanged
from .parquet import NAME, Parquet
from .state import Kept, State

KINDS: dict[str, Callable[[Origin], Format]] = {**FORMATS, NAME: Parquet}

MOVED_S = 1.0  # between two words about progress
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)  # what other sources meet as well


def run(job: Job, settings: Settings, model: Model, tell: Callable[[News], None]) -> News:
    """Do a job; return how it ended. `tell` gets what is to be known meanwhile."""
    sha256 = None
    progress = _Progress(job.source.id, tell)
    try:
        with sources.opened(job.source, progress.moved) as (audio, sha256):
            if sha256 == job.known:
                return Unchanged(job.source.id)
            return _transcribe(job, settings, model, audio, sha256, progress)
    except stores.UnreachableError as error:
        return Failed(job.source.id, str(error), Fault.NETWORK)
    except OSError as error:
        own = not isinstance(error, VoxtralError) and error.errno in FULL
        fault = Fault.MACHINE if own else Fault.SOURCE
        return Failed(job.source.id, _reason(error), fault, sha256)
    except Exception as error:  # a decoder of a stranger's file may raise anything
        return Failed(job.source.id, _reason(error), Fault.SOURCE, sha256)


class _Progress:
    """Tells now and then that a job goes on."""

    def __init__(self, id: str, tell: Callable[[News], None]) -> None:
        self.tell, self._id, self._due = tell, id, 0.0

    def moved(self, done_s: float = 0.0) -> None:
        now = time.monotonic()
        if now >= self._due:
            self._due = now + MOVED_S
            self.tell(Moved(self._id, done_s))


class _Count(Format):
    """Counts words."""

    n_words = 0

    def word(self, word: Word) -> str:
        self.n_words += 1
        return ""


def _transcribe(
    job: Job,
    settings: Settings,
    model: Model,
    audio: str | BinaryIO,
    sha256: str,
    progress: _Progress,
) -> Finished:
    begun = time.monotonic()
    delay_ms = settings.options.get("delay_ms") or model.default_delay_ms
    origin = Origin(job.source.id, model.name, delay_ms)
    count = _Count(origin)
    formats = [KINDS[name](origin) for name in settings.formats]
    feed, texts = Feed(model, [*formats, count]), [io.StringIO() for _ in (*formats, count)]

    def write(parts: list[str]) -> None:
        for text, part in zip(texts, parts, strict=True):
            text.write(part)

    write(feed.begin())
    parts = Chunks(audio)
    state = State(settings, job.source.id, sha256)
    kept = state.load(model) or Kept(model.stream(**settings.options))
    for slot in kept.slots():
        write(feed.slot(slot))
    n_samples, saved_at = kept.n_samples, time.monotonic()
    with kept.stream as stream:
        for block in _from(n_samples, parts, progress):
            stream.push(block)
            n_samples += len(block)
            for slot in stream.slots():
                kept.add(slot)
                write(feed.slot(slot))
                progress.moved(slot.end_ms / 1000)
            if state.is_wanted and time.monotonic() - saved_at >= settings.save_s:
                try:
                    state.save(kept, n_samples, time.monotonic() - begun)
                except OutputError as error:  # the text is what counts
                    progress.tell(Told(f"{job.source.id} goes on, but {error}"))
                saved_at = time.monotonic()
        if n_samples == 0:
            raise AudioError("it holds no samples: record or copy it again")
        stream.end()
        for slot in stream.slots():
            write(feed.slot(slot))
            progress.moved(slot.end_ms / 1000)
    write(feed.end(n_samples / RATE))
    contents = [
        format.data() if isinstance(format, Parquet) else text.getvalue().encode()
        for format, text in zip(formats, texts[:-1], strict=True)
    ]
    return Finished(
        job.source.id,
        sha256,
        n_samples / RATE,
        time.monotonic() - begun + kept.taken_s,
        count.n_words,
        dict(zip(settings.formats, contents, strict=True)),
        _reason(parts.truncated) if parts.truncated else None,
    )


def _from(n_heard: int, parts: Chunks, progress: _Progress) -> Iterator[Samples]:
    """Yield the samples that follow those that a stream has heard before it was saved."""
    at = 0
    for block in parts:
        rest = block[max(n_heard - at, 0) :]
        at += len(block)
        if len(rest):
            yield rest
        else:
            progress.moved(at / RATE)


def _reason(error: BaseException) -> str:
    """Return an error as one line."""
    text = str(error)
    if isinstance(error, OSError) and not isinstance(error, VoxtralError) and error.strerror:
        text = error.strerror
    elif isinstance(error, MemoryError):
        text = text or "out of memory"
    elif not isinstance(error, VoxtralError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return " ".join(text.split())
