"""Microphones and pipes: nothing is lost without a word, and late audio is caught up with."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import voxtral_edge as vox
from conftest import SAMPLES
from test_cli import read_until
from voxtral_edge import cli
from voxtral_edge.audio import live
from voxtral_edge.cli.meter import Meter
from voxtral_edge.machine.doctor import checks, page

CLIP = SAMPLES / "digits_1.wav"
LOOPBACK = Path(__file__).with_name("loopback")


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Put the loopback device in place, with settings."""
    monkeypatch.syspath_prepend(LOOPBACK)

    def settings(**settings: object) -> None:
        wanted = {"file": str(CLIP), **settings}
        monkeypatch.setenv("VOXTRAL_LOOPBACK", json.dumps(wanted))
        sys.modules.pop("sounddevice", None)
        importlib.import_module("sounddevice")

    settings()
    yield settings
    sys.modules.pop("sounddevice", None)


def hear(microphone: vox.Microphone, seconds: float) -> np.ndarray:
    """So much audio, the rest of what had come by then included."""
    parts = []
    for chunk in microphone:
        parts.append(chunk)
        if microphone.n_received >= seconds * vox.RATE:
            microphone.stop()
    return np.concatenate(parts)


@pytest.mark.parametrize("rates", [[16000], [48000, 16000], [44100]])
def test_what_the_device_plays_is_heard(
    device: Callable[..., None], digits: np.ndarray, rates: list[int]
) -> None:
    device(rates=rates)
    with vox.Microphone() as microphone:
        heard = hear(microphone, 6.5)
    assert microphone.lost_s == 0
    assert len(heard) == microphone.n_received
    if 16000 in rates:
        assert np.array_equal(heard[: len(digits)], digits)
    else:
        assert np.abs(heard[: len(digits)] - digits).max() < 0.02


def test_words_of_a_microphone(
    device: Callable[..., None], demo: vox.Model, digits_words: str
) -> None:
    with vox.Microphone(1) as microphone:
        text = ""
        for piece in demo.pieces(microphone):
            text += piece.text
            if text.count(" ") == 6:
                microphone.stop()
    assert text.strip() == digits_words


def test_lost_audio_is_counted(device: Callable[..., None]) -> None:
    device(lose=3)
    with vox.Microphone("Loopback") as microphone:
        hear(microphone, 1)
    assert microphone.lost_s == pytest.approx(live.DEVICE_S)


def test_a_device_that_goes_away(device: Callable[..., None]) -> None:
    device(unplug=5)
    with vox.Microphone() as microphone:
        n = 0
        with pytest.raises(vox.AudioError, match="the microphone is gone"):
            for chunk in microphone:
                n += len(chunk)
    assert n == 5 * live.DEVICE_S * vox.RATE  # what came before is not lost


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 48000])
@pytest.mark.parametrize("n_blocks", [1, 7, 25])
def test_a_resampled_microphone_keeps_nothing(
    device: Callable[..., None], digits: np.ndarray, rate: int, n_blocks: int
) -> None:
    """The last samples come as well."""
    n = round(rate * live.DEVICE_S) * n_blocks
    expected = soxr.resample(soxr.resample(digits, vox.RATE, rate)[:n], rate, vox.RATE)
    device(rates=[rate], unplug=n_blocks)
    parts = []
    with vox.Microphone() as microphone, pytest.raises(vox.AudioTruncated):
        for chunk in microphone:
            parts.append(chunk)
    heard = np.concatenate(parts)
    assert len(heard) == len(expected) == microphone.n_received
    assert np.abs(heard - expected).max() < 1e-5


def test_a_device_that_goes_away_leaves_its_words(
    device: Callable[..., None], demo: vox.Model, digits_words: str
) -> None:
    device(unplug=90)
    text = ""
    with vox.Microphone() as microphone, pytest.raises(vox.AudioTruncated):
        for piece in demo.pieces(microphone):
            text += piece.text
    assert text.strip() == digits_words


