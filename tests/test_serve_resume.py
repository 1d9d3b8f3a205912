"""Sessions that break are taken up again: not one word is lost or doubled."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import signal
import socket as sockets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import voxtral_edge as vox
from serving import ROOMY, Serving, pcm, run, serving

websockets = pytest.importorskip("websockets")
connect = pytest.importorskip("websockets.asyncio.client").connect

CHUNK = 1280 * 2


class Client:
    """Sends audio in chunks, counts the letters it got, and goes on where a connection broke."""

    def __init__(self, address: Callable[[], str], audio: np.ndarray) -> None:
        self.address, self.data = address, pcm(audio)
        self.token = ""
        self.text, self.n_sent, self.n_cuts, self.done = "", 0, 0, ""
        self.is_known, self.pause_s, self.read_pause_s = True, 0.0, 0.0

    async def send(self, socket: Any, kind: str, **fields: Any) -> None:
        await socket.send(json.dumps({"type": kind, **fields}))

    async def connect(self, until: int) -> bool:
        """Send up to a byte, and vanish; or to the end. Whether all is done."""
        query = f"?resume={self.token}&chars={len(self.text)}" if self.token else ""
        async with connect(f"ws://{self.address()}/v1/realtime{query}", max_queue=1) as socket:
            created = json.loads(await socket.recv())
            resumed = created.get("resumed")
            if self.is_known and not resumed:
                assert self.text == ""  # it broke before anything was heard
            self.n_sent = 2 * resumed["samples"] if resumed else 0
            if not resumed:
                self.text = ""
                await self.send(socket, "session.update", model="any", resume=True)
                self.token = json.loads(await socket.recv())["token"]
            reading = asyncio.create_task(self.read(socket))
            # Where sending fails first, nobody asks what the reader has met.
            reading.add_done_callback(lambda task: task.cancelled() or task.exception())
            while self.n_sent < len(self.data):
                if self.n_sent >= until:
                    self.n_cuts += 1
                    reading.cancel()
                    socket.transport.abort()
                    await asyncio.wait((reading,))
                    return False
                audio = base64.b64encode(self.data[self.n_sent :][:CHUNK]).decode()
                await self.send(socket, "input_audio_buffer.append", audio=audio)
                self.n_sent += CHUNK
                await asyncio.sleep(self.pause_s)
            await self.send(socket, "input_audio_buffer.commit", final=True)
            await reading
            return bool(self.done)

    async def read(self, socket: Any) -> None:
        async for message in socket:
            event = json.loads(message)
            if event["type"] == "transcription.done":
                self.done = event["text"]
                return
            self.text += event["delta"]
            await asyncio.sleep(self.read_pause_s)


@pytest.fixture(scope="module")
def server(demo: vox.Model) -> Iterator[Serving]:
    with serving(demo, limits=ROOMY) as running:
        yield running


@pytest.fixture(scope="module")
def long(digits: np.ndarray) -> np.ndarray:
    return np.tile(digits, 4)


@pytest.fixture(scope="module")
def whole(demo: vox.Model, long: np.ndarray) -> str:
    return demo.transcribe(long).text


def test_random_cuts(server: Serving, long: np.ndarray, whole: str) -> None:
    async def main(seed: int) -> int:
        choice = random.Random(seed)
        client = Client(lambda: server.address, long)
        while not await client.connect(client.n_sent + choice.randrange(1, 250_000)):
            await asyncio.sleep(choice.choice([0.0, 0.05]))
        assert client.text == client.done == whole
        return client.n_cuts

    async def all_of_them() -> list[int]:
        return await asyncio.gather(*(main(seed) for seed in range(5)))

    assert sum(run(all_of_them())) > 10


def test_slow_readers(server: Serving, long: np.ndarray, whole: str) -> None:
    """They get every word, and so do those beside them."""

    async def one(is_slow: bool) -> None:
        client = Client(lambda: server.address, long)
        client.read_pause_s = 0.04 if is_slow else 0.0
        assert await client.connect(1 << 30)
        assert client.text == client.done == whole

    async def all_of_them() -> None:
        await asyncio.gather(*(one(i < 2) for i in range(4)))

    run(all_of_them())


def test_unknown_token_begins_anew(server: Serving, digits: np.ndarray, digits_words: str) -> None:
    async def main() -> None:
        client = Client(lambda: server.address, digits)
        client.token, client.text, client.is_known = "none", "something", False
        assert await client.connect(1 << 30)
        assert client.text == client.done == digits_words

    run(main())


def test_other_clients_get_no_token(server: Serving) -> None:
    async def main() -> None:
        async with connect(f"ws://{server.address}/v1/realtime") as socket:
            assert "resumed" not in json.loads(await socket.recv())
            options = {"rate": 48_000, "resume": True}
            await socket.send(json.dumps({"type": "session.update", "model": "x", **options}))
            assert "only 16 kHz" in json.loads(await socket.recv())["error"]

    run(main())


def test_restarts(tmp_path: Path, long: np.ndarray, whole: str) -> None:
    """A server that is stopped keeps what it hears; one that is killed, what it had kept before."""
    with sockets.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = (
        "import sys; from voxtral_edge.serve.dialects import vllm; vllm.SAVE_S = 0.1; "
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

    async def main() -> None:
        client = Client(lambda: f"127.0.0.1:{port}", long)
        client.is_known = False  # killed at once, it has kept nothing
        client.pause_s = 0.01  # so that the end comes in the middle
        for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
            if client.done:
                break
            process = await asyncio.to_thread(start)
            try:
                going = asyncio.create_task(client.connect(1 << 30))
                await asyncio.wait((going,), timeout=1.0)
                process.send_signal(number)
                await asyncio.to_thread(process.wait, 20)
                if number == signal.SIGTERM:
                    assert process.returncode == 0
                try:
                    await going
                except (websockets.ConnectionClosed, OSError):
                    client.n_cuts += 1
            finally:
                process.kill()
                process.wait()
                assert process.stderr
                process.stderr.close()
        process = await asyncio.to_thread(start)
        try:
            if not client.done:
                assert await client.connect(1 << 30)
        finally:
            process.kill()
            process.wait()
            assert process.stderr
            process.stderr.close()
        assert client.text == client.done == whole

    run(main())
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o700
