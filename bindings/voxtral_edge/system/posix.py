"""What Linux and macOS are asked alike."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import re
import resource
import select
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TextIO

assert sys.platform != "win32"  # which types are looked at for each system

# The rest is for their files alone.
__all__ = ["BINARY", "NOT_REPLACED", "NO_WAIT", "STEP_S", "STOPS", "draws", "listen_at",
           "load_average", "lock", "on_stop", "physical_memory", "read_at",
           "start_child", "sync_folder", "take_place_of", "to_parent", "wait_to_read",
           "write", "write_at"]  # fmt: skip

STOPS = (signal.SIGTERM, signal.SIGHUP)
STEP_S: float | None = None
BINARY, NO_WAIT = 0, os.O_NONBLOCK
# Why a file cannot be replaced that perhaps can be written: a folder that is locked, a file that is
# mounted by itself, has another owner, or no name.
NOT_REPLACED: tuple[int, ...] = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.EXDEV, errno.ENOENT),
    errno.ENAMETOOLONG,
)
MAX_LINKS = 40  # from one to the next, as in the kernel


# ---- files --------------------------------------------------------------------------------------


def read_at(fd: int, n: int, offset: int) -> bytes:
    """Return at most n bytes of a file at an offset; threads may do so at once."""
    return os.pread(fd, n, offset)


def write_at(fd: int, data: bytes | memoryview, offset: int) -> int:
    """Write to a file at an offset, return how many bytes were; threads may do so at once."""
    return os.pwrite(fd, data, offset)


def write(fd: int, data: bytes | memoryview) -> int:
    """Write, return how many bytes were; what would not wait for its reader is waited for."""
    while True:
        try:
            return os.write(fd, data)
        except BlockingIOError:
            _wait(fd, select.POLLOUT)


def wait_to_read(fd: int) -> None:
    """Wait until there is something to read, or an end; OSError: it cannot be waited for."""
    _wait(fd, select.POLLIN)


def _wait(fd: int, event: int) -> None:
    ready = select.poll()
    ready.register(fd, event)
    ready.poll()


def take_place_of(fd: int, old: os.stat_result) -> None:
    """Give an open file the owner and the mode of one that it shall replace; raise OSError."""
    new = os.fstat(fd)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        os.fchown(fd, old.st_uid, old.st_gid)
    os.fchmod(fd, stat.S_IMODE(old.st_mode) & 0o777)


def lock(fd: int) -> None:
    """Have an open file for this process alone; BlockingIOError: another process has it."""
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def sync_folder(path: Path) -> None:
    """Put the names in a folder on the disk, where the system can."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def own_descriptor(path: Path, folders: str) -> int | None:
    """Return the descriptor that a path names in a folder of this process's, which a regex does."""
    for _ in range(MAX_LINKS):
        if path.name.isdecimal() and re.fullmatch(folders, os.path.realpath(path.parent)):
            return int(path.name)
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
    return None


# ---- terminals, signals, sockets -----------------------------------------------------------------


def draws(stream: TextIO) -> bool:
    """Whether a stream is a terminal that obeys escape sequences."""
    return stream.isatty()


def on_stop(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    """Call stop() in a loop for each signal that asks to stop; ValueError: not the main thread."""
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


async def listen_at(
    path: str,
    connected: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    limit: int,
) -> asyncio.Server:
    """Return a server at a socket that is a file, with lines of at most so many bytes."""
    return await asyncio.start_unix_server(connected, path, limit=limit)


# ---- processes, processors, memory ---------------------------------------------------------------


def start_child(command: Sequence[str]) -> tuple[subprocess.Popen[bytes], Connection]:
    """Start a program with a connection to it, which is its last argument: see to_parent()."""
    ours, theirs = socket.socketpair()
    with theirs:
        child = subprocess.Popen(
            [*command, str(theirs.fileno())], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
        )
    return child, Connection(ours.detach())


def to_parent(argument: str) -> Connection:
    """Return the connection to the process that has started this one."""
    return Connection(int(argument))


def physical_memory() -> int:
    """Return the bytes of memory that the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def load_average() -> float | None:
    """Return how many programs have wanted to run in the last minute, if that is known."""
    return os.getloadavg()[0]


def set_limits(*limits: tuple[int, int]) -> None:
    """Set limits of this process, each as the system calls it, to values or what is less."""
    for name, value in limits:
        hard = resource.getrlimit(name)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (value, value))
