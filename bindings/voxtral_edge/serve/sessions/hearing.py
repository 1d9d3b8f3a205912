"""Hearing: one run of audio of a live client, bytes in; a task tells the slots."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from ...text.pieces import Piece
from ..errors import BadRequest
from ..intake.inlet import Inlet
from .engine import Engine

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ...audio import Samples
    from ...streaming.options import StreamOptions


class Hearing:
    """A session, and what comes before and after it."""

    def __init__(
        self,
        engine: Engine,
        inlet: Inlet,
        tell: Callable[[list[Piece]], Awaitable[None]],
        fail: Callable[[Exception], None],
        *,
        hear: Callable[[Samples], None] | None = None,
        saved: bytes | None = None,
        **options: Unpack[StreamOptions],
    ) -> None:
        """Open a session.

        `hear` gets its samples, `tell` its slots, and `fail` the error that ends it. `saved`: what
        it goes on from.
        """
        self.inlet = inlet
        self._limit_s = engine.limits.max_session_s
        self.session = engine.session(saved=saved, **options)
        self._tell, self._fail, self._hear = tell, fail, hear
        self._n_told, self._has_told = 0, asyncio.Event()
        self._telling = asyncio.create_task(self._tell_all())

    async def append(self, data: bytes) -> None:
        """Add audio, at the pace of the model: all of it, or none if this is cancelled."""
        await self.session.room()
        samples = self.inlet.feed(data)
        if self.inlet.duration_s > self._limit_s:
            raise BadRequest(f"{self._limit_s:.0f} s of audio are the limit of a session")
        if self._hear:
            self._hear(samples)
        self.session.push(samples)

    async def end(self) -> None:
        """End the audio, and return when all was told."""
        self.session.push(self.inlet.end())
        self.session.end()
        await self.told()

    async def told(self) -> None:
        """Return when all was told, after the end."""
        await asyncio.shield(self._telling)

    async def save(self) -> bytes:
        """Return the state after all audio so far, when all that came of it was told."""
        state, n_slots = await self.session.save()
        while self._n_told < n_slots and not self._telling.done():
            self._has_told.clear()
            await self._has_told.wait()
        return state

    def close(self) -> None:
        """Give it up."""
        self.session.close()
        self._telling.cancel()

    async def _tell_all(self) -> None:
        try:
            while (slots := await self.session.read()) is not None:
                await self._tell(slots)
                self._n_told += len(slots)
                self._has_told.set()
        except Exception as error:
            self._fail(error)
        finally:
            self._has_told.set()
