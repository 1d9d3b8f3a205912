"""Files in and out: folders, patterns, video, wrong inputs; outputs that are whole or not there."""

from __future__ import annotations

import errno
import json
import os
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import voxtral_edge as vox
from conftest import SAMPLES, STOPPING, little_space
from voxtral_edge import cli
from voxtral_edge.cli import inputs, outputs
from voxtral_edge.cli.commands import completion
from voxtral_edge.cli.inputs import Input
from voxtral_edge.errors import ArgumentError

CLIP = SAMPLES / "digits_3.wav"
WORDS = "three zero four six"

Main = Callable[..., tuple[int, str, str]]


@pytest.fixture
def main(capsys: pytest.CaptureFixture[str]) -> Main:
    """Run the command in this process, without the line about the demo model."""

    def run(*args: object) -> tuple[int, str, str]:
        status = cli.main([*map(str, args)])
        shown = capsys.readouterr()
        lines = shown.err.splitlines()
        return status, shown.out, "\n".join(line for line in lines if "no --model" not in line)

    return run


# ---- what is named ------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Sound files in folders, with others that are none."""
    for name in ("b/two.wav", "a.wav", "b/c/three.FLAC", ".hidden/x.wav", "b/.x.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, *soundfile.read(CLIP))
    (tmp_path / "b" / "notes.txt").write_text("no sound")
    (tmp_path / "none").mkdir()
    return tmp_path


def test_folders_and_patterns(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    told: list[Exception | str] = []

    def find(word: str) -> list[tuple[str, str]]:
        return [(i.path, str(i.place)) for i in inputs.find(word, recursive=True, tell=told.append)]

    assert find(".") == [
        ("a.wav", "a.wav"),
        ("b/c/three.FLAC", "b/c/three.FLAC"),
        ("b/two.wav", "b/two.wav"),
    ]
    assert find("b") == [("b/c/three.FLAC", "c/three.FLAC"), ("b/two.wav", "two.wav")]
    assert find("?.wav") == [("a.wav", "a.wav")]
    assert find("**/*.wav") == [("a.wav", "a.wav"), ("b/two.wav", "two.wav")]
    assert find("none.wav") == [("none.wav", "none.wav")]
    assert find("-") == [("-", "stdin")]
    Path("[x].wav").write_bytes(b"")
    assert find("[x].wav") == [("[x].wav", "[x].wav")]
    for word in ("none", "*.mp3"):
        with pytest.raises(vox.AudioError):
            find(word)
    assert told == []


def test_pipes_and_links_in_folders(tree: Path, main: Main) -> None:
    """A pipe might never end, and a link to a folder above never does: neither is followed."""
    os.mkfifo(tree / "b" / "pipe.wav")
    (tree / "b" / "device.wav").symlink_to("/dev/zero")
    (tree / "b" / "above.wav").symlink_to(tree)
    (tree / "b" / "loop.wav").symlink_to("loop.wav")
    (tree / "b" / "linked.wav").symlink_to(CLIP)
    for words in (("-r", tree / "b"), (tree / "b" / "*.wav",)):
        status, out, errors = main("transcribe", "--threads", 1, *words)
        lines = sorted(line.partition(tree.name)[2] for line in errors.splitlines())
        *above, device, loop, pipe = lines
        assert device.startswith("/b/device.wav is a pipe or a device, and passed over")
        assert loop == "/b/loop.wav: Too many levels of symbolic links"
        assert pipe.startswith("/b/pipe.wav is a pipe or a device, and passed over")
        assert len(above) == (words[0] != "-r")
        assert status == 2
        assert out.count(WORDS) == (3 if words[0] == "-r" else 2)


def test_what_cannot_be_read_stops_nothing(
    tree: Path, main: Main, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locked folders, names that are too long, files that are none: a line each, and the rest."""
    scandir = os.scandir

    def locked(path: str) -> object:
        if os.fspath(path).endswith("/c"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    (tree / "text.wav").write_text("no sound")
    status, out, errors = main("transcribe", "-r", tree, "a" * 300 + ".wav", "--threads", 1)
    assert (status, out.count(WORDS)) == (2, 2)
    permission, *lines = errors.splitlines()
    assert permission == f"voxtral: {tree}/b/c: Permission denied"
    assert sorted(line.rpartition(": ")[0][-12:] for line in lines if "too long" in line)
    assert [line for line in lines if f"{tree}/text.wav is not audio" in line]
    assert len(lines) == 2
    assert main("transcribe", "-r", tree / "b" / "c")[2] == permission


def test_folders_in_folders_in_folders(tmp_path: Path, main: Main) -> None:
    """More than Python may call functions in functions, and paths longer than the system takes."""
    place = os.open(tmp_path, os.O_RDONLY)
    for i in range(2500):
        os.mkdir("d", dir_fd=place)
        if i in (10, 1200):
            file = os.open("x.wav", os.O_WRONLY | os.O_CREAT, dir_fd=place)
            os.write(file, CLIP.read_bytes())
            os.close(file)
        deeper = os.open("d", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = deeper
    os.close(place)
    status, out, errors = main("transcribe", "-r", tmp_path, "--threads", 1)
    assert (status, out.count(WORDS)) == (2, 2)
    assert errors.endswith("File name too long") and errors.count("\n") == 0
    command = [sys.executable, "-m", "voxtral_edge", "transcribe", f"{tmp_path}/**/*.wav"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("leads too deep into folders: use -r\n")
    assert done.stderr.count("\n") == 1
    status, out, errors = main("transcribe", "-r", tmp_path, "-o", tmp_path / "out", "--threads", 1)
    assert (status, errors.count("\n")) == (2, 0)
    deep = subprocess.run(["find", tmp_path / "out", "-name", "x.txt"], capture_output=True)
    assert len(deep.stdout.splitlines()) == 2
    subprocess.run(["rm", "-r", tmp_path / "out", tmp_path / "d"], check=True)


def test_tree_to_tree(tree: Path, main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    options = ("--threads", 1, "--format", "srt,json", "-o", "texts")
    assert main("transcribe", "-r", "a.wav", "b", *options) == (0, "", "")
    made = sorted(str(p.relative_to("texts")) for p in Path("texts").rglob("*.*"))
    assert made == ["a.json", "a.srt", "c/three.json", "c/three.srt", "two.json", "two.srt"]
    assert json.loads(Path("texts/c/three.json").read_text())["text"] == WORDS
    assert WORDS in Path("texts/two.srt").read_text()


@pytest.mark.parametrize(
    ("names", "formats", "target", "expected"),
    [
        (["a.wav"], [], None, [[("txt", None)]]),
        (["a.wav", "b.wav"], ["json"], None, [[("json", None)], [("json", None)]]),
        (["a.wav"], [], "x.vtt", [[("vtt", "x.vtt")]]),
        (["a.wav"], [], "x", [[("txt", "x")]]),
        (["a.wav"], ["srt"], "x.txt", [[("srt", "x.txt")]]),
        (["a.wav"], [], "x/", [[("txt", "x/a.txt")]]),
        (["a.wav"], ["srt", "tsv"], "x", [[("srt", "x/a.srt"), ("tsv", "x/a.tsv")]]),
        (["a.wav", "d/b.b.wav"], [], "x", [[("txt", "x/a.txt")], [("txt", "x/b.b.txt")]]),
        (["a.WAV"], [], "x/", [[("txt", "x/a.txt")]]),
        (["meeting 12.30"], [], "x/", [[("txt", "x/meeting 12.30.txt")]]),
        (["v1.2"], ["srt", "tsv"], "x", [[("srt", "x/v1.2.srt"), ("tsv", "x/v1.2.tsv")]]),
        (["J. Doe", "J. Roe"], [], "x", [[("txt", "x/J. Doe.txt")], [("txt", "x/J. Roe.txt")]]),
        (["a.wav"], [], "at 12.30", [[("txt", "at 12.30")]]),
        (["a.wav"], ["json"], "/dev/stdout", [[("json", None)]]),
        (["a.wav", "b.wav"], [], "/dev/fd/1", [[("txt", None)], [("txt", None)]]),
    ],
)
def test_plan(
    names: list[str],
    formats: list[str],
    target: str | None,
    expected: list[list[tuple[str, str | None]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    jobs = outputs.plan([Input(n, Path(Path(n).name)) for n in names], formats, target)
    assert [[(f, o and str(o.path)) for f, o in job.outputs] for job in jobs] == expected
    assert list(tmp_path.iterdir()) == []


def test_two_inputs_for_one_output() -> None:
    both = [Input(f"{folder}/a.wav", Path("a.wav")) for folder in ("x", "y")]
    with pytest.raises(ArgumentError, match=r"x/a\.wav and y/a\.wav would both be written to"):
        outputs.plan(both, [], "texts")


# ---- what is written ----------------------------------------------------------------------------


def test_a_file_is_whole_or_not_there(tmp_path: Path, main: Main, digits: np.ndarray) -> None:
    """A good file replaces an old one; one that breaks off leaves it, and no half file."""
    old = tmp_path / "old.txt"
    old.write_text("old")
    broken = tmp_path / "x.wav"
    soundfile.write(broken, np.append(digits, np.float32(np.nan)), 16000, subtype="FLOAT")
    status, out, errors = main("transcribe", broken, "-o", old, "--threads", 1)
    assert (status, out) == (2, "")
    assert "not finite" in errors
    assert old.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old.txt", "x.wav"]
    assert main("transcribe", CLIP, "-o", old, "--threads", 1) == (0, "", "")
    assert old.read_text() == WORDS + "\n"


def test_a_link_stays_a_link_and_modes_are_usual(tmp_path: Path, main: Main) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.txt"
    link.symlink_to("real/file.txt")
    mask = os.umask(0o027)
    try:
        assert main("transcribe", CLIP, "-o", link, "--threads", 1)[0] == 0
    finally:
        os.umask(mask)
    assert link.is_symlink()
    assert (tmp_path / "real" / "file.txt").read_text() == WORDS + "\n"
    assert (tmp_path / "real" / "file.txt").stat().st_mode & 0o777 == 0o640


def test_a_device_is_written_to_and_not_replaced(main: Main) -> None:
    status, out, errors = main("transcribe", CLIP, "-o", "/dev/full", "--threads", 1)
    assert (status, out) == (1, "")
    assert errors == "voxtral: cannot write to /dev/full: No space left on device"
    assert Path("/dev/full").is_char_device()
    assert main("transcribe", CLIP, "-o", "/dev/null", "--threads", 1) == (0, "", "")


def test_a_full_disk_leaves_nothing(tmp_path: Path, main: Main) -> None:
    with little_space(64):
        status, out, errors = main("transcribe", CLIP, "-o", tmp_path / "x.json", "--threads", 1)
    assert (status, out) == (1, "")
    assert f"cannot write to {tmp_path / 'x.json'}: File too large" in errors
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path, main: Main) -> None:
    (tmp_path / "file").write_text("")
    status, _, errors = main("transcribe", CLIP, "-o", tmp_path / "file" / "x.txt")
    assert status == 1
    assert "cannot write to" in errors


@pytest.mark.parametrize("number", STOPPING)
def test_signals_leave_nothing(
    number: int, run_python: Callable[..., tuple[str, ...]], tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "long.wav", np.zeros(16000 * 600, np.int16), 16000)
    command = run_python(
        "-m", "voxtral_edge", "transcribe", tmp_path / "long.wav", "-o", tmp_path / "x.txt"
    )
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        while not list(tmp_path.glob(".*.part")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait(60) == 128 + number
        assert b"Traceback" not in process.stderr.read()
    assert [p.name for p in tmp_path.iterdir()] == ["long.wav"]


def test_stream_writes_a_file_and_text(
    run_python: Callable[..., tuple[str, ...]], tmp_path: Path
) -> None:
    command = run_python(
        "-m", "voxtral_edge", "stream", "-", "--threads", "1", "--format", "jsonl,vtt",
        "-o", tmp_path / "out", "--quiet",
    )  # fmt: skip
    done = subprocess.run(command, input=CLIP.read_bytes(), capture_output=True, timeout=60)
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, WORDS + "\n", b"")
    lines = (tmp_path / "out" / "stream.jsonl").read_text().splitlines()
    assert "".join(json.loads(line)["text"] for line in lines).strip() == WORDS
    assert (tmp_path / "out" / "stream.vtt").read_text().startswith("WEBVTT\n\n00:00:")


# ---- what cannot be used, and what can ----------------------------------------------------------


def test_unusual_files_that_are_fine(tmp_path: Path, main: Main) -> None:
    """Eight channels, 192 kHz, unsigned bytes; words come out all the same."""
    samples, _ = soundfile.read(CLIP, dtype="float32")
    soundfile.write(tmp_path / "8.wav", np.tile(samples[:, None], (1, 8)), 16000)
    soundfile.write(tmp_path / "192.wav", soxr.resample(samples, 16000, 192_000), 192_000)
    for name in ("8.wav", "192.wav"):
        assert main("transcribe", tmp_path / name, "--threads", 1) == (0, WORDS + "\n", "")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.wav", b"This is a text.\n" * 50, "not audio that can be read"),
        ("empty.wav", b"", "is empty"),
        ("none.wav", None, "No such file"),
        ("zero.wav", "samples", "holds no samples"),
        ("nan.wav", "nan", "not finite"),
        ("cut.flac", "cut", "breaks off|not audio|holds no samples"),
    ],
)
def test_one_line_for_each_wrong_input(
    tmp_path: Path,
    main: Main,
    name: str,
    content: bytes | str | None,
    message: str,
) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "samples":
        soundfile.write(path, np.zeros(0), 16000)
    elif content == "nan":
        soundfile.write(path, np.full(99, np.nan), 16000, subtype="FLOAT")
    elif content == "cut":
        soundfile.write(path, *soundfile.read(CLIP))
        path.write_bytes(path.read_bytes()[:60])
    for more in ((), ("--format", "json"), ("-o", tmp_path / "out.srt")):
        status, out, errors = main("transcribe", path, *more)
        assert (status, out.strip()) == (2, "")
        assert errors.startswith("voxtral: ")
        assert errors.count("\n") == 0
        assert any(part in errors for part in message.split("|")), errors
    assert not (tmp_path / "out.srt").exists()


# ---- the picture --------------------------------------------------------------------------------


def png_size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG file whose checksums are right."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, kinds = 8, []
    while at < len(data):
        n, kind = struct.unpack_from(">I4s", data, at)
        assert (
            zlib.crc32(data[at + 4 : at + 8 + n]) == struct.unpack_from(">I", data, at + 8 + n)[0]
        )
        kinds.append(kind)
        at += 12 + n
    assert kinds[0] == b"IHDR"
    assert kinds[-1] == b"IEND"
    return struct.unpack_from(">II", data, 16)


def test_plot(tmp_path: Path, main: Main, tiny_path: Path) -> None:
    wide = tmp_path / "x.png"
    assert main("plot", CLIP, "-o", wide, "--threads", 1) == (0, "", "")
    assert png_size(wide)[0] == 1600
    svg = tmp_path / "x.svg"
    # The random model says characters of every script.
    assert main("plot", CLIP, "-o", svg, "-m", tiny_path, "--from", 1, "--to", 2.5)[0] == 0
    assert "<svg" in svg.read_text(encoding="utf-8")
    full = tmp_path / "full.png"
    full.symlink_to("/dev/full")
    status, _, errors = main("plot", CLIP, "-o", full, "--threads", 1)
    assert (status, errors) == (1, f"voxtral: cannot write to {full}: No space left on device")


def test_plot_draws_the_words_and_the_mel(
    tmp_path: Path, demo: vox.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mel is that of the core, from the first sample on; words and markers are all there."""
    from matplotlib import figure
    from voxtral_edge.plot import plot

    drawn = []
    monkeypatch.setattr(figure.Figure, "savefig", lambda self, *a, **k: drawn.append(self))
    plot(demo, CLIP, tmp_path / "x.png", title="t")
    wave, words, mel, lane = drawn[0].axes
    assert [t.get_text() for t in words.texts] == WORDS.split()
    assert [t.get_text().replace("\u00b7", "") for t in lane.texts] == [
        "three", "z", "ero", "four", "s", "ix"
    ]  # fmt: skip
    picture = mel.images[0].get_array()
    samples, _ = soundfile.read(CLIP, dtype="float32")
    assert picture.shape[0] == 128
    assert picture.shape[1] == pytest.approx(len(samples) / 160, abs=20)
    # Loud frames are bright, frame by frame.
    n = min(picture.shape[1], len(samples) // 160)
    level = np.log10((samples[: n * 160].reshape(n, 160) ** 2).mean(axis=1) + 1e-9)
    assert np.corrcoef(level, picture[:, :n].mean(axis=0))[0, 1] > 0.9
    assert len(wave.collections) == 1


def test_plot_without_its_extra(
    monkeypatch: pytest.MonkeyPatch, main: Main, tmp_path: Path
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    status, _, errors = main("plot", CLIP, "-o", tmp_path / "x.png")
    assert status == 2
    assert "pip install 'voxtral-edge[plot]'" in errors


def test_plot_of_too_much(main: Main, tmp_path: Path) -> None:
    long = tmp_path / "long.wav"
    soundfile.write(long, np.zeros(16000 * 130, np.int16), 16000)
    status, _, errors = main("plot", long, "-o", tmp_path / "x.png", "--threads", 1)
    assert status == 2
    assert "at most 120 s with --from and --to" in errors


# ---- watching -----------------------------------------------------------------------------------


def test_watch_and_tensor(tiny: vox.Model, noise: np.ndarray) -> None:
    with tiny.stream() as stream:
        with pytest.raises(ArgumentError, match="no tensor of this name"):
            stream.watch("none")
        stream.watch("mel")
        stream.push(noise)
        stream.end()
        rows = [stream.tensor("mel") for _ in stream.slots()]
        assert len(np.concatenate(rows)) % (8 * 128) == 0
        assert len(np.concatenate(rows)) >= 128 * (256 + len(noise) // 160)
        with pytest.raises(ArgumentError):
            stream.tensor("enc.out")
        with pytest.raises(vox.StreamError, match="before the first next"):
            stream.watch("enc.out")


# ---- completion ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_completion(main: Main, shell: str) -> None:
    status, script, errors = main("completion", shell)
    assert (status, errors) == (0, "")
    for word in ("transcribe", "stream", "plot", "--format", "--mic"):
        assert word.strip("-") in script


def test_bash_completes(main: Main, tmp_path: Path) -> None:
    script = tmp_path / "voxtral.bash"
    script.write_text(main("completion", "bash")[1])
    (tmp_path / "talk.wav").write_bytes(b"")
    asked = """
        source "$1"; cd "$2"; shift 2
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
        $(complete -p voxtral | sed 's/.*-F \\([^ ]*\\) .*/\\1/') voxtral "${@: -1}" ""
        printf '%s\\n' "${COMPREPLY[@]}"
    """

    def complete(*words: str) -> set[str]:
        command = ["bash", "-c", asked, "bash", str(script), str(tmp_path), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return set(done.stdout.split())

    assert complete("voxtral", "tr") == {"transcribe"}
    assert complete("voxtral", "completion", "") >= {"bash", "zsh", "fish"}
    assert "--device" in complete("voxtral", "stream", "--de")
    assert "--verify" in complete("voxtral", "convert", "--ver")
    assert complete("voxtral", "transcribe", "ta") == {"talk.wav"}
