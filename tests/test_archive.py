"""Archives: each source once, whatever is killed, broken, hanging or full."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import archives
import numpy as np
import pytest
import voxtral_edge as vox
from conftest import SAMPLES, little_space
from serving import wav
from voxtral_edge import cli
from voxtral_edge.archive import lists, results, sources
from voxtral_edge.archive.order import Hand, Order
from voxtral_edge.archive.results import Results
from voxtral_edge.archive.sources import Source
from voxtral_edge.archive.work import lanes, state, transcription
from voxtral_edge.archive.work.job import Finished, Job, Moved, News, Settings, Told
from voxtral_edge.console.journal import Journal
from voxtral_edge.console.output import OutputError

CLIP = SAMPLES / "digits_1.wav"
Archive = Callable[..., int]


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    folder = tmp_path / "talks"
    folder.mkdir()
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "texts"


@pytest.fixture
def archive(target: Path) -> Archive:
    """Run the command in this process; workers are processes of their own."""

    def run(*args: object) -> int:
        words = ["archive", *map(str, args), "-o", str(target), "--threads", "1", "--quiet"]
        return cli.main([*words, *([] if "--format" in args else ["--format", "txt"])])

    return run


def source(id: str, guess_s: float = 1.0) -> Source:
    return Source(id, id, id, None, guess_s)


# ---- what words mean ----------------------------------------------------------------------------


def test_lists(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"12345678" * 8000)
    texts = {
        "list.txt": "a.wav\n\nsub/b c.mp3\n",
        "list.csv": "id,path,duration_s\n,a.wav,\nB 2,sub/b c.mp3,90\n",
        "list.jsonl": '{"path": "a.wav"}\n{"path": "sub/b c.mp3", "id": "B 2", "duration_s": 90}\n',
    }
    for name, text in texts.items():
        (tmp_path / name).write_text("\ufeff" + text)
        first, second = lists.read(str(tmp_path / name))
        assert (first.id, first.path, first.place) == ("a.wav", str(tmp_path / "a.wav"), "a")
        assert (first.stamp or "").startswith("64000 ")
        assert first.guess_s == 2.0
        assert second.path == str(tmp_path / "sub/b c.mp3")
        known = ("B 2", "B 2", 90.0) if "txt" not in name else ("sub/b c.mp3", "sub/b c", 600.0)
        assert (second.id, second.place, second.guess_s) == known


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "", "names no files"),
        ("a.txt", b"\xff\xfe", "not UTF-8"),
        ("a.csv", "file\nx.wav\n", "line 2: it has no path"),
        ("a.jsonl", '{"path": "x.wav"}\n[]\n', "line 2: it has no path"),
        ("a.jsonl", '{"path": "x.wav", "id": "../y"}\n', "line 1: .* cannot be the name"),
        ("a.jsonl", '{"path": "x.wav", "id": "/y"}\n', "line 1: .* cannot be the name"),
        ("a.csv", "path,duration_s\nx.wav,long\n", "line 2: 'long' is not a number of seconds"),
        ("a.csv", "path,duration_s\nx.wav,-1\n", "line 2: '-1' is not a number of seconds"),
    ],
)
def test_lists_that_cannot_be_used(
    tmp_path: Path, name: str, text: str | bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(vox.ArgumentError, match=message):
        lists.read(str(tmp_path / name))


def test_a_path_in_a_list_stays_below_the_target(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("/x/a.wav\n../b.wav\n")
    assert [source.place for source in lists.read(str(tmp_path / "list.txt"))] == ["x/a", "b"]


def test_names_are_of_one_source_each() -> None:
    a = source("a.wav")
    assert sources.check([a, a]) == [a]
    with pytest.raises(vox.ArgumentError, match=r"both called a\.wav"):
        sources.check([a, Source("a.wav", "other/a.wav", "a", None, 1.0)])
    with pytest.raises(vox.ArgumentError, match="both be written to a"):
        sources.check([Source("a.wav", "a.wav", "a", None, 1), Source("a.mp3", "b", "a", None, 1)])


# ---- the order ----------------------------------------------------------------------------------


def finished_s(lengths: Sequence[float], rates: Sequence[float], n_lanes: int) -> float:
    """When the last of workers is done, whose files share what each of them can do."""
    order = Order(source(str(i), length) for i, length in enumerate(lengths))
    now, work = 0.0, [list[float]() for _ in rates]
    while len(order) or any(work):
        hands = [Hand(sum(left), rate, n_lanes - len(left))
                 for left, rate in zip(work, rates, strict=True)]  # fmt: skip
        for i, given in order.deal(hands, len(rates), sum(rates), sum(map(sum, work))):
            work[i].append(given.guess_s)
        assert all(work[i] or not len(order) for i in range(len(rates)))  # nobody waits
        step = min(min(left) * len(left) / rate
                   for left, rate in zip(work, rates, strict=True) if left)  # fmt: skip
        now += step
        for left, rate in zip(work, rates, strict=True):
            each = step * rate / max(len(left), 1)
            left[:] = [rest - each for rest in left if rest - each > 1e-9]
    return now


def taken(order: Order, n_workers: int) -> list[float]:
    """The lengths that one of equal workers gets, one after the other."""
    lengths = []
    while len(order):
        for _, given in order.deal([Hand(0.0, 1.0, 1)], n_workers, n_workers, 1000.0):
            lengths.append(given.guess_s)
    return lengths


def test_short_ones_come_first_and_long_ones_in_time() -> None:
    order = Order(source(str(i), length) for i, length in enumerate([50, 2, 1, 3, 40, 4]))
    assert taken(order, 2) == [50, 40, 4, 3, 2, 1]
    even = Order(source(str(i), length) for i, length in enumerate(range(1, 101)))
    assert taken(even, 4)[:50] == [*range(1, 51)]
    alone = Order(source(str(i), length) for i, length in enumerate([5, 3, 9]))
    assert taken(alone, 1) == [3, 5, 9]


def test_all_workers_end_together() -> None:
    choice = random.Random(1)
    for n, n_lanes in ((1, 4), (2, 3), (7, 2), (20, 8)):
        lengths = [choice.lognormvariate(5, 1.5) for _ in range(60 * n)]
        rates = [choice.uniform(0.5, 2.0) for _ in range(n)]
        bound = max(sum(lengths) / sum(rates), max(lengths) / max(rates))
        assert finished_s(lengths, rates, n_lanes) <= 1.2 * bound
    assert finished_s([1.0] * 100 + [100.0], [1.0, 1.0], 1) == pytest.approx(100.0)


def test_nobody_gets_what_would_outlast_all_others() -> None:
    order = Order([source("a", 10)])
    hands = [Hand(50.0, 1.0, 3), Hand(5.0, 0.1, 3)]
    assert [*order.deal(hands, 3, 3.1, 100.0)] == []
    hands.append(Hand(12.0, 1.0, 1))
    assert [i for i, _ in order.deal(hands, 3, 3.1, 100.0)] == [2]


def test_what_was_begun_comes_next() -> None:
    order = Order([source("a", 5), source("b", 7)])
    ((_, first),) = order.deal([Hand(0.0, 1.0, 1)], 1, 1.0, 0.0)
    order.put_back(first)
    assert (len(order), order.left_s) == (2, 12.0)
    ((_, again),) = order.deal([Hand(0.0, 1.0, 1)], 1, 1.0, 0.0)
    assert again is first


# ---- the manifest -------------------------------------------------------------------------------


def test_a_torn_line_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    whole = b"".join(b"%d %s\n" % (i, b"x" * 1000 * i) for i in range(1, 90))
    for n in (0, 1, 70_000):
        path.write_bytes(whole + b"{" * n)
        with Journal(path) as journal:
            assert b"".join(line + b"\n" for line in journal) == whole
            journal.append(b"next")
        assert path.read_bytes() == whole + b"next\n"
    path.write_bytes(b"torn")
    with Journal(path) as journal:
        assert [*journal] == []


def test_one_run_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    with Journal(path), pytest.raises(vox.ArgumentError, match="another run"), Journal(path):
        pass
    with Journal(tmp_path / "lines"):
        pass


def test_a_line_for_which_there_is_no_space_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    with Journal(path) as journal:
        journal.append(b"first")
        with little_space(10), pytest.raises(OutputError, match="too large"):
            journal.append(b"second")
        assert path.read_bytes() == b"first\n"
        journal.append(b"third")
    assert path.read_bytes() == b"first\nthird\n"


def test_lines_of_others_are_refused(tmp_path: Path) -> None:
    def opened(model: str, **options: object) -> None:
        with Results(tmp_path, model, options) as manifest:
            line = results.Line("a", "a", None, model, options, words=1)
            manifest.add(line, [])

    opened("model", delay_ms=480)
    opened("model", delay_ms=480)
    with pytest.raises(vox.ArgumentError, match="begun with another model"):
        opened("other", delay_ms=480)
    with pytest.raises(vox.ArgumentError, match="begun with other options"):
        opened("model", delay_ms=240)
    assert len(archives.lines(tmp_path)) == 2
    (tmp_path / results.NAME).write_text("what is this\n")
    with pytest.raises(vox.ArgumentError, match="line 1, is none of this command's"):
        opened("model", delay_ms=480)


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    for _ in range(2):
        with Results(tmp_path, "m", {}) as manifest:
            assert [*manifest.known] == ([] if not manifest.known else ["\udcff\u00e4"])
            manifest.add(results.Line("\udcff\u00e4", "", None, "m", {}, words=1), [])


# ---- one file -----------------------------------------------------------------------------------


def settings(states: Path | None = None, **others: object) -> Settings:
    known = {
        "model": None, "sha256": "m", "threads": 1, "window_s": None, "n_lanes": 1,
        "formats": ("txt", "json"), "options": {"background": True},
        "states": None if states is None else str(states), "save_s": 0.0, **others,
    }  # fmt: skip
    return Settings(**known)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory, digits: np.ndarray) -> Path:
    """More speech than the windows hold."""
    path = tmp_path_factory.mktemp("long") / "long.wav"
    path.write_bytes(wav(np.resize(digits, 40 * vox.RATE)))
    return path


def test_a_long_file_goes_on_with_the_same_bytes(
    demo: vox.Model, long: Path, tmp_path: Path
) -> None:
    job = Job(sources.of_file(str(long), Path("long.wav")))
    whole = transcription.run(job, settings(), demo, lambda news: None)
    assert isinstance(whole, Finished)
    options = {"background": True, "confidence": True, "alternatives": 2}
    sure = transcription.run(job, settings(options=options), demo, lambda news: None)
    for settled, expected in ((settings(tmp_path), whole),
                              (settings(tmp_path, options=options), sure)):  # fmt: skip
        file = state.path(str(tmp_path), "long.wav")
        heard = []
        for end_s in (10, 25):
            # A fault in the middle, as far as this thread can have one.
            with pytest.raises(KeyboardInterrupt):
                transcription.run(job, settled, _Stop(demo, end_s), lambda news: None)
            kept = state.State(settled, "long.wav", _sha256(long)).load(demo)
            assert kept
            kept.stream.close()
            heard.append(kept.n_samples)
        assert heard == sorted(set(heard))
        again = transcription.run(job, settled, demo, lambda news: None)
        assert isinstance(again, Finished)
        assert isinstance(expected, Finished)
        assert again.outputs == expected.outputs
        assert (again.duration_s, again.n_words) == (expected.duration_s, expected.n_words)
        file.unlink()


class _Stop:
    """A model whose streams are interrupted in the middle."""

    def __init__(self, model: vox.Model, end_s: float) -> None:
        self._model, self._end_s = model, end_s

    def __getattr__(self, name: str) -> object:
        return getattr(self._model, name)

    def stream(self, **options: object) -> object:
        return _Stopped(self._model.stream(**options), self._end_s)

    def load_stream(self, saved: bytes) -> object:
        return _Stopped(self._model.load_stream(saved), self._end_s)


class _Stopped:
    def __init__(self, stream: vox.Stream, end_s: float) -> None:
        self._stream, self._end_s = stream, end_s

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def __enter__(self) -> _Stopped:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()

    def slots(self) -> Iterator[vox.Piece]:
        for slot in self._stream.slots():
            if slot.end_ms > 1000 * self._end_s:
                raise KeyboardInterrupt
            yield slot


def _sha256(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_state_of_something_else_counts_as_none(
    demo: vox.Model, long: Path, tmp_path: Path
) -> None:
    job = Job(sources.of_file(str(long), Path("long.wav")))
    with pytest.raises(KeyboardInterrupt):
        transcription.run(job, settings(tmp_path), _Stop(demo, 20), lambda news: None)
    sha256, file = _sha256(long), state.path(str(tmp_path), "long.wav")

    def load(id: str = "long.wav", sha: str = sha256, **others: object) -> bool:
        kept = state.State(settings(tmp_path, **others), id, sha).load(demo)
        if kept:
            kept.stream.close()
        return kept is not None

    assert load()
    assert not load(sha="0")
    assert not load("other.wav")
    assert not load(sha256="another model")
    assert not load(options={"background": True, "delay_ms": 240})
    data = bytearray(file.read_bytes())
    for place in (5, 400, len(data) // 2, len(data) - 1):
        damaged = bytearray(data)
        damaged[place] ^= 1
        file.write_bytes(damaged)
        assert not load(), place
    file.write_bytes(data[:-1])
    assert not load()
    file.write_bytes(data)
    assert load()


def test_a_state_for_which_there_is_no_space_is_done_without(
    demo: vox.Model, long: Path, tmp_path: Path
) -> None:
    job = Job(sources.of_file(str(long), Path("long.wav")))
    told: list[News] = []
    with little_space(100_000):
        done = transcription.run(job, settings(tmp_path), demo, told.append)
    assert isinstance(done, Finished)
    assert any(isinstance(news, Told) and "cannot write" in news.text for news in told)
    assert any(isinstance(news, Moved) for news in told)
    assert [*tmp_path.iterdir()] == []


def test_as_many_lanes_as_fit(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxtral_edge.machine.host.n_processors", lambda: 7)
    with vox.Model(tiny_path) as model, model.stream() as stream:
        n_bytes = lanes.stream_bytes(tiny_path, model)
        for share, n in ((0.1, 1), (1.0, 1), (3.0, 3), (8.0, 8), (100.0, 8)):
            there = int(n_bytes * share / lanes.SHARE) + 1
            monkeypatch.setattr("voxtral_edge.system.here.memory", lambda n=there: (n, n))
            assert lanes.fitting(str(tiny_path), model) == n
        stream.push(np.zeros(10 * vox.RATE, np.float32))
        for _ in stream.slots():
            pass
        assert n_bytes <= stream.memory  # rings, and what else a stream holds
    with vox.Model(tiny_path, window_s=1.6) as model:
        assert lanes.stream_bytes(tiny_path, model) < n_bytes


# ---- the command --------------------------------------------------------------------------------


def test_outputs_are_those_of_transcribe(
    archive: Archive, talks: Path, target: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    archives.fill(talks, 5)
    formats = "txt,json,jsonl,srt,vtt,tsv"
    assert archive(talks, "--format", formats, "--confidence") == 0
    monkeypatch.chdir(talks)
    words = ["transcribe", "-r", ".", "-o", str(tmp_path / "same"), "--format", formats]
    assert cli.main([*words, "--confidence", "--quiet", "--threads", "1"]) == 0
    expected = {path.relative_to(tmp_path / "same"): path.read_bytes()
                for path in (tmp_path / "same").rglob("*.*")}  # fmt: skip
    assert len(expected) == 5 * 6
    for place, data in expected.items():
        assert (target / place).read_bytes() == data, place
    made = archives.lines(target)
    assert sorted(line["source"] for line in made) == sorted(
        str(path.relative_to(talks)) for path in talks.rglob("*.wav")
    )
    for line in made:
        path = talks / line["source"]
        assert line["sha256"] == _sha256(path)
        assert line["path"] == str(path)
        assert line["model"] == lanes.model_sha256(None)
        assert line["options"]["formats"] == sorted(formats.split(","))
        assert line["options"]["delay_ms"] == 480
        text = (target / line["source"]).with_suffix(".txt").read_text()
        assert line["words"] == len(text.split())
        assert line["duration_s"] == json.loads(
            (target / line["source"]).with_suffix(".json").read_text()
        )["duration_s"]  # fmt: skip
        assert line["rtf"] > 0
        assert line["error"] is None


def test_what_is_done_is_not_done_again(
    archive: Archive, talks: Path, target: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    texts = archives.fill(talks, 3)
    assert archive(talks) == 0
    archives.check(target, texts)
    before = (target / "manifest.jsonl").read_bytes()
    for path in target.rglob("*.txt"):
        path.write_text("mine\n")  # an output that is written again would show
    assert archive(talks) == 0
    os.utime(talks / "000.wav")  # touched, and the same
    assert archive(talks) == 0
    assert (target / "manifest.jsonl").read_bytes() == before
    assert {path.read_text() for path in target.rglob("*.txt")} == {"mine\n"}
    shutil.copy(SAMPLES / "digits_3.wav", talks / "000.wav")  # something else
    shutil.copy(SAMPLES / "digits_3.wav", talks / "new.wav")
    assert archive(talks) == 0
    after = (target / "manifest.jsonl").read_bytes()
    assert after.startswith(before)
    assert sorted(line["source"] for line in archives.lines(target)[3:]) == ["000.wav", "new.wav"]
    assert (target / "000.txt").read_text() == f"{archives.WORDS['digits_3']}\n"
    assert capfd.readouterr().err == ""
    assert archive(talks, "--delay", "960") == 2
    assert "begun with other options: name another target" in capfd.readouterr().err


def test_poison(
    archive: Archive,
    talks: Path,
    target: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file that fails, hangs or kills its worker does so to itself alone."""
    texts = archives.fill(talks, 4)
    (talks / "broken.wav").write_bytes(b"no sound " * 100)
    (talks / "empty.wav").write_bytes(b"")
    (talks / "deadly.wav").write_bytes(CLIP.read_bytes())
    os.mkfifo(talks / "hangs.wav")
    whole = wav(np.zeros(vox.RATE, np.float32))
    (talks / "short.wav").write_bytes(whole[:-8000])
    names = sorted(str(path.relative_to(talks)) for path in talks.rglob("*.wav"))
    (talks / "list.txt").write_text("\n".join([*names, "missing.wav"]))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "deadly"))
    words = (talks / "list.txt", "--workers", "3", "--patience", "2")
    assert archive(*words) == 2
    told = capfd.readouterr().err
    made = {line["source"]: line for line in archives.lines(target)}
    assert len(made) == len(archives.lines(target)) == len(names) + 1
    reasons = {
        "broken.wav": "broken.wav",
        "empty.wav": "is empty",
        "deadly.wav": "its process was ended by SIGKILL",
        "hangs.wav": "it stood still for 2 s",
        "missing.wav": "No such file",
    }
    for name, reason in reasons.items():
        line = made.pop(name)
        assert reason in line["error"]
        assert (line["words"], line["duration_s"]) == (None, None)
        assert f"{name} is set aside: " in told
        assert not (target / name).with_suffix(".txt").exists()
    short = made.pop("short.wav")
    assert "breaks off" in short["error"]
    assert short["words"] is not None
    for place, text in texts.items():
        assert made.pop(f"{place}.wav")["error"] is None
        assert (target / f"{place}.txt").read_text().strip() == text
    assert not made
    # The next run finds nothing to do, and still says that not all is well.
    began = time.monotonic()
    assert archive(*words) == 2
    assert time.monotonic() - began < 2
    assert len(archives.lines(target)) == len(names) + 1
    # What was mended is done without being asked for, what is the same only with --again.
    (talks / "broken.wav").write_bytes(CLIP.read_bytes())
    assert archive(*words) == 2
    assert archives.lines(target)[-1]["source"] == "broken.wav"
    assert archives.lines(target)[-1]["error"] is None
    monkeypatch.delenv("PYTHONPATH")
    assert archive(*words, "--again") == 2
    assert {line["source"]: line["error"] for line in archives.lines(target)}["deadly.wav"] is None


