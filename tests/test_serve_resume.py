"""Sessions that break are taken up again: not one word is lost or doubled."""

from __future__ import annotations

import asyncio
import json
import pickle
import random
import signal
import socket as tcp
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
import voxtral_edge as vox
from serving import ROOMY, Serving, run, serving

websockets = pytest.importorskip("websockets")

from resuming import WAYS, Client, Upload, mistral, openai  # noqa: E402
from voxtral_edge.serve.dialects import sockets  # noqa: E402
from voxtral_edge.serve.intake import resampler  # noqa: E402
from voxtral_edge.serve.sessions import resume  # noqa: E402

NAMES = [*WAYS, "live body"]


@pytest.fixture(scope="module")
def server(demo: vox.Model) -> Iterator[Serving]:
    with serving(demo, limits=ROOMY) as running:
        yield running


@pytest.fixture(scope="module")
def long(digits: np.ndarray) -> np.ndarray:
    """Twice the digits, and pauses in which turns end."""
    pause = np.zeros(3 * vox.RATE // 2, np.float32)
    return np.concatenate([digits, pause, digits, pause])


@pytest.fixture(scope="module")
def whole(demo: vox.Model, long: np.ndarray) -> str:
    return demo.transcribe(long).text


def client(server: Serving, name: str, audio: np.ndarray) -> Client:
    if name == "live body":
        return Upload(lambda: server.address, audio)
    return Client(lambda: server.address, audio, WAYS[name])


@pytest.mark.parametrize("name", NAMES)
def test_random_cuts(server: Serving, long: np.ndarray, whole: str, name: str) -> None:
    """In each protocol all events are, to the letter, those of an uninterrupted session."""

    async def cut(expected: Client, seed: int) -> int:
        choice = random.Random(seed)
        broken = client(server, name, long)
        broken.n_events = len(expected.events)
        while not await broken.connect(broken.n_out + choice.randrange(1, 80)):
            await asyncio.sleep(choice.choice([0.0, 0.05]))
        assert broken.events == expected.events
        return broken.n_cuts

    async def main() -> None:
        expected = client(server, name, long)
        assert await expected.connect()
        if "kHz" not in name:  # where it is resampled twice, something may be misheard
            assert "".join(expected.text.split()) == "".join(whole.split())
        assert len([e for e in expected.events if e["type"].endswith(".delta")]) > 10
        cuts = await asyncio.gather(*(cut(expected, seed) for seed in range(3)))
        assert sum(cuts) > 5

    run(main())


def test_slow_readers(server: Serving, long: np.ndarray, whole: str) -> None:
    """They get every word, and so do those beside them."""

    async def one(is_slow: bool) -> None:
        slow = client(server, "vllm", long)
        slow.read_pause_s = 0.04 if is_slow else 0.0
        assert await slow.connect()
        assert slow.text == slow.done == whole

    async def all_of_them() -> None:
        await asyncio.gather(*(one(i < 2) for i in range(4)))

    run(all_of_them())


def test_unknown_token_begins_anew(server: Serving, digits: np.ndarray, digits_words: str) -> None:
    async def main() -> None:
        for name in ("vllm", "openai", "mistral", "live body"):
            stranger = client(server, name, digits)
            stranger.token, stranger.is_known = "none", False
            stranger.n_had = 10**30 if name == "vllm" else 7
            assert await stranger.connect()
            assert stranger.text == digits_words
            assert stranger.token not in ("none", "new")

    run(main())


def test_what_was_missed_comes_again(server: Serving, digits: np.ndarray) -> None:
    """A client that has read nothing but its token gets everything; too much missed is too much."""

    async def main() -> None:
        deaf = client(server, "vllm", digits)
        async with websockets.connect(f"ws://{server.address}/v1/realtime?resume=new") as socket:
            deaf.token = json.loads(await socket.recv())["resume"]["token"]
            for message in deaf.messages()[:-1]:
                await socket.send(json.dumps(message))
            await asyncio.sleep(0.2)
            socket.transport.abort()
        assert await deaf.connect()
        assert deaf.text == deaf.done
        other = client(server, "mistral", digits)  # a token of another protocol is none
        other.token, other.is_known = deaf.token, False
        assert await other.connect()
        assert other.done == deaf.done

    run(main())


def test_a_client_that_says_nothing_more_is_let_go(
    server: Serving, digits: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what it has said is kept."""
    monkeypatch.setattr(sockets, "IDLE_S", 0.4)

    async def main() -> None:
        silent = client(server, "vllm", digits)
        async with websockets.connect(f"ws://{server.address}/v1/realtime?resume=new") as socket:
            silent.token = json.loads(await socket.recv())["resume"]["token"]
            for message in silent.messages()[:40]:
                await socket.send(json.dumps(message))
            with pytest.raises(websockets.ConnectionClosed) as closed:
                while True:
                    await asyncio.wait_for(socket.recv(), 20)
            assert closed.value.rcvd.code == 1001
        monkeypatch.setattr(sockets, "IDLE_S", 900.0)
        assert await silent.connect()
        assert silent.text == silent.done
        assert silent.text.startswith("eight five")

    run(main())


def test_a_client_that_says_goodbye_is_forgotten(server: Serving, digits: np.ndarray) -> None:
    async def main() -> None:
        polite = client(server, "vllm", digits)
        assert await polite.connect()
        with pytest.raises(AssertionError):  # it goes on with nothing
            await polite.connect()

    run(main())


def test_bodies_that_cannot_be_taken_up(server: Serving, digits: np.ndarray) -> None:
    def status(query: str, method: str, body: bytes | None = None, **headers: str) -> int:
        url = f"{server.url}/v1/audio/stream?{query}"
        request = urllib.request.Request(url, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                assert b'"error"' not in answer.read() or "RIFF" in str(body)
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    assert status("resume=none", "GET") == 404
    assert status("", "GET") == 404
    assert status("resume=none", "PUT", bytes(6400)) == 404
    for odd in ("after=x", "after=" + "9" * 5000, "rate=" + "1" * 5000):
        assert status(f"resume=new&{odd}", "PUT", bytes(6400)) == 400
    assert status("resume=new", "PUT", bytes(6400), Accept="text/plain") == 400
    assert status("resume=new", "PUT", bytes(6400)) == 200


def test_what_a_file_of_a_session_may_hold(tmp_path: Path) -> None:
    """Whatever somebody has written into it, nothing is run."""

    class Evil:
        def __reduce__(self) -> Any:
            return (exec, (f"open({str(tmp_path / 'run')!r}, 'w')",))

    async def main() -> None:
        store = resume.Store(tmp_path / "kept", "model")
        await store.put("a", {"own": {"x": np.zeros(3, np.float32)}})
        kept = await store.take("a")
        assert kept is not None
        assert kept["own"]["x"].tolist() == [0, 0, 0]
        assert await resume.Store(tmp_path / "kept", "another").take("a") is None
        await store.put("b", {"own": Evil()})
        assert await store.take("b") is None
        assert not (tmp_path / "run").exists()
        (path,) = {*(tmp_path / "kept").iterdir()} - {store._path("b")}
        path.write_bytes(path.read_bytes()[:-3])
        assert await store.take("a") is None
        await store.drop("a")
        assert await store.take("a") is None

    run(main())


@pytest.mark.parametrize("is_in_memory", [True, False])
def test_what_is_kept_has_an_end(
    tmp_path: Path, is_in_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In number, in size, and in time; the newest is always there."""

    async def main() -> None:
        store = resume.Store(None if is_in_memory else tmp_path / "kept", "model")

        async def left(*tokens: str) -> list[str]:
            return [token for token in tokens if await store.take(token)]

        async def put(token: str, n_bytes: int = 10) -> None:
            await asyncio.sleep(0.02)  # files know no finer times
            await store.put(token, {"own": bytes(n_bytes)})

        monkeypatch.setattr(resume, "MOST", 2)
        for token in ("a", "b", "c"):
            await put(token)
        assert await left("a", "b", "c") == ["b", "c"]
        monkeypatch.setattr(resume, "MOST_BYTES", 500)
        await put("d", 400)
        await put("e", 400)
        assert await left("c", "d", "e") == ["e"]
        await put("f", 1000)
        assert await left("e", "f") == ["f"]
        monkeypatch.setattr(resume, "KEEP_S", 0.0)
        assert await left("f") == []

    run(main())


@pytest.mark.parametrize("way", [WAYS["vllm"], openai(None), mistral(8_000)])
def test_restarts(tmp_path: Path, long: np.ndarray, way: Any) -> None:
    """A server that is stopped keeps what it hears; one that is killed, what it had kept before."""
    with tcp.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = (
        "import sys; from voxtral_edge.serve.sessions import resume; resume.SAVE_S = 0.1; "
        "from voxtral_edge.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    options = ["--port", str(port), "--wyoming", "off", "--state-dir", str(tmp_path / "kept")]
    command = [sys.executable, "-c", code, "serve", *options]

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert process.stderr
        while " ready " not in process.stderr.readline():
            assert process.poll() is None
        return process

    def end(process: subprocess.Popen[str]) -> None:
        process.kill()
        process.wait()
        assert process.stderr
        process.stderr.close()

    async def main() -> None:
        broken = Client(lambda: f"127.0.0.1:{port}", long, way)
        broken.is_known = False  # killed at once, it has kept nothing
        broken.pause_s = 0.01  # so that the end comes in the middle
        for number in (signal.SIGTERM, signal.SIGKILL):
            process = await asyncio.to_thread(start)
            try:
                going = asyncio.create_task(broken.connect())
                await asyncio.wait((going,), timeout=1.0)
                process.send_signal(number)
                await asyncio.to_thread(process.wait, 20)
                if number == signal.SIGTERM:
                    assert process.returncode == 0
                try:
                    await going
                except (websockets.ConnectionClosed, OSError):
                    broken.n_cuts += 1
            finally:
                end(process)
        process = await asyncio.to_thread(start)
        try:
            assert broken.is_done or await broken.connect()
            expected = Client(broken.address, long, way)
            assert await expected.connect()
            assert broken.events == expected.events
        finally:
            end(process)

    run(main())
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("rate", [8_000, 24_000, 44_100, 11_027])
def test_resampler(rate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the audio is cut, and wherever it is put down, the bits are the same, and right."""
    monkeypatch.setattr(resampler, "STRETCH_S", 1)
    audio = np.random.default_rng(rate).normal(0, 0.1, 5 * rate + 7).astype(np.float32)
    whole = resampler.Resampler(rate, is_kept=False).feed(audio, last=True)
    assert np.abs(whole - soxr.resample(audio, rate, vox.RATE)).max() < 1e-5
    for seed in range(3):
        choice, at, parts = random.Random(seed), 0, []
        one = resampler.Resampler(rate, is_kept=True)
        while at < len(audio):
            n = choice.randrange(1, rate // 3)
            parts.append(one.feed(audio[at : at + n]))
            at += n
            if choice.random() < 0.3:
                one = pickle.loads(pickle.dumps(one))
        parts.append(one.feed(audio[:0], last=True))
        assert np.array_equal(np.concatenate(parts), whole)
