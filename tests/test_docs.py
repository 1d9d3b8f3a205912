"""Every code block of the README and docs/ runs.

python blocks run as they stand. console blocks hold commands after "$ " and, below each, lines that
its output must contain ("..." stands for lines left out). c blocks must compile against the public
header. js blocks are test_web.py's. Commands run in a folder of their own that looks like the
repository's root, with the package on PATH. `make VERB` is only checked to exist, since the verbs
run these tests. Blocks of kind text and json are not code.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "samples" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SERVED = ROOT / "docs" / "serve.md"  # whose blocks need a server: test_serve_docs.py runs them
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    kind: str
    code: str
    place: str


def blocks(*kinds: str) -> list[Block]:
    return blocks_of([page for page in PAGES if page != SERVED or not kinds], *kinds)


def blocks_of(pages: list[Path], *kinds: str) -> list[Block]:
    found = []
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            place = f"{page.relative_to(ROOT)}:{line}"
            if match[1] in kinds or not kinds:
                found.append(Block(match[1], match[2], place))
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for entry in ROOT.iterdir():
        if not entry.name.startswith(".") and entry.name not in ("build", "dist"):
            (tmp_path / entry.name).symlink_to(entry)
    return tmp_path


def run(command: list[str], cwd: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "PATH": path, "XDG_DATA_HOME": str(cwd / ".data")},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.place)
def test_python(block: Block, root: Path) -> None:
    if "import llama" in block.code:
        pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: run make llama")
    run([sys.executable, "-W", "error", "-c", block.code], root)


@pytest.mark.parametrize("block", blocks("console"), ids=lambda block: block.place)
def test_console(block: Block, root: Path) -> None:
    verbs = set(re.findall(r"^(\w+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert block.code.startswith("$ ")
    for part in re.split(r"^\$ ", block.code, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        if command.startswith("make "):
            assert set(command.split()[1:]) <= verbs
            continue
        output = run(["bash", "-o", "pipefail", "-c", command], root)
        for line in expected.splitlines():
            assert line == "..." or line.strip() in output, f"{line!r} is not in {output!r}"


@pytest.mark.parametrize("block", blocks("c"), ids=lambda block: block.place)
def test_c(block: Block, tmp_path: Path) -> None:
    source = tmp_path / "block.c"
    source.write_text(block.code)
    run(["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
         f"-I{ROOT / 'csrc'}", str(source)], tmp_path)  # fmt: skip


def test_kinds() -> None:
    """js is run by test_web, cpp and rust by test_embedding; yaml is read by test_serve_docs."""
    kinds = {"python", "console", "c", "cpp", "rust", "js", "text", "json", "yaml"}
    assert {block.kind for block in blocks()} <= kinds


def test_links() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_files_without_ggml() -> None:
    """A file whose header says so includes no header of ggml's, by whatever way."""
    csrc = ROOT / "csrc"

    def reached(file: Path) -> set[str]:
        names = set(re.findall(r'^#include ["<](.+)[">]', file.read_text(), re.MULTILINE))
        own = {folder / name for folder in (csrc, file.parent) for name in names}
        return names.union(*(reached(header) for header in own if header.exists()))

    n_found = 0
    for header in csrc.rglob("*.h"):
        if re.search(r"No ggml[ *\n]+header", header.read_text()):
            n_found += 1
            for file in (header, header.with_suffix(".c")):
                assert not file.exists() or "ggml.h" not in reached(file), file.name
    assert n_found > 10
