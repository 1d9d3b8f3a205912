"""Live streams against a server, paced as they are spoken: what is late, and what is lost.

It starts `voxtral serve`, sends the same recording over and over by WebSocket (vLLM's dialect,
chunks of 80 ms) in so many connections, and compares the text with that of Model.transcribe(). A
word is late by when it came less when its audio was sent and the delay.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import voxtral_edge as vox
from websockets.asyncio.client import connect

SAMPLE = Path(__file__).parents[1] / "samples" / "digits_1.wav"
CHUNK_S, DELAY_S = 0.08, 0.48
N_CHUNK = round(CHUNK_S * vox.RATE)


class Client:
    """One stream."""

    def __init__(self, port: int, audio: bytes) -> None:
        self.url, self.audio = f"ws://127.0.0.1:{port}/v1/realtime", audio
        self.late_s: list[float] = []
        self.text, self.done_s, self.first_s = "", 0.0, 0.0

    async def run(self) -> None:
        await asyncio.sleep(random.random())  # not all at the same moment
        async with connect(self.url, compression=None) as socket:
            await socket.recv()
            await send(socket, "session.update", model="x", include=["words"])
            self.began = time.monotonic()
            reading = asyncio.create_task(self.read(socket))
            for i, at in enumerate(range(0, len(self.audio), 2 * N_CHUNK)):
                due = self.began + (i + 1) * CHUNK_S
                await asyncio.sleep(max(due - time.monotonic(), 0))
                chunk = base64.b64encode(self.audio[at : at + 2 * N_CHUNK]).decode()
                await send(socket, "input_audio_buffer.append", audio=chunk)
            ended = time.monotonic()
            await send(socket, "input_audio_buffer.commit", final=True)
            await reading
            self.done_s = time.monotonic() - ended

    async def read(self, socket: Any) -> None:
        async for message in socket:
            event, now_s = json.loads(message), time.monotonic() - self.began
            if event["type"] == "transcription.words":
                self.late_s += [now_s - word["end"] - DELAY_S for word in event["words"]]
            elif event["type"] == "transcription.delta" and event["delta"] and not self.first_s:
                self.first_s = now_s
            elif event["type"] == "transcription.done":
                self.text = event["text"]
                return


async def send(socket: Any, kind: str, **fields: Any) -> None:
    await socket.send(json.dumps({"type": kind, **fields}))


def memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


async def measure(port: int, pid: int, n: int, seconds: float) -> None:
    clip = np.concatenate(list(vox.read(SAMPLE)))
    audio = np.tile(clip, max(round(seconds * vox.RATE / len(clip)), 1))
    with vox.Model() as model:
        expected = model.transcribe(audio).text
    data = (audio * 32768).astype("<i2").tobytes()
    clients = [Client(port, data) for _ in range(n)]
    running = asyncio.gather(*(client.run() for client in clients))
    await asyncio.sleep(min(10.0, seconds / 2))
    before = memory_mb(pid)
    await running
    late = np.array([s for client in clients for s in client.late_s])
    done = np.array([client.done_s for client in clients])
    rows = {
        "streams": n,
        "seconds of audio in each": round(len(audio) / vox.RATE),
        "texts that differ": sum(client.text != expected for client in clients),
        "words": len(late),
        "words late by more than 1 s": int((late > 1).sum()),
        "words late by, p50 and p95": spread(late),
        "done after the last audio, p50 and p95": spread(done),
        "memory after 10 s and at the end": f"{before:.0f} and {memory_mb(pid):.0f} MB",
    }
    for name, value in rows.items():
        print(f"| {name} | {value} |")


def spread(seconds: np.ndarray) -> str:
    p50, p95 = np.percentile(seconds, [50, 95])
    return f"{1000 * p50:.0f} and {1000 * p95:.0f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=100, metavar="N")
    parser.add_argument("--seconds", type=float, default=60, metavar="S")
    args = parser.parse_args()
    command = [sys.executable, "-m", "voxtral_edge", "serve", "--port", "0", "--wyoming", "off"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr
    while " port=" not in (line := server.stderr.readline()):
        assert line, "the server ended"
    port = int(line.split(" port=")[1].split()[0])
    try:
        asyncio.run(measure(port, server.pid, args.streams, args.seconds))
    finally:
        server.kill()


if __name__ == "__main__":
    main()
