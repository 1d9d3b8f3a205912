"""Whatever has the name of an output: what every command does with it, and what it never does."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_model
import voxtral_edge as vox
from conftest import SAMPLES
from voxtral_edge import cli
from voxtral_edge.console import output
from voxtral_edge.console.output import (
    Output,
    OutputError,
    identities,
    is_gguf,
    is_picture,
    is_text,
)

CLIP = SAMPLES / "digits_3.wav"
TEXT = b"three zero four six\n"

Write = Callable[[Path], int]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.write_official(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def stdin() -> Iterator[Callable[[Path], None]]:
    """Redirect standard input of this process."""
    saved, opened = os.dup(0), []

    def redirect(path: Path) -> None:
        opened.append(path.open("rb"))
        os.dup2(opened[-1].fileno(), 0)

    yield redirect
    os.dup2(saved, 0)
    os.close(saved)
    for file in opened:
        file.close()


# Each command that writes: how it is called, and what its output begins with and old ones may.
WRITERS = {
    "transcribe": ((("transcribe", CLIP, "--quiet", "--threads", 1), "-o"), b"three zero"),
    "plot": ((("plot", CLIP, "--quiet", "--threads", 1), "-o"), b"\x89PNG"),
    "convert": ((("convert", "{checkpoint}", "--quiet"), None), b"GGUF"),
    "bench": ((("bench", "--seconds", 1, "--parts", "offline", "--threads", 1), "--json"), b"{"),
}


@pytest.fixture(params=WRITERS)
def writer(request: pytest.FixtureRequest, checkpoint: Path) -> tuple[Write, bytes, str]:
    """A command that writes a file, what this begins with, and the ending that it needs."""
    (command, option), begin = WRITERS[request.param]
    words = [str(word).format(checkpoint=checkpoint) for word in command]

    def write(path: Path) -> int:
        return cli.main([*words, *([option] if option else []), str(path)])

    return write, begin, ".png" if request.param == "plot" else ""


def test_a_new_file_has_the_usual_mode(writer: tuple[Write, bytes, str], tmp_path: Path) -> None:
    write, begin, ending = writer
    path = tmp_path / f"new{ending}"
    mask = os.umask(0o027)
    try:
        assert write(path) == 0
    finally:
        os.umask(mask)
    assert path.read_bytes().startswith(begin)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_an_old_file_keeps_its_mode(writer: tuple[Write, bytes, str], tmp_path: Path) -> None:
    write, begin, ending = writer
    path = tmp_path / f"old{ending}"
    for mode in (0o600, 0o664):
        path.write_bytes(begin)
        path.chmod(mode)
        assert write(path) == 0
        assert path.stat().st_size > len(begin)
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_link_stays(writer: tuple[Write, bytes, str], tmp_path: Path) -> None:
    write, begin, ending = writer
    (tmp_path / "folder").mkdir()
    link, other = tmp_path / f"link{ending}", tmp_path / f"other{ending}"
    link.symlink_to(other)
    other.symlink_to(f"folder/file{ending}")
    assert write(link) == 0
    assert link.is_symlink() and other.is_symlink()
    assert (tmp_path / "folder" / f"file{ending}").read_bytes().startswith(begin)
    assert len(list(tmp_path.rglob("*"))) == 4


def test_the_longest_name(writer: tuple[Write, bytes, str], tmp_path: Path) -> None:
    write, begin, ending = writer
    path = tmp_path / ("\u97f3" * 80 + "a" * (15 - len(ending)) + ending)
    assert len(os.fsencode(path.name)) == 255
    assert write(path) == 0
    assert path.read_bytes().startswith(begin)


def test_a_pipe_stays_one(writer: tuple[Write, bytes, str], tmp_path: Path) -> None:
    write, begin, ending = writer
    path = tmp_path / f"pipe{ending}"
    os.mkfifo(path)
    came: list[bytes] = []
    reader = threading.Thread(target=lambda: came.append(path.read_bytes()), daemon=True)
    reader.start()
    assert write(path) == 0
    reader.join(10)
    assert came[0].startswith(begin)
    assert path.is_fifo()
    assert list(tmp_path.iterdir()) == [path]


def test_a_device_stays_one(writer: tuple[Write, bytes, str], tmp_path: Path) -> None:
    """A node of our own, for where it went wrong root would lose the real one."""
    write, _, ending = writer
    path, link = tmp_path / f"null{ending}", tmp_path / f"link{ending}"
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        path.write_bytes(b"x")
    except PermissionError:
        pytest.skip("only root makes devices")
    link.symlink_to(path)
    for each in (path, link):
        assert write(each) == 0
        assert path.is_char_device() and link.is_symlink()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_descriptor_of_the_caller(writer: tuple[Write, bytes, str], tmp_path: Path) -> None:
    """What was written to it before stays, and what comes after follows."""
    write, begin, ending = writer
    if ending:
        pytest.skip("it has no ending")
    with (tmp_path / "file").open("wb", buffering=0) as file:
        file.write(b"head\n")
        assert write(Path(f"/dev/fd/{file.fileno()}")) == 0
        file.write(b"tail\n")
    data = (tmp_path / "file").read_bytes()
    assert data.startswith(b"head\n" + begin) and data.endswith(b"tail\n")


def test_a_file_that_nothing_can_replace(
    writer: tuple[Write, bytes, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that is mounted by itself: renaming to it fails."""
    write, begin, ending = writer
    path = tmp_path / f"mounted{ending}"
    path.write_bytes(begin + b" " * 10_000_000)
    path.chmod(0o600)
    inode = path.stat().st_ino

    def busy(self: Path, target: Path) -> Path:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(Path, "replace", busy)
    assert write(path) == 0
    assert path.stat().st_ino == inode
    assert path.read_bytes().startswith(begin)
    assert 0 < path.stat().st_size < 10_000_000
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not shutil.which("setpriv") or os.getuid() != 0, reason="needs two users")
def test_a_file_in_a_locked_folder(tmp_path: Path) -> None:
    """Its owner may write it, though no other file can be made beside it."""
    code = """
import os, sys
from pathlib import Path
from voxtral_edge.console.output import Output, OutputError, is_text
for path in map(Path, sys.argv[1:]):
    try:
        with Output(path, inputs={}, over=is_text) as output:
            output.write(b"new")
    except OutputError as error:
        print(error)
"""
    folder = Path("/tmp") / f"voxtral-{os.getpid()}"
    folder.mkdir()
    try:
        mine, others, new = folder / "mine", folder / "others", folder / "new"
        for path in (mine, others):
            path.write_text("old")
        os.chown(mine, 65534, 65534)
        user = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
        probe = subprocess.run(
            [*user, sys.executable, "-c", "import voxtral_edge"], capture_output=True
        )
        if probe.returncode:
            pytest.skip("another user cannot run this package")
        command = [*user, sys.executable, "-c", code, *map(str, (mine, others, new))]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert mine.read_text() == "new"
        assert others.read_text() == "old"
        reason = "Permission denied"
        assert done.stdout.splitlines() == [
            f"cannot write to {path}: {reason}" for path in (others, new)
        ]
        assert sorted(path.name for path in folder.iterdir()) == ["mine", "others"]
        folder.chmod(0o1777)  # as /tmp: there others may make files, but replace only their own
        others.chmod(0o666)
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.stdout, others.read_text(), others.stat().st_uid) == ("", "new", 0)
    finally:
        shutil.rmtree(folder)


