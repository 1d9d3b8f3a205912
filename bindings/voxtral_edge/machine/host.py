"""What the machine is: its processors, how many of them are ours to use, and who else uses them."""

from __future__ import annotations

import platform
import time
from typing import Any

from .._voxtral import ffi, lib
from ..system import here

Found = dict[str, Any]

CPU_FLAGS = ("sse4_1", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vbmi", "avx512_vnni",
             "avx_vnni", "amx_int8", "asimddp", "i8mm")  # fmt: skip


def describe() -> Found:
    """Describe the processor, the memory and the system, as far as they can be known."""
    cpu, flags = here.cpu()
    return {
        "cpu": cpu,
        "cpu_flags": [flag for flag in CPU_FLAGS if flag in flags],
        "n_cpus": len(here.processors()),
        "cpu_quota": quota(),
        "memory_bytes": here.physical_memory(),
        "system": f"{platform.system()} {platform.release()}",
        "load_average": here.load_average(),  # of what else runs; above 0 disturbs
    }


def n_processors() -> int:
    """Return how many threads can run at once, as the core counts them."""
    return lib.vox_n_processors(ffi.NULL)


def quota() -> float | None:
    """Return how many processors' time the control groups allow, None: all there are."""
    found = ffi.new("double *")
    lib.vox_n_processors(found)
    return found[0] or None


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
        n = len(here.processors())
        return min(max((later - busy - (mine - own)) / ((now - at) * n), 0.0), 1.0)

    def _now(self) -> tuple[float, float | None, float]:
        """Seconds: the clock; what processors that are ours to use have worked; our work."""
        return time.monotonic(), here.busy_s(here.processors()), time.process_time()