def test_a_full_disk_ends_the_run(
    archive: Archive, talks: Path, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = archives.fill(talks, 3)
    target.mkdir()
    for space in (1, 20, 700):  # of an output, of a line, of some lines
        with little_space(space):
            assert archive(talks) == 1
        assert "cannot write to" in capsys.readouterr().err
        archives.lines(target)
    assert archive(talks) == 0
    archives.check(target, texts)


def test_a_signal_ends_the_run_and_its_workers(
    run_python: Callable[..., tuple[str, ...]], talks: Path, target: Path, digits: np.ndarray
) -> None:
    (talks / "a.wav").write_bytes(wav(np.resize(digits, 900 * vox.RATE)))
    command = run_python("-m", "voxtral_edge", "archive", talks, "-o", target, "--quiet")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        with subprocess.Popen(command) as process:
            workers: list[str] = []
            while not workers:
                time.sleep(0.05)
                assert process.poll() is None
                workers = _children(process.pid)
            time.sleep(0.5)
            process.send_signal(number)
            process.wait(20)
        assert process.returncode in (128 + number, -number)
        end = time.monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() for pid in workers):
            assert time.monotonic() < end, "a worker goes on"
            time.sleep(0.05)
        assert [path.name for path in target.iterdir()] == ["manifest.jsonl"]


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_killed_at_any_moment(
    run_python: Callable[..., tuple[str, ...]], talks: Path, target: Path
) -> None:
    sys.path.insert(0, str(SAMPLES.parent / "scripts"))
    from soak_archive import kills

    kills(run_python("-m", "voxtral_edge"), talks, target, n=4, seed=1)


def test_words_that_cannot_be_used(
    archive: Archive, talks: Path, capfd: pytest.CaptureFixture[str], target: Path
) -> None:
    for words, message in (
        ((talks,), "holds no files of sound or video"),
        ((talks / "none.csv",), "No such file"),
        ((CLIP, "--format", "doc"), "'doc' is not one of txt"),
        ((CLIP, "-m", talks / "none"), "there is no model file"),
        ((CLIP, "--silence-gate", "80"), "the silence gate must leave"),
    ):
        with pytest.raises(SystemExit) if "doc" in words else _nothing():
            assert archive(*words) == 2
        assert message in capfd.readouterr().err
        assert not (target / "manifest.jsonl").exists()
    target.write_text("")
    assert archive(CLIP) == 2
    assert "is a file: name a folder" in capfd.readouterr().err


def _nothing() -> object:
    import contextlib

    return contextlib.nullcontext()
