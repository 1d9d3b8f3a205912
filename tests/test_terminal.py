"""The command in a real terminal, that of tmux: what a person sees while it runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import voxtral_edge as vox
from conftest import SAMPLES
from test_live import LOOPBACK

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")

CLIP = SAMPLES / "digits_1.wav"
WORDS = "eight five eight nine seven four"


class Terminal:
    """A tmux server of our own with one window."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "tmux"
        self.run("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "sh")
        self.run("set-option", "-g", "history-limit", "2000")
        self.folder = folder

    def run(self, *args: str) -> str:
        env = {k: v for k, v in os.environ.items() if k not in ("TMUX", "NO_COLOR", "COLUMNS")}
        command = ["tmux", "-S", str(self.socket), *args]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=env)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *args: object, **env: str) -> None:
        """Run the command; its exit status is shown as `status N`."""
        settings = {"LC_ALL": "C.UTF-8", **env}
        words = ["env", *(f"{k}={v}" for k, v in settings.items())]
        words += [sys.executable, "-W", "error", "-m", "voxtral_edge", *map(str, args)]
        script = self.folder / "run.sh"
        script.write_text(f"trap : INT\nclear\n{shlex.join(words)}\necho status $?\n")
        self.run("send-keys", f"PS1=; exec sh {script}; sleep 60", "Enter")

    def keys(self, *keys: str) -> None:
        self.run("send-keys", *keys)

    def screen(self, *options: str) -> str:
        return self.run("capture-pane", "-p", "-S", "-", *options)

    def wait(self, pattern: str, seconds: float = 20, options: tuple[str, ...] = ()) -> str:
        """The screen as soon as it shows a pattern."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            shown = self.screen(*options)
            if re.search(pattern, shown):
                return shown
            time.sleep(0.02)
        raise AssertionError(f"{pattern} is not in:\n{self.screen()}")


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path)
    terminal.run("set-option", "-g", "remain-on-exit", "on")
    yield terminal
    terminal.run("kill-server")


@pytest.fixture
def microphone(terminal: Terminal) -> Callable[..., None]:
    """Start `voxtral stream --mic` with the loopback device playing a file."""

    def start(*, file: Path = CLIP, speed: float = 4, **env: str) -> None:
        device = json.dumps({"file": str(file), "speed": speed})
        terminal.start(
            *("stream", "--mic", "--threads", "1"),
            PYTHONPATH=str(LOOPBACK),
            VOXTRAL_LOOPBACK=device,
            **env,
        )

    return start


def text_of(screen: str) -> str:
    """What is left of a finished run when the line about the demo model is gone."""
    text = re.sub(r"voxtral: no --model.*?little", "", screen, flags=re.DOTALL)
    return " ".join(re.sub(r"(\^C|status \d+|Pane is dead.*)", "", text).split())


def test_live_text_status_and_ctrl_c(terminal: Terminal, microphone: Callable[..., None]) -> None:
    microphone()
    shown = terminal.wait(r"eight five\b.*\n.*Ctrl-C")
    lines = [line for line in shown.splitlines() if line]
    # The words so far, and below them the status line.
    assert re.fullmatch(r"eight five.*", lines[-2]), shown
    assert re.search(r"^0:00:0\d  \S+ +lag \d\.\d s  RTF \d\.\d\d  Ctrl-C to end", lines[-1]), shown
    terminal.wait("seven four")
    terminal.keys("C-c")
    shown = terminal.wait("status 0")
    assert text_of(shown) == WORDS  # no trace of the status line
    assert "RTF" not in shown


def test_text_is_never_revised(terminal: Terminal, microphone: Callable[..., None]) -> None:
    """Each picture of the text goes on where the one before it ended."""
    microphone()
    seen = [""]
    while WORDS not in seen[-1]:
        shown = terminal.wait("Ctrl-C to end")
        lines = [line for line in shown.splitlines() if line and "Ctrl-C to end" not in line]
        text = text_of("\n".join(lines))
        assert text.startswith(seen[-1])
        seen.append(text)
    assert len(set(seen)) > 5
    terminal.keys("C-c")
    terminal.wait("status 0")


def test_long_text_and_resizing(
    terminal: Terminal, microphone: Callable[..., None], digits: np.ndarray, tmp_path: Path
) -> None:
    """Lines break between words; narrow or wide, all the words are there, once."""
    long = tmp_path / "long.wav"
    soundfile.write(long, np.tile(digits, 6), 16000)
    microphone(file=long, speed=12)
    for width in ("60", "30", "100", "45"):
        terminal.wait("RTF|lag")
        terminal.run("resize-window", "-x", width, "-y", "20")
        time.sleep(0.6)
    words: list[str] = []
    end = time.monotonic() + 60
    while len(words) < 36 and time.monotonic() < end:
        time.sleep(0.05)
        words = re.findall(r"eight|five|nine|seven|four", terminal.screen("-J"))
    time.sleep(0.3)
    terminal.keys("C-c")
    shown = terminal.wait("status 0", options=("-J",))
    assert text_of(shown).split() == (WORDS + " ").split() * 6
    assert "lag" not in shown


def test_no_colour(terminal: Terminal, microphone: Callable[..., None]) -> None:
    """NO_COLOR is heard; without it, the meter has a colour."""
    colour = r"\x1b\[[0-9;]*3[1-7]m"
    microphone(NO_COLOR="1")
    shown = terminal.wait("lag", options=("-e",))
    assert not re.search(colour, shown)
    terminal.wait("four")
    assert not re.search(colour, terminal.screen("-e"))
    terminal.keys("C-c")
    terminal.wait("status 0")


def test_colour(terminal: Terminal, microphone: Callable[..., None]) -> None:
    microphone()
    terminal.wait(r"\x1b\[[0-9;]*3[1-7]m", options=("-e",))
    terminal.keys("C-c")
    terminal.wait("status 0")


def test_a_terminal_that_can_nothing(terminal: Terminal, microphone: Callable[..., None]) -> None:
    microphone(TERM="dumb")
    terminal.wait("seven four")
    assert "lag" not in terminal.screen()
    terminal.keys("C-c")
    assert text_of(terminal.wait("status 0")) == WORDS


def test_characters_of_several_tokens(
    terminal: Terminal, tiny: vox.Model, tiny_path: Path, noise: np.ndarray, tmp_path: Path
) -> None:
    """The random model splits characters between tokens; the terminal shows them whole."""
    path = tmp_path / "noise.wav"
    soundfile.write(path, noise, 16000, subtype="FLOAT")
    found = tiny.transcribe(path)
    pieces = [tiny.token_bytes(token) for token in found.tokens if token >= tiny.n_special]

    def is_whole(data: bytes) -> bool:
        try:
            data.decode()
        except UnicodeDecodeError:
            return False
        return True

    assert not all(map(is_whole, pieces))
    assert not found.text.isascii()
    terminal.start("transcribe", path, "-m", tiny_path, "--threads", "1")
    shown = terminal.wait("status 0", options=("-J",))
    expected = "".join(c for c in found.text if c.isalnum())
    assert "".join(c for c in shown if c.isalnum()).startswith(expected)


def test_progress_of_a_file(terminal: Terminal, digits: np.ndarray, tmp_path: Path) -> None:
    """A bar, speed and time left, below the text; gone at the end."""
    path = tmp_path / "talk.wav"
    soundfile.write(path, np.tile(digits, 60), 16000)
    terminal.start("transcribe", path, "-o", tmp_path / "talk.srt", "--threads", "1")
    shown = terminal.wait(r"\d+%  [\d.]+x real time  0:\d\d:\d\d left")
    assert "0:0" in shown
    terminal.keys("C-c")
    shown = terminal.wait("status 130")
    assert "real time" not in shown
    assert not (tmp_path / "talk.srt").exists()


def test_quiet(terminal: Terminal) -> None:
    terminal.start("transcribe", CLIP, "--threads", "1", "--quiet")
    shown = terminal.wait("status 0")
    assert [line for line in shown.splitlines() if line][:2] == [WORDS, "status 0"]
