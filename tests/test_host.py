"""What a process may have of its machine, where control groups of either version say less."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from voxtral_edge.machine import host

linux = pytest.importorskip("voxtral_edge.system.linux", exc_type=(ImportError, AssertionError))

TOTAL = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
GB = 1 << 30


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without control groups and with 2 GB available; files are added to it."""
    monkeypatch.setattr(linux, "PROC", tmp_path / "proc")
    monkeypatch.setattr(linux, "GROUPS", tmp_path / "groups")
    put(tmp_path, "proc/meminfo", f"MemTotal: 9 kB\nMemAvailable:   {2 * GB // 1024} kB\n")
    return tmp_path


def put(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_no_groups(system: Path) -> None:
    assert linux.memory() == (TOTAL, min(2 * GB, TOTAL))
    (system / "proc" / "meminfo").unlink()
    assert linux.memory() == (TOTAL, None)
    assert host.describe()["cpu_flags"] == []


def test_processors() -> None:
    """The core counts them, and its test says how; quotas below one processor leave one."""
    most = len(os.sched_getaffinity(0))
    assert host.n_processors() == max(1, min(most, int(host.quota() or most)))
    assert host.describe()["cpu_quota"] == host.quota()


def test_groups_of_version_2(system: Path) -> None:
    """The least of all groups around the process counts."""
    put(system, "proc/self/cgroup", "0::/a.slice/b\n")
    put(system, "groups/a.slice/memory.max", "1000000000\n")
    put(system, "groups/a.slice/memory.current", "400000000\n")
    put(system, "groups/a.slice/memory.stat", "anon 5\ninactive_file 150000000\n")
    put(system, "groups/a.slice/b/memory.max", "max\n")
    assert linux.memory() == (1_000_000_000, 750_000_000)


def test_groups_of_version_1(system: Path) -> None:
    """A container sees the path of its host, but its own group at the root."""
    put(system, "proc/self/cgroup", "5:memory:/docker/1\n4:cpu,cpuacct:/docker/1\n1:name=x:/\n")
    put(system, "groups/memory/memory.limit_in_bytes", "1000000000\n")
    put(system, "groups/memory/memory.usage_in_bytes", "990000000\n")
    assert linux.memory() == (1_000_000_000, 10_000_000)
    put(system, "groups/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert linux.memory()[0] == TOTAL


@pytest.mark.parametrize("text", ["", "max", "0 0", "many 100000", "100000"])
def test_groups_that_say_nothing(system: Path, text: str) -> None:
    put(system, "proc/self/cgroup", "0::/\n")
    put(system, "groups/memory.max", text.replace("100000", "max"))
    assert linux.memory()[0] == TOTAL


def test_the_share_of_others(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of processors that are ours to use; what is idle, waits or is our own is no one else's."""
    tick = os.sysconf("SC_CLK_TCK")
    clock, own = iter([100.0, 110.0, 120.0]), iter([5.0, 9.0, 29.0])
    monkeypatch.setattr(host.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(host.time, "process_time", lambda: next(own))
    monkeypatch.setattr(linux.os, "sched_getaffinity", lambda pid: {0, 2})
    # user, nice, system, idle, iowait, irq, softirq, steal, guest, guest nice
    lines = "cpu 9 9 9 9 9 9 9 9 9 9\ncpu{}\ncpu{}\ncpu{}\nintr 5\n"
    before = lines.format("0 0 0 0 7 8 0 0 0 0 0", "1 0 0 0 0 0 0 0 0 0 0", "2 0 0 0 9 9 0 0 0 0 0")
    ours, theirs, stolen = 8 * tick, 900 * tick, 2 * tick
    after = lines.format(
        f"0 {ours} 0 0 9 9 0 0 0 0 0",
        f"1 {theirs} 0 0 0 0 0 0 0 0 0",
        f"2 0 0 0 9 9 0 0 {stolen} 0 0",
    )
    put(system, "proc/stat", before)
    others = host.Others()
    put(system, "proc/stat", after)
    assert others.share() == pytest.approx((8 + 2 - 4) / 20)
    assert others.share() == 0.0  # ticks are coarser than the clock of a process


def test_a_share_that_cannot_be_known(system: Path) -> None:
    assert host.Others().share() is None
