"""Sound of video files, and of sound files that libsndfile does not know, through ffmpeg on PATH.

A program that was found decodes; its first audio track comes through a pipe as WAV, so nothing is
stored. Only the named file is to be opened: playlists, which name others and may grow for ever, are
refused, and protocols of networks are not allowed. A program that gives nothing for a time is
ended.
"""

from __future__ import annotations

import io
import re
import select
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, cast

from ..errors import AudioError

HEADER_SECONDS = 30.0  # the longest wait for the description of a file
SILENT_SECONDS = 60.0  # and for more of its sound, which a slow disk may need

# What playlists begin with, or hold soon: HLS, the concat script, MPEG-DASH, SDP, IMF.
PLAYLIST = re.compile(
    rb"#EXTM3U|ffconcat version|[^\0]*(?:<MPD\b|<CompositionPlaylist\b)|v=0\r?\no="
)
PLAYLIST_BYTES = 2048


def find() -> str | None:
    """Return the path of the program, or None if there is none."""
    return shutil.which("ffmpeg")


@contextmanager
def decoded(program: str, path: Path) -> Iterator[BinaryIO]:
    """Open a pipe of WAV, 32-bit float, of the first audio track of a file.

    Raises AudioError for a playlist; while it is read, if nothing comes for SILENT_SECONDS; and on
    leaving, with what the program said, if it failed.
    """
    _refuse_playlist(path)
    arguments = ["-map", "0:a:0", "-c:a", "pcm_f32le", "-f", "wav", "-"]
    # A file takes whatever the program may say; a pipe that nobody reads could stop it.
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [*_open(program, path), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            bufsize=0,
        )
        assert process.stdout is not None
        try:
            yield cast("BinaryIO", _Patient(process.stdout.fileno(), path))
            process.stdout.close()
            if process.wait() != 0:
                raise AudioError(
                    f"{path} is not audio that can be read (ffmpeg: {_last_line(said)}): "
                    "check that it is whole and has sound"
                )
        finally:
            process.stdout.close()
            process.kill()
            process.wait()


def duration_s(program: str, path: Path) -> float | None:
    """Return the seconds of a file as its header tells them, None if it does not."""
    try:
        _refuse_playlist(path)
        done = subprocess.run(
            [program, "-hide_banner", *_open(program, path)[3:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=HEADER_SECONDS,
        )
    except (subprocess.TimeoutExpired, AudioError):
        return None
    found = re.search(rb"Duration: (\d+):(\d\d):(\d\d\.\d+)", done.stderr)
    if not found:
        return None
    hours, minutes, seconds = map(float, found.groups())
    return 3600 * hours + 60 * minutes + seconds


class _Patient(io.FileIO):
    """A pipe whose reader does not wait for ever; the descriptor stays open."""

    def __init__(self, descriptor: int, path: Path) -> None:
        super().__init__(descriptor, closefd=False)
        self._path = path

    def read(self, size: int | None = -1, /) -> bytes:
        """Return what has come, at most size bytes; raise AudioError if nothing does."""
        pipe = select.poll()
        pipe.register(self, select.POLLIN)
        if not pipe.poll(1000 * SILENT_SECONDS):
            raise AudioError(
                f"{self._path}: ffmpeg gave no sound for {SILENT_SECONDS:.0f} s and was ended: "
                "check that the file is whole, and no list of others"
            )
        return super().read(-1 if size is None else size)


def _refuse_playlist(path: Path) -> None:
    with path.open("rb") as file:
        if PLAYLIST.match(file.read(PLAYLIST_BYTES)):
            raise AudioError(f"{path} is a playlist, a list of other files: name those")


def _open(program: str, path: Path) -> list[str]:
    # "file:" keeps names that begin with a dash or look like a URL what they are.
    source = ["-nostdin", "-protocol_whitelist", "file,pipe", "-i", f"file:{path}"]
    return [program, "-v", "error", *source]


def _last_line(said: IO[bytes]) -> str:
    said.seek(0)
    lines = said.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "no reason was given"
