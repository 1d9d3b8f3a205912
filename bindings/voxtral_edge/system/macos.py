"""What macOS is asked. This was built, and never run."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import sys
from pathlib import Path

assert sys.platform == "darwin"

from . import posix  # noqa: E402  (there is none elsewhere)
from .posix import *  # noqa: E402, F403  (what both answer alike)

# ---- files --------------------------------------------------------------------------------------


def reserve(fd: int, size: int) -> None:
    """Make a file as large as this, if it is smaller; a full disk is noticed when it is written."""
    if os.fstat(fd).st_size < size:
        os.ftruncate(fd, size)


def read_ahead(fd: int) -> None:
    """Do nothing: the system notices by itself what is read from end to end."""


def descriptor(path: Path) -> int | None:
    """Return the descriptor of this process that a path names, as /dev/stdout does, or None."""
    return posix.own_descriptor(path, "/dev/fd")


def spool() -> tuple[int, Path]:
    """Raise OSError: files in memory have no path."""
    raise FileNotFoundError("no folder for temporary files may be written")


# ---- processes, processors, memory ---------------------------------------------------------------


def processors() -> set[int]:
    """Return the numbers of the processors that this process may run on."""
    return set(range(os.cpu_count() or 1))


def cpu() -> tuple[str, set[str]]:
    """Return what the processor is called; its features have other names here."""
    name = ctypes.create_string_buffer(256)
    size = ctypes.c_size_t(len(name))
    found = ctypes.CDLL(None).sysctlbyname(
        b"machdep.cpu.brand_string", name, ctypes.byref(size), None, ctypes.c_size_t(0)
    )
    return platform.machine() if found else name.value.decode(errors="replace"), set()


def memory() -> tuple[int, int | None]:
    """Return the bytes that this process may have; those that are available are not known."""
    return posix.physical_memory(), None


def peak_memory() -> int:
    """Return the most bytes of memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes, unlike in Linux


def busy_s(ours: set[int]) -> float | None:
    """Return None: it is not known."""
    return None


# ---- giving up what is not needed ---------------------------------------------------------------


def confine(memory: int, space: int, seconds: int) -> None:
    """Have no more than bytes of a file and seconds of computing, once and for all.

    Memory cannot be limited here: what libraries share lies above any limit.
    """
    posix.set_limits(
        (resource.RLIMIT_FSIZE, space), (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_CORE, 0)
    )
