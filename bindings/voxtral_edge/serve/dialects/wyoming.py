"""The Wyoming protocol of Home Assistant, with partial transcripts and an end of its own.

A client may say that the audio is over, or leave it to the server, which tells a transcript when a
turn ends. A program that sends a file, faster than anybody speaks, is not cut short at its pauses:
then the turn is over if nothing more comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
import warnings
from typing import Any
from urllib.parse import urlsplit

from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.error import Error
from wyoming.event import Event, Eventable, async_write_event
from wyoming.ping import Ping, Pong

from ... import __version__
from ...errors import ArgumentError
from ...system import here
from ...text.pieces import SPEAKING, TURN_END, Piece
from ...text.turns import Turns, turns_of
from .. import errors
from ..errors import BadRequest, log
from ..intake.inlet import Inlet
from ..intake.objects import json_object
from ..intake.upload import Gone
from ..intake.vocabulary import listed
from ..sessions.engine import Engine
from ..sessions.hearing import Hearing
from .answers import Text
from .sockets import IDLE_S, SEND_S

with warnings.catch_warnings():  # the package takes audioop of Python, if there still is one
    warnings.simplefilter("ignore", DeprecationWarning)
    from wyoming.info import AsrModel, AsrProgram, Attribution, Describe, Info

LINE_BYTES, DATA_BYTES, PAYLOAD_BYTES = 1 << 16, 1 << 16, 1 << 20  # the most of a frame
SILENCE_MS = {"default": 700, "relaxed": 1250, "aggressive": 300}  # by vad_sensitivity
NOBODY_S = 15.0  # without a word, after which a live client hears that there was none
AHEAD_S = 1.0  # a live client sends no more than this before its time
PAUSE_S = 0.5  # after a turn, in which a file would have gone on
SERVICE, MULTICAST = "_wyoming._tcp.local.", "224.0.0.251"
ENCODINGS = {2: "pcm_s16le", 4: "pcm_s32le"}


class Wyoming:
    """One connection."""

    def __init__(
        self, engine: Engine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Begin before the first event."""
        self._engine, self._reader, self._writer = engine, reader, writer
        self._main: asyncio.Task[Any] | None = None
        self._error: Exception | None = None
        self._is_leaving = False
        self._place = contextlib.AsyncExitStack()
        self._wanted = Transcribe()
        self._listed: list[str] = []
        self._hearing: Hearing | None = None
        self._turns: Turns | None = None
        self._text = Text()
        self._began_s = 0.0
        self._is_over = self._is_started = self._has_answered = False

    async def run(self) -> None:
        """Answer until the client leaves."""
        self._main = asyncio.current_task()
        try:
            while True:
                await self._take(await self._read())
        except asyncio.CancelledError:
            self._main = None
            if self._error is not None and not isinstance(self._error, Gone):
                await self._complain(self._error)
            elif self._is_leaving:
                await self._end()
            elif self._error is None:
                raise
        except (Gone, ConnectionError, asyncio.IncompleteReadError):
            pass
        except Exception as error:  # frames that cannot be told apart any more
            with contextlib.suppress(Gone):
                await self._complain(error)
        finally:
            self._main = None
            await self._drop()
            self._writer.close()

    def leave(self) -> None:
        """Say the last words, and end: the server is being stopped."""
        self._is_leaving = True
        if self._main:
            self._main.cancel()

    # ---- frames ----

    async def _read(self) -> Event:
        """Return the next event; raise Gone at the end, BadRequest for what is none."""
        idle_s = PAUSE_S if self._hearing else IDLE_S
        since_s = time.monotonic()
        while True:
            try:
                line = await asyncio.wait_for(self._reader.readuntil(b"\n"), idle_s)
                self._engine.doorstep.leave(self._writer.transport)
                break
            except asyncio.TimeoutError:
                if self._is_over and self._hearing:
                    await self._answer()
                if time.monotonic() - since_s > IDLE_S:
                    raise Gone from None
            except asyncio.IncompleteReadError:
                raise Gone from None
            except asyncio.LimitOverrunError:
                raise BadRequest("the header of an event is too long") from None
        header = _object(line)
        data = _object(await self._part(header, "data_length", DATA_BYTES) or b"{}")
        payload = await self._part(header, "payload_length", PAYLOAD_BYTES)
        kind, known = header.get("type"), header.get("data") or {}
        if not isinstance(kind, str) or not isinstance(known, dict):
            raise BadRequest("an event needs a type, and data that is an object")
        return Event(kind, {**known, **data}, payload or None)

    async def _part(self, header: dict[str, Any], name: str, limit: int) -> bytes:
        n = header.get(name) or 0
        if not isinstance(n, int) or not 0 <= n <= limit:
            raise BadRequest(f"{name} must be 0 to {limit}")
        return await asyncio.wait_for(self._reader.readexactly(n), IDLE_S) if n else b""

    async def _send(self, event: Eventable) -> None:
        try:
            await asyncio.wait_for(async_write_event(event.event(), self._writer), SEND_S)
        except (ConnectionError, RuntimeError):
            raise Gone from None
        except asyncio.TimeoutError:
            self._writer.transport.abort()
            raise Gone from None

    async def _complain(self, error: Exception) -> None:
        told = errors.described(error)
        await self._send(Error(told["message"], told["code"] or told["type"]))

    # ---- events ----

    async def _take(self, event: Event) -> None:
        try:
            if Describe.is_type(event.type):
                await self._send(await asyncio.to_thread(_info, self._engine))
            elif Ping.is_type(event.type):
                await self._send(Pong(text=Ping.from_event(event).text))
            elif Transcribe.is_type(event.type):
                await self._drop()
                self._wanted = Transcribe.from_event(event)
                names, terms = (
                    listed(event.data.get(name), name)
                    for name in ("transcript_names", "transcript_terms")
                )
                self._listed = names + terms
            elif event.type == "audio-start":
                await self._drop()
                await self._begin(event.data)
            elif event.type == "audio-chunk":
                if self._hearing is None:
                    await self._begin(event.data)
                assert self._hearing is not None
                await self._hearing.append(event.payload or b"")
            elif event.type == "audio-stop":
                await self._end()
        except (Gone, ConnectionError):
            raise
        except Exception as error:
            await self._drop()
            await self._complain(error)

    async def _begin(self, audio: dict[str, Any]) -> None:
        names = ("rate", "width", "channels")
        if not all(isinstance(audio.get(name), int) for name in names):
            raise BadRequest(f"audio needs {', '.join(names)}, which are numbers")
        rate, width, n_channels = (audio[name] for name in names)
        if width not in ENCODINGS:
            raise BadRequest(f"samples of {width} bytes cannot be read: send 2 bytes each")
        inlet = Inlet(rate, ENCODINGS[width], n_channels)
        peer = self._writer.get_extra_info("peername")
        client = peer[0] if isinstance(peer, tuple) else None
        await self._place.enter_async_context(self._engine.live(client))
        wanted = self._wanted.vad_sensitivity
        silence_ms = SILENCE_MS.get(getattr(wanted, "value", "default"), SILENCE_MS["default"])
        turns = turns_of(self._engine.model, delay_ms=self._engine.delay_ms, silence_ms=silence_ms)
        self._turns = turns
        self._hearing = Hearing(
            self._engine, inlet, self._tell, self._fail, hear=turns.hear, words=self._listed
        )
        self._text, self._began_s = Text(), time.monotonic()
        self._is_over = self._is_started = self._has_answered = False

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error
        if self._main:
            self._main.cancel()

    async def _tell(self, slots: list[Piece]) -> None:
        for slot in slots:
            if said := self._text.add([slot]):
                await self._start()
                await self._send(TranscriptChunk(said))
            turns = self._turns.push(slot) if self._turns else []
            for turn in (turn for turn in turns if turn.state in (SPEAKING, TURN_END)):
                self._is_over = turn.state == TURN_END and bool(self._text.text)
                if self._is_over and self._is_live(slot):
                    await self._answer()
        is_silent = not self._has_answered and not self._text.text
        if is_silent and slots[-1].end_ms > 1000 * NOBODY_S and self._is_live(slots[-1]):
            await self._answer()

    def _is_live(self, slot: Piece) -> bool:
        """Whether audio comes, and is decoded, no faster than it is spoken; not if it is over."""
        if self._hearing is None:
            return False
        decoded_s = (slot.end_ms + self._engine.delay_ms) / 1000
        ahead_s = max(decoded_s, self._hearing.inlet.duration_s) - AHEAD_S
        return ahead_s <= time.monotonic() - self._began_s

    async def _end(self) -> None:
        """End the audio; tell what was said since the last transcript, if there was one."""
        if self._hearing is None:
            return
        hearing, self._hearing = self._hearing, None
        await hearing.end()
        if self._text.text or not self._has_answered:
            await self._answer()
        await self._drop()

    async def _start(self) -> None:
        if not self._is_started:
            self._is_started = True
            await self._send(TranscriptStart(language=self._wanted.language))

    async def _answer(self) -> None:
        """Tell what was said, as a whole, and begin anew."""
        text, self._text = self._text.text, Text()
        self._is_over, self._has_answered = False, True
        await self._start()
        await self._send(Transcript(text, language=self._wanted.language))
        await self._send(TranscriptStop())
        self._is_started = False

    async def _drop(self) -> None:
        """Forget what is being heard."""
        hearing, self._hearing, self._turns = self._hearing, None, None
        if hearing:
            hearing.close()
        await self._place.aclose()


