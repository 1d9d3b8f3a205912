"""The command, again and again, over a disk that fails once in another place each time.

python tests/faulty.py CALLS FAULT OPERATION FOLDER, with tests/c/faults.c loaded before it, on what
test_faults.py has put into FOLDER. After each failure the outputs are as before, or as they would
have been without it; what was opened is closed; and one line says what went wrong, and with which
file. Where the power goes, the next attempt finds all it needs. Prints how many calls there were
and how many failures were told.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

from voxtral_edge.cli import main

CALLS = {"open": 1, "read": 2, "write": 4, "sync": 8, "rename": 16, "room": 32}
MOST = 15  # calls that fail, about, of all that there are
FAULTS = {"partly": -1, "stop": -2}  # of tests/c/faults.c; others are those of errno
OLD = {"m.gguf": b"GGUF and all that was there", "talk.txt": b"what was there\n"}
INPUTS = ("checkpoint", "model.gguf", "talk.wav", "talk.flac", "talk.mp3", "talk.ogg")
OPERATIONS = {
    "convert": "convert checkpoint m.gguf --type q8_0 --quiet --threads 2",
    "verify": "convert checkpoint m.gguf --type q8_0 --quiet --threads 2 --verify",
    "inspect": "inspect model.gguf",
    "wav": "transcribe talk.wav -m model.gguf -o talk.txt --quiet",
    "flac": "transcribe talk.flac -m model.gguf -o talk.txt --quiet",
    "mp3": "transcribe talk.mp3 -m model.gguf -o talk.txt --quiet",
    "ogg": "transcribe talk.ogg -m model.gguf -o talk.txt --quiet",
}


def furnish(folder: Path) -> None:
    """Put what is replaced there, and nothing else that an operation makes."""
    for name, data in OLD.items():
        (folder / name).write_bytes(data)


def state(folder: Path) -> dict[str, bytes]:
    """What the folder holds that an operation could change."""
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.name in OLD or path.name.startswith(".")
    }


def run(words: list[str]) -> tuple[int, str]:
    """Return the exit status and what was said on standard error."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        status = main(words)
    return status, said.getvalue()


def n_open() -> int:
    """How many descriptors this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


def attempts(calls: str, fault: str, operation: str, folder: Path) -> None:
    faults = ctypes.CDLL(None)
    kinds = sum(CALLS[name] for name in calls.split("+"))
    error = FAULTS.get(fault) or getattr(errno, fault)
    words = [
        str(folder / word) if word in (*INPUTS, *OLD) else word
        for word in OPERATIONS[operation].split()
    ]

    def attempt(n: int) -> tuple[int, str, int]:
        faults.faults_arm(os.fsencode(folder), kinds, n, error)
        try:
            status, said = run(words)
        finally:
            n_calls = faults.faults_disarm()
        return status, said, n_calls

    furnish(folder)
    old = state(folder)
    status, said, n_calls = attempt(-1)
    assert (status, said) == (0, ""), said
    assert faults.faults_unsynced() == 0
    new, opened, n_told = state(folder), n_open(), 0
    for n in range(0, n_calls, 1 + n_calls // MOST):
        furnish(folder)
        where = f"{operation}: {fault} at {calls} {n}"
        if fault == "stop":
            stop(lambda n=n: attempt(n), where)
            for name, data in state(folder).items():
                assert name not in OLD or data in (old[name], new[name]), where
            for part in folder.glob(".*.part"):
                part.unlink()
            n_told += 1
            continue
        status, said, _ = attempt(n)
        where += f": status {status}, {said!r}"
        if fault in ("partly", "EINTR"):
            assert status == 0, where
        if status == 0:
            assert said == "" and state(folder) == new, where
        else:
            n_told += 1
            assert said.startswith("voxtral: ") and said.count("\n") == 1, where
            assert str(folder) in said, where
            assert state(folder) == old or operation == "verify", where
        assert n_open() == opened, where
    print(n_calls, n_told)


def stop(attempt: Callable[[], object], where: str) -> None:
    """Let a process that is a copy of this one make an attempt, which ends it."""
    child = os.fork()
    if child == 0:
        attempt()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 137, where


if __name__ == "__main__":
    at = Path(sys.argv[4])
    attempts(*sys.argv[1:4], at)
