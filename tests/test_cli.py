"""The command as users run it: a process with pipes, signals and full disks."""

from __future__ import annotations

import io
import json
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
import voxtral_edge as vox
from conftest import SAMPLES, Main
from voxtral_edge import cli
from voxtral_edge.audio.live import Pipe
from voxtral_edge.cli.terminal import Interrupt

Voxtral = Callable[..., subprocess.CompletedProcess]
ROOT = SAMPLES.parent
CLIP = SAMPLES / "digits_1.wav"
OTHER = SAMPLES / "sentence_1.wav"


@pytest.fixture
def voxtral(run_python: Callable[..., tuple[str, ...]]) -> Voxtral:
    """Run the command to its end; output as text."""

    def run(*args: object, **options: object) -> subprocess.CompletedProcess:
        settings = {"capture_output": True, "timeout": 120, "text": True, **options}
        if isinstance(settings.get("input"), bytes):
            settings["text"] = False
        return subprocess.run(run_python("-m", "voxtral_edge", *args), **settings)

    return run


@pytest.fixture
def live(run_python: Callable[..., tuple[str, ...]]) -> Iterator[subprocess.Popen]:
    """`voxtral stream -` of the demo model with open pipes."""
    command = run_python("-m", "voxtral_edge", "stream", "--threads", "1", "-")
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, bufsize=0, **pipes) as process:
        yield process
        process.kill()


def read_until(process: subprocess.Popen, text: bytes, seconds: float = 60) -> bytes:
    """Output up to a text that must come while the process waits for more audio."""
    output, end = b"", time.monotonic() + seconds
    while text not in output:
        ready, _, _ = select.select([process.stdout], [], [], end - time.monotonic())
        assert ready, f"only {output!r} came"
        more = os.read(process.stdout.fileno(), 4096)
        assert more, f"the process ended after {output!r}: {process.stderr.read()!r}"
        output += more
    return output


def pcm(samples: np.ndarray) -> bytes:
    return (samples * 2**15).astype("<i2").tobytes()


def words(path: Path) -> str:
    return path.with_suffix(".txt").read_text(encoding="utf-8").strip()


def one_line(stderr: str | bytes) -> str:
    """The only line of standard error, which must name the program and be no traceback."""
    text = stderr.decode() if isinstance(stderr, bytes) else stderr
    lines = [line for line in text.splitlines() if "the demo model is used" not in line]
    assert len(lines) == 1, text
    assert lines[0].startswith("voxtral: ")
    return lines[0]


# ---- help ---------------------------------------------------------------------------------------


def test_help_and_version(voxtral: Voxtral, main: Main) -> None:
    shown = voxtral("--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    for command in (
        "transcribe", "stream", "plot", "devices", "convert", "inspect", "completion",
    ):  # fmt: skip
        assert command in shown.stdout
        status, detail, complaint = main(command, "--help")
        assert (status, complaint) == (0, "")
        assert f"usage: voxtral {command}" in detail
    assert main("--version") == (0, f"voxtral {vox.__version__}\n", "")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "COMMAND"),
        (["sing"], "invalid choice: 'sing'"),
        (["transcribe"], "AUDIO"),
        (["transcribe", CLIP, "--delay", "100"], "80, 160, 240.*1200, 2400"),
        (["transcribe", CLIP, "--delay", "0"], "2400"),
        (["transcribe", CLIP, "--threads", "0"], "whole number from 1"),
        (["transcribe", CLIP, "--threads", "many"], "whole number from 1"),
        (["transcribe", CLIP, "--threads", "999"], "threads must be 1 to 256"),
        (["transcribe", CLIP, "--format", "doc"], "'doc' is not one of txt, json, jsonl, srt"),
        (["transcribe", CLIP, "--format", "srt,"], "'' is not one of"),
        (["transcribe", CLIP, "--format", "srt,json"], "several formats.*-o FOLDER"),
        (["transcribe", CLIP, OTHER, "--format", "srt"], "several files.*-o FOLDER"),
        (["transcribe", CLIP, OTHER, "-o", CLIP], "is a file, but several.*name a folder"),
        (["transcribe", SAMPLES], "is a directory: add -r"),
        (["transcribe", SAMPLES / "*.none"], "no file is named like"),
        (["stream", CLIP], "invalid choice"),
        (["stream"], "name one source"),
        (["stream", "-", "--mic"], "name one source"),
        (["plot", CLIP], "-o"),
        (["plot", CLIP, "-o", "x.doc"], "a picture is .png, .svg or .pdf"),
        (["plot", CLIP, "-o", "x.png", "--from", "x"], "not a number of seconds"),
        (["plot", CLIP, "-o", "x.png", "--from", "99"], "no audio lies between"),
        (["plot", CLIP, "-o", "x.png", "--to", "0"], "no audio lies between"),
        (["completion", "tcsh"], "invalid choice"),
    ],
)
def test_bad_options(main: Main, args: list[object], message: str) -> None:
    status, shown, complaint = main(*args)
    assert (status, shown) == (2, "")
    assert re.search(message, one_line(complaint))