@pytest.mark.skipif(not shutil.which("mount") or os.getuid() != 0, reason="needs mount")
def test_a_file_that_is_mounted_by_itself(tmp_path: Path) -> None:
    path, source = tmp_path / "out.txt", tmp_path / "source"
    path.write_text("below")
    source.write_text("old")
    if subprocess.run(["mount", "--bind", source, path], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        assert cli.main(["transcribe", "--quiet", str(CLIP), "-o", str(path)]) == 0
    finally:
        subprocess.run(["umount", path], check=True)
    assert (source.read_bytes(), path.read_text()) == (TEXT, "below")


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="Linux has it")
def test_no_folder_may_be_written(
    writer: tuple[Write, bytes, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container whose disk is only read, with one file mounted to be written."""
    write, begin, ending = writer
    path, open_ = tmp_path / f"mounted{ending}", os.open
    path.write_bytes(begin)

    def read_only(name: object, flags: int, *mode: int, **options: object) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, "Read-only file system")
        return open_(name, flags, *mode, **options)

    def no_folder() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(os, "open", read_only)
    monkeypatch.setattr(output.tempfile, "gettempdir", no_folder)
    assert write(path) == 0
    assert path.read_bytes().startswith(begin) and path.stat().st_size > len(begin)
    assert list(tmp_path.iterdir()) == [path]


def test_an_interruption_waits_for_the_end_of_overwriting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, pwrite, calls = tmp_path / "x", os.pwrite, []
    path.write_text("old")

    def interrupted(fd: int, data: bytes, offset: int) -> int:
        calls.append(offset)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return pwrite(fd, bytes(data[:4]), offset)

    def busy(self: Path, target: Path) -> Path:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(Path, "replace", busy)
    monkeypatch.setattr(os, "pwrite", interrupted)
    with (
        pytest.raises(KeyboardInterrupt),
        Output(path, inputs={}, over=is_text) as file,
    ):
        file.write(b"all that is new")
    assert path.read_text() == "all that is new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_noticed_before_overwriting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    path.write_text("old")

    def busy(self: Path, target: Path) -> Path:
        raise OSError(errno.EBUSY, "Device or resource busy")

    def full(fd: int, offset: int, n: int) -> None:
        os.ftruncate(fd, n)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", busy)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with (
        pytest.raises(OutputError, match=r"cannot write to .*x: No space left on device"),
        Output(path, inputs={}, over=is_text) as file,
    ):
        file.write(b"all that is new")
    assert path.read_text() == "old"


# ---- what is read is not written -----------------------------------------------------------------


def refused(args: list[object], capsys: pytest.CaptureFixture[str], message: str) -> None:
    assert cli.main([*map(str, args)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert message in shown.err
    assert len([line for line in shown.err.splitlines() if "no --model" not in line]) == 1


def test_the_input_is_no_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    talk, picture = Path("talk.wav"), Path("talk.png")
    before = CLIP.read_bytes()
    for path in (talk, picture, Path("x.srt")):
        path.write_bytes(before)
    Path("link.txt").symlink_to(talk)
    Path("hard").hardlink_to(talk)
    Path("talk.txt").hardlink_to("x.srt")
    Path("both.wav").write_bytes(before)
    Path("both.txt").symlink_to("both.wav")
    Path("folder").mkdir()
    Path("folder/a.wav").write_bytes(before)
    Path("texts").mkdir()
    Path("texts/a.txt").symlink_to("../folder/a.wav")
    for command, message in (
        ("transcribe talk.wav -o talk.wav", "talk.wav is what is read"),
        ("transcribe talk.wav -o ./talk.wav", "talk.wav is what is read"),
        ("transcribe talk.wav -o link.txt", "link.txt is talk.wav, which is read"),
        ("transcribe talk.wav -o hard", "hard is talk.wav, which is read"),
        ("transcribe talk.txt -o x.srt", "x.srt is talk.txt, which is read"),
        ("transcribe x.srt -o .", "x.srt.txt"),
        ("transcribe both.wav -o .", "both.txt is both.wav, which is read"),
        ("transcribe folder -r -o texts", "texts/a.txt is folder/a.wav, which is read"),
        ("plot talk.png -o talk.png", "talk.png is what is read"),
        ("bench --audio talk.wav --json hard", "hard is talk.wav, which is read"),
    ):
        if message == "x.srt.txt":
            assert cli.main([*command.split(), "--quiet"]) == 0
            assert Path(message).read_bytes() == TEXT
            continue
        refused(command.split(), capsys, message)
    for path in (talk, picture, Path("talk.txt"), Path("folder/a.wav")):
        assert path.read_bytes() == before


def test_redirected_input_is_no_output(
    tmp_path: Path, run_python: Callable[..., tuple[str, ...]]
) -> None:
    talk = tmp_path / "talk.wav"
    shutil.copy(CLIP, talk)
    for command in ("transcribe", "stream"):
        with talk.open("rb") as source:
            done = subprocess.run(
                run_python("-m", "voxtral_edge", command, "-", "--quiet", "-o", talk),
                stdin=source, capture_output=True, text=True, timeout=60,
            )  # fmt: skip
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            f"voxtral: {talk} is standard input, which is read: name another file to write\n"
        )
    with talk.open("ab") as end:
        done = subprocess.run(
            run_python("-m", "voxtral_edge", "transcribe", talk, "--quiet"),
            stdout=end, stderr=subprocess.PIPE, text=True, timeout=60,
        )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"standard output is {talk}, which is read" in done.stderr
    assert talk.read_bytes() == CLIP.read_bytes()


def test_other_kinds_of_files_are_not_replaced(
    tmp_path: Path,
    checkpoint: Path,
    tiny_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pattern of a shell may have given an option the first of several recordings."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(CLIP, "a.wav")
    shutil.copy(CLIP, "b.png")
    shutil.copy(tiny_path, "model.gguf")
    Path("notes").write_text("notes")
    for command in (
        "transcribe b.png -o a.wav",
        "transcribe a.wav -o model.gguf",
        "bench --json a.wav",
        "plot a.wav -o b.png",
        f"convert {checkpoint} a.wav",
        f"convert {checkpoint} notes",
    ):
        before = {path: path.read_bytes() for path in Path().iterdir()}
        refused(command.split(), capsys, "is there, and of another kind")
        assert before == {path: path.read_bytes() for path in Path().iterdir()}


def test_two_inputs_for_one_file_by_a_link(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("b.txt").symlink_to("a.txt")
    for name in ("a.wav", "b.wav"):
        shutil.copy(CLIP, name)
    both = ("transcribe", "a.wav", "b.wav", "-o", ".")
    refused([*both], capsys, "would both be written to b.txt")


def test_one_of_several_outputs_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text of 253 bytes and .json is longer than a name may be; the others are written."""
    monkeypatch.chdir(tmp_path)
    long = "a" * 251 + ".wav"
    for name in (long, "b.wav"):
        shutil.copy(CLIP, name)
    assert cli.main(["transcribe", "--quiet", long, "b.wav", "--format", "json", "-o", "o"]) == 1
    assert "File name too long" in capsys.readouterr().err
    assert [path.name for path in Path("o").iterdir()] == ["b.json"]


def test_kinds() -> None:
    assert is_text("\u00e4\u97f3\n".encode()[:-2]) and is_text(b"")
    assert not any(map(is_text, (b"RIFF\0", b"\xff\xfb\x90d", "\u00e4".encode("latin-1") + b"b")))
    assert is_gguf(b"GGUF\3") and not is_gguf(b"GG")
    assert all(map(is_picture, (b"\x89PNG\r\n", b"%PDF-1.4", b"<?xml version='1.0'?>\n<svg")))
    assert not is_picture(b"RIFF")


def test_devices_are_read_and_written() -> None:
    assert identities(["/dev/null", "/nowhere", 999]) == {}


# ---- standard output -----------------------------------------------------------------------------


def shell(run_python: Callable[..., tuple[str, ...]], script: str, *args: object) -> bytes:
    command = run_python("-m", "voxtral_edge", *args)
    done = subprocess.run(
        ["bash", "-c", script, "bash", *command], input=CLIP.read_bytes(), capture_output=True,
        timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def test_names_of_standard_output(
    run_python: Callable[..., tuple[str, ...]], tmp_path: Path, checkpoint: Path
) -> None:
    for name in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
        for command in (("transcribe", CLIP), ("stream", "-"))[: 2 if name == "/dev/stdout" else 1]:
            args = (*command, "--quiet", "-o", name)
            assert shell(run_python, '"$@"', *args) == TEXT
            assert shell(run_python, '"$@" | cat', *args) == TEXT
            file = tmp_path / "file"
            file.unlink(missing_ok=True)
            shell(run_python, f'echo head >> {file}; "$@" >> {file}; echo tail >> {file}', *args)
            assert file.read_bytes() == b"head\n" + TEXT + b"tail\n"
    model = shell(run_python, '"$@" | cat', "convert", checkpoint, "/dev/stdout")
    assert model.startswith(b"GGUF")
    (tmp_path / "m.gguf").write_bytes(model)
    vox.Model(tmp_path / "m.gguf").close()


def test_programs_in_place_of_files(
    run_python: Callable[..., tuple[str, ...]], tmp_path: Path
) -> None:
    assert shell(run_python, f'"$@" >(cat > {tmp_path}/a)', "stream", "-", "--quiet", "-o") == TEXT
    end = time.monotonic() + 10
    while (tmp_path / "a").read_bytes() != TEXT:
        assert time.monotonic() < end


def test_a_pipe_that_does_not_wait() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    data, came = os.urandom(1_000_000), bytearray()

    def read() -> None:
        while len(came) < len(data):
            time.sleep(0.001)
            came.extend(os.read(reader, 1 << 16))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    with Output(f"/dev/fd/{writer}", inputs={}, over=is_text) as file:
        file.write(data)
    thread.join(10)
    for fd in (reader, writer):
        os.close(fd)
    assert came == data


@pytest.mark.skipif(not shutil.which("mount") or os.getuid() != 0, reason="needs mount")
def test_a_disk_that_is_only_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", tmp_path]).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        assert cli.main(["transcribe", "--quiet", str(CLIP), "-o", str(tmp_path / "x")]) == 1
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    assert capsys.readouterr().err == (
        f"voxtral: cannot write to {tmp_path / 'x'}: Read-only file system\n"
    )


def test_a_signal_leaves_nothing_of_a_picture(
    run_python: Callable[..., tuple[str, ...]], tmp_path: Path
) -> None:
    old = tmp_path / "x.png"
    old.write_bytes(b"\x89PNG, old")
    command = run_python("-m", "voxtral_edge", "plot", CLIP, "-o", old, "--quiet")
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        while not list(tmp_path.glob(".*.part")):
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
        assert process.stderr.read() == b""
    assert list(tmp_path.iterdir()) == [old]
    assert old.read_bytes() == b"\x89PNG, old"


def test_parts_are_swept(tmp_path: Path) -> None:
    """A signal may come where no `with` can tidy up."""
    file = Output(tmp_path / "x", inputs={}, over=is_text)
    file.__enter__()
    assert len(list(tmp_path.iterdir())) == 1
    output.sweep()
    assert list(tmp_path.iterdir()) == []
    with contextlib.suppress(OSError):
        os.close(file.fd)
