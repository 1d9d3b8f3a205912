"""What strangers may take: connections that say nothing, sessions of a client, depth of JSON."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import time
import urllib.error
import urllib.request
from typing import Any

import numpy as np
import pytest
import voxtral_edge as vox
from serving import Serving, pcm, run, serving
from voxtral_edge.serve.intake.objects import MAX_DEPTH, json_object
from voxtral_edge.serve.sessions.engine import Limits
from voxtral_edge.serve.sessions.scheduler import Scheduler
from voxtral_edge.serve.sessions.session import Session

websockets = pytest.importorskip("websockets")
client = pytest.importorskip("websockets.asyncio.client")
connect = client.connect


def opened(server: Serving, port: int | None = None) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port or server.server.port), 20)


def is_closed(connection: socket.socket, within_s: float) -> bool:
    connection.settimeout(within_s)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


def health(server: Serving) -> int:
    with urllib.request.urlopen(f"{server.url}/health", timeout=20) as answer:
        return int(answer.status)


def test_silence_before_a_request_has_an_end(demo: vox.Model) -> None:
    """A client may be slow later on, but says first what it wants."""
    limits = Limits(share=1000.0, patience_s=0.4)
    with serving(demo, limits=limits, wyoming="tcp://127.0.0.1:0") as server:
        assert server.server.wyoming
        begun = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
        whole = b"PUT /v1/audio/stream HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
        with (
            opened(server) as silent,
            opened(server) as half,
            opened(server) as slow,
            opened(server, server.server.wyoming.port) as wyoming,
            opened(server, server.server.wyoming.port) as other,
        ):
            half.sendall(begun)
            slow.sendall(whole)
            other.sendall(b'{"type": "describe"}\n')
            assert other.recv(10)
            for connection in (silent, half, wyoming):
                assert is_closed(connection, 10)
            other.sendall(b'{"type": "ping"}\n')
            while b"pong" not in other.recv(1 << 16):
                pass
            slow.sendall(b"123456789")
            assert slow.recv(15) == b"HTTP/1.1 200 OK"
        assert server.server._engine.doorstep.n_sent_away == 3

        async def patient() -> None:
            async with connect(f"ws://{server.address}/v1/realtime") as websocket:
                await websocket.recv()
                await asyncio.sleep(0.6)
                await websocket.ping()

        run(patient())


def test_room_for_the_silent_is_limited(demo: vox.Model) -> None:
    """However many stand there in silence, who speaks comes in."""
    limits = Limits(share=1000.0, max_silent=3, patience_s=30)
    with serving(demo, limits=limits) as server:
        silent = [opened(server) for _ in range(8)]
        try:
            assert health(server) == 200
            for connection in silent[:5]:
                assert is_closed(connection, 10)
            assert not is_closed(silent[-1], 0.2)
        finally:
            for connection in silent:
                connection.close()
        until = time.monotonic() + 10
        while server.server._engine.doorstep._waiting:  # those that left are forgotten
            assert time.monotonic() < until
            time.sleep(0.01)


def test_sessions_of_a_client_are_limited(demo: vox.Model, digits: np.ndarray) -> None:
    limits = Limits(share=1000.0, max_per_client=2)
    with serving(demo, limits=limits, wyoming="tcp://127.0.0.1:0") as server:
        url = f"ws://{server.address}/v1/realtime"

        def file() -> int:
            request = urllib.request.Request(
                f"{server.url}/v1/audio/stream", pcm(digits), method="PUT"
            )
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return len(answer.read()) and int(answer.status)
            except urllib.error.HTTPError as error:
                with error:
                    assert b"limit for one client" in error.read()
                    assert error.headers["retry-after"]
                    return error.code

        async def wyoming() -> bytes:
            assert server.server.wyoming
            reader, writer = await asyncio.open_connection("127.0.0.1", server.server.wyoming.port)
            start = {"type": "audio-start", "data": {"rate": 16000, "width": 2, "channels": 1}}
            writer.write(json.dumps(start).encode() + b"\n")
            said = await asyncio.wait_for(reader.readuntil(b"server_busy"), 20)
            writer.close()
            return said

        async def main() -> None:
            async with connect(url) as one:
                async with connect(url):
                    with pytest.raises(websockets.InvalidStatus) as refused:
                        await connect(url)
                    assert refused.value.response.status_code == 503
                    assert await asyncio.to_thread(file) == 503
                    assert b"limit for one client" in await wyoming()
                while server.server._engine.n_live == 2:
                    await asyncio.sleep(0.01)
                assert await asyncio.to_thread(file) == 200
                await one.recv()
            while server.server._engine._n_by_client:
                await asyncio.sleep(0.01)

        run(main())


def test_an_answer_that_nobody_takes_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As long as a slow client takes something, it is waited for."""
    from voxtral_edge.serve.dialects import files

    monkeypatch.setattr(files, "SEND_S", 0.02)

    class Transport:
        unsent, n_takes, is_aborted = 1000, 5, False

        def get_write_buffer_size(self) -> int:
            self.n_takes -= 1
            self.unsent -= max(self.n_takes, 0)
            return self.unsent

        def abort(self) -> None:
            self.is_aborted = True

    transport = Transport()
    connection = type("Connection", (), {"client": ("x", 1), "transport": transport})()
    state = type("State", (), {"connections": {connection}})()
    app = type("App", (), {"state": state})()

    async def send(message: Any) -> None:
        while not transport.is_aborted:
            await asyncio.sleep(0.001)

    async def main() -> None:
        sender = files.Sender(send, {"app": app, "client": ("x", 1), "path": "/x"})
        await sender.write("something")

    run(main())
    assert transport.n_takes < 0
    assert [record.message for record in caplog.records] == ["dropped"]


