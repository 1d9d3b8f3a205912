"""A server, measured from outside: many live streams, and each protocol by itself.

It starts `voxtral serve` and tells how long that takes. Then so many connections (vLLM's dialect,
chunks of 80 ms) send the same recording over and over, paced as it was spoken, and their text is
compared with that of Model.transcribe(): a word is late by when it came less when its audio was
sent and the delay. At last every protocol says one clip a few times, alone: how long after the end
of the first word, and the delay, its text came, and the whole after the last audio. A file is sent
at once, so both count from the end of the request.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import random
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import soxr
import voxtral_edge as vox
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from wyoming.client import AsyncTcpClient
from wyoming.event import Event

T = TypeVar("T")

SAMPLE = Path(__file__).parents[1] / "samples" / "digits_1.wav"
CHUNK_S, DELAY_S = 0.08, 0.48
N_CHUNK = round(CHUNK_S * vox.RATE)
MEMORY_S = 10.0  # between two looks at the memory


# ---- many streams -------------------------------------------------------------------------------


class Client:
    """One stream of messages, which are the same for all: what clients compute is not measured."""

    def __init__(self, port: int, messages: list[str]) -> None:
        self.url, self.messages = f"ws://127.0.0.1:{port}/v1/realtime", messages
        self.late_s: list[float] = []
        self.text, self.done_s, self.is_refused = "", 0.0, False

    async def run(self, ask_s: float) -> None:
        """Speak, if the server lets it in at last: it asks for so long, as often as it is told."""
        await asyncio.sleep(random.random())  # not all at the same moment
        until = time.monotonic() + ask_s
        while True:
            try:
                return await self.speak()
            except InvalidStatus as refused:  # one more would make the others late
                self.is_refused = True
                pause_s = int(refused.response.headers["retry-after"]) * (1 + random.random())
            if time.monotonic() + pause_s > until:
                return None
            await asyncio.sleep(pause_s)

    async def speak(self) -> None:
        async with connect(self.url, compression=None) as socket:
            await socket.recv()
            await send(socket, "session.update", model="x", include=["words"])
            self.is_refused = False
            self.began = time.monotonic()
            reading = asyncio.create_task(self.read(socket))
            async for message in paced(self.messages, self.began):
                await socket.send(message)
            ended = time.monotonic()
            await send(socket, "input_audio_buffer.commit", final=True)
            await reading
            self.done_s = time.monotonic() - ended

    async def read(self, socket: Any) -> None:
        async for message in socket:
            now_s = time.monotonic() - self.began
            if not any(kind in message for kind in ("transcription.words", "transcription.done")):
                continue
            event = json.loads(message)
            if event["type"] == "transcription.words":
                self.late_s += [now_s - word["end"] - DELAY_S for word in event["words"]]
            elif event["type"] == "transcription.done":
                self.text = event["text"]
                return


async def measure_many(
    port: int, pid: int, path: str | None, n: int, seconds: float, ask_s: float
) -> dict[str, object]:
    clip = np.concatenate(list(vox.read(SAMPLE)))
    audio = np.tile(clip, max(round(seconds * vox.RATE / len(clip)), 1))
    with vox.Model(path) as model:
        expected = model.transcribe(audio).text
    messages = [
        json.dumps({"type": "input_audio_buffer.append", "audio": base64_of(chunk)})
        for chunk in chunks(pcm(audio))
    ]
    clients = [Client(port, messages) for _ in range(n)]
    memory, before_s = asyncio.create_task(watch_memory(pid)), cpu_s(pid)
    await asyncio.gather(*(client.run(ask_s) for client in clients))
    taken_s = [after - before for after, before in zip(cpu_s(pid), before_s, strict=True)]
    memory.cancel()
    seen = await memory
    n_refused = sum(client.is_refused for client in clients)
    clients = [client for client in clients if not client.is_refused]
    heard_s = max(len(clients) * len(audio) / vox.RATE, 1)
    late = np.array([s for client in clients for s in client.late_s])
    done = np.array([client.done_s for client in clients])
    return {
        "streams": n,
        "refused at the door": n_refused,
        "seconds of audio in each": round(len(audio) / vox.RATE),
        "texts that differ": sum(client.text != expected for client in clients),
        "words": len(late),
        "words late by more than 1 s": int((late > 1).sum()),
        "words late by, p50 and p95": spread(late),
        "done after the last audio, p50 and p95": spread(done),
        "lag of 95 % of what was decoded, at most": f"{1000 * lag_s(port):.0f} ms",
        "processor time for a second of audio, of that in the event loop":
            " and ".join(f"{1000 * s / heard_s:.1f}" for s in taken_s) + " ms",
        f"memory after {MEMORY_S:.0f} s, at most and at the end":
            f"{seen[0]:.0f}, {max(seen):.0f} and {memory_mb(pid):.0f} MB",
    }  # fmt: skip


async def watch_memory(pid: int) -> list[float]:
    seen: list[float] = []
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(MEMORY_S)
            seen.append(memory_mb(pid))
    return seen or [memory_mb(pid)]


def memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def cpu_s(pid: int) -> tuple[float, float]:
    """Seconds that a process has computed, and its first thread."""
    stats = Path(f"/proc/{pid}/stat"), Path(f"/proc/{pid}/task/{pid}/stat")
    ticks = (sum(map(int, stat.read_text().rsplit(")", 1)[1].split()[11:13])) for stat in stats)
    whole, first = (n / os.sysconf("SC_CLK_TCK") for n in ticks)
    return whole, first


def lag_s(port: int) -> float:
    """The bucket of the server's histogram below whose bound 95 % are."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    found = [line for line in lines if line.startswith("voxtral_lag_seconds_bucket")]
    buckets = [(float(line.split('"')[1]), float(line.split()[-1])) for line in found]
    return next(bound for bound, n in buckets if n >= 0.95 * buckets[-1][1])


