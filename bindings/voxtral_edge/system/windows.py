"""What Windows is asked."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import msvcrt
import os
import platform
import signal
import stat
import struct
import subprocess
import sys
import threading
import winreg
from collections.abc import Awaitable, Callable, Sequence
from ctypes import wintypes
from multiprocessing import connection
from pathlib import Path
from typing import Any, TextIO

assert sys.platform == "win32"

STOPS = (signal.SIGTERM, signal.SIGBREAK)
STEP_S: float | None = 0.1
BINARY, NO_WAIT = os.O_BINARY, 0
# What cannot be replaced is in use, perhaps mapped, and must not be written either.
NOT_REPLACED: tuple[int, ...] = ()

kernel = ctypes.WinDLL("kernel32", use_last_error=True)
for _function in (kernel.GetCurrentProcess, kernel.CreateJobObjectW):
    _function.restype = wintypes.HANDLE

PROCESSED, OBEYS = 1, 4  # of a console: ends of lines, escape sequences
CONSOLE_TEXT = 8192  # characters that a console gets at once
END_OF_FILE = 6  # FILE_INFO_BY_HANDLE_CLASS
LOCK_PLACE = (1 << 62) - 1  # a byte that no file has
# JOBOBJECT_EXTENDED_LIMIT_INFORMATION: its class, its fields, and which of them count
LIMITS, LIMITS_FORM = 9, "@qqLNNLNLL6QNNNN"
OF_TIME, OF_PROCESSES, OF_MEMORY = 0x2, 0x8, 0x100
CPU_KEY = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"

_place = threading.Lock()  # of all files: a descriptor has one place where it reads and writes


def _failure() -> OSError:
    return ctypes.WinError(ctypes.get_last_error())


def _handle(fd: int) -> wintypes.HANDLE:
    return wintypes.HANDLE(msvcrt.get_osfhandle(fd))


# ---- files --------------------------------------------------------------------------------------


def read_at(fd: int, n: int, offset: int) -> bytes:
    """Return at most n bytes of a file at an offset; threads may do so at once."""
    with _place:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, n)


def write_at(fd: int, data: bytes | memoryview, offset: int) -> int:
    """Write to a file at an offset, return how many bytes were; threads may do so at once."""
    with _place:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.write(fd, data)


def write(fd: int, data: bytes | memoryview) -> int:
    """Write, return how many bytes were. A console gets UTF-8 as text, whatever its code page."""
    handle, mode = _handle(fd), wintypes.DWORD()
    if kernel.GetConsoleMode(handle, ctypes.byref(mode)):
        text = bytes(data).decode(errors="replace")
        for start in range(0, len(text), CONSOLE_TEXT):
            part = text[start : start + CONSOLE_TEXT]
            n = len(part.encode("utf-16-le", "surrogatepass")) // 2
            done = ctypes.byref(wintypes.DWORD())
            if not kernel.WriteConsoleW(handle, ctypes.c_wchar_p(part), n, done, None):
                raise _failure()
        return len(data)
    try:
        return os.write(fd, data)
    except OSError as error:  # how C's library says that nobody reads any more
        if error.errno == errno.EINVAL and stat.S_ISFIFO(os.fstat(fd).st_mode):
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from error
        raise


def wait_to_read(fd: int) -> None:
    """Raise OSError: it cannot be waited for; reading waits by itself here."""
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def reserve(fd: int, size: int) -> None:
    """Make a file as large as this, if it is smaller, so that a full disk is noticed now."""
    if os.fstat(fd).st_size >= size:
        return
    end = ctypes.c_longlong(size)
    if not kernel.SetFileInformationByHandle(_handle(fd), END_OF_FILE, ctypes.byref(end), 8):
        raise _failure()


def read_ahead(fd: int) -> None:
    """Do nothing: it would have to be said when the file is opened."""


def take_place_of(fd: int, old: os.stat_result) -> None:
    """Do nothing: who may use a file is what its folder says of all that is made there."""


def lock(fd: int) -> None:
    """Have an open file for this process alone; BlockingIOError: another process has it."""
    os.lseek(fd, LOCK_PLACE, os.SEEK_SET)  # who has no lock cannot read what is locked
    try:
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
    except PermissionError as error:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error


def sync_folder(path: Path) -> None:
    """Do nothing: the system keeps its names by itself."""


def descriptor(path: Path) -> int | None:
    """Return None: paths name no descriptors."""
    return None


def spool() -> tuple[int, Path]:
    """Raise OSError: files in memory have no path."""
    raise FileNotFoundError("no folder for temporary files may be written")


# ---- terminals, signals, sockets -----------------------------------------------------------------


def draws(stream: TextIO) -> bool:
    """Whether a stream is a console that obeys escape sequences, which it is told to."""
    if not stream.isatty():
        return False
    handle, mode = _handle(stream.fileno()), wintypes.DWORD()
    if not kernel.GetConsoleMode(handle, ctypes.byref(mode)):
        return False  # NUL is a terminal to Python
    return bool(kernel.SetConsoleMode(handle, mode.value | PROCESSED | OBEYS))


def on_stop(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    """Call stop() in a loop for each signal that asks to stop; ValueError: not the main thread."""
    for number in (signal.SIGBREAK, signal.SIGINT):
        signal.signal(number, lambda number, frame: loop.call_soon_threadsafe(stop))


async def listen_at(
    path: str,
    connected: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    limit: int,
) -> asyncio.Server:
    """Raise OSError: Python knows no sockets here that are files."""
    raise OSError(errno.ENOSYS, "a socket cannot be a file here: use tcp://HOST:PORT", path)


# ---- processes, processors, memory ---------------------------------------------------------------


def start_child(
    command: Sequence[str],
) -> tuple[subprocess.Popen[bytes], connection.PipeConnection[Any, Any]]:
    """Start a program with a connection to it, which is its last argument: see to_parent()."""
    ours, theirs = connection.Pipe()
    with theirs:
        os.set_handle_inheritable(theirs.fileno(), True)
        only = subprocess.STARTUPINFO(lpAttributeList={"handle_list": [theirs.fileno()]})
        child = subprocess.Popen(
            [*command, str(theirs.fileno())], startupinfo=only, stdin=subprocess.DEVNULL
        )
    return child, ours


def to_parent(argument: str) -> connection.PipeConnection[Any, Any]:
    """Return the connection to the process that has started this one."""
    return connection.PipeConnection(int(argument))


def processors() -> set[int]:
    """Return the numbers of the processors that this process may run on."""
    return set(range(os.cpu_count() or 1))


def cpu() -> tuple[str, set[str]]:
    """Return what the processor is called; its features have no names here."""
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, CPU_KEY) as key:
            return str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip(), set()
    except OSError:
        return platform.processor() or platform.machine(), set()


def memory() -> tuple[int, int | None]:
    """Return the bytes that this process may have, and those that are available, if known."""
    form = "@LL7Q"  # MEMORYSTATUSEX
    found = ctypes.create_string_buffer(struct.pack(form, struct.calcsize(form), *(0,) * 8))
    if not kernel.GlobalMemoryStatusEx(found):
        raise _failure()
    _, _, total, available, *_ = struct.unpack_from(form, found)
    return total, available


def physical_memory() -> int:
    """Return the bytes of memory that the machine has."""
    return memory()[0]


def peak_memory() -> int:
    """Return the most bytes of memory that this process has had."""
    form = "@LL8N"  # PROCESS_MEMORY_COUNTERS
    size = struct.calcsize(form)
    found = ctypes.create_string_buffer(size)
    process = wintypes.HANDLE(kernel.GetCurrentProcess())
    if not kernel.K32GetProcessMemoryInfo(process, found, size):
        raise _failure()
    return int(struct.unpack_from(form, found)[2])


def load_average() -> float | None:
    """Return None: it is not known."""
    return None


def busy_s(ours: set[int]) -> float | None:
    """Return the seconds that all processors have worked, if known."""
    idle, busy, user = (ctypes.c_ulonglong() for _ in range(3))  # busy: system and idle
    if not kernel.GetSystemTimes(*map(ctypes.byref, (idle, busy, user))):
        return None
    return (busy.value + user.value - idle.value) / 1e7


# ---- giving up what is not needed ---------------------------------------------------------------


def confine(memory: int, space: int, seconds: int) -> None:
    """Have no more than bytes of memory, seconds of computing and one process, once and for all.

    Files and sockets cannot be limited by a process itself.
    """
    kinds = OF_TIME | OF_PROCESSES | OF_MEMORY
    counters, of_memory = (0,) * 6, (memory, 0, 0, 0)
    limits = struct.pack(
        LIMITS_FORM, seconds * 10**7, 0, kinds, 0, 0, 1, 0, 0, 0, *counters, *of_memory
    )
    job = wintypes.HANDLE(kernel.CreateJobObjectW(None, None))
    if not (
        kernel.SetInformationJobObject(job, LIMITS, limits, len(limits))
        and kernel.AssignProcessToJobObject(job, wintypes.HANDLE(kernel.GetCurrentProcess()))
    ):
        raise _failure()
