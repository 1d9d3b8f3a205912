"""Odd names, sizes and homes: no name commands a terminal, and nothing ends in a traceback."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_model
import voxtral_edge as vox
from conftest import SAMPLES
from voxtral_edge.console.lines import forget_odd_sizes
from voxtral_edge.console.printable import printable

CLIP = SAMPLES / "digits_3.wav"
WORDS = "three zero four six"
RunPython = Callable[..., tuple[str, ...]]

# What clears the screen, in seven and in eight bits; what sets the title; what turns writing over;
# what is no UTF-8.
NAMES = [
    "\x1b[2J",
    "\x9b2J",
    "\x1b]0;t\x07",
    "\u202egpj",
    "a\nb",
    "\r",
    "\x7f",
    "\udc9b2J",
    "\udcff",
]
OBEYED = re.compile("[\x00-\x09\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\u202e\udc80-\udcff]")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.write_official(tmp_path_factory.mktemp("checkpoint"))


def on_terminal(command: tuple[str, ...], *, columns: int = 80, **env: str) -> tuple[int, str]:
    """Run a command on a terminal of its own; return its status and all that it wrote."""
    pty = pytest.importorskip("pty", reason="terminals are made otherwise here")
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(command[0], command, {**os.environ, "TERM": "xterm", **env})
    subprocess.run(["stty", "cols", str(columns)], stdin=fd, check=False)
    came = b""
    while True:
        try:
            block = os.read(fd, 1 << 16)
        except OSError:  # the other end is closed
            break
        if not block:
            break
        came += block
    os.close(fd)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), came.decode(errors="surrogateescape")


def harmless(shown: str) -> None:
    """Only what the status line itself needs may move the cursor."""
    own = r"\x1b(?:D|7|8|\[A|\[B|\[J|\[[0-9;]*m|\[\?25[lh]|\[2K|\[1A)|\r"
    rest = re.sub(own, "", shown)
    assert not OBEYED.search(rest) and "\x1b" not in rest, rest


def test_printable() -> None:
    assert [printable(name) for name in NAMES] == [
        r"\x1b[2J", r"\x9b2J", r"\x1b]0;t\x07", r"\u202egpj", r"a\nb", r"\r", r"\x7f", r"\x9b2J",
        r"\xff",
    ]  # fmt: skip
    for fine in ("talk.wav", "\u97f3 \u00e4", "a\u0308", "\U0001f468\u200d\U0001f469", "$x^2$ [b]"):
        assert printable(fine) == fine
    assert printable("a\tb\n\x1b", keep="\t\n") == "a\tb\n\\x1b"
    assert printable("\ud800") == r"\ud800"


def test_names_on_a_terminal(run_python: RunPython, tmp_path: Path, checkpoint: Path) -> None:
    """Every command, with a name in its arguments, in its files and in what it lists."""
    name = " ".join(NAMES)
    folder = tmp_path / name
    models = tmp_path / "voxtral-edge" / "models"
    for each in (folder, models):
        each.mkdir(parents=True)
    wav, gguf = folder / f"{name}.wav", models / f"{name}.gguf"
    shutil.copy(CLIP, wav)
    gguf.write_bytes(b"GGUF")
    for status, words in (
        (0, ("transcribe", wav)),
        (0, ("transcribe", "-r", folder, folder)),
        (0, ("transcribe", wav, "-o", f"{folder}/")),
        (2, ("transcribe", wav, "-o", wav)),
        (2, ("transcribe", tmp_path / "none" / name)),
        (2, ("transcribe", wav, "-m", name)),
        (2, ("transcribe", wav, "--format", name)),
        (2, ("transcribe", wav, "--threads", name)),
        (2, ("transcribe", wav, f"--{name}")),
        (2, ("stream", "--mic", "--device", name)),
        (2, (name,)),
        (0, ("models",)),
        (2, ("models", "verify", name)),
        (0, ("convert", checkpoint, folder / f"{name}.gguf")),
        (2, ("convert", folder)),
        (0, ("inspect", folder / f"{name}.gguf")),
        (2, ("inspect", gguf)),
        (0, ("models", "remove", gguf.stem)),
    ):
        found, shown = on_terminal(
            run_python("-m", "voxtral_edge", *words), XDG_DATA_HOME=str(tmp_path), PYTHONUTF8="1"
        )
        assert found == status, (words, shown)
        assert "Traceback" not in shown
        harmless(shown)


def test_names_in_messages_that_are_kept(run_python: RunPython, tmp_path: Path) -> None:
    """A log is read on a terminal later."""
    names = [tmp_path / name for name in NAMES if "[" not in name]
    command = run_python("-m", "voxtral_edge", "transcribe", "--quiet", *names)
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().splitlines() == [
        f"voxtral: {printable(str(name))}: No such file or directory" for name in names
    ]


def test_text_of_a_model_is_no_command(run_python: RunPython) -> None:
    code = r"""
from voxtral_edge.cli.terminal import Screen
with Screen() as screen:
    screen.text("one\x1b[2J two\x9b\x07")
    screen.text("\tthree\n")
