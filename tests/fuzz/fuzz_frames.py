"""Messages that nobody would send: to all protocols of a server, for as long as asked.

python tests/fuzz/fuzz_frames.py SECONDS [SEED [PROCESSES]], or Nn for so many of them, which so
many processes share, each with a server and a seed of its own, from SEED on. Messages are real ones
with something changed. Most are handed to the application in its own event loop, as the HTTP server
hands them on, since sockets would take most of the time; the others come over sockets. At the end
the server must still transcribe, and hold no session.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import math
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import voxtral_edge as vox
from serving import ROOMY, Serving, pcm, serving
from voxtral_edge.serve.dialects.wyoming import LINE_BYTES, Wyoming
from websockets import ConnectionClosed
from websockets.asyncio.client import connect

SAMPLES = Path(__file__).parents[2] / "samples"
AUDIO = base64.b64encode(bytes(640)).decode()
HEARD = {"format": {"type": "audio/pcm", "rate": 24_000}, "turn_detection": {"type": "server_vad"},
         "transcription": {"model": "x", "keywords": ["x"]}}  # fmt: skip
MESSAGES: list[dict[str, Any]] = [
    {"type": "session.update", "model": "x", "rate": 16_000, "delay_ms": 480, "include": ["words"],
     "vocabulary": ["x"]},
    {"type": "session.update", "session": {"audio": {"input": HEARD}, "include": ["x"]}},
    {"type": "transcription_session.update", "session": {"input_audio_format": "pcm16"}},
    {"type": "session.update", "session": {"audio_format": {"encoding": "pcm_s16le",
     "sample_rate": 16_000}, "target_streaming_delay_ms": 480, "turn_detection": {},
     "context_bias": ["x"]}},
    {"type": "input_audio_buffer.append", "audio": AUDIO},
    {"type": "input_audio_buffer.commit", "final": True},
    {"type": "input_audio_buffer.clear"},
    {"type": "input_audio.append", "audio": AUDIO},
    {"type": "input_audio.flush"},
]  # fmt: skip
EVENTS: list[dict[str, Any]] = [
    {"type": "describe"},
    {"type": "ping", "data": {"text": "x"}},
    {"type": "transcribe", "data": {"language": "en", "vad_sensitivity": "default",
     "transcript_terms": ["x"]}},
    {"type": "audio-start", "data": {"rate": 16_000, "width": 2, "channels": 1}},
    {"type": "audio-chunk", "data": {"rate": 16_000, "width": 2, "channels": 1},
     "payload_length": 64},
    {"type": "audio-stop"},
]  # fmt: skip
PATHS = (
    "/v1/realtime",
    "/v1/realtime?intent=transcription",
    "/v1/realtime?resume=new",
    "/v1/realtime?resume=x&after=-1",
    "/v1/audio/transcriptions/realtime",
    "/v1/audio/transcriptions/realtime?resume=new",
)
ODD: list[Any] = [None, True, -1, 0, 2**31, 1e308, "", "x" * 9000, "\ud800", [], {}, [[]], "\0", 3]
AUDIO_TYPES = {"input_audio_buffer.append", "input_audio.append", "audio-start", "audio-chunk"}
END_TYPES = {"input_audio_buffer.commit", "input_audio_buffer.clear", "input_audio.flush",
             "audio-start", "audio-stop", "transcribe"}  # fmt: skip
N_CONNECTIONS = 8  # at once


def changed(value: Any, choice: random.Random) -> Any:
    """The same, with something else in one place."""
    if isinstance(value, dict) and value and choice.random() < 0.8:
        key = choice.choice(list(value))
        copy = dict(value)
        if choice.random() < 0.15:
            del copy[key]
        else:
            copy[key] = changed(value[key], choice)
        return copy
    if isinstance(value, str) and value and choice.random() < 0.5:
        at = choice.randrange(len(value))
        return value[:at] + choice.choice(["", "\0", "é", "{", value]) + value[at + 1 :]
    return choice.choice(ODD)


def bent(data: bytes, choice: random.Random) -> bytes:
    """Bytes with some of them changed."""
    copy = bytearray(data)
    for _ in range(choice.randrange(1, 4)):
        at = choice.randrange(len(copy) + 1)
        copy[at : at + choice.randrange(3)] = choice.randbytes(choice.randrange(3))
    return bytes(copy)


def said(
    kinds: list[dict[str, Any]], wholes: list[float], choice: random.Random
) -> Iterator[dict[str, Any]]:
    """Messages of a few kinds, one of the shares `wholes` of them as they should be.

    What some kinds alone bring about is not hidden by what the others do. They are few if they end
    what is heard again and again; it costs nothing to say much, as long as little is decoded.
    """
    chosen = choice.sample(kinds, choice.randrange(1, len(kinds)))
    names = {message["type"] for message in chosen}
    is_costly = bool(names & AUDIO_TYPES) and bool(names & END_TYPES)
    n, whole = choice.randrange(1, 60 if is_costly else 3000), choice.choice(wholes)
    for _ in range(n):
        message = choice.choice(chosen)
        yield changed(message, choice) if choice.random() > whole else message


def messages(choice: random.Random) -> Iterator[str | bytes]:
    """Messages to a WebSocket."""
    for message in said(MESSAGES, [0.0, 0.02, 0.3], choice):
        data = json.dumps(message).encode()
        kind = choice.random()
        if kind < 0.1:
            data = bent(data, choice)
        yield data if kind < 0.03 else data.decode(errors="replace")


def events(choice: random.Random) -> Iterator[bytes]:
    """Events to Wyoming."""
    for event in said(EVENTS, [0.0, 0.1, 0.5], choice):
        data = json.dumps(event).encode() + b"\n" + bytes(64 * ("payload_length" in str(event)))
        yield bent(data, choice) if choice.random() < 0.02 else data


# ---- in the event loop of the server ------------------------------------------------------------


async def to_application(server: Serving, path: str, choice: random.Random) -> int:
    """One connection of a client that does not wait for answers."""
    app = server.server._http.config.loaded_app
    path, _, query = path.partition("?")
    scope = {
        "type": "websocket",
        "path": path,
        "query_string": query.encode(),
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
    }
    said, n = messages(choice), -1
    code = choice.choice([1000, 1005])

    async def receive() -> dict[str, Any]:
        nonlocal n
        n += 1
        if n == 0:
            return {"type": "websocket.connect"}
        if n % 32 == 0:
            await asyncio.sleep(0)  # others have their turn
        message = next(said, None)
        if message is None:
            return {"type": "websocket.disconnect", "code": code}
        kind = "bytes" if isinstance(message, bytes) else "text"
        return {"type": "websocket.receive", kind: message}

    async def send(message: dict[str, Any]) -> None:
        assert message["type"].startswith("websocket."), message

    await app(scope, receive, send)
    return n


class Nowhere(asyncio.Transport):
    """A connection that swallows what is written."""

    is_over = False

    def write(self, data: Any) -> None:
        pass

    def close(self) -> None:
        self.is_over = True

    abort = close

    def is_closing(self) -> bool:
        return self.is_over


async def to_wyoming(server: Serving, choice: random.Random) -> int:
    """One connection of Wyoming."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LINE_BYTES, loop=loop)
    transport, protocol = Nowhere(), asyncio.StreamReaderProtocol(reader, loop=loop)
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    reading = asyncio.create_task(Wyoming(server.server._engine, reader, writer).run())
    n = 0
    for data in events(choice):
        if reading.done():
            break
        reader.feed_data(data)
        n += 1
        if n % 8 == 0:
            await asyncio.sleep(0)
    reader.feed_eof()
    await reading
    return n


