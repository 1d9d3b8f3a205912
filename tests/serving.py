"""A server in a thread of the tests, on a port of its own."""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
import wave
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pytest
import voxtral_edge as vox

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from voxtral_edge.serve.server import Options, Server
from voxtral_edge.serve.sessions.engine import Limits

T = TypeVar("T")

# Nobody is refused, however busy this machine is with other things.
ROOMY = Limits(share=1000.0, lag_s=1000.0)


@dataclass
class Serving:
    server: Server
    loop: asyncio.AbstractEventLoop

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def n_sessions(self) -> int:
        return len(self.server._engine.scheduler.sessions)

    def call(self, function: Any, *values: Any) -> None:
        """Have the server's loop call a function."""
        self.loop.call_soon_threadsafe(function, *values)


@contextlib.contextmanager
def serving(model: vox.Model, **options: Any) -> Iterator[Serving]:
    server = Server(model, Options(port=0, **options))
    ready, failures, running = threading.Event(), list[BaseException](), list[Serving]()

    async def main() -> None:
        running.append(Serving(server, asyncio.get_running_loop()))
        await server.run(ready.set)

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            failures.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(60)
    if failures:
        thread.join()
        raise failures[0]
    try:
        yield running[0]
    finally:
        running[0].call(server.stop)
        thread.join(60)
        assert not thread.is_alive()
        if failures:
            raise failures[0]


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a client, which must come to an end."""
    return asyncio.run(asyncio.wait_for(main, 120))


def pcm(samples: np.ndarray) -> bytes:
    """16-bit little-endian samples."""
    return (np.clip(samples, -1, 1 - 2**-15) * 32768).astype("<i2").tobytes()


def wav(samples: np.ndarray, rate: int = vox.RATE) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(pcm(samples))
    return file.getvalue()
