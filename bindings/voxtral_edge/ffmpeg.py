"""Sound of video files, and of sound files that libsndfile does not know, through ffmpeg on PATH.

A program that was found decodes; its first audio track comes through a pipe as WAV, so nothing is
stored. Only the named file is opened: a playlist cannot make it fetch others from a network.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, cast

from .errors import AudioError

HEADER_SECONDS = 30.0  # the longest wait for the description of a file


def find() -> str | None:
    """Return the path of the program, or None if there is none."""
    return shutil.which("ffmpeg")


@contextmanager
def decoded(program: str, path: Path) -> Iterator[BinaryIO]:
    """Open a pipe of WAV, 32-bit float, of the first audio track of a file.

    Raises AudioError on leaving, with what the program said, if it failed.
    """
    arguments = ["-map", "0:a:0", "-c:a", "pcm_f32le", "-f", "wav", "-"]
    # A file takes whatever the program may say; a pipe that nobody reads could stop it.
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [*_open(program, path), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
        )
        assert process.stdout is not None
        try:
            yield cast("BinaryIO", process.stdout)
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
        done = subprocess.run(
            [program, "-hide_banner", *_open(program, path)[3:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=HEADER_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return None
    found = re.search(rb"Duration: (\d+):(\d\d):(\d\d\.\d+)", done.stderr)
    if not found:
        return None
    hours, minutes, seconds = map(float, found.groups())
    return 3600 * hours + 60 * minutes + seconds


def _open(program: str, path: Path) -> list[str]:
    # "file:" keeps names that begin with a dash or look like a URL what they are.
    source = ["-nostdin", "-protocol_whitelist", "file,pipe", "-i", f"file:{path}"]
    return [program, "-v", "error", *source]


def _last_line(said: IO[bytes]) -> str:
    said.seek(0)
    lines = said.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "no reason was given"
