"""What Windows does otherwise: names in UTF-16, consoles, Ctrl-C, files that are open."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import voxtral_edge as vox
from conftest import SAMPLES
from voxtral_edge import cli
from voxtral_edge.console.output import Output, OutputError, is_text
from voxtral_edge.convert import GgufFile, convert

pytestmark = pytest.mark.skipif(sys.platform != "win32", reason="this is not Windows")

CLIP = SAMPLES / "digits_3.wav"
WORDS = "three zero four six"
# One of the characters is two units of UTF-16.
NAME = "naïve \N{OGHAM LETTER BEITH} \N{GRINNING FACE} \N{CJK UNIFIED IDEOGRAPH-97F3}"
DEMO = SAMPLES.parent / "demo"

Command = Callable[..., tuple[str, ...]]


def transcribe(run_python: Command, *args: object, **options: object) -> bytes:
    command = run_python("-m", "voxtral_edge", "transcribe", "--quiet", *args)
    done = subprocess.run(command, capture_output=True, timeout=120, **options)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


# ---- names --------------------------------------------------------------------------------------


def test_names_beyond_any_code_page(run_python: Command, tmp_path: Path) -> None:
    """Of a model, a recording and a text; the model is mapped by the core under that name."""
    folder = tmp_path / NAME
    folder.mkdir()
    model, clip, text = (folder / f"{NAME}.{kind}" for kind in ("gguf", "wav", "txt"))
    convert(DEMO, model)
    clip.write_bytes(CLIP.read_bytes())
    assert transcribe(run_python, "-m", model, clip, "-o", text) == b""
    assert text.read_bytes() == f"{WORDS}\n".encode()
    # Two files: their names are shown.
    said = transcribe(run_python, clip, CLIP)
    assert said.splitlines()[0].decode() == f"{clip}: {WORDS}"
    with pytest.raises(vox.ModelNotFound, match=NAME):
        vox.Model(folder / "none.gguf")


def test_long_paths(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*["x" * 60] * 2)
    folder.mkdir(parents=True)
    clip = folder / "clip.wav"
    clip.write_bytes(CLIP.read_bytes())
    with vox.Model() as model:
        assert model.transcribe(clip).text == WORDS


# ---- pipes --------------------------------------------------------------------------------------


def test_pipes_are_binary(run_python: Command) -> None:
    """No byte of audio ends it or is taken for the end of a line; no end of a line grows."""
    audio = CLIP.read_bytes()
    assert b"\x1a" in audio and b"\r\n" in audio + b"\r\n"
    command = run_python("-m", "voxtral_edge", "stream", "-")
    done = subprocess.run(command, input=audio, capture_output=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, f"{WORDS}\n".encode())
    assert transcribe(run_python, "-", input=audio) == f"{WORDS}\n".encode()


def test_nobody_reads(run_python: Command) -> None:
    """A closed pipe ends the command as elsewhere, without a word."""
    command = run_python("-m", "voxtral_edge", "transcribe", "--quiet", CLIP)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


# ---- files that are open ------------------------------------------------------------------------


def test_a_file_that_is_open_is_replaced_or_stays(tmp_path: Path) -> None:
    """A reader does not see it change: systems differ in whether another may take its name."""
    path = tmp_path / "x.txt"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        try:
            with Output(path, inputs={}, over=is_text) as output:
                output.write(b"longer than before\n")
        except OutputError as error:
            assert str(path) in str(error)
            assert path.read_bytes() == b"old"
        else:
            assert path.read_bytes() == b"longer than before\n"
        assert reader.read() == b"old"
    with Output(path, inputs={}, over=is_text) as output:
        output.write(b"new\n")
    assert path.read_bytes() == b"new\n"
    assert [each.name for each in tmp_path.iterdir()] == ["x.txt"]


def test_a_model_in_use_is_not_half_replaced(tmp_path: Path) -> None:
    """It is mapped: either another takes its name, or it stays and a line says why."""
    path = tmp_path / "m.gguf"
    convert(DEMO, path)
    old = path.read_bytes()
    with vox.Model(path) as model:
        try:
            convert(DEMO, path, type="f32")
        except OutputError as error:
            assert str(path) in str(error)
            assert path.read_bytes() == old
        assert model.transcribe(CLIP).text == WORDS
    convert(DEMO, path, type="f32")
    with GgufFile(path) as file:
        assert file.metadata["voxtral_edge.file_type"].value == "f32"
    assert [each.name for each in tmp_path.iterdir()] == ["m.gguf"]


def test_what_is_written_is_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "x.txt"
    for _ in range(2):
        assert cli.main(["transcribe", "--quiet", str(CLIP), "-o", str(path)]) == 0
        assert path.read_bytes() == f"{WORDS}\n".encode()
    assert cli.main(["transcribe", str(CLIP), "-o", "NUL"]) == 0
    assert cli.main(["transcribe", str(CLIP), "-o", str(tmp_path / "new") + "/"]) == 0
    assert (tmp_path / "new" / "digits_3.txt").read_bytes() == f"{WORDS}\n".encode()
    capsys.readouterr()


# ---- consoles -----------------------------------------------------------------------------------


CONSOLE = """
import ctypes, sys
from ctypes import wintypes
from voxtral_edge.console import lines
from voxtral_edge.system import here
kernel = ctypes.WinDLL("kernel32")
kernel.CreateFileW.restype = wintypes.HANDLE
out = wintypes.HANDLE(kernel.CreateFileW("CONOUT$", 0xC0000000, 3, None, 3, 0, None))
sys.stdout = open("CONOUT$", "w", encoding="utf-8")
assert sys.stdout.isatty() and here.draws(sys.stdout)
mode = wintypes.DWORD()
assert kernel.GetConsoleMode(out, ctypes.byref(mode)) and mode.value & 4, "escapes are shown"
cells, n, start = ctypes.create_unicode_buffer(40), wintypes.DWORD(), wintypes.DWORD(0)
kernel.FillConsoleOutputCharacterW(out, wintypes.WCHAR(" "), 80, start, ctypes.byref(n))
assert kernel.SetConsoleCursorPosition(out, start)
lines.put(sys.stdout, TEXT)
assert kernel.ReadConsoleOutputCharacterW(out, cells, 20, start, ctypes.byref(n))
found = cells.value.rstrip()
assert found == TEXT, ascii(found)
with open("NUL", "w") as nothing:
    assert not here.draws(nothing)
