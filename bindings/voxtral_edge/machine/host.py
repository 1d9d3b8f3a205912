"""What the machine is: processors, memory, and how much of both this process may have.

A container or a service may be allowed less than there is: the limits of its control groups, of
either version, count here as well.
"""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .._voxtral import ffi, lib

Found = dict[str, Any]

PROC, GROUPS = Path("/proc"), Path("/sys/fs/cgroup")
CPU_FLAGS = ("avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vbmi", "avx512_vnni", "avx_vnni",
             "amx_int8", "asimddp", "i8mm")  # fmt: skip


def describe() -> Found:
    """Describe the processor, the memory and the system, as far as they can be known."""
    cpu, flags = platform.processor() or platform.machine(), set[str]()
    keys = {}
    for line in _text(PROC / "cpuinfo").splitlines():
        key, _, value = line.partition(":")
        keys[key.strip()] = value.strip()
    cpu = keys.get("model name", cpu)
    flags = set(keys.get("flags", keys.get("Features", "")).split())
    return {
        "cpu": cpu,
        "cpu_flags": [flag for flag in CPU_FLAGS if flag in flags],
        "n_cpus": len(os.sched_getaffinity(0)),
        "cpu_quota": quota(),
        "memory_bytes": _physical_memory(),
        "system": f"{platform.system()} {platform.release()}",
        "load_average": os.getloadavg()[0],  # of what else runs; above 0 disturbs
    }


def n_processors() -> int:
    """Return how many threads can run at once, as the core counts them."""
    return lib.vox_n_processors(ffi.NULL)


def quota() -> float | None:
    """Return how many processors' time the control groups allow, None: all there are."""
    found = ffi.new("double *")
    lib.vox_n_processors(found)
    return found[0] or None


def memory() -> tuple[int, int | None]:
    """Return the bytes that this process may have, and of them those that are available, if known.

    What a control group has read of files counts as available: it is given back.
    """
    total = _physical_memory()
    found = re.search(r"^MemAvailable: +(\d+) kB", _text(PROC / "meminfo"), re.MULTILINE)
    available = 1024 * int(found[1]) if found else None
    for group in _groups():
        for most, used in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, taken = (_text(group / name).strip() for name in (most, used))
            if not limit.isdecimal() or int(limit) >= total:
                continue
            total = int(limit)
            if taken.isdecimal():
                files = re.search(
                    r"^(?:total_)?inactive_file (\d+)$", _text(group / "memory.stat"), re.MULTILINE
                )
                left = max(total - int(taken) + (int(files[1]) if files else 0), 0)
                available = left if available is None else min(available, left)
    return total, available if available is None else min(available, total)


def _physical_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class Others:
    """The share of the processors that is not this process's, nor idle, since it was last asked."""

    def __init__(self) -> None:
        """Begin now."""
        self._before = self._now()

    def share(self) -> float | None:
        """Return it, 0 to 1, time stolen by other virtual machines included; None: not known."""
        (at, busy, own), self._before = self._before, self._now()
        now, later, mine = self._before
        if busy is None or later is None or now <= at:
            return None
        n = len(os.sched_getaffinity(0))
        return min(max((later - busy - (mine - own)) / ((now - at) * n), 0.0), 1.0)

    def _now(self) -> tuple[float, float | None, float]:
        """Seconds: the clock; what processors that are ours to use have worked; our work."""
        ticks, mine = [], os.sched_getaffinity(0)
        for line in _text(PROC / "stat").splitlines():
            if (found := re.match(r"cpu(\d+) (.*)", line)) and int(found[1]) in mine:
                user, nice, system, _, _, irq, soft, *steal = map(int, found[2].split()[:8])
                ticks.append(user + nice + system + irq + soft + sum(steal))
        busy = sum(ticks) / os.sysconf("SC_CLK_TCK") if ticks else None
        return time.monotonic(), busy, time.process_time()


def _groups() -> Iterator[Path]:
    """The folders of the control groups that limit this process's memory, from its own upwards."""
    for line in _text(PROC / "self" / "cgroup").splitlines():
        _, names, path = line.split(":", 2)
        if names and names != "memory":
            continue
        root = GROUPS / names if names else GROUPS
        own = root / path.lstrip("/")
        # Inside a container, the path may be the one that its host sees: then the root is ours.
        yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(root))


def _text(path: Path) -> str:
    """The text of a file of the system, empty if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
