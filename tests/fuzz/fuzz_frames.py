"""Messages that nobody would send: to all protocols of a server, for as long as asked.

python tests/fuzz/fuzz_frames.py SECONDS [SEED], or Nn for so many of them. Messages are real ones
with something changed. At the end the server must still transcribe, and hold no session.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import math
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import voxtral_edge as vox
from serving import ROOMY, Serving, pcm, serving
from websockets import ConnectionClosed
from websockets.asyncio.client import connect

SAMPLES = Path(__file__).parents[2] / "samples"
AUDIO = base64.b64encode(bytes(640)).decode()
HEARD = {"format": {"type": "audio/pcm", "rate": 24_000}, "turn_detection": {"type": "server_vad"}}
MESSAGES: list[dict[str, Any]] = [
    {"type": "session.update", "model": "x", "rate": 16_000, "delay_ms": 480, "resume": True},
    {"type": "session.update", "session": {"audio": {"input": HEARD}, "include": ["x"]}},
    {"type": "transcription_session.update", "session": {"input_audio_format": "pcm16"}},
    {"type": "session.update", "session": {"audio_format": {"encoding": "pcm_s16le",
     "sample_rate": 16_000}, "target_streaming_delay_ms": 480, "turn_detection": {}}},
    {"type": "input_audio_buffer.append", "audio": AUDIO},
    {"type": "input_audio_buffer.commit", "final": True},
    {"type": "input_audio_buffer.clear"},
    {"type": "input_audio.append", "audio": AUDIO},
    {"type": "input_audio.flush"},
]  # fmt: skip
EVENTS: list[dict[str, Any]] = [
    {"type": "describe"},
    {"type": "ping", "data": {"text": "x"}},
    {"type": "transcribe", "data": {"language": "en", "vad_sensitivity": "default"}},
    {"type": "audio-start", "data": {"rate": 16_000, "width": 2, "channels": 1}},
    {"type": "audio-chunk", "data": {"rate": 16_000, "width": 2, "channels": 1},
     "payload_length": 64},
    {"type": "audio-stop"},
]  # fmt: skip
PATHS = (
    "/v1/realtime",
    "/v1/realtime?intent=transcription",
    "/v1/realtime?resume=x&chars=-1",
    "/v1/audio/transcriptions/realtime",
)
ODD: list[Any] = [None, True, -1, 0, 2**31, 1e308, "", "x" * 9000, "\ud800", [], {}, [[]], "\0", 3]


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


async def over_websocket(server: Serving, path: str, choice: random.Random) -> int:
    n = 0
    with contextlib.suppress(ConnectionClosed):
        async with connect(f"ws://{server.address}{path}") as socket:
            reading = asyncio.create_task(read(socket))
            for _ in range(choice.randrange(1, 60)):
                message = choice.choice(MESSAGES)
                if choice.random() < 0.7:
                    message = changed(message, choice)
                data = json.dumps(message).encode()
                kind = choice.random()
                if kind < 0.1:
                    data = bent(data, choice)
                text: str | bytes = data if kind < 0.03 else data.decode(errors="replace")
                await socket.send(text)
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
        for _ in range(choice.randrange(1, 40)):
            event = choice.choice(EVENTS)
            if choice.random() < 0.5:
                event = changed(event, choice)
            data = json.dumps(event).encode() + b"\n" + bytes(64 * ("payload_length" in str(event)))
            writer.write(bent(data, choice) if choice.random() < 0.1 else data)
            await writer.drain()
            n += 1
    writer.transport.abort()
    reading.cancel()
    return n


async def fuzz(server: Serving, seconds: float, seed: int, most: float = math.inf) -> int:
    """Send for so long, or so many; return how many messages."""
    until, total = time.monotonic() + seconds, 0

    async def one(number: int) -> None:
        nonlocal total
        choice = random.Random(seed * 1000 + number)
        while time.monotonic() < until and total < most:
            if choice.random() < 0.3:
                total += await over_wyoming(server, choice)
                continue
            total += await over_websocket(server, choice.choice(PATHS), choice)

    await asyncio.gather(*(one(number) for number in range(4)))
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


def main() -> None:
    limit, seed = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0
    is_number = limit.endswith("n")
    seconds, most = (math.inf, int(limit[:-1])) if is_number else (float(limit), math.inf)
    with vox.Model() as model, serving(model, wyoming="tcp://127.0.0.1:0", limits=ROOMY) as server:
        print(asyncio.run(fuzz(server, seconds, seed, most)), "messages")


if __name__ == "__main__":
    main()
