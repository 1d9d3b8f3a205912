"""Clients of live sessions that count what they have sent and got, and go on where one broke."""

from __future__ import annotations

import asyncio
import base64
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr
import voxtral_edge as vox
from serving import pcm
from websockets.asyncio.client import connect

CHUNK_S = 0.08
REALTIME, MISTRAL = "/v1/realtime", "/v1/audio/transcriptions/realtime"
TRANSCRIPTION = "conversation.item.input_audio_transcription"


@dataclass(frozen=True)
class Way:
    """How a client speaks: where, what it says first, for audio and at last, and what ends it."""

    path: str
    first: dict[str, Any]
    append: str
    last: dict[str, Any]
    end: str
    rate: int = vox.RATE


def openai(detection: dict[str, Any] | None) -> Way:
    heard = {"format": {"type": "audio/pcm", "rate": 24_000}, "turn_detection": detection}
    session = {"type": "transcription", "audio": {"input": heard}}
    session["include"] = ["item.input_audio_transcription.logprobs"]
    return Way(
        f"{REALTIME}?intent=transcription",
        {"type": "session.update", "session": session},
        "input_audio_buffer.append",
        {"type": "input_audio_buffer.commit"},
        f"{TRANSCRIPTION}.completed",
        24_000,
    )


def vllm(rate: int = vox.RATE, **more: Any) -> Way:
    return Way(
        REALTIME,
        {"type": "session.update", "model": "any", "rate": rate, **more},
        "input_audio_buffer.append",
        {"type": "input_audio_buffer.commit", "final": True},
        "transcription.done",
        rate,
    )


def mistral(rate: int = vox.RATE, **more: Any) -> Way:
    form = {"encoding": "pcm_s16le", "sample_rate": rate}
    return Way(
        f"{MISTRAL}?model=any",
        {"type": "session.update", "session": {"audio_format": form, **more}},
        "input_audio.append",
        {"type": "input_audio.end"},
        "transcription.done",
        rate,
    )


VLLM = vllm()
WAYS = {
    "vllm": VLLM,
    "vllm, 48 kHz, words": vllm(48_000, include=["words"]),
    "openai": openai(None),
    "openai, turns": openai({"type": "server_vad", "silence_duration_ms": 700}),
    "mistral": mistral(),
    "mistral, 8 kHz, turns": mistral(8_000, turn_detection={"min_silence_ms": 700}),
}


class Client:
    """Over WebSocket. `events`: those that are made of audio, in their order, without names."""

    def __init__(self, address: Callable[[], str], audio: np.ndarray, way: Way = VLLM) -> None:
        self.address, self.way = address, way
        data, n = pcm(at_rate(audio, way.rate)), 2 * round(CHUNK_S * way.rate)
        self.chunks = [data[start : start + n] for start in range(0, len(data), n)]
        self.token, self.n_had, self.n_sent, self.n_cuts = "new", 0, 0, 0
        self.events, self.is_done = list[dict[str, Any]](), False
        self.n_events: int | None = None  # in all, if that is known
        self.is_known, self.pause_s, self.read_pause_s = True, 0.0, 0.0

    @property
    def n_out(self) -> int:
        """Messages that are out."""
        return self.n_sent

    @property
    def text(self) -> str:
        """What was said, by the deltas."""
        said = (e for e in self.events if e["type"].endswith(".delta"))
        return "".join(str(e.get("delta", e.get("text", ""))) for e in said)

    @property
    def done(self) -> str:
        """What was said, by the last event."""
        event = self.events[-1] if self.is_done else {}
        return str(event.get("transcript", event.get("text", "")))

    def messages(self) -> list[dict[str, Any]]:
        """All that there is to say."""
        said = [base64.b64encode(chunk).decode() for chunk in self.chunks]
        audio = [{"type": self.way.append, "audio": data} for data in said]
        return [self.way.first, *audio, self.way.last]

    async def connect(self, until: float = math.inf) -> bool:
        """Send so many messages, and vanish; or to the end. Whether all is done."""
        messages = self.messages()
        mark = "&" if "?" in self.way.path else "?"
        query = f"{mark}resume={self.token}&after={self.n_had}"
        url = f"ws://{self.address()}{self.way.path}{query}"
        async with connect(url, max_queue=1, open_timeout=60, ping_interval=None) as socket:
            created = json.loads(await socket.recv())
            assert created["type"] == "session.created"
            self.begin(created)
            reading = asyncio.create_task(self.read(socket))
            # Where sending fails first, nobody asks what the reader has met.
            reading.add_done_callback(lambda task: task.cancelled() or task.exception())
            while self.n_sent < len(messages):
                if self.n_sent >= until:
                    self.n_cuts += 1
                    reading.cancel()
                    socket.transport.abort()
                    await asyncio.wait((reading,))
                    return self.is_done
                await socket.send(json.dumps(messages[self.n_sent]))
                self.n_sent += 1
                await asyncio.sleep(self.pause_s)
            await reading
            return self.is_done

    def begin(self, created: dict[str, Any]) -> None:
        """Find where to go on."""
        resumed = created.get("resumed")
        if self.is_known and self.token != "new":
            assert resumed or not self.n_had  # it broke before anything was heard
        self.token = created["resume"]["token"]
        self.n_sent = resumed["messages"] if resumed else 0
        if not resumed:
            self.n_had, self.events = 0, []

    async def read(self, socket: Any) -> None:
        is_last = self.n_events is None and self.way.end == "transcription.done"
        async for message in socket:
            event = json.loads(message)
            assert event["type"] != "error", event
            if "number" in event:
                self.take(event)
                if (is_last and event["type"] == self.way.end) or self.n_had == self.n_events:
                    self.is_done = True
                    return
            elif event["type"] == "input_audio_buffer.committed":  # our own commit
                is_last = True
            await asyncio.sleep(self.read_pause_s)

    def take(self, event: dict[str, Any]) -> None:
        """Take a numbered event."""
        assert event.pop("number") == self.n_had + 1  # none is lost, none comes twice
        self.n_had += 1
        for name in ("event_id", "item_id", "previous_item_id", "item"):
            event.pop(name, None)
        self.events.append(event)


