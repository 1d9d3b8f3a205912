"""Many live sources in one process with asyncio: python examples/many_streams.py FILE...

Each file is played as if it were a caller on a line, 20 times as fast as it was spoken. All streams
share one model; each computes on a thread of its own, so the event loop is never blocked.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import voxtral_edge as vox

CHUNK, SPEED = vox.RATE // 10, 20


async def caller(path: str) -> AsyncIterator[np.ndarray]:
    """Yield the audio of a file at the pace of a network."""
    for block in vox.read(path):
        for start in range(0, len(block), CHUNK):
            await asyncio.sleep(CHUNK / vox.RATE / SPEED)
            yield block[start : start + CHUNK]


async def listen(model: vox.Model, path: str) -> None:
    """Print the text of one caller, line by line as words become complete."""
    async with model.astream() as stream:
        text = "".join([piece.text async for piece in stream.pieces(caller(path))])
    print(f"{Path(path).name}: {text.strip()}", flush=True)


async def main(paths: list[str]) -> None:
    """Listen to all callers at once."""
    with vox.Model() as model:
        await asyncio.gather(*(listen(model, path) for path in paths))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
