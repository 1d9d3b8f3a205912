"""Sessions that break, over and over: connections cut, the server killed, clients that read slowly.

Every client must end with the events of an uninterrupted session, none lost, doubled or changed, in
each protocol that can take a session up. Then hours of audio, as fast as the server takes it, in
all protocols, while its memory is watched. The first thing that is not right stops the run.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import voxtral_edge as vox
import websockets
from resuming import WAYS, Client, Upload
from serving import ROOMY, serving

SAMPLE = Path(__file__).parents[1] / "samples" / "digits_1.wav"
N_CLIENTS = 8
LIVE_BODY = "live body"
NAMES = (*WAYS, LIVE_BODY)
MEMORY_S = 60.0  # between two looks at the memory
# As the command, but that it keeps states often, so that a kill finds one, and refuses nobody,
# however busy the machine is.
SERVE = (
    "import sys; from voxtral_edge.serve.sessions import engine, resume; resume.SAVE_S = 0.1; "
    "engine.Engine._check_live = engine.Engine.check_open; "
    "from voxtral_edge.cli import main; sys.exit(main(sys.argv[1:]))"
)


def client(name: str, address: Callable[[], str], audio: np.ndarray) -> Client:
    if name == LIVE_BODY:
        return Upload(address, audio)
    return Client(address, audio, WAYS[name])


async def uninterrupted(address: str, audio: np.ndarray) -> dict[str, list[dict[str, Any]]]:
    """The events of each protocol."""
    expected = {}
    for name in NAMES:
        whole = client(name, lambda: address, audio)
        assert await whole.connect()
        expected[name] = whole.events
    return expected


async def cut(address: str, audio: np.ndarray, n: int, seed: int) -> int:
    """Cut connections after random messages until there were n; how many sessions survived that."""
    expected = await uninterrupted(address, audio)
    n_cuts = n_whole = 0

    async def one(number: int) -> None:
        nonlocal n_cuts, n_whole
        choice = random.Random(seed * 1000 + number)
        while n_cuts < n:
            name = choice.choice(NAMES)
            broken = client(name, lambda: address, audio)
            broken.n_events = len(expected[name])
            while not await broken.connect(broken.n_out + choice.randrange(1, 30)):
                n_cuts += 1
                await asyncio.sleep(choice.choice([0.0, 0.0, 0.05]))
            check(name, broken, expected)
            n_whole += 1

    await asyncio.gather(*(one(number) for number in range(N_CLIENTS)))
    return n_whole


async def read_slowly(address: str, audio: np.ndarray) -> float:
    """Half of the clients hardly read; the seconds in which the others were done."""
    expected = await uninterrupted(address, audio)
    began, done_s = time.monotonic(), list[float]()

    async def one(number: int) -> None:
        name, is_slow = NAMES[number % len(NAMES)], number % 2 == 0
        reader = client(name, lambda: address, audio)
        reader.n_events = len(expected[name])
        reader.read_pause_s = 0.02 if is_slow else 0.0
        assert await reader.connect(), f"{name}: {reader.n_had} of {reader.n_events} events"
        check(name, reader, expected)
        if not is_slow:
            done_s.append(time.monotonic() - began)

    await asyncio.gather(*(one(number) for number in range(2 * len(NAMES))))
    return max(done_s)


async def kill(folder: Path, audio: np.ndarray, n: int, seed: int) -> int:
    """Stop a server at random moments, mostly by SIGKILL, until that was done n times."""
    choice = random.Random(seed)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["--port", str(port), "--wyoming", "off", "--state-dir", str(folder), "--quiet"]
    command = [sys.executable, "-c", SERVE, "serve", *options]
    with vox.Model() as model, serving(model, limits=ROOMY) as server:
        expected = await uninterrupted(server.address, audio)
    n_whole, is_over = 0, False

    async def one(number: int) -> None:
        nonlocal n_whole
        chosen = random.Random(seed * 1000 + number)
        while not is_over:
            name = chosen.choice(NAMES)
            broken = client(name, lambda: f"127.0.0.1:{port}", audio)
            broken.n_events = len(expected[name])
            broken.is_known, broken.pause_s = False, 0.005
            while not broken.is_done:
                try:
                    await broken.connect()
                except (websockets.WebSocketException, OSError, asyncio.IncompleteReadError):
                    await asyncio.sleep(0.1)
            check(name, broken, expected)
            n_whole += 1

    clients = asyncio.gather(*(one(number) for number in range(N_CLIENTS)))
    for _ in range(n):
        process = subprocess.Popen(command)
        try:
            await asyncio.wait((clients,), timeout=choice.uniform(1.0, 6.0))
            assert process.poll() is None, "the server ended by itself"
            assert not clients.done() or clients.result()
        finally:
            process.send_signal(choice.choice([signal.SIGKILL] * 3 + [signal.SIGTERM]))
            await asyncio.to_thread(process.wait)
    is_over = True  # those that are there come to their end
    process = subprocess.Popen(command)
    try:
        await clients
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)
    return n_whole


async def last(clip: np.ndarray, hours: float) -> None:
    """Hours of audio to a server of its own, in all protocols at once."""
    command = [sys.executable, "-c", SERVE, "serve", "--port", "0", "--wyoming", "off"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    while " port=" not in (line := process.stderr.readline()):
        assert line, "the server ended"
    address = f"127.0.0.1:{line.split(' port=')[1].split()[0]}"
    reading = asyncio.create_task(asyncio.to_thread(process.stderr.read))
    began, heard_s, memory = time.monotonic(), 0.0, list[float]()
    audio = np.tile(clip, 20)
    try:
        expected = await uninterrupted(address, audio)

        async def one(name: str) -> None:
            nonlocal heard_s
            while heard_s < 3600 * hours:
                speaker = client(name, lambda: address, audio)
                speaker.n_events = len(expected[name])
                assert await speaker.connect()
                check(name, speaker, expected)
                heard_s += len(audio) / vox.RATE

        async def watch() -> None:
            while True:
                await asyncio.sleep(MEMORY_S)
                memory.append(memory_mb(process.pid))
                passed_min = (time.monotonic() - began) / 60
                print(f"{heard_s / 3600:.2f} h of audio in {passed_min:.0f} min, "
                      f"{memory[-1]:.0f} MB", flush=True)  # fmt: skip

        watching = asyncio.create_task(watch())
        await asyncio.gather(*map(one, NAMES))
        watching.cancel()
    finally:
        process.terminate()
        assert await asyncio.to_thread(process.wait) == 0
        await reading
    early = max(memory[: len(memory) // 4 + 1], default=0.0)
    assert not memory or memory[-1] < 1.05 * early + 10, f"memory grew: {memory}"
    print(f"{heard_s / 3600:.1f} h of audio, {heard_s / (time.monotonic() - began):.0f} times as "
          f"fast as spoken; memory at most {max(memory, default=0.0):.0f} MB")  # fmt: skip


def memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def check(name: str, client: Client, expected: dict[str, list[dict[str, Any]]]) -> None:
    assert client.events == expected[name], f"{name}: {client.text!r}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=1000, metavar="N")
    parser.add_argument("--kills", type=int, default=50, metavar="N")
    parser.add_argument("--hours", type=float, default=8.0, metavar="N", help="of audio")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    args = parser.parse_args()
    clip = np.concatenate(list(vox.read(SAMPLE)))
    pause = np.zeros(3 * vox.RATE // 2, np.float32)
    audio = np.tile(np.concatenate([clip, pause]), 3)  # turns end in the pauses

    def run(what: Any) -> Any:
        return asyncio.run(what)

    if args.cuts:
        with vox.Model() as model, serving(model, limits=ROOMY) as server:
            n = run(cut(server.address, audio, args.cuts, args.seed))
            print(f"{args.cuts} cuts: {n} sessions, all whole", flush=True)
            seconds = run(read_slowly(server.address, np.tile(clip, 15)))
            print(f"slow readers: all whole, the others after {seconds:.1f} s", flush=True)
    if args.kills:
        with tempfile.TemporaryDirectory() as folder:
            n = run(kill(Path(folder), audio, args.kills, args.seed))
            print(f"{args.kills} kills of the server: {n} sessions, all whole", flush=True)
    if args.hours:
        run(last(clip, args.hours))


if __name__ == "__main__":
    main()
