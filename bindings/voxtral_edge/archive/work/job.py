"""What foreman and workers tell each other; all of it can be sent to another process."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from ...streaming.options import StreamOptions
from ..sources import Source


@dataclass(frozen=True)
class Settings:
    """What is the same for all jobs.

    `model`: a file, None is the demo model; `sha256`: of it; `threads`: of it, None: as suits it;
    `window_s`: of its decoder, None: its own;
    `n_lanes`: how many jobs a worker does at once, None: as suits where it is.
    `states`: the folder for the states of long files, which are saved every `save_s` seconds; None:
    they are not.
    """

    model: str | None
    sha256: str
    threads: int | None
    window_s: float | None
    n_lanes: int | None
    formats: tuple[str, ...]
    options: StreamOptions
    states: str | None
    save_s: float


@dataclass(frozen=True)
class Job:
    """A source to transcribe; `known`: the hash with which it was done before, if it was."""

    source: Source
    known: str | None = None


class Fault(Enum):
    """Whose fault it is that a job failed."""

    SOURCE, NETWORK, MACHINE = range(3)


@dataclass(frozen=True)
class Ready:
    """The worker has its model open, and takes so many jobs at once."""

    n_lanes: int


@dataclass(frozen=True)
class Moved:
    """A job goes on; so many seconds of its audio are done."""

    id: str
    done_s: float


@dataclass(frozen=True)
class Finished:
    """A job is done: `outputs` has the bytes of each format; `error`: that the audio breaks off."""

    id: str
    sha256: str
    duration_s: float
    taken_s: float
    n_words: int
    outputs: dict[str, bytes]
    error: str | None


@dataclass(frozen=True)
class Unchanged:
    """The source holds what it held when it was done."""

    id: str


@dataclass(frozen=True)
class Failed:
    """A job has failed; `sha256`: of the source, as far as it was read."""

    id: str
    error: str
    fault: Fault
    sha256: str | None = None


@dataclass(frozen=True)
class Told:
    """Something that a person should know, and that changes nothing."""

    text: str


@dataclass(frozen=True)
class Broken:
    """The worker cannot work at all."""

    error: str


News: TypeAlias = "Ready | Moved | Finished | Unchanged | Failed | Told | Broken"
