"""The process that decodes one upload: a file comes on standard input, samples leave on output.

An upload is what a stranger made, and decoders of many formats are large. So they run here, where
there is no network, no other program, no way to write but to what is open, and limits on memory,
time and the space of one nameless file. Samples are 16 kHz mono float32. What is wrong with the
file is told in a line on standard error; the exit status is 3 if it breaks off, and else 2.
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
from typing import BinaryIO, cast

from ...audio import Samples, read
from ...audio.containers import signatures
from ...audio.source import ByteSource
from ...errors import AudioError, AudioTruncated

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

# What the filter of system calls needs to know; see seccomp(2).
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER_MODE = 38, 22, 2
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
ALLOW, REFUSE = 0x7FFF_0000, 0x0005_0001  # the latter: EPERM
ARCH_PLACE, CALL_PLACE = 4, 0
OTHER_TABLE = 0x4000_0000  # of x86-64: from here on, the same calls under other numbers
# audit number; socket, socketpair, connect, execve, execveat, ptrace, mount, io_uring_setup
ARCHITECTURES = {
    "x86_64": (0xC000_003E, (41, 53, 42, 59, 322, 101, 165, 425)),
    "aarch64": (0xC000_00B7, (198, 199, 203, 221, 281, 117, 40, 425)),
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
    n = len(calls) + 1
    steps = [
        (LOAD, 0, 0, ARCH_PLACE),
        (EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, REFUSE),
        (LOAD, 0, 0, CALL_PLACE),
        (AT_LEAST, n, 0, OTHER_TABLE),
        *((EQUAL, n - i, 0, call) for i, call in enumerate(calls, 1)),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(PR_SET_SECCOMP, FILTER_MODE, ctypes.byref(program))


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
    confine(space, seconds)
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
