"""A program that PyInstaller makes of this package and its command runs where no Python is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from conftest import SAMPLES

pytest.importorskip("PyInstaller")
pytestmark = pytest.mark.skipif(shutil.which("objdump") is None, reason="binutils are missing")

CLIP = SAMPLES / "digits_3.wav"
WORDS = "three zero four six"
PROGRAM = """
import sys
import voxtral_edge
from voxtral_edge.cli import main

if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(voxtral_edge.Model().transcribe(sys.argv[1]).text)
    else:
        sys.exit(main())
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "app.py").write_text(PROGRAM)
    # What the server, pictures and the tests need is left out, so that this takes half the time.
    left_out = ("fastapi", "matplotlib", "openai", "mistralai", "pytest", "uvicorn", "wyoming")
    options = [word for name in left_out for word in ("--exclude-module", name)]
    done = subprocess.run(
        [sys.executable, "-m", "PyInstaller", "--log-level", "ERROR", *options, "app.py"],
        cwd=folder, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "dist" / "app" / "app"


def run(program: Path, *args: object) -> str:
    env = {"PATH": os.defpath, "HOME": str(program.parent)}
    done = subprocess.run(
        [program, *map(str, args)], capture_output=True, text=True, timeout=60, env=env
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_package(program: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.mp3", *soundfile.read(CLIP))
    for path in (CLIP, tmp_path / "a.mp3"):
        assert run(program, path).strip() == WORDS


def test_the_command(program: Path, tmp_path: Path) -> None:
    assert run(program, "transcribe", "--quiet", CLIP) == WORDS + "\n"
    run(program, "convert", "--quiet", SAMPLES.parent / "demo", tmp_path / "m.gguf")
    assert run(program, "transcribe", "-m", tmp_path / "m.gguf", CLIP) == WORDS + "\n"
    assert "dec.embed.weight" in run(program, "inspect", tmp_path / "m.gguf")
    assert "complete" in run(program, "completion", "bash")
