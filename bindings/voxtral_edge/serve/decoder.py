"""The process that decodes one upload: a file comes on standard input, samples leave on output.

An upload is what a stranger made, and decoders of many formats are large. So they run here, where
there is no network, no other program, no way to write but to what is open, and limits on memory,
time and the space of one nameless file. Samples are 16 kHz mono float32. What is wrong with the
file is told in a line on standard error, and the exit status is 2.
"""

from __future__ import annotations

import contextlib
import ctypes
import platform
import resource
import struct
import sys
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

from ..audio import Samples, read, read_pcm
from ..errors import AudioError

BLOCK = 1 << 16  # bytes read at a time
MEMORY = 2 << 30  # of addresses; libraries alone take a few hundred MB

# What the filter of system calls needs to know; see seccomp(2).
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER_MODE = 38, 22, 2
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE = 0x7FFF_0000, 0x0005_0001  # the latter: EPERM
ARCH_PLACE, CALL_PLACE = 4, 0
ARCHITECTURES = {  # audit number; socket, connect, execve, execveat, ptrace, mount
    "x86_64": (0xC000_003E, (41, 42, 59, 322, 101, 165)),
    "aarch64": (0xC000_00B7, (198, 203, 221, 281, 117, 40)),
}


def confine(space: int, seconds: int) -> None:
    """Give up what decoding does not need; `space`: bytes of the file, `seconds` of computing."""
    for limit, value in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, space),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))
    _filter_calls()


def _filter_calls() -> None:
    """Have the kernel refuse sockets and other programs, where it can."""
    if platform.machine() not in ARCHITECTURES:
        return
    architecture, calls = ARCHITECTURES[platform.machine()]
    n = len(calls)
    steps = [
        (LOAD, 0, 0, ARCH_PLACE),
        (EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, REFUSE),
        (LOAD, 0, 0, CALL_PLACE),
        *((EQUAL, n - i, 0, call) for i, call in enumerate(calls)),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(PR_SET_SECCOMP, FILTER_MODE, ctypes.byref(program))


class _Upload:
    """Standard input, whose first bytes can be looked at."""

    name = "the upload"

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.head = file, b""
        while len(self.head) < 12 and (more := file.read(12 - len(self.head))):
            self.head += more
        self._left = self.head

    def read1(self, n: int) -> bytes:
        """Return what has come, at most n bytes."""
        if self._left:
            taken, self._left = self._left[:n], self._left[n:]
            return taken
        return self._file.read(n)

    read = read1


def _blocks(file: BinaryIO) -> Iterator[Samples]:
    """Yield samples, of WAV as they come, of all else when it is whole."""
    upload = _Upload(file)
    if not upload.head:
        raise AudioError("the upload is empty (0 bytes): send a file")
    if upload.head[:4] == b"RIFF":
        yield from read_pcm(upload)  # type: ignore[arg-type]
        return
    with tempfile.TemporaryFile() as whole:
        while block := upload.read1(BLOCK):
            whole.write(block)
        whole.seek(0)
        yield from read(_Named(whole))  # type: ignore[arg-type]


class _Named:
    """A file that messages call what the client knows it as."""

    name = _Upload.name

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.read, self.seek, self.tell = file.read, file.seek, file.tell
        self.readinto, self.seekable = file.readinto, file.seekable  # type: ignore[attr-defined]


def main() -> int:
    """Decode; the arguments are the limits."""
    space, seconds = map(int, sys.argv[1:])
    source = open(0, "rb", buffering=0)  # noqa: SIM115  (what has come, at once)
    out = sys.stdout.buffer
    confine(space, seconds)
    try:
        for block in _blocks(source):
            out.write(block.tobytes())
            out.flush()
    except (AudioError, MemoryError) as error:
        print(error or "the upload needs too much memory", file=sys.stderr)
        return 2
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            print(f"the upload cannot be stored: {error.strerror}", file=sys.stderr)
        with contextlib.suppress(OSError):
            sys.stdout.close()
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