"""


def test_a_console_gets_text_whatever_its_code_page(run_python: Command) -> None:
    text = "a \xe9\u0436\u03b1 b"
    code = CONSOLE.replace("TEXT", ascii(text))
    done = subprocess.run(run_python("-c", code), stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(("times", "status"), [(1, 0), (2, 130)])
def test_ctrl_c_ends_the_audio(run_python: Command, times: int, status: int) -> None:
    """The first lets what was said become text, the second stops at once."""
    command = run_python("-m", "voxtral_edge", "stream", "-")
    audio = CLIP.read_bytes()
    previous = signal.signal(signal.SIGINT, lambda number, frame: None)  # all here get it
    try:
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            process.stdin.write(audio[: len(audio) // 2])
            process.stdin.flush()
            first = process.stdout.read(5)
            for _ in range(times):
                os.kill(0, signal.CTRL_C_EVENT)
                time.sleep(0.3 if times == 1 else 0.0)
            out = first + process.stdout.read()
            assert process.wait(30) in ((0,) if status == 0 else (0, 130))
            assert out.startswith(WORDS[:5].encode())
    finally:
        signal.signal(signal.SIGINT, previous)


def test_ctrl_c_stops_at_once(run_python: Command, tmp_path: Path) -> None:
    """And leaves nothing half written."""
    clip = tmp_path / "long.wav"
    header, data = CLIP.read_bytes()[:44], CLIP.read_bytes()[44:]
    clip.write_bytes(header[:40] + (400 * len(data)).to_bytes(4, "little") + 400 * data)
    command = run_python(
        "-m", "voxtral_edge", "transcribe", "--quiet", clip, "-o", tmp_path / "x.txt"
    )
    previous = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            while not list(tmp_path.glob(".*.part")):
                time.sleep(0.05)
            os.kill(0, signal.CTRL_C_EVENT)
            assert process.wait(30) == 130
            assert process.stderr.read() == b""
    finally:
        signal.signal(signal.SIGINT, previous)
    assert [each.name for each in tmp_path.iterdir()] == ["long.wav"]


# ---- the machine --------------------------------------------------------------------------------


def test_memory_and_processors_are_known() -> None:
    from voxtral_edge.system import here

    total, available = here.memory()
    assert 0 < available <= total == here.physical_memory()
    assert 1 << 20 < here.peak_memory() < total
    busy = here.busy_s(here.processors())
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        pass
    assert here.busy_s(here.processors()) > busy
    assert here.cpu()[0]
    with pytest.raises(ImportError):
        __import__("resource")


def test_a_decoder_is_confined(run_python: Command) -> None:
    code = (
        "import subprocess, sys\n"
        "from voxtral_edge.system import here\n"
        "here.confine(1 << 30, 1000, 100)\n"
        "try:\n    subprocess.run([sys.executable, '-c', ''])\n"
        "except OSError:\n    print('no other program')\n"
    )
    done = subprocess.run(run_python("-c", code), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    if hasattr(ctypes.WinDLL("ntdll"), "wine_get_version"):
        pytest.skip("wine does not limit jobs")
    assert done.stdout == "no other program\n"
