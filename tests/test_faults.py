"""Disks that fail: each read, write and rename of the command once, in one way after another.

What a failing disk does is done by tests/c/faults.c; tests/faulty.py says what must come of it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
import tiny_model
from conftest import SAMPLES
from voxtral_edge.convert import convert

HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")

SIZES = {"enc_n_layers": 1, "dec_n_layers": 1}


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that lets calls fail."""
    path = tmp_path_factory.mktemp("shim") / "faults.so"
    options = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC"]
    subprocess.run(["cc", *options, "-o", path, HERE / "c" / "faults.c", "-ldl"], check=True)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, a model, and a clip in some kinds of file."""
    folder = tmp_path_factory.mktemp("disk")
    tiny_model.write_official(folder / "checkpoint", **SIZES)
    convert(folder / "checkpoint", folder / "model.gguf", type="f32")
    samples, rate = soundfile.read(SAMPLES / "digits_3.wav", frames=16000)
    for kind in ("wav", "flac", "mp3", "ogg"):
        soundfile.write(folder / f"talk.{kind}", samples, rate)
    return folder


@pytest.mark.parametrize(
    ("operation", "calls", "fault"),
    [
        ("convert", "open+read", "EIO"),
        ("convert", "open+read+write+sync", "EINTR"),
        ("convert", "read+write", "partly"),
        ("convert", "write+room", "ENOSPC"),
        ("convert", "write+sync+rename", "EIO"),
        ("convert", "read+write+sync+rename+room", "stop"),
        ("verify", "read", "EIO"),
        ("verify", "read", "partly"),
        ("inspect", "open+read", "EIO"),
        ("inspect", "read", "partly"),
        *((kind, "open+read", "EIO") for kind in ("wav", "flac", "mp3", "ogg")),
        ("wav", "open+read", "EINTR"),
        *((kind, "read", "partly") for kind in ("wav", "ogg")),
        ("wav", "write+sync+rename", "EIO"),
        ("wav", "write", "ENOSPC"),
        ("wav", "write", "partly"),
        ("wav", "open+read+write+sync+rename", "stop"),
    ],
)
def test_failures(
    operation: str,
    calls: str,
    fault: str,
    shim: Path,
    folder: Path,
    run_python: Callable[..., tuple[str, ...]],
) -> None:
    done = subprocess.run(
        run_python(HERE / "faulty.py", calls, fault, operation, folder),
        env=os.environ | {"LD_PRELOAD": str(shim)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    n_calls, n_told = map(int, done.stdout.split())
    assert n_calls > 0 and (n_told == 0) == (fault in ("partly", "EINTR"))
