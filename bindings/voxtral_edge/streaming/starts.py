"""The start of streams, kept from one run of a program to the next.

Before its first sample a stream hears silence, which takes the full model half a second and more.
What that leaves behind is the same for all streams of a delay, so that a model computes it once;
here it is kept for the next run as a saved stream, which has no user's audio in it, in a file of
the user's cache directory by model file, window and delay. The core takes only what is whole and of
this model, version and arithmetic. Where a file is missing, damaged or cannot be written, nobody is
told and nothing is lost but time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any

from .._voxtral import ffi, lib
from ..console.output import Output
from ..errors import VoxtralError
from .handles import new_stream

WORTH_BYTES = 64 << 20  # of weights, below which computing it is as fast as reading it
MAX_FILES, MAX_BYTES = 16, 512 << 20  # kept, the latest used first; 36 MB each of the full model
MAGIC = b"VOXTREAM"  # of a saved stream


class Starts:
    """Those of one model file and window of its decoder, by delay."""

    def __init__(self, model: Path, window: int) -> None:
        """Know the file by its place, size and time, so that another one in its place is not it."""
        state = model.stat()
        self._is_worth_it = state.st_size >= WORTH_BYTES
        self._model = f"{model.resolve()}\0{state.st_size}\0{state.st_mtime_ns}\0{window}"
        self._seen: set[int] = set()

    def is_missing(self, model: Any, delay_ms: int) -> bool:
        """Give the model what is kept for a delay; return whether there is something to keep.

        Asked again, it does nothing. `model` is the handle of the file's model.
        """
        if not self._is_worth_it or delay_ms in self._seen:
            return False
        self._seen.add(delay_ms)
        path = self._path(delay_ms)
        if path is None:
            return False
        with contextlib.suppress(OSError):
            data = path.read_bytes()
            if lib.vox_model_start(model[0], ffi.from_buffer(data), len(data)) == lib.VOX_OK:
                os.utime(path)
                return False
        return True

    def keep(self, model: Any, delay_ms: int) -> None:
        """Keep the start of a delay, which the model has computed for a stream."""
        path = self._path(delay_ms)
        with contextlib.suppress(OSError, VoxtralError):
            data = _saved(model, delay_ms)
            if path and data:
                with Output(path, inputs={}, over=_is_start, make_folder=True) as output:
                    output.write(data)
                _prune(path.parent)

    def _path(self, delay_ms: int) -> Path | None:
        import platformdirs

        try:
            folder = platformdirs.user_cache_path("voxtral-edge", appauthor=False)
        except RuntimeError:  # this user has no home directory
            return None
        name = hashlib.sha256(f"{self._model}\0{delay_ms}".encode()).hexdigest()[:32]
        return folder / "starts" / name if folder.is_absolute() else None


def _is_start(head: bytes) -> bool:
    return head.startswith(MAGIC)


def _saved(model: Any, delay_ms: int) -> bytes:
    """Return the state of a stream that has heard nothing but the start, or nothing."""
    handle, slot = new_stream(), ffi.new("vox_slot *")
    params = ffi.new("vox_stream_params *", {"delay_ms": delay_ms, "background": 1})
    with handle:
        if lib.vox_stream_open(model[0], params, handle, ffi.NULL, 0) != lib.VOX_OK:
            return b""
        if lib.vox_stream_next(handle[0], slot) != lib.VOX_WAIT:
            return b""
        data = bytearray(max(lib.vox_stream_save(handle[0], ffi.NULL, 0), 0))
        n = lib.vox_stream_save(handle[0], ffi.from_buffer(data), len(data))
    return bytes(data) if n == len(data) else b""


def _prune(folder: Path) -> None:
    """Remove what was used longest ago, until few enough files and bytes are left."""
    files = [(path.stat(), path) for path in folder.iterdir()]
    files.sort(key=lambda file: file[0].st_mtime_ns, reverse=True)
    n_bytes = 0
    for i, (state, path) in enumerate(files):
        n_bytes += state.st_size
        if i >= MAX_FILES or n_bytes > MAX_BYTES:
            path.unlink(missing_ok=True)