class Upload(Client):
    """Over HTTP: a body in, server-sent events out."""

    def __init__(self, address: Callable[[], str], audio: np.ndarray, rate: int = 24_000) -> None:
        super().__init__(address, audio, Way("/v1/audio/stream", {}, "", {}, "done", rate))

    async def connect(self, until: float = math.inf) -> bool:
        if self.token != "new":
            head, _, body = (await self.request()).partition(b"\r\n\r\n")
            if b" 404 " in head:
                assert not (self.is_known and self.n_had)
                self.token, self.n_had, self.events = "new", 0, []
            elif b" 200 " not in head or not body:
                raise ConnectionResetError("the server is being stopped, or gone")
            else:
                assert json.loads(body)["samples"] > 0 or not self.n_had
        host, port = self.address().split(":")
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(self.head("PUT", "Transfer-Encoding: chunked"))
            created: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            reading = asyncio.create_task(self.read_lines(reader, created))
            reading.add_done_callback(lambda task: task.cancelled() or task.exception())
            await asyncio.wait((created, reading), return_when=asyncio.FIRST_COMPLETED)
            data = b"".join(self.chunks)
            until *= len(self.chunks[0])
            while self.n_sent < len(data) and not reading.done():
                if self.n_sent >= until:
                    self.n_cuts += 1
                    reading.cancel()
                    await asyncio.wait((reading,))
                    return self.is_done
                chunk = data[self.n_sent :][: len(self.chunks[0])]
                writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                await writer.drain()
                self.n_sent += len(chunk)
                await asyncio.sleep(self.pause_s)
            if not reading.done():
                writer.write(b"0\r\n\r\n")
            await reading
            return self.is_done
        finally:
            writer.transport.abort()

    @property
    def n_out(self) -> int:
        return self.n_sent // len(self.chunks[0])

    def begin(self, created: dict[str, Any]) -> None:
        if resumed := created.get("resumed"):
            resumed["messages"] = 2 * resumed["samples"]  # bytes, which may be cut anywhere
        super().begin(created)

    def head(self, method: str, header: str) -> bytes:
        query = f"rate={self.way.rate}&resume={self.token}&after={self.n_had}"
        lines = f"{method} {self.way.path}?{query} HTTP/1.1", "Host: localhost", header, "", ""
        return "\r\n".join(lines).encode()

    async def request(self) -> bytes:
        host, port = self.address().split(":")
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(self.head("GET", "Connection: close"))
        answer = await reader.read()
        writer.close()
        return answer

    async def read_lines(self, reader: asyncio.StreamReader, created: asyncio.Future[None]) -> None:
        number = 0
        while line := await reader.readline():
            if line.startswith(b"HTTP/1.1 503"):
                raise ConnectionResetError("the server is being stopped")
            assert not line.startswith(b"HTTP/1.1") or b" 200 " in line, line
            if line.startswith(b"id: "):
                number = int(line[4:])
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            assert "error" not in event, event
            if event["type"] == "session.created":
                self.begin(event)
                created.set_result(None)
                continue
            self.take({**event, "number": number})
            if event["type"] == "transcript.text.done":
                self.is_done = True
                return
            await asyncio.sleep(self.read_pause_s)


def at_rate(audio: np.ndarray, rate: int) -> np.ndarray:
    return audio if rate == vox.RATE else np.asarray(soxr.resample(audio, vox.RATE, rate))