def test_a_closed_session_ends_who_reads(demo: vox.Model, digits: np.ndarray) -> None:
    """Before Python 3.12, wait_for() may swallow the cancellation of whoever tells the slots."""

    async def main() -> None:
        scheduler = Scheduler()
        try:
            session = Session(scheduler, demo.stream)
            reading = asyncio.create_task(read(session))
            session.push(digits)
            while not session._n_told:
                await asyncio.sleep(0.01)
            session.close()
            assert await asyncio.wait_for(reading, 20) is None
        finally:
            scheduler.close()

    async def read(session: Session) -> None:
        async for _ in session.slots():
            pass

    run(main())


def test_depth() -> None:
    def nested(n: int) -> str:
        return '{"a":' * n + "1" + "}" * n

    assert json_object(nested(MAX_DEPTH)) is not None
    for text in (nested(MAX_DEPTH + 1), nested(200_000), '{"a":' + "[" * 40 + "]" * 40 + "}"):
        assert json_object(text) is None
    wide: dict[str, Any] = {str(i): [{}] for i in range(100_000)}
    assert json_object(json.dumps(wide)) == wide
    assert json_object('{"a": "\\ud83d\\ude00 \\u00e9"}') == {"a": "\U0001f600 \xe9"}
    for half in ('{"a": "\\ud800"}', b'{"\\udc00": 1}'):
        assert json_object(half) is None
    assert json_object("[1]") is json_object("{") is json_object(b"\xff{}") is None


def test_messages_that_are_too_deep(demo: vox.Model) -> None:
    with serving(demo, limits=Limits(share=1000.0)) as server:

        async def main() -> None:
            async with connect(f"ws://{server.address}/v1/realtime") as websocket:
                await websocket.recv()
                deep = '{"type": "session.update", "model": "x", "a": ' + "[" * 50 + "]" * 50 + "}"
                await websocket.send(deep)
                assert json.loads(await websocket.recv())["code"] == "invalid_json"
                audio = base64.b64encode(bytes(6400)).decode()
                for message in (
                    {"type": "session.update", "model": "x"},
                    {"type": "input_audio_buffer.append", "audio": audio},
                    {"type": "input_audio_buffer.commit", "final": True},
                ):
                    await websocket.send(json.dumps(message))
                while (kind := json.loads(await websocket.recv())["type"]) != "transcription.done":
                    assert kind in ("transcription.delta", "turn.delta")

        run(main())
