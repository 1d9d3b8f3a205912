"""What Linux is asked."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import resource
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

assert sys.platform == "linux"

from . import posix  # noqa: E402  (there is none elsewhere)
from .posix import *  # noqa: E402, F403  (what both answer alike)

PROC, GROUPS = Path("/proc"), Path("/sys/fs/cgroup")

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


# ---- files --------------------------------------------------------------------------------------


def reserve(fd: int, size: int) -> None:
    """Make a file as large as this, if it is smaller, so that a full disk is noticed now."""
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # some file systems cannot do it
            raise


def read_ahead(fd: int) -> None:
    """Tell that a file will be read from end to end: a longer read-ahead doubles the speed."""
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)


def descriptor(path: Path) -> int | None:
    """Return the descriptor of this process that a path names, as /dev/stdout does, or None."""
    return posix.own_descriptor(path, rf"/proc/{os.getpid()}(/task/\d+)?/fd")


def spool() -> tuple[int, Path]:
    """Return a file in memory, open, and a path to it, for where no folder may be written."""
    fd = os.memfd_create("spool")
    return fd, Path(f"/proc/self/fd/{fd}")


# ---- processes, processors, memory ---------------------------------------------------------------


def processors() -> set[int]:
    """Return the numbers of the processors that this process may run on."""
    return os.sched_getaffinity(0)


def cpu() -> tuple[str, set[str]]:
    """Return what the processor is called, and its features by the names that Linux has."""
    keys = {}
    for line in text(PROC / "cpuinfo").splitlines():
        key, _, value = line.partition(":")
        keys[key.strip()] = value.strip()
    features = keys.get("flags", keys.get("Features", ""))
    return keys.get("model name", platform.processor() or platform.machine()), {*features.split()}


def memory() -> tuple[int, int | None]:
    """Return the bytes that this process may have, and those that are available, if known.

    The limits of control groups count, of either version. What such a group has read of files is
    available: it is given back.
    """
    total, available = posix.physical_memory(), None
    if found := re.search(r"^MemAvailable: +(\d+) kB", text(PROC / "meminfo"), re.MULTILINE):
        available = 1024 * int(found[1])
    for group in _groups():
        for most, used in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, taken = (text(group / name).strip() for name in (most, used))
            if not limit.isdecimal() or int(limit) >= total:
                continue
            total = int(limit)
            if taken.isdecimal():
                files = re.search(
                    r"^(?:total_)?inactive_file (\d+)$", text(group / "memory.stat"), re.MULTILINE
                )
                left = max(total - int(taken) + (int(files[1]) if files else 0), 0)
                available = left if available is None else min(available, left)
    return total, available if available is None else min(available, total)


def _groups() -> Iterator[Path]:
    """The folders of the control groups that limit this process's memory, from its own upwards."""
    for line in text(PROC / "self" / "cgroup").splitlines():
        _, names, path = line.split(":", 2)
        if names and names != "memory":
            continue
        root = GROUPS / names if names else GROUPS
        own = root / path.lstrip("/")
        # Inside a container, the path may be the one that its host sees: then the root is ours.
        yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(root))


def peak_memory() -> int:
    """Return the most bytes of memory that this process has had."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def busy_s(ours: set[int]) -> float | None:
    """Return the seconds that processors have worked, or were stolen, if known."""
    ticks = []
    for line in text(PROC / "stat").splitlines():
        if (found := re.match(r"cpu(\d+) (.*)", line)) and int(found[1]) in ours:
            user, nice, system, _, _, irq, soft, *steal = map(int, found[2].split()[:8])
            ticks.append(user + nice + system + irq + soft + sum(steal))
    return sum(ticks) / os.sysconf("SC_CLK_TCK") if ticks else None


def text(path: Path) -> str:
    """Return the text of a file of the system, empty if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


# ---- giving up what is not needed ---------------------------------------------------------------


def confine(memory: int, space: int, seconds: int) -> None:
    """Have no more than bytes of memory and of a file and seconds of computing, once and for all.

    Neither sockets nor other programs, where the kernel can refuse them.
    """
    posix.set_limits(
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, space),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_CORE, 0),
    )
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
