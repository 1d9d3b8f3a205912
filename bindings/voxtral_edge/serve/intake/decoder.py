"""The process that decodes one upload: a file comes on standard input, samples leave on output.

An upload is what a stranger made, and decoders of many formats are large. So they run here, where
there is no network, no other program, and limits on memory, time and the space of one nameless
file, as far as the system has them. Samples are 16 kHz mono float32. What is wrong with the
file is told in a line on standard error; the exit status is 3 if it breaks off, and else 2.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from typing import BinaryIO, cast

from ...audio import Samples, read
from ...audio.containers import signatures
from ...audio.source import ByteSource
from ...errors import AudioError, AudioTruncated
from ...system import here

UNUSABLE, TRUNCATED = 2, 3  # exit statuses
BLOCK = 1 << 16  # bytes read at a time
QUICKTIME = (
    b"ftyp",
    b"moov",
    b"mdat",
    b"wide",
    b"free",
    b"skip",
    b"pnot",
)  # whose index may be last
MEMORY = 2 << 30  # of addresses; libraries alone take a few hundred MB


def _blocks(file: BinaryIO) -> Iterator[Samples]:
    """Yield samples as they come, but for kinds of files that must be whole to be read."""
    upload = ByteSource(file, "the upload")
    head = upload.head(12)
    if not head:
        raise AudioError("the upload is empty (0 bytes): send a file")
    if signatures.is_raw(upload):
        raise AudioError("the upload is not audio that can be read: check that it has sound")
    if head[4:8] not in QUICKTIME:
        yield from read(cast("BinaryIO", upload))
        return
    with tempfile.TemporaryFile() as whole:
        while block := upload.read(BLOCK):
            whole.write(block)
        yield from read(cast("BinaryIO", whole))


def main() -> int:
    """Decode; the arguments are the limits."""
    space, seconds = map(int, sys.argv[1:])
    here.confine(MEMORY, space, seconds)
    out = sys.stdout.buffer
    try:
        with open(0, "rb", buffering=0, closefd=False) as source:
            for block in _blocks(source):
                out.write(block.tobytes())
                out.flush()
    except AudioTruncated as error:  # what came before it is of use
        print(error, file=sys.stderr)
        return TRUNCATED
    except (AudioError, MemoryError) as error:
        print(error or "the upload needs too much memory", file=sys.stderr)
        return UNUSABLE
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            print(f"the upload cannot be stored: {error.strerror}", file=sys.stderr)
        with contextlib.suppress(OSError):
            sys.stdout.close()
        return UNUSABLE
    return 0


if __name__ == "__main__":
    sys.exit(main())
