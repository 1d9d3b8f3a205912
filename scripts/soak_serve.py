"""Sessions that break, over and over: connections cut, the server killed, clients that read slowly.

Every client must end with the text of an uninterrupted run, not one word lost or doubled. The first
that does not stops the run.
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
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import voxtral_edge as vox
import websockets
from serving import ROOMY, serving
from test_serve_resume import Client

SAMPLE = Path(__file__).parents[1] / "samples" / "digits_1.wav"
N_CLIENTS = 8
CUT_BYTES = 60_000  # between two cuts, at most: two seconds
# As the command, but that it keeps states often, so that a kill finds one.
SERVE = (
    "import sys; from voxtral_edge.serve.dialects import vllm; vllm.SAVE_S = 0.1; "
    "from voxtral_edge.cli import main; sys.exit(main(sys.argv[1:]))"
)


async def cut(address: str, audio: np.ndarray, expected: str, n: int, seed: int) -> int:
    """Cut connections at random bytes until there were n; how many utterances survived that."""
    n_cuts = n_whole = 0

    async def one(number: int) -> None:
        nonlocal n_cuts, n_whole
        choice = random.Random(seed * 1000 + number)
        while n_cuts < n:
            client = Client(lambda: address, audio)
            while not await client.connect(client.n_sent + choice.randrange(1, CUT_BYTES)):
                n_cuts += 1
                await asyncio.sleep(choice.choice([0.0, 0.0, 0.05]))
            check(client, expected)
            n_whole += 1

    await asyncio.gather(*(one(number) for number in range(N_CLIENTS)))
    return n_whole


async def read_slowly(address: str, audio: np.ndarray, expected: str) -> float:
    """Half of the clients hardly read; the seconds in which the others were done."""
    began, done_s = time.monotonic(), list[float]()

    async def one(is_slow: bool) -> None:
        client = Client(lambda: address, audio)
        client.read_pause_s = 0.05 if is_slow else 0.0
        assert await client.connect(1 << 40)
        check(client, expected)
        if not is_slow:
            done_s.append(time.monotonic() - began)

    await asyncio.gather(*(one(i % 2 == 0) for i in range(N_CLIENTS)))
    return max(done_s)


async def kill(folder: Path, audio: np.ndarray, expected: str, n: int, seed: int) -> int:
    """Stop a server at random moments, mostly by SIGKILL, until that was done n times."""
    choice = random.Random(seed)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["--port", str(port), "--wyoming", "off", "--state-dir", str(folder), "--quiet"]
    command = [sys.executable, "-c", SERVE, "serve", *options]
    n_whole, is_over = 0, False

    async def one() -> None:
        nonlocal n_whole
        while not is_over:
            client = Client(lambda: f"127.0.0.1:{port}", audio)
            client.is_known, client.pause_s = False, 0.005
            while not client.done and not is_over:
                try:
                    await client.connect(1 << 40)
                except (websockets.WebSocketException, OSError):
                    await asyncio.sleep(0.1)
            if client.done:
                check(client, expected)
                n_whole += 1

    clients = asyncio.gather(*(one() for _ in range(N_CLIENTS)))
    for _ in range(n):
        process = subprocess.Popen(command)
        try:
            await asyncio.wait((clients,), timeout=choice.uniform(1.0, 6.0))
            assert process.poll() is None, "the server ended by itself"
            assert not clients.done() or clients.result()
        finally:
            process.send_signal(choice.choice([signal.SIGKILL] * 3 + [signal.SIGTERM]))
            await asyncio.to_thread(process.wait)
    is_over = True
    await clients
    return n_whole


def check(client: Client, expected: str) -> None:
    assert client.text == client.done == expected, f"{client.text!r} is not {expected!r}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=1000, metavar="N")
    parser.add_argument("--kills", type=int, default=50, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    args = parser.parse_args()
    clip = np.concatenate(list(vox.read(SAMPLE)))
    audio = np.tile(clip, 4)
    with vox.Model() as model:
        expected, often = model.transcribe(audio).text, model.transcribe(np.tile(clip, 40)).text
        with serving(model, limits=ROOMY) as server:

            def run(what: Any) -> Any:
                return asyncio.run(what)

            n = run(cut(server.address, audio, expected, args.cuts, args.seed))
            print(f"{args.cuts} cuts: {n} utterances, all whole", flush=True)
            seconds = run(read_slowly(server.address, np.tile(clip, 40), often))
            print(f"slow readers: all whole, the others after {seconds:.1f} s", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        n = asyncio.run(kill(Path(folder), audio, expected, args.kills, args.seed))
        print(f"{args.kills} kills of the server: {n} utterances, all whole")


if __name__ == "__main__":
    main()