# ---- transcribe ---------------------------------------------------------------------------------


def test_one_file(voxtral: Voxtral) -> None:
    done = voxtral("transcribe", CLIP)
    assert (done.returncode, done.stdout) == (0, words(CLIP) + "\n")
    assert re.fullmatch(r"voxtral: no --model, .*demo model.*\n", done.stderr)


def test_several_files(voxtral: Voxtral) -> None:
    done = voxtral("transcribe", CLIP, OTHER, "--threads", "1")
    assert done.returncode == 0
    assert done.stdout == f"{CLIP}: {words(CLIP)}\n{OTHER}: {words(OTHER)}\n"


def test_json(voxtral: Voxtral, tiny: vox.Model, tiny_path: Path) -> None:
    done = voxtral(
        "transcribe", CLIP, "-m", tiny_path, "--delay", "240", "--threads", "1", "--format", "json"
    )
    assert (done.returncode, done.stderr) == (0, "")
    expected = tiny.transcribe(CLIP, delay_ms=240)
    assert json.loads(done.stdout) == {
        "file": str(CLIP),
        "text": expected.text,
        "duration_s": expected.duration_s,
        "model": tiny.name,
        "delay_ms": 240,
        "segments": [asdict(segment) for segment in expected.segments],
        "words": [
            {"text": w.text, "start_ms": w.start_ms, "end_ms": w.end_ms} for w in expected.words
        ],
        "pieces": [
            {"text": p.text, "token": p.token, "start_ms": p.start_ms, "end_ms": p.end_ms}
            for p in expected.pieces
        ],
        "tokens": list(expected.tokens),
    }


def test_json_of_several_files(voxtral: Voxtral, tmp_path: Path) -> None:
    missing = tmp_path / "none.wav"
    for files in ([CLIP, OTHER], [CLIP, missing, OTHER], [missing, missing], [missing]):
        done = voxtral("transcribe", *files, "--threads", "1", "--format", "json")
        good = [file for file in files if file != missing]
        assert done.returncode == (0 if good == files else 2)
        if len(files) == 1:
            assert done.stdout == ""
            continue
        results = json.loads(done.stdout)
        assert [(r["file"], r["text"]) for r in results] == [(str(f), words(f)) for f in good]
        assert all(r["delay_ms"] == 480 for r in results)


def test_bad_files_do_not_stop_the_others(voxtral: Voxtral, tmp_path: Path) -> None:
    text = tmp_path / "text.wav"
    text.write_text("no audio")
    done = voxtral("transcribe", tmp_path / "none.wav", text, OTHER, tmp_path)
    assert done.returncode == 2
    assert done.stdout == f"{OTHER}: {words(OTHER)}\n"
    lines = done.stderr.splitlines()
    assert [line.startswith("voxtral: ") for line in lines] == [True] * 4
    for line, part in zip(lines, ("directory", "demo", "none.wav", "not audio"), strict=True):
        assert part in line


def test_file_that_breaks_off(voxtral: Voxtral, digits: np.ndarray, tmp_path: Path) -> None:
    """What was understood stays; the error gets a line of its own."""
    broken = np.concatenate([digits, digits, [np.nan]]).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", broken, 16000, subtype="FLOAT")
    done = voxtral("transcribe", tmp_path / "x.wav")
    assert done.returncode == 2
    assert re.fullmatch(r"eight five .*\n", done.stdout)
    assert "not finite" in one_line(done.stderr)


def test_a_model_that_cannot_be_used(voxtral: Voxtral, tmp_path: Path) -> None:
    for path, message in ((tmp_path / "none.gguf", "no model file"), (CLIP, "not a GGUF")):
        done = voxtral("transcribe", CLIP, "-m", path)
        assert (done.returncode, done.stdout) == (2, "")
        assert message in one_line(done.stderr)


def test_a_model_that_fails(voxtral: Voxtral, patched: Callable[[str, float], Path]) -> None:
    done = voxtral("transcribe", CLIP, "-m", patched("dec.norm.weight", np.nan))
    assert (done.returncode, done.stdout) == (1, "")
    assert "not finite" in one_line(done.stderr)