class Listener:
    """Listens for clients of the protocol."""

    def __init__(self, uri: str) -> None:
        """Check the address, tcp://host:port or unix://path; raise ArgumentError."""
        self._parts = urlsplit(uri)
        try:
            is_known = self._parts.scheme == "unix" or (
                self._parts.scheme == "tcp" and self._parts.port is not None
            )
        except ValueError:
            is_known = False
        if not is_known:
            raise ArgumentError(f"{uri} is no address: use tcp://HOST:PORT, unix://PATH or off")
        self.port: int | None = None
        self._zeroconf: Any = None

    @property
    def host(self) -> str | None:
        """Where it listens, None: in a file of this machine."""
        return (self._parts.hostname or "") if self._parts.scheme == "tcp" else None

    async def start(self, engine: Engine) -> None:
        """Listen; raise OSError."""

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = Wyoming(engine, reader, writer)
            engine.doorstep.enter(writer.transport)
            try:
                with engine.present(connection):
                    await connection.run()
            except Exception as error:
                log.error("a connection failed", exc_info=error)
            finally:
                engine.doorstep.leave(writer.transport)

        if self.host is None:
            self._server = await here.listen_at(self._parts.path, connected, LINE_BYTES)
            return
        try:
            self._server = await asyncio.start_server(
                connected, self.host, self._parts.port, limit=LINE_BYTES
            )
        except OSError as error:
            raise OSError(error.errno, "address already in use", self._parts.netloc) from None
        self.port = self._server.sockets[0].getsockname()[1]

    async def announce(self, name: str) -> None:
        """Tell the local network, so that Home Assistant finds it."""
        from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

        self._zeroconf = AsyncZeroconf()
        address = socket.gethostbyname(self.host or "")
        if address == "0.0.0.0":
            address = _own_address()
        await self._zeroconf.async_register_service(
            AsyncServiceInfo(SERVICE, f"{name}.{SERVICE}", self.port, parsed_addresses=[address])
        )

    async def aclose(self) -> None:
        """Listen no more."""
        if self._zeroconf:
            await self._zeroconf.async_close()
        self._server.close()


