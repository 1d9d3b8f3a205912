"""Archives of what object stores hold: over HTTP and S3, and with a network that breaks."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import archives
import pytest
import voxtral_edge as vox
from voxtral_edge import cli
from voxtral_edge.archive import lists, sources, stores
from voxtral_edge.archive.foreman import MOST_UNREACHED, Foreman, Tally
from voxtral_edge.archive.order import Order
from voxtral_edge.archive.results import Results
from voxtral_edge.archive.work import transcription
from voxtral_edge.archive.work.job import Job, News, Settings
from voxtral_edge.archive.work.process import Worker

fsspec = pytest.importorskip("fsspec", reason="the extra archive is not installed")
pytest.importorskip("aiohttp", reason="the extra archive is not installed")


class Handler(http.server.SimpleHTTPRequestHandler):
    """A folder; the first answers for a path may break, as `broken` says."""

    broken: dict[str, int]  # by path: how many answers break; -1: all of them

    def do_GET(self) -> None:
        left = self.broken.get(self.path, 0)
        if left:
            self.broken[self.path] = left - 1
            if left % 2:
                self.send_error(503)
                return
            # Half of it, and then nothing more.
            data = Path(self.translate_path(self.path)).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.connection.close()
            return
        super().do_GET()

    def log_message(self, *words: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *words: object) -> None:
        """Say nothing: connections break here on purpose."""


@pytest.fixture
def broken() -> dict[str, int]:
    return {}


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    (tmp_path / "talks").mkdir()
    return tmp_path / "talks"


@pytest.fixture
def address(talks: Path, broken: dict[str, int]) -> Iterator[str]:
    handler = type("Broken", (Handler,), {"broken": broken})
    with Server(("127.0.0.1", 0), partial(handler, directory=str(talks))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "texts"


@pytest.fixture
def archive(target: Path) -> Callable[..., int]:
    def run(*args: object) -> int:
        words = ["archive", *map(str, args), "-o", str(target), "--threads", "1", "--quiet"]
        return cli.main([*words, "--format", "txt"])

    return run


def test_what_a_store_holds() -> None:
    memory = fsspec.filesystem("memory")
    for name in ("a.wav", "deep/b.mp3", "deep/c.txt"):
        memory.pipe(f"/bucket/talks/{name}", name.encode())
    try:
        found = stores.find("memory://bucket/talks")
        assert [each.place for each in found] == [
            PurePosixPath("a.wav"),
            PurePosixPath("deep/b.mp3"),
        ]
        assert [each.n_bytes for each in found] == [5, 10]
        a = sources.of_object(found[0])
        assert (a.id, a.place, a.path) == ("a.wav", "a", "memory:///bucket/talks/a.wav")
        assert stores.find("memory://bucket/talks/deep/b.mp3")[0].place == PurePosixPath("b.mp3")
        assert [str(each.place) for each in stores.find("memory://bucket/talks/*.wav")] == ["a.wav"]
        with stores.fetched(a.path, lambda: None) as (file, sha256):
            assert file.read() == b"a.wav"
            assert sha256 == hashlib.sha256(b"a.wav").hexdigest()
        memory.pipe("/bucket/list.csv", b"path\ntalks/a.wav\n")
        (listed,) = lists.read("memory://bucket/list.csv")
        assert listed.path == "memory://bucket/talks/a.wav"
        with pytest.raises(vox.ArgumentError, match="holds no files"):
            stores.find("memory://bucket/none")
    finally:
        memory.rm("/bucket", recursive=True)


def test_an_address_that_nothing_reads() -> None:
    with pytest.raises(vox.ArgumentError, match="nothing://x cannot be read"):
        stores.find("nothing://x")


def test_a_network_that_breaks(
    archive: Callable[..., int],
    talks: Path,
    target: Path,
    address: str,
    broken: dict[str, int],
) -> None:
    texts = archives.fill(talks, 4)
    names = sorted(f"{place}.wav" for place in texts)
    (talks / "list.csv").write_text(
        "id,path\n" + "".join(f"{name},{name}\n" for name in [*names, "missing.wav"])
    )
    broken.update({f"/{names[0]}": 2, f"/{names[1]}": 1})
    assert archive(f"{address}/list.csv") == 2  # the one that is missing
    made = archives.lines(target)
    assert [line["error"] is None for line in made if line["source"] != "missing.wav"] == [True] * 4
    (missing,) = (line for line in made if line["source"] == "missing.wav")
    assert missing["words"] is None
    for place, text in texts.items():
        assert (target / f"{place}.txt").read_text().strip() == text
    for line in made:
        if line["words"] is not None:
            data = (talks / line["source"]).read_bytes()
            assert line["sha256"] == hashlib.sha256(data).hexdigest()


class Inline:
    """A crew whose workers are in this process, and do a job when they are asked for news."""

    def __init__(self, model: vox.Model, settings: Settings) -> None:
        self._model, self._settings = model, settings
        self.n_hired = 0

    def hire(self, workers: Sequence[Worker], n_jobs: int) -> list[Worker]:
        self.n_hired += not workers
        return [] if workers else [InlineWorker(self._model, self._settings)]

    def alone(self) -> Worker:
        return InlineWorker(self._model, self._settings)

    def wait(self, workers: Sequence[Worker], seconds: float) -> None:
        pass


class InlineWorker:
    def __init__(self, model: vox.Model, settings: Settings) -> None:
        self.n_lanes, self.is_lost, self._jobs = 2, False, deque[Job]()
        self.ended: str | None = None
        self._work = partial(transcription.run, settings=settings, model=model, tell=lambda _: None)

    def start(self, job: Job) -> None:
        self._jobs.append(job)

    def news(self) -> list[News]:
        return [self._work(self._jobs.popleft())] if self._jobs else []

    def stop(self) -> None:
        self.ended = "it was stopped"


def test_a_network_that_is_lost(
    demo: vox.Model,
    talks: Path,
    target: Path,
    address: str,
    broken: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stores, "PAUSES_S", (0.0,))
    texts = archives.fill(talks, 20)
    settings = Settings(None, "m", 1, None, 2, ("txt",), {"background": True}, None, 1.0)
    target.mkdir()

    def run() -> tuple[Tally, list[str]]:
        told: list[str] = []
        found = [sources.of_object(stores.named(f"{address}/{place}.wav")) for place in texts]
        with Results(target, "m", {}) as results:
            foreman = Foreman(
                Order(results.missing(found, again=False)), Inline(demo, settings), results, target,
                settings, patience_s=60, tell=told.append, show=lambda tally: None,
            )  # fmt: skip
            return foreman.run(), told

    broken.update({f"/{place}.wav": -1 for place in sorted(texts)[5:]})
    tally, told = run()
    assert (tally.n_done, tally.n_set_aside) == (5, 0)
    assert tally.n_left == 15
    assert len(told) == MOST_UNREACHED
    assert all("cannot be reached" in line for line in told)
    assert len(archives.lines(target)) == 5
    broken.clear()
    tally, told = run()
    assert (tally.n_done, tally.n_left, told) == (15, 0, [])
    archives.check(target, texts)


def test_s3(
    archive: Callable[..., int],
    talks: Path,
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A bucket of a server in this process, reached as S3 is."""
    server = pytest.importorskip("moto.server", reason="moto is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    texts = archives.fill(talks, 4)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "key",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    running = server.ThreadedMotoServer(port=0)
    running.start()
    try:
        _, port = running.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        fs = fsspec.filesystem("s3", skip_instance_cache=True)
        fs.mkdir("bucket")
        fs.put(f"{talks}/", "bucket/talks/", recursive=True)
        assert archive("s3://bucket/talks") == 0
        archives.check(target, texts)
        stamps = {line["source"]: line["stamp"] for line in archives.lines(target)}
        assert all(stamps.values())
        fs.put(str(talks / "000.wav"), "bucket/talks/000.wav")  # the same bytes
        fs.invalidate_cache()
        assert archive("s3://bucket/talks/*.wav") == 0
        assert len(archives.lines(target)) == 4
    finally:
        running.stop()