def test_stats(voxtral: Voxtral) -> None:
    done = voxtral("transcribe", CLIP, OTHER, "--stats", "--threads", "1")
    line = one_line(done.stderr)
    numbers = re.fullmatch(
        r"voxtral: ([\d.]+) s of audio in ([\d.]+) s, RTF ([\d.]+), peak (\d+) MiB", line
    )
    assert numbers, line
    audio, taken, rtf, peak = map(float, numbers.groups())
    assert audio == pytest.approx(sum(soundfile.info(f).duration for f in (CLIP, OTHER)), abs=0.01)
    assert rtf == pytest.approx(taken / audio, rel=0.2)
    assert 20 < peak < 1000


def test_transcribe_reads_a_pipe(voxtral: Voxtral) -> None:
    done = voxtral("transcribe", "-", "--threads", "1", input=CLIP.read_bytes())
    assert (done.returncode, done.stdout.decode()) == (0, words(CLIP) + "\n")


def test_file_names_of_any_bytes(voxtral: Voxtral, tmp_path: Path) -> None:
    name = os.fsdecode(bytes(tmp_path) + b"/\xff\xc3\xa4.wav")
    Path(name).write_bytes(OTHER.read_bytes())
    for locale in ("C", "C.UTF-8"):
        done = voxtral("transcribe", name, name, text=False, env={**os.environ, "LC_ALL": locale})
        assert done.returncode == 0
        assert done.stdout == (os.fsencode(name) + f": {words(OTHER)}\n".encode()) * 2


def test_text_is_utf8_in_any_locale(voxtral: Voxtral, tiny: vox.Model, tiny_path: Path) -> None:
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = voxtral("transcribe", CLIP, "-m", tiny_path, "--threads", "1", text=False, env=env)
    expected = tiny.transcribe(CLIP).text
    assert not expected.isascii()
    assert done.stdout.decode("utf-8") == expected + "\n"


# ---- stream -------------------------------------------------------------------------------------