def test_a_device_that_does_not_start_is_left_closed(
    device: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sounddevice

    closed = []
    monkeypatch.setattr(sounddevice.InputStream, "close", lambda stream: closed.append(stream))
    for error in (sounddevice.PortAudioError("busy"), KeyboardInterrupt()):

        def fail(stream: object, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr(sounddevice.InputStream, "start", fail)
        with pytest.raises((vox.AudioError, KeyboardInterrupt)):
            vox.Microphone().__enter__()
    assert len(closed) == 2


@pytest.mark.parametrize("name", [9, "no such"])
def test_no_such_microphone(device: Callable[..., None], name: int | str) -> None:
    with pytest.raises(vox.AudioError, match=r"no microphone can be opened.*voxtral devices"):
        vox.Microphone(name).__enter__()


def test_devices(device: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    device(devices=2, rates=[48000])
    assert [d.name for d in vox.devices()] == ["Loopback 0", "Loopback 1"]
    assert cli.main(["devices"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.endswith("(default)") for line in lines] == [True, False]
    assert lines[1] == "  2  Loopback 1  2 channels, 48000 Hz"
    device(devices=0)
    assert cli.main(["devices"]) == 2
    assert "there is no microphone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "message"),
    [("raise ImportError", "voxtral-edge\\[mic\\]"), ("raise OSError('no library')", "PortAudio")],
)
def test_what_is_missing(
    module: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "sounddevice.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    with pytest.raises(ImportError, match=message):
        vox.devices()
    for command in (["devices"], ["stream", "--mic"]):
        assert cli.main(command) == 2
        assert re.search(message, capsys.readouterr().err)


# ---- the command --------------------------------------------------------------------------------


def command_line(
    run_python: Callable[..., tuple[str, ...]], *args: str, **settings: object
) -> tuple[tuple[str, ...], dict[str, str]]:
    wanted = {"file": str(CLIP), **settings}
    env = {**os.environ, "PYTHONPATH": str(LOOPBACK), "VOXTRAL_LOOPBACK": json.dumps(wanted)}
    return run_python("-m", "voxtral_edge", "stream", "--threads", "1", *args), env


def until_four(command: tuple[str, ...], env: dict[str, str]) -> str:
    """What a command prints that is interrupted after the word "four", and complains of nothing."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe) as process:
        out = read_until(process, b"four")
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, b"")
    return (out + rest).decode()


def test_command_with_a_microphone(
    run_python: Callable[..., tuple[str, ...]], digits_words: str
) -> None:
    """Until Ctrl-C: the device plays on in silence."""
    command, env = command_line(run_python, "--device", "Loopback", "--quiet", speed=20)
    assert until_four(command, env) == digits_words + "\n"


def quiet_file(folder: Path, digits: np.ndarray, factor: float) -> str:
    path = str(folder / "quiet.wav")
    soundfile.write(path, digits * np.float32(factor), vox.RATE, subtype="PCM_16")
    return path


@pytest.mark.parametrize(
    ("factor", "told"),
    [(1, ""), (1 / 512, "the loudest sample was at -61 dBFS, too quiet"), (0, "it is muted")],
)
def test_command_tells_that_a_microphone_is_quiet(
    run_python: Callable[..., tuple[str, ...]],
    digits: np.ndarray,
    tmp_path: Path,
    factor: float,
    told: str,
) -> None:
    file = quiet_file(tmp_path, digits, factor)
    command, env = command_line(run_python, "--mic", "--monitor", file=file, speed=20)
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE) as process:
        seen = b""
        while seen.count(b".") < 50:
            more = os.read(process.stderr.fileno(), 4096)
            assert more, seen
            seen += more
        process.send_signal(signal.SIGINT)
        seen += process.communicate(timeout=60)[1]
    assert process.returncode == 0
    last = seen.decode().splitlines()[-1]
    assert told in last if told else "microphone" not in last


def test_the_meter_knows_what_is_quiet() -> None:
    meter, loud = Meter(), np.full(8000, 0.1, np.float32)
    levels = [1, 1, *[0.01] * 40, 1, *[0.01] * 8]
    told = [meter.is_quiet for level in levels for _ in meter.count([loud * np.float32(level)])]
    assert told.index(True) in range(12, 23)  # of half a second each: after five to ten
    assert all(told[23:42]) and not any(told[42:])


def test_doctor_listens(device: Callable[..., None], digits: np.ndarray, tmp_path: Path) -> None:
    device(speed=20)
    found = checks._microphone()
    assert found["default"] == "Loopback 0" and found["peak_dbfs"] > -30
    assert page._microphone(found).endswith(" dBFS")
    device(speed=20, file=quiet_file(tmp_path, digits[8000:], 1 / 512))
    assert "too quiet: turn it up, or use --gain auto" in page._microphone(checks._microphone())
    device(speed=20, file=quiet_file(tmp_path, digits, 0))
    assert "see whether it is muted" in page._microphone(checks._microphone())
    device(file=str(tmp_path / "none"))  # it cannot be opened
    assert checks._microphone()["peak_dbfs"] is None


def test_command_tells_what_was_lost(run_python: Callable[..., tuple[str, ...]]) -> None:
    command, env = command_line(run_python, "--mic", "--quiet", lose=20, unplug=80)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    lost, gone = done.stderr.splitlines()
    assert re.fullmatch(r"voxtral: the device lost 0\.08 s of audio near [\d.]+ s: .*", lost)
    assert "the microphone is gone" in gone


def test_no_such_device_is_one_line(run_python: Callable[..., tuple[str, ...]]) -> None:
    command, env = command_line(run_python, "--device", "9")
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no microphone can be opened" in done.stderr.splitlines()[-1]


# ---- pipes --------------------------------------------------------------------------------------


def test_a_slow_reader_loses_nothing(digits: np.ndarray) -> None:
    """The writer is never kept waiting; what waits comes in large chunks, in order."""
    source, sink = os.pipe()
    sent = np.tile((digits * 2**15).astype("<i2"), 5)
    with os.fdopen(source, "rb", buffering=0) as file, os.fdopen(sink, "wb", buffering=0) as writer:
        pipe = live.Pipe(file)
        writer.write(sent.tobytes())  # ten times what fits a pipe: it ends only if it is read
        writer.close()
        while pipe.n_received < len(sent):
            time.sleep(0.01)
        chunks = list(pipe)
    assert np.array_equal(np.concatenate(chunks), sent / np.float32(2**15))
    assert min(map(len, chunks[:-1])) >= live.CHUNK


def test_a_full_store_makes_the_writer_wait(
    monkeypatch: pytest.MonkeyPatch, digits: np.ndarray
) -> None:
    monkeypatch.setattr(live, "PIPE_ROOM", 10_000)
    source, sink = os.pipe()
    data = (digits * 2**15).astype("<i2").tobytes()
    with os.fdopen(source, "rb", buffering=0) as file, os.fdopen(sink, "wb", buffering=0) as writer:
        os.set_blocking(writer.fileno(), False)
        pipe = live.Pipe(file)
        n = writer.write(data)
        time.sleep(0.2)
        assert pipe.n_received < len(digits)
        total = 0
        chunks = iter(pipe)
        while total < n // 2:
            total += len(next(chunks))
        assert total == n // 2


def test_an_error_of_the_pipe_comes_after_its_audio() -> None:
    source, sink = os.pipe()
    with os.fdopen(source, "rb", buffering=0) as file:
        os.write(sink, b"OggS" + bytes(100))
        os.close(sink)
        with pytest.raises(vox.AudioError, match="not audio that can be read"):
            list(live.Pipe(file))


def test_lag_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], digits: np.ndarray
) -> None:
    """All audio is there at once: the text is behind, which is said, and catches up."""
    import io

    data = (np.tile(digits, 4) * 2**15).astype("<i2").tobytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert cli.main(["stream", "-", "--threads", "1", "--monitor"]) == 0
    shown = capsys.readouterr()
    assert len(shown.out.split()) == 24
    assert re.search(r"voxtral: 2\d s of audio wait: .*nothing is lost", shown.err)
    glyphs = shown.err.splitlines()[-1]
    assert glyphs.count("|") >= 24 - 1  # the line about the lag may have cut off the first
    assert "<" in shown.err
    assert ">" in glyphs
