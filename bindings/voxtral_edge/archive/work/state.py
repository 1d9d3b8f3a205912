"""The state of a long file, saved now and then, so that whoever takes it up goes on from there.

A file of a state has a line of JSON about it, a line of JSON for each slot that came out, and what
Stream.save() gave. Formats are fed with these slots again, so outputs are the same bytes as those
of a run that nothing has interrupted. A file that is damaged, or of other bytes, options or another
model, counts as none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ... import __version__
from ...console.output import Output
from ...errors import VoxtralError
from ...streaming.model import Model
from ...streaming.stream import Stream
from ...text.pieces import SLOT_MS, Alternative, Piece
from .job import Settings

MAGIC = "voxtral archive state"


class Kept:
    """A stream, and what came of it: `n_samples` that it has heard, `taken_s` spent on them."""

    def __init__(
        self, stream: Stream, n_samples: int = 0, taken_s: float = 0.0, slots: bytes = b""
    ) -> None:
        """Take what was saved; else begin."""
        self.stream, self.n_samples, self.taken_s = stream, n_samples, taken_s
        self.lines = bytearray(slots)

    def add(self, slot: Piece) -> None:
        """Take a slot; what formats do not look at is not kept."""
        fields: list[Any] = [slot.token]
        if slot.text or slot.confidence is not None:
            others = [[other.text, other.confidence] for other in slot.alternatives]
            fields += [slot.text, slot.confidence, others]
        self.lines += json.dumps(fields, separators=(",", ":")).encode() + b"\n"

    def slots(self) -> Iterator[Piece]:
        """Yield the slots so far."""
        for index, line in enumerate(self.lines.splitlines()):
            token, *rest = json.loads(line)
            text, confidence, others = rest or ("", None, [])
            start_ms = SLOT_MS * index
            alternatives = tuple(Alternative(*other) for other in others)
            yield Piece(text, token, start_ms, start_ms + SLOT_MS, confidence, alternatives)


class State:
    """The file of a state, if such are wanted."""

    def __init__(self, settings: Settings, id: str, sha256: str) -> None:
        """Look at nothing yet; `sha256`: of the source's bytes."""
        self.is_wanted = settings.states is not None
        self._path = path(settings.states, id) if settings.states else Path()
        self._about = {
            "kind": MAGIC,
            "version": __version__,
            "source": id,
            "sha256": sha256,
            "model": settings.sha256,
            "options": dict(settings.options),
        }

    def load(self, model: Model) -> Kept | None:
        """Return what was saved, if it can be used."""
        if not self.is_wanted:
            return None
        try:
            with self._path.open("rb") as file:
                head = json.loads(file.readline())
                lines, saved = file.read(head["n_bytes"]), file.read()
            if any(head[key] != value for key, value in self._about.items()):
                return None
            if hashlib.sha256(lines).hexdigest() != head["lines"]:
                return None
            stream = model.load_stream(saved)
            return Kept(stream, int(head["n_samples"]), float(head["taken_s"]), lines)
        except (OSError, ValueError, TypeError, KeyError, VoxtralError):
            return None

    def save(self, kept: Kept, n_samples: int, taken_s: float) -> None:
        """Save a stream that has heard n_samples in the place of what was saved before.

        Raises OutputError.
        """
        head = {
            **self._about,
            "n_samples": n_samples,
            "taken_s": kept.taken_s + taken_s,
            "n_bytes": len(kept.lines),
            "lines": hashlib.sha256(kept.lines).hexdigest(),
        }
        with Output(self._path, inputs={}, over=_is_state, make_folder=True) as output:
            output.write(json.dumps(head).encode() + b"\n")
            output.write(bytes(kept.lines))
            output.write(kept.stream.save())


def path(folder: str, id: str) -> Path:
    """Return the file of a source's state."""
    return Path(folder) / f"{hashlib.sha256(id.encode(errors='surrogateescape')).hexdigest()[:32]}"


def sweep(folder: str, ids: Iterable[str]) -> None:
    """Remove what is in the folder of states but those of some sources."""
    kept = {path(folder, id) for id in ids}
    with contextlib.suppress(OSError):
        for file in Path(folder).iterdir():
            if file not in kept:
                file.unlink()


def _is_state(head: bytes) -> bool:
    return MAGIC.encode() in head
