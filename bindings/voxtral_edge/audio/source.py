"""The bytes of a file or a pipe, as libraries take them that read from C.

No exception can pass through such a library, so one that arises while it reads is kept here, the
library is told that the bytes have ended, and check() raises it afterwards. That may be a failing
disk as well as Ctrl-C. A pipe that somebody has set to O_NONBLOCK is waited for.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import Any, BinaryIO

from ..errors import AudioError
from ..system import here

PAUSE_S = 0.01  # between two looks at a source that has nothing and cannot be waited for
BLOCK = 1 << 17  # most bytes of a pipe taken ahead
TAIL = 1 << 8  # bytes of a pipe that are kept when they have gone by


NAMELESS = "the audio file"  # what messages call bytes, and files of Python without a name


class ByteSource:
    """A file that can seek, or a pipe. `name`: what messages call it."""

    def __init__(self, file: BinaryIO, name: str, *, from_here: bool = False) -> None:
        """Look whether it can seek; nothing is read. `from_here`: what it has given is no part."""
        self.file = file
        self.name = name
        self.start = 0
        self.size: int | None = None  # bytes of a file
        self._n_read = 0  # bytes of a pipe so far
        # read1 returns what has arrived; read would wait for all and delay live text.
        self._receive = getattr(file, "read1", file.read)
        self._ahead = b""  # of a pipe: bytes that head() has read and read() has not
        self._failure: BaseException | None = None
        self._tail = b""  # of a pipe
        self._amended: dict[int, bytes] = {}  # by place
        self._listener: Callable[[bytes], object] = len
        if _can_seek(file):
            self.start = file.tell() if from_here else 0
            file.seek(0, io.SEEK_END)
            self.size = max(file.tell() - self.start, 0)
            file.seek(self.start)

    def seekable(self) -> bool:
        """Whether it is a file, not a pipe."""
        return self.size is not None

    def head(self, n: int) -> bytes:
        """Return the first n bytes, or fewer if there are no more; read() gives them again.

        Of a pipe, before anything was read().
        """
        if self.seekable():
            head = self.at(0, n)
            self.seek(0)
            return head
        while len(self._ahead) < n and (more := self._wait(BLOCK)):
            self._ahead += more
        return self._ahead[:n]

    def at(self, place: int, n: int) -> bytes:
        """Return n bytes of a file from a place on, or fewer at its end."""
        self.seek(place)
        return self._take(n)

    def tail(self, n: int) -> bytes:
        """Return the last n bytes, at most TAIL of a pipe."""
        return self._tail[-n:] if self.size is None else self.at(max(self.size - n, 0), n)

    def watch(self, listener: Callable[[bytes], object]) -> None:
        """Let somebody see all bytes that read() gives of a pipe."""
        self._listener = listener

    def amend(self, place: int, data: bytes) -> None:
        """Let read() give other bytes at a place; of a pipe, before anything was read()."""
        self._amended[place] = data

    def read(self, n: int) -> bytes:
        """Return what has come, at most n bytes; nothing at the end and after a failure."""
        if self._failure:
            return b""
        try:
            begin = self._n_read if self.size is None else self.tell()
            data = self._ahead[:n] or self._wait(n)
        except BaseException as failure:  # even Ctrl-C cannot pass through C
            self._failure = failure
            return b""
        self._ahead = self._ahead[n:]
        if self.size is None:
            self._n_read += len(data)
            self._tail = (self._tail + data[-TAIL:])[-TAIL:]
            self._listener(data)
        for place, other in self._amended.items():
            first, last = max(place, begin), min(place + len(other), begin + len(data))
            if first < last:
                other = other[first - place : last - place]
                data = data[: first - begin] + other + data[last - begin :]
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place in a file; return it."""
        if whence == io.SEEK_SET:
            offset += self.start
        self.file.seek(offset, whence)
        return self.tell()

    def tell(self) -> int:
        """Return the place in a file."""
        return self.file.tell() - self.start

    def has(self, n: int) -> bool:
        """Whether there are n bytes; those of a pipe are read."""
        while self.size is None and self._n_read < n and self.read(BLOCK):
            pass
        return n <= self.n_bytes

    @property
    def n_bytes(self) -> int:
        """How many bytes there are, as far as a pipe was read."""
        return self._n_read if self.size is None else self.size

    def fail(self, failure: BaseException) -> None:
        """Let check() raise an error."""
        self._failure = self._failure or failure

    def check(self) -> None:
        """Raise what went wrong while a library was reading."""
        if self._failure:
            raise self._failure

    def _take(self, n: int) -> bytes:
        """Return n bytes from here on, or fewer at the end."""
        taken = b""
        while len(taken) < n and (more := self._wait(n - len(taken))):
            taken += more
        return taken

    def _wait(self, n: int) -> bytes:
        """Return at least one byte and at most n, nothing only at the end."""
        while True:
            try:
                data: Any = self._receive(n)
                if data == b"" and self.size is None and hasattr(self.file, "raw"):
                    # A buffer says the same of an end and of nothing yet; what is below does not.
                    data = self.file.raw.read(n)
            except OSError as error:
                if error.filename is None and error.errno is not None:
                    error.filename = self.name  # which the system does not say of a descriptor
                raise
            if isinstance(data, (bytes, bytearray, memoryview)):
                return bytes(data)
            if data is not None:
                raise AudioError(
                    f"{self.name} gives {type(data).__name__}, not bytes: open it in binary mode"
                )
            self._pause()

    def _pause(self) -> None:
        """Wait for more from a pipe that would not."""
        try:
            here.wait_to_read(self.file.fileno())
        except (AttributeError, OSError, ValueError):  # it has no descriptor
            time.sleep(PAUSE_S)


def _can_seek(file: BinaryIO) -> bool:
    if hasattr(file, "seekable"):
        return bool(file.seekable())
    try:  # SpooledTemporaryFile of Python 3.10 can, and does not say so
        file.seek(0, io.SEEK_CUR)
        file.tell()
    except (AttributeError, OSError, ValueError):
        return False
    return True