def wav_stream(samples: np.ndarray, rate: int) -> bytes:
    """WAV as a program writes it that does not know the length."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16")
    data = bytearray(file.getvalue())
    assert data[36:40] == b"data"
    data[4:8] = data[40:44] = b"\xff" * 4
    return bytes(data)


def test_stream_of_each_kind(voxtral: Voxtral, digits: np.ndarray) -> None:
    import soxr

    wide = soxr.resample(digits, 16000, 44100)
    inputs = {
        "raw": ((), pcm(digits)),
        "raw and an odd byte": ((), pcm(digits) + b"\0"),
        "--raw": (("--raw",), pcm(digits)),
        "wav": ((), CLIP.read_bytes()),
        "endless wav": ((), wav_stream(digits, 16000)),
        "stereo 44.1 kHz": ((), wav_stream(np.stack([wide, wide], axis=1), 44100)),
    }
    for name, (options, data) in inputs.items():
        done = voxtral("stream", "--threads", "1", *options, "-", input=data)
        assert (done.returncode, done.stdout.decode()) == (0, words(CLIP) + "\n"), name


def test_stream_of_nothing(voxtral: Voxtral) -> None:
    done = voxtral("stream", "-", input=b"")
    assert (done.returncode, done.stdout) == (2, b"\n")
    assert "no audio came" in one_line(done.stderr)


def test_text_comes_while_the_audio_does(live: subprocess.Popen, digits: np.ndarray) -> None:
    """Words come as soon as their audio and the delay are in; the last ones at the end."""
    live.stdin.write(pcm(digits[:54_400]))  # 3.4 s; the third word is spoken by 2.6 s
    begun = read_until(live, b"eight five eight")
    live.stdin.write(pcm(digits[54_400:]))
    rest, _ = live.communicate(timeout=60)
    assert (begun + rest).decode() == words(CLIP) + "\n"
    assert live.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_print_the_last_words(
    number: int, live: subprocess.Popen, digits: np.ndarray
) -> None:
    """The pipe stays open, as that of a microphone does."""
    live.stdin.write(pcm(digits[: int(5.9 * 16000)]))  # the last word ends at 5.7 s
    begun = read_until(live, b"seven")
    assert b"four" not in begun
    live.send_signal(number)
    rest = live.stdout.read()
    assert live.wait(60) == 0
    assert (begun + rest).decode() == words(CLIP) + "\n"
    assert b"Traceback" not in live.stderr.read()


def test_first_ctrl_c_ends_the_audio_and_keeps_what_came(digits: np.ndarray) -> None:
    """The pipe stays open; what it had sent by then is handed out, and nothing after it."""
    source, sink = os.pipe()
    with os.fdopen(source, "rb", buffering=0) as pipe:
        os.write(sink, pcm(digits[:30_000]))
        live = Pipe(pipe)
        n = 0
        with Interrupt(live) as interrupt:
            for chunk in live:
                n += len(chunk)
                if n == 30_000:
                    signal.raise_signal(signal.SIGINT)
                    os.write(sink, pcm(digits[:1000]))
            assert interrupt.asked
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        os.close(sink)
    assert n == 30_000
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_second_ctrl_c_stops_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], digits: np.ndarray
) -> None:
    """The first comes while audio is taken, the second while the last words are made."""
    push = vox.Stream.push

    def first(stream: vox.Stream, samples: np.ndarray) -> None:
        push(stream, samples)
        if signal.getsignal(signal.SIGINT).__self__.asked is False:
            signal.raise_signal(signal.SIGINT)

    def second(stream: vox.Stream) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(pcm(digits))))
    monkeypatch.setattr(vox.Stream, "push", first)
    monkeypatch.setattr(vox.Stream, "end", second)
    assert cli.main(["stream", "--threads", "1", "-"]) == 130
    shown = capsys.readouterr()
    assert words(CLIP).startswith(shown.out.strip())
    assert shown.err.count("\n") == 1  # about the demo model


def test_ctrl_c_while_transcribing(
    run_python: Callable[..., tuple[str, ...]], tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "long.wav", np.zeros(16000 * 600, np.int16), 16000)
    command = run_python("-m", "voxtral_edge", "transcribe", tmp_path / "long.wav")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert b"demo model" in process.stderr.readline()
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read() == b""


def test_stream_from_no_pipe(run_python: Callable[..., tuple[str, ...]]) -> None:
    command = run_python("-m", "voxtral_edge", "stream", "-")
    terminal, end = os.openpty()
    at_terminal = subprocess.run(command, stdin=end, capture_output=True, timeout=60)
    os.close(terminal)
    os.close(end)
    closed = ["sh", "-c", 'exec "$@" <&-', "sh", *command]
    for done in (at_terminal, subprocess.run(closed, capture_output=True, timeout=60)):
        assert (done.returncode, done.stdout) == (2, b"")
        assert "pipe audio in" in one_line(done.stderr)


def test_pipe_of_something_else(voxtral: Voxtral) -> None:
    done = voxtral("stream", "-", input=b"OggS" + bytes(1000))
    assert (done.returncode, done.stdout) == (2, b"")
    assert "not audio that can be read" in one_line(done.stderr)


# ---- standard output ----------------------------------------------------------------------------


@pytest.mark.parametrize("options", [["--format", "txt"], ["--format", "json"]])
def test_nobody_reads(run_python: Callable[..., tuple[str, ...]], options: list[str]) -> None:
    command = run_python("-m", "voxtral_edge", "transcribe", CLIP, "--threads", "1", *options)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        process.stdout.close()
        stderr = process.stderr.read()
        assert process.wait(60) == 141
    assert re.fullmatch(r"voxtral: no --model, .*\n", stderr)


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["--version"],
        ["transcribe", "--help"],
        ["convert", "--help"],
        ["convert", ROOT / "demo", "{tmp}/m.gguf"],
        ["models"],
        ["inspect", ROOT / "demo"],
        ["completion", "bash"],
        ["bench", "--seconds", "1", "--parts", "offline"],
        ["stream", "-"],
    ],
    ids=lambda args: " ".join(arg for arg in args if isinstance(arg, str)),
)
def test_nobody_reads_any_command(
    args: list[object], run_python: Callable[..., tuple[str, ...]], tmp_path: Path
) -> None:
    models = tmp_path / "voxtral-edge" / "models"
    models.mkdir(parents=True)
    (models / "x.gguf").write_bytes(b"")
    command = run_python("-m", "voxtral_edge", *(str(a).format(tmp=tmp_path) for a in args))
    pipe, settings = subprocess.PIPE, {**os.environ, "XDG_DATA_HOME": str(tmp_path)}
    with (
        CLIP.open("rb") as sound,
        subprocess.Popen(command, stdin=sound, stdout=pipe, stderr=pipe, env=settings) as process,
    ):
        process.stdout.close()
        stderr = process.stderr.read().decode()
        # argparse passes over it if standard output has no buffer.
        assert process.wait(60) in ((0, 141) if str(args[-1]).startswith("--") else (141,)), stderr
    usual = re.compile(r"demo model|measuring|^convert: \d+%")
    assert not [line for line in stderr.splitlines() if not usual.search(line)]


@pytest.mark.parametrize("options", [["--format", "txt"], ["--format", "json"]])
def test_full_disk(run_python: Callable[..., tuple[str, ...]], options: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            run_python("-m", "voxtral_edge", "transcribe", CLIP, "--threads", "1", *options),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    assert done.returncode == 1
    assert "standard output: No space left" in one_line(done.stderr)


def test_closed_streams(run_python: Callable[..., tuple[str, ...]]) -> None:
    """Standard output or standard error was closed by the caller."""
    command = run_python("-m", "voxtral_edge", "transcribe", CLIP, "--threads", "1")
    for closing, expected in (
        (">&-", (1, "", "voxtral: cannot write to standard output: it is closed\n")),
        ("2>&-", (0, words(CLIP) + "\n", "")),
    ):
        shell = ["sh", "-c", f'exec "$@" {closing}', "sh", *command]
        done = subprocess.run(shell, capture_output=True, text=True, timeout=60)
        stderr = re.sub(r".*demo model is used.*\n", "", done.stderr)
        assert (done.returncode, done.stdout, stderr) == expected


STARVED = """
import pathlib, resource, sys
from voxtral_edge import cli
from voxtral_edge.audio.live import Pipe
from voxtral_edge.cli.terminal import Interrupt
used = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used + 12 * 2**20, resource.RLIM_INFINITY))
sys.exit(cli.main(sys.argv[1:]))
"""


def test_out_of_memory_is_one_line(run_python: Callable[..., tuple[str, ...]]) -> None:
    """There is room for the model, but not for a stream of it."""
    command = run_python("-c", STARVED, "transcribe", CLIP, "--threads", "1")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert "out of memory" in one_line(done.stderr)


# ---- convert and inspect ------------------------------------------------------------------------


def test_convert_and_inspect(voxtral: Voxtral, tmp_path: Path) -> None:
    import tiny_model

    source = tiny_model.write_official(tmp_path / "official", seed=1)
    model = tmp_path / "model.gguf"
    done = voxtral("convert", source, model, "--type", "q8_0")
    assert done.returncode == 0, done.stderr
    with vox.Model(model) as opened:
        assert opened.file_type == "q8_0"
    shown = voxtral("inspect", model)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "q8_0" in shown.stdout
    assert "dec.embed.weight" in shown.stdout
    assert "dec.embed.weight" not in voxtral("inspect", model, "--filter", "^enc").stdout
    bad_filter = ("inspect", model, "--filter", "(")
    for command in (("convert", tmp_path / "none", model), ("inspect", CLIP), bad_filter):
        done = voxtral(*command)
        assert done.returncode == 2
        one_line(done.stderr)


def test_main_returns_its_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["transcribe", str(OTHER), "--threads", "1"]) == 0
    assert capsys.readouterr().out == words(OTHER) + "\n"
    assert cli.main(["transcribe", "none.wav"]) == 2
    assert "none.wav: No such file" in capsys.readouterr().err


# ---- options of streams -------------------------------------------------------------------------


def test_how_sure(voxtral: Voxtral) -> None:
    done = voxtral("transcribe", "--quiet", "--alternatives", "2", "--format", "json", CLIP)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["text"] == words(CLIP)
    for part in (*found["words"], *found["pieces"]):
        assert 0 < part["confidence"] <= 1
        assert 0 < len(part["alternatives"]) <= 2
    done = voxtral("transcribe", "--quiet", "--confidence", "--format", "jsonl", CLIP)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["confidence"] for line in lines] == [w["confidence"] for w in found["words"]]
    assert not any("alternatives" in line for line in lines)
    for option in (["--confidence"], ["--alternatives", "1"]):
        for source in (["transcribe", CLIP], ["stream", "-"]):
            refused = voxtral(*source, *option, stdin=subprocess.DEVNULL)
            assert refused.returncode == 2
            assert "add --format json" in one_line(refused.stderr)


def test_silence_and_ruts(voxtral: Voxtral) -> None:
    options = ("--silence-gate", "1600", "--pad-guard", "16000")
    done = voxtral("transcribe", "--quiet", *options, CLIP)
    assert (done.returncode, done.stdout, done.stderr) == (0, words(CLIP) + "\n", "")
    for option in (("--silence-gate", "80"), ("--pad-guard", "100"), ("--alternatives", "9")):
        refused = voxtral("transcribe", "--quiet", "--format", "json", *option, CLIP)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert one_line(refused.stderr)
