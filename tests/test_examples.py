"""Every example runs: the microphone is the loopback device, the notebook's cells run in order."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import voxtral_edge as vox
from conftest import SAMPLES
from test_live import LOOPBACK, until_four

EXAMPLES = Path(__file__).parents[1] / "examples"
CLIPS = {name: (SAMPLES / f"{name}.txt").read_text().strip() for name in ("digits_1", "digits_3")}

Python = Callable[..., tuple[str, ...]]


def test_all_examples_are_here() -> None:
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == {
        "archive.ipynb", "captions.py", "folder.py", "look.ipynb", "many_streams.py"
    }  # fmt: skip


def test_captions(run_python: Python) -> None:
    assert len((EXAMPLES / "captions.py").read_text().splitlines()) <= 15
    settings = json.dumps({"file": str(SAMPLES / "digits_1.wav"), "speed": 20})
    env = {**os.environ, "PYTHONPATH": str(LOOPBACK), "VOXTRAL_LOOPBACK": settings}
    assert until_four(run_python(EXAMPLES / "captions.py"), env).strip() == CLIPS["digits_1"]


def test_many_streams(run_python: Python) -> None:
    paths = [SAMPLES / f"{name}.wav" for name in CLIPS] * 2
    command = run_python(EXAMPLES / "many_streams.py", *paths)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    expected = [f"{name}.wav: {text}" for name, text in CLIPS.items()] * 2
    assert sorted(done.stdout.splitlines()) == sorted(expected)


def test_folder(run_python: Python, tmp_path: Path) -> None:
    for name in CLIPS:
        shutil.copy(SAMPLES / f"{name}.wav", tmp_path)
    command = run_python(EXAMPLES / "folder.py", tmp_path)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [line.split(" words")[0] for line in done.stdout.splitlines()] == [
        f"{name}.wav: {len(text.split())}" for name, text in CLIPS.items()
    ]
    for name, text in CLIPS.items():
        shown = (tmp_path / f"{name}.srt").read_text().split("\n\n")
        assert " ".join(word for cue in shown for word in cue.split()[4:]) == text


def run_notebook(name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, object], str]:
    """Run the cells of a notebook; return the names that it defines, and what it prints."""
    monkeypatch.chdir(EXAMPLES.parent)
    notebook = json.loads((EXAMPLES / name).read_text())
    assert notebook["nbformat"] == 4
    names: dict[str, object] = {}
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                assert cell["outputs"] == []  # a notebook is committed without its results
                exec("".join(cell["source"]), names)
    return names, shown.getvalue()


def test_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    names, shown = run_notebook("look.ipynb", monkeypatch)
    assert "00:00:00,190 --> " in shown
    assert f" 480 ms: {CLIPS['digits_1']}" in shown
    picture = names["picture"]
    assert isinstance(picture, Path)
    assert picture.stat().st_size > 10_000
    shutil.rmtree(picture.parent)


def test_archive_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    names, shown = run_notebook("archive.ipynb", monkeypatch)
    moments = names["moments"]
    assert isinstance(moments, list)
    assert len(moments) == 1
    source, start_ms, end_ms, sure = moments[0]
    assert source == "digits_2.wav"
    assert f"digits_2.wav at {start_ms / 1000:.2f} s, " in shown
    assert 0.5 < sure <= 1.0
    # What is played is said alone: "three eight [eight two] eight" with margins of half a second.
    moment = names["moment"]
    with vox.Model() as model:
        assert "eight two" in model.transcribe(moment).text
    assert len(moment) == (end_ms - start_ms + 1000) * vox.RATE // 1000
    shutil.rmtree(names["TEXTS"])