# ---- each protocol by itself --------------------------------------------------------------------


class Times:
    """When the first text of a clip came, and all of it; seconds of time.monotonic()."""

    def __init__(self) -> None:
        self.begun = self.sent = self.first = self.done = 0.0

    def text(self, text: str) -> None:
        if text and not self.first:
            self.first = time.monotonic()

    async def paced(self, audio: bytes, width: int = 2 * N_CHUNK) -> Any:
        self.begun = time.monotonic()
        async for chunk in paced(chunks(audio, width), self.begun):
            yield chunk
        self.sent = time.monotonic()

    def end(self) -> None:
        self.done = time.monotonic()
        self.first = self.first or self.done


async def vllm(ports: tuple[int, int], samples: np.ndarray, times: Times) -> None:
    async with connect(f"ws://127.0.0.1:{ports[0]}/v1/realtime", compression=None) as socket:
        await socket.recv()
        await send(socket, "session.update", model="x")
        reading = asyncio.create_task(read(socket, times, "delta", "transcription.done"))
        async for chunk in times.paced(pcm(samples)):
            await send(socket, "input_audio_buffer.append", audio=base64_of(chunk))
        await send(socket, "input_audio_buffer.commit", final=True)
        await reading


async def resumed(ports: tuple[int, int], samples: np.ndarray, times: Times) -> None:
    """vLLM's, over a connection that breaks in the middle of the audio, and another one."""
    said = [{"type": "session.update", "model": "x"}]
    for chunk in chunks(pcm(samples)):
        said.append({"type": "input_audio_buffer.append", "audio": base64_of(chunk)})
    token, n_events = "new", 0

    async def told(socket: Any) -> None:
        nonlocal n_events
        with contextlib.suppress(ConnectionClosed):
            async for message in socket:
                event = json.loads(message)
                n_events = event.get("number", n_events)
                times.text(event.get("delta", ""))
                if event["type"] == "transcription.done":
                    return times.end()

    times.begun = time.monotonic()
    for end in (len(said) // 2, len(said)):
        url = f"ws://127.0.0.1:{ports[0]}/v1/realtime?resume={token}&after={n_events}"
        async with connect(url, compression=None) as socket:
            created = json.loads(await socket.recv())
            token, first = created["resume"]["token"], 0
            if "resumed" in created:
                first = created["resumed"]["messages"]
            reading = asyncio.create_task(told(socket))
            async for message in paced(said[first:end], times.begun + (first - 1) * CHUNK_S):
                await socket.send(json.dumps(message))
            if end < len(said):
                socket.transport.abort()
            else:
                times.sent = time.monotonic()
                await send(socket, "input_audio_buffer.commit", final=True)
            await reading


async def openai(ports: tuple[int, int], samples: np.ndarray, times: Times) -> None:
    url = f"ws://127.0.0.1:{ports[0]}/v1/realtime?intent=transcription"
    async with connect(url, compression=None) as socket:
        heard = {"turn_detection": None, "transcription": {"model": "x"}}
        session = {"type": "transcription", "audio": {"input": heard}}
        await send(socket, "session.update", session=session)
        end = "conversation.item.input_audio_transcription.completed"
        reading = asyncio.create_task(read(socket, times, "delta", end))
        audio = pcm(np.asarray(soxr.resample(samples, vox.RATE, 24_000)))
        async for chunk in times.paced(audio, 3 * N_CHUNK):
            await send(socket, "input_audio_buffer.append", audio=base64_of(chunk))
        await send(socket, "input_audio_buffer.commit")
        await reading


async def mistral(ports: tuple[int, int], samples: np.ndarray, times: Times) -> None:
    url = f"ws://127.0.0.1:{ports[0]}/v1/audio/transcriptions/realtime?model=x"
    async with connect(url, compression=None) as socket:
        await socket.recv()
        form = {"encoding": "pcm_s16le", "sample_rate": vox.RATE}
        await send(socket, "session.update", session={"audio_format": form})
        reading = asyncio.create_task(read(socket, times, "text", "transcription.done"))
        async for chunk in times.paced(pcm(samples)):
            await send(socket, "input_audio.append", audio=base64_of(chunk))
        await send(socket, "input_audio.end")
        await reading


async def read(socket: Any, times: Times, name: str, end: str) -> None:
    async for message in socket:
        event = json.loads(message)
        if event["type"] == end:
            times.end()
            return
        if event["type"] == "error":
            raise SystemExit(f"measure_serve: {event}")
        if event["type"].endswith(".delta"):
            times.text(event.get(name, ""))


async def wyoming(ports: tuple[int, int], samples: np.ndarray, times: Times) -> None:
    form = {"rate": vox.RATE, "width": 2, "channels": 1}

    async def told(client: AsyncTcpClient) -> None:
        while (event := await client.read_event()) and event.type != "transcript":
            times.text(event.data.get("text", ""))
        times.end()

    async with AsyncTcpClient("127.0.0.1", ports[1]) as client:
        # A pause of the speaker is no end of the clip.
        await client.write_event(Event("transcribe", {"vad_sensitivity": "relaxed"}))
        await client.write_event(Event("audio-start", form))
        reading = asyncio.create_task(told(client))
        async for chunk in times.paced(pcm(samples)):
            await client.write_event(Event("audio-chunk", form, chunk))
        await client.write_event(Event("audio-stop"))
        await reading


async def live_body(ports: tuple[int, int], samples: np.ndarray, times: Times) -> None:
    head = b"PUT /v1/audio/stream HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def body(writer: asyncio.StreamWriter) -> None:
        async for chunk in times.paced(pcm(samples)):
            writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    await over_http(ports[0], head, body, times)


async def file(ports: tuple[int, int], samples: np.ndarray, times: Times) -> None:
    mark = "----voxtral"
    field = '--{}\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n'
    form = field.format(mark, "stream", "").encode() + b"true\r\n"
    form += field.format(mark, "file", '; filename="x.wav"').encode()
    form += SAMPLE.read_bytes() + f"\r\n--{mark}--\r\n".encode()
    head = (
        "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: multipart/form-data; boundary={mark}\r\nContent-Length: {len(form)}\r\n\r\n"
    ).encode()

    async def body(writer: asyncio.StreamWriter) -> None:
        writer.write(form)
        await writer.drain()
        times.begun = times.sent = time.monotonic()

    await over_http(ports[0], head, body, times)


async def over_http(
    port: int, head: bytes, body: Callable[[asyncio.StreamWriter], Awaitable[None]], times: Times
) -> None:
    """Send a request, whose answer is server-sent events."""

    async def events(reader: asyncio.StreamReader) -> None:
        while (line := await reader.readline()) and b'"transcript.text.done"' not in line:
            if b"text.delta" in line:
                times.text("text")
        times.end()

    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    reading = asyncio.create_task(events(reader))
    await body(writer)
    await reading
    writer.close()


PROTOCOLS = {
    "vLLM's": vllm,
    "vLLM's, taken up": resumed,
    "OpenAI's": openai,
    "Mistral's": mistral,
    "Wyoming": wyoming,
    "live body": live_body,
    "file, at once": file,
}


async def measure_protocols(ports: tuple[int, int], path: str | None, n: int) -> None:
    samples = np.concatenate(list(vox.read(SAMPLE)))
    with vox.Model(path) as model:
        word_s = model.transcribe(samples).words[0].end_ms / 1000
    print("\n| protocol | first text, p50 and p95 | all of it, p50 and p95 |\n|---|---|---|")
    for name, protocol in PROTOCOLS.items():
        first, done = [], []
        for _ in range(n):
            times = Times()
            await asyncio.wait_for(protocol(ports, samples, times), 60)
            is_live = protocol is not file
            first.append(times.first - times.begun - (word_s + DELAY_S if is_live else 0))
            done.append(times.done - times.sent)
        print(f"| {name} | {spread(np.array(first))} | {spread(np.array(done))} |", flush=True)


# ---- what both share ----------------------------------------------------------------------------


def chunks(audio: bytes, width: int = 2 * N_CHUNK) -> list[bytes]:
    """Return the audio in chunks of 80 ms."""
    return [audio[at : at + width] for at in range(0, len(audio), width)]


async def paced(chunks: Sequence[T], began: float) -> AsyncIterator[T]:
    """Yield each chunk of 80 ms when it has been spoken."""
    for i, chunk in enumerate(chunks):
        await asyncio.sleep(max(began + (i + 1) * CHUNK_S - time.monotonic(), 0))
        yield chunk


async def send(socket: Any, kind: str, **fields: Any) -> None:
    await socket.send(json.dumps({"type": kind, **fields}))


def pcm(samples: np.ndarray) -> bytes:
    return (samples * 32767).astype("<i2").tobytes()


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def spread(seconds: np.ndarray) -> str:
    p50, p95 = np.percentile(seconds, [50, 95])
    return f"{1000 * p50:.0f} and {1000 * p95:.0f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-m", "--model", metavar="FILE", help="instead of the demo model")
    parser.add_argument("--streams", type=int, default=100, metavar="N")
    parser.add_argument("--seconds", type=float, default=60, metavar="S", help="of audio in each")
    parser.add_argument(
        "--ask", type=float, default=20, metavar="S", help="how long who is refused asks again"
    )
    parser.add_argument("--clips", type=int, default=20, metavar="N", help="in each protocol")
    args = parser.parse_args()
    began = time.monotonic()
    wyoming_port = random.randrange(20_000, 30_000)
    command = [sys.executable, "-m", "voxtral_edge", "serve", "--port", "0",
               "--wyoming", f"tcp://127.0.0.1:{wyoming_port}",
               "--max-streams", str(max(args.streams, 1))]  # fmt: skip
    if args.model:
        command += ["-m", args.model]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr
    while " port=" not in (line := server.stderr.readline()):
        assert line, "the server ended"
    ready_s = time.monotonic() - began
    port = int(line.split(" port=")[1].split()[0])
    threading.Thread(target=server.stderr.read, daemon=True).start()  # or it waits for a reader

    async def measure() -> None:
        print(f"| from start to ready | {ready_s:.2f} s |", flush=True)
        if args.streams:
            many = args.streams, args.seconds, args.ask
            rows = await measure_many(port, server.pid, args.model, *many)
            for name, value in rows.items():
                print(f"| {name} | {value} |", flush=True)
        if args.clips:
            await measure_protocols((port, wyoming_port), args.model, args.clips)

    try:
        asyncio.run(measure())
    finally:
        server.kill()


if __name__ == "__main__":
    main()