"""
    status, shown = on_terminal(run_python("-c", code))
    assert status == 0
    assert "one\\x1b[2J two\\x9b\\x07" in shown and "three" in shown


@pytest.mark.parametrize("size", ["0", "-5", "wide", "", "9" * 30])
def test_odd_sizes_are_forgotten(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", size)
    monkeypatch.setenv("LINES", "9999")
    forget_odd_sizes()
    assert "COLUMNS" not in os.environ and os.environ["LINES"] == "9999"


@pytest.mark.parametrize("size", ["1", "9" * 30])
def test_odd_sizes(size: str, run_python: RunPython, tmp_path: Path, checkpoint: Path) -> None:
    for words in (
        ("transcribe", CLIP),
        ("transcribe", "--help"),
        ("convert", checkpoint, tmp_path / "m.gguf"),
        ("inspect", tmp_path / "m.gguf"),
    ):
        command = run_python("-m", "voxtral_edge", *words)
        status, shown = on_terminal(command, COLUMNS=size, LINES=size)
        assert status == 0, shown
        assert "Traceback" not in shown


def test_a_terminal_without_size(run_python: RunPython) -> None:
    status, shown = on_terminal(run_python("-m", "voxtral_edge", "transcribe", CLIP), columns=0)
    assert status == 0
    assert all(word in shown for word in WORDS.split())  # a status may come between them


def test_lines_of_a_log() -> None:
    """What clients say is in them."""
    from voxtral_edge.serve.command import _Lines

    record = logging.makeLogRecord({"msg": "refused %s", "args": ("a\x1b[2J",), "origin": "b\nc"})
    line = _Lines().format(record)
    assert line.endswith(r"refused a\x1b[2J origin=b\nc")


# ---- homes ---------------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("setpriv") or os.getuid() != 0, reason="needs another user")
def test_no_home(tmp_path: Path) -> None:
    """As in a container that runs under a number: no HOME, and no entry in the list of users."""
    user = ("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", sys.executable)
    env = {"PATH": os.defpath}
    folder = Path("/tmp") / f"voxtral-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        tiny_model.write_official(folder / "checkpoint")
        shutil.copy(CLIP, folder / "a.wav")
        (folder / "mine").mkdir()
        os.chown(folder / "mine", 12345, 12345)

        def run(*words: object) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [*user, "-m", "voxtral_edge", *map(str, words)],
                capture_output=True, text=True, timeout=60, env=env, cwd=folder / "mine",
            )  # fmt: skip

        if subprocess.run([*user, "-c", "import voxtral_edge"], capture_output=True).returncode:
            pytest.skip("another user cannot run this package")
        for words in (
            ("models",),
            ("models", "verify", "x"),
            ("transcribe", "../a.wav", "-m", "x"),
            ("convert", "../checkpoint"),
            ("convert", "someone/Tiny-Voxtral", "m.gguf"),
        ):
            done = run(*words)
            assert (done.returncode, done.stdout) == (2, ""), done.stderr
            assert re.fullmatch(r"voxtral: .*set HOME or .*\n", done.stderr)
        done = run("convert", "../checkpoint", "m.gguf", "--quiet")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        done = run("transcribe", "../a.wav", "--quiet", "-o", "a.txt")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        done = run("plot", "../a.wav", "--quiet", "-o", "a.png")
        if "MPLCONFIGDIR" in done.stderr:  # matplotlib before 3.11
            assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
            env["MPLCONFIGDIR"] = str(folder / "checkpoint")
            done = run("plot", "../a.wav", "--quiet", "-o", "a.png")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        names = sorted(path.name for path in (folder / "mine").iterdir())
        assert names == ["a.png", "a.txt", "m.gguf"]
    finally:
        shutil.rmtree(folder)


def test_models_of_odd_dates(run_python: RunPython, tmp_path: Path) -> None:
    memory = Path("/dev/shm")  # keeps any date; others keep the nearest that they can
    base = memory / f"voxtral-{os.getpid()}" if os.access(memory, os.W_OK) else tmp_path
    models = base / "voxtral-edge" / "models"
    models.mkdir(parents=True)
    try:
        for name, second in (("a", 10**12), ("b", -(10**11)), ("c", 0)):
            (models / f"{name}.gguf").write_bytes(b"x")
            os.utime(models / f"{name}.gguf", (second, second))
        is_kept = (models / "a.gguf").stat().st_mtime == 10**12
        command = run_python("-m", "voxtral_edge", "models")
        env = {**os.environ, "XDG_DATA_HOME": str(base), "TZ": "UTC"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env)
    finally:
        shutil.rmtree(base / "voxtral-edge")
    assert (done.returncode, done.stderr) == (0, "")
    dates = [line.split()[4] for line in done.stdout.splitlines()]
    assert dates[2] == "1970-01-01"
    assert not is_kept or dates[:2] == ["-", "-"]


# ---- pictures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "title", [r"$\frac$", r"$\x$", "$", "$a$ $b", r"\alpha", "{x}", "%s", "\udcff\udcfe", "\x1b[2J",
              "a\nb", "\u97f3", "_^_"],
)  # fmt: skip
def test_any_title_of_a_picture(title: str, demo: vox.Model, tmp_path: Path) -> None:
    from voxtral_edge.plot import plot

    plot(demo, CLIP, tmp_path / "x.svg", title=title, to_s=0.5)
    assert "<svg" in (tmp_path / "x.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_pipe_that_does_not_block(
    stream: str, run_python: Callable[..., tuple[str, ...]]
) -> None:
    """Another program may have set it so; all is written, in order, as it is read."""
    code = "from voxtral_edge.console.lines import complain, write\nfor i in range(40): " + (
        "write(f'{i} ' * 3000 + '\\n')" if stream == "stdout" else "complain(f'{i} ' * 3000)"
    )
    source, sink = os.pipe()
    os.set_blocking(sink, False)
    with subprocess.Popen(run_python("-c", code), **{stream: sink}) as process:
        os.close(sink)
        with os.fdopen(source, "rb") as pipe:
            time.sleep(0.3)
            lines = pipe.read().decode().splitlines()
        assert process.wait(60) == 0
    head = "" if stream == "stdout" else "voxtral: "
    assert [line.strip() for line in lines] == [(head + f"{i} " * 3000).strip() for i in range(40)]
