"""The core in programs in C, C++ and Rust: the examples and the callers in docs/embedding.md."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from test_docs import ROOT, blocks_of

PAGE = ROOT / "docs" / "embedding.md"
MODEL = ROOT / "bindings" / "voxtral_edge" / "demo.gguf"
WORDS = (ROOT / "samples" / "digits_1.txt").read_text(encoding="utf-8").strip()


@pytest.fixture(scope="module")
def archive() -> Path:
    """The archive that the package was built with."""
    tag = sysconfig.get_platform().replace("-", "_")
    found = [path for path in (ROOT / "build").glob("cp310-*/libvoxtral.a") if tag in str(path)]
    assert found, "there is no build of the package: run scripts/install"
    return found[0]


def run(*command: str | Path, stdin: bytes = b"") -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def compiled(tmp_path: Path, compiler: str, source: Path, archive: Path) -> Path:
    out = tmp_path / "program"
    warnings = ["-Wall", "-Wextra", "-Werror"]
    run(compiler, *warnings, f"-I{ROOT}/csrc", source, archive, "-lm", "-pthread", "-o", out)
    return out


def test_examples(tmp_path: Path, archive: Path) -> None:
    sound = ROOT / "samples" / "digits_1.wav"
    program = compiled(tmp_path, "cc", ROOT / "examples" / "c" / "file.c", archive)
    assert run(program, MODEL, sound).strip() == WORDS
    for wrong in ([], [MODEL], [MODEL, MODEL], [sound, sound]):
        done = subprocess.run([program, *wrong], capture_output=True)
        assert done.returncode == 1 and done.stderr.count(b"\n") == 1 and not done.stdout
    program = compiled(tmp_path, "cc", ROOT / "examples" / "c" / "live.c", archive)
    assert run(program, MODEL, stdin=sound.read_bytes()[44:]).strip() == WORDS


def source(tmp_path: Path, kind: str, name: str) -> Path:
    [block] = blocks_of([PAGE], kind)
    path = tmp_path / name
    path.write_text(block.code, encoding="utf-8")
    return path


def test_cpp(tmp_path: Path, archive: Path) -> None:
    if not shutil.which("g++"):
        pytest.skip("there is no g++")
    program = compiled(tmp_path, "g++", source(tmp_path, "cpp", "hear.cpp"), archive)
    assert run(program, MODEL) == "23 slots\n"


def test_rust(tmp_path: Path, archive: Path) -> None:
    rustc = shutil.which("rustc")
    if not rustc or subprocess.run([rustc, "--version"], capture_output=True).returncode:
        pytest.skip("there is no rustc that runs (Debian: apt install rustc)")
    path, out = source(tmp_path, "rust", "hear.rs"), tmp_path / "program"
    link = ["-L", archive.parent, "-l", "static=voxtral", "-l", "m"]
    run("rustc", "-O", *link, path, "-o", out)
    assert run(out, MODEL) == "23 slots\n"