# ---- over sockets -------------------------------------------------------------------------------


async def over_websocket(server: Serving, path: str, choice: random.Random) -> int:
    n = 0
    with contextlib.suppress(ConnectionClosed):
        async with connect(f"ws://{server.address}{path}") as socket:
            reading = asyncio.create_task(read(socket))
            for message in itertools.islice(messages(choice), 60):
                await socket.send(message)
                n += 1
            if choice.random() < 0.3:
                socket.transport.abort()
            reading.cancel()
    return n


async def read(socket: Any) -> None:
    with contextlib.suppress(ConnectionClosed):
        async for _ in socket:
            pass


async def over_wyoming(server: Serving, choice: random.Random) -> int:
    assert server.server.wyoming and server.server.wyoming.port
    reader, writer = await asyncio.open_connection("127.0.0.1", server.server.wyoming.port)
    reading = asyncio.create_task(reader.read(-1))
    n = 0
    with contextlib.suppress(OSError):
        for data in itertools.islice(events(choice), 40):
            writer.write(data)
            await writer.drain()
            n += 1
    writer.transport.abort()
    reading.cancel()
    return n


# ---- for as long as asked -----------------------------------------------------------------------


async def fuzz(server: Serving, seconds: float, seed: int, most: float = math.inf) -> int:
    """Send for so long, or so many; return how many messages."""
    until, total = time.monotonic() + seconds, 0

    async def one(number: int, *, is_inside: bool) -> None:
        nonlocal total
        choice = random.Random(seed * 1000 + number)
        while time.monotonic() < until and total < most:
            path = "" if choice.random() < 0.3 else choice.choice(PATHS)
            if is_inside:
                sending = (
                    to_application(server, path, choice) if path else to_wyoming(server, choice)
                )
            else:
                await asyncio.sleep(choice.random() * number)
                sending = (
                    over_websocket(server, path, choice) if path else over_wyoming(server, choice)
                )
            n = await sending
            total += n

    inside = [
        asyncio.run_coroutine_threadsafe(one(number, is_inside=True), server.loop)
        for number in range(N_CONNECTIONS)
    ]
    await asyncio.gather(one(N_CONNECTIONS, is_inside=False), *map(asyncio.wrap_future, inside))
    limit = time.monotonic() + 30
    while server.n_sessions:
        assert time.monotonic() < limit, "a session is stuck"
        await asyncio.sleep(0.05)
    audio = np.concatenate(list(vox.read(SAMPLES / "digits_3.wav")))
    async with connect(f"ws://{server.address}/v1/realtime") as socket:
        append = {"audio": base64.b64encode(pcm(audio)).decode()}
        for message in ({"type": "session.update", "model": "x"},
                        {"type": "input_audio_buffer.append", **append},
                        {"type": "input_audio_buffer.commit", "final": True}):  # fmt: skip
            await socket.send(json.dumps(message))
        async for told in socket:
            event = json.loads(told)
            if event["type"] == "transcription.done":
                assert event["text"] == "three zero four six"
                break
    return total


