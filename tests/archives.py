"""What tests of archives share: small archives of clips, and what must be true of a target."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from conftest import SAMPLES

WORDS = {
    path.stem: path.read_text(encoding="utf-8").strip()
    for path in sorted(SAMPLES.glob("*.txt"))
    if path.with_suffix(".wav").exists()
}


def fill(folder: Path, n: int) -> dict[str, str]:
    """Copy n clips into a folder and one below it; return the text of each place."""
    texts = {}
    names = sorted(WORDS)
    for i in range(n):
        name = names[i % len(names)]
        place = f"{'deep/' if i % 3 == 2 else ''}{i:03}"
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SAMPLES / f"{name}.wav", folder / f"{place}.wav")
        texts[place] = WORDS[name]
    return texts


def lines(target: Path) -> list[dict[str, Any]]:
    """Return the lines of a manifest, each of which must be whole."""
    data = (target / "manifest.jsonl").read_bytes()
    assert data == b"" or data.endswith(b"\n")
    return parsed(data)


def parsed(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def check(target: Path, texts: dict[str, str]) -> None:
    """Each source has one output and one line, and there is nothing else."""
    sources = [line["source"] for line in lines(target)]
    assert sorted(sources) == sorted(f"{place}.wav" for place in texts)
    for place, text in texts.items():
        assert (target / f"{place}.txt").read_text(encoding="utf-8").strip() == text
    files = [path for path in target.rglob("*") if path.is_file()]
    assert len(files) == len(texts) + 1, files
    assert not any(re.search(r"\.part$", path.name) for path in files)