def _own_address() -> str:
    """Return the address by which this machine is known to its network; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((MULTICAST, 1))
        return str(probe.getsockname()[0])


def _object(data: bytes) -> dict[str, Any]:
    value = json_object(data)
    if value is None:
        raise BadRequest("the event is no JSON object")
    return value


def _info(engine: Engine) -> Info:
    """Return what is offered."""
    from ...convert.writing.metadata import LANGUAGES  # which imports much

    model = engine.model
    is_published = "13 languages" in model.description
    described = AsrModel(
        name=model.name,
        description=model.description or model.name,
        attribution=Attribution("Mistral AI", "https://mistral.ai"),
        installed=True,
        version=None,
        languages=list(LANGUAGES) if is_published else ["en"],
    )
    program: dict[str, Any] = {
        "name": "voxtral",
        "description": "Voxtral Realtime on a CPU",
        "attribution": Attribution("voxtral-edge", ""),
        "installed": True,
        "version": __version__,
        "models": [described],
        "supports_transcript_streaming": True,
        "requires_external_vad": False,
        "prefers_auto_gain_enabled": False,
        "prefers_noise_reduction_enabled": False,
    }
    known = AsrProgram.__dataclass_fields__  # older versions of the protocol have fewer
    return Info(asr=[AsrProgram(**{k: v for k, v in program.items() if k in known})])