def fuzz_one(limit: str, seed: int) -> None:
    is_number = limit.endswith("n")
    seconds, most = (math.inf, int(limit[:-1])) if is_number else (float(limit), math.inf)
    with vox.Model() as model, serving(model, wyoming="tcp://127.0.0.1:0", limits=ROOMY) as server:
        began = time.monotonic()
        n = asyncio.run(fuzz(server, seconds, seed, most))
        print(f"{n} messages, {n / (time.monotonic() - began):.0f} a second")


def main() -> None:
    limit, seed, n = sys.argv[1], *map(int, sys.argv[2:] + ["0", "1"][len(sys.argv) - 2 :])
    if n == 1:
        return fuzz_one(limit, seed)
    each = f"{-(-int(limit[:-1]) // n)}n" if limit.endswith("n") else limit
    processes = {
        seed + i: subprocess.Popen(
            [sys.executable, __file__, each, str(seed + i)], stdout=subprocess.PIPE, text=True
        )
        for i in range(n)
    }
    told = {seed: process.communicate()[0] for seed, process in processes.items()}
    failed = [seed for seed, process in processes.items() if process.returncode]
    for seed, line in told.items():
        print(f"seed {seed}: {line.strip() or 'failed'}")
    if failed:
        raise SystemExit(f"fuzz_frames: the seeds {failed} found something")
    print(f"{sum(int(line.split()[0]) for line in told.values())} messages")
    return None


if __name__ == "__main__":
    main()
