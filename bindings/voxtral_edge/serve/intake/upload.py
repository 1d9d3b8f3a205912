"""Uploads: a multipart body is read part by part as it comes, and its file decoded meanwhile.

No body is ever whole in memory: bytes go from the socket to the process that decodes, samples from
there to a session, and each waits for the one after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from asyncio.subprocess import Process
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.types import Receive

from ...audio import RATE, Samples
from ...errors import AudioError
from ..errors import BadRequest
from .decoder import TRUNCATED

FIELD_BYTES = 1 << 16  # of one field that is no file
N_FIELDS = 200
HEADER_BYTES = 1 << 13
BLOCK = 1 << 16
IDLE_S = 60.0  # a client that sends nothing for so long is given up
CPU_S = 3600  # of computing, for one upload


class Gone(Exception):  # noqa: N818
    """The client has closed the connection."""


class Body:
    """The body of a request as it comes; `over` is set when nothing more will."""

    def __init__(self, receive: Receive, limit: int, address: tuple[str, int] | None) -> None:
        """Take the body; `limit`: the most bytes it may have, `address`: who sends it."""
        self.client = address[0] if address else None
        self._receive = receive
        self._limit = self._left = limit
        self.over = asyncio.Event()

    async def read(self) -> bytes:
        """Return the next bytes, b"" at the end; raise Gone or BadRequest."""
        while not self.over.is_set():
            try:
                message = await asyncio.wait_for(self._receive(), IDLE_S)
            except asyncio.TimeoutError:
                raise BadRequest(f"nothing came for {IDLE_S:.0f} s", status=408) from None
            if message["type"] == "http.disconnect":
                self.over.set()
                raise Gone
            if not message.get("more_body"):
                self.over.set()
            data: bytes = message.get("body", b"")
            self._left -= len(data)
            if self._left < 0:
                raise BadRequest(
                    f"the upload is larger than {self._limit:,} bytes, which is the limit here",
                    status=413,
                )
            if data:
                return data
        return b""

    async def gone(self) -> None:
        """Return when the client has closed the connection, after the body is over."""
        await self.over.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass


@dataclass
class _Part:
    """The part of a form that is being read."""

    name: str
    file: str | None  # its name, None: it is a field
    value: bytearray


class Form:
    """A multipart body: `fields`, which grow as they come, and one file."""

    def __init__(self, body: Body, content_type: str) -> None:
        """Begin; raise BadRequest for a body that is not multipart."""
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise BadRequest("send the file as multipart/form-data, in a field named file")
        self.fields: dict[str, list[str]] = {}
        self._body = body
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._headers: dict[bytes, bytes] = {}
        self._part: _Part | None = None
        self._pieces: deque[bytes | None] = deque()  # of the file; None: it is over
        self._n_header = 0
        self.file: str | None = None
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, a, b: self._add_header(0, data[a:b]),
                "on_header_value": lambda data, a, b: self._add_header(1, data[a:b]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": lambda data, a, b: self._add(data[a:b]),
                "on_part_end": self._end,
            },
        )

    def last(self, name: str, default: str = "") -> str:
        """Return the value of a field that may stand once."""
        return self.fields.get(name, [default])[-1]

    async def until_file(self) -> None:
        """Read up to the first bytes of the file; raise BadRequest if there is none."""
        while self.file is None:
            if not await self._more():
                raise BadRequest("there is no file: send it in a field named file", param="file")

    async def blocks(self) -> AsyncIterator[bytes]:
        """Yield the file in pieces."""
        while True:
            while not self._pieces:
                if not await self._more():
                    raise BadRequest("the upload breaks off before its end")
            piece = self._pieces.popleft()
            if piece is None:
                return
            yield piece

    async def rest(self) -> None:
        """Read what follows the file."""
        while await self._more():
            pass

    async def _more(self) -> bool:
        data = await self._body.read()
        try:
            if data:
                self._parser.write(data)
            else:
                self._parser.finalize()
        except FormParserError as error:
            raise BadRequest(f"the form cannot be read: {error}") from None
        return bool(data)

    def _begin(self) -> None:
        self._headers, self._n_header = {}, 0

    def _add_header(self, which: int, data: bytes) -> None:
        self._n_header += len(data)
        if self._n_header > HEADER_BYTES:
            raise BadRequest("a part of the form has too long a header")
        self._header[which].extend(data)

    def _end_header(self) -> None:
        name, value = self._header
        self._headers[bytes(name).lower()] = bytes(value)
        name.clear()
        value.clear()

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode(errors="replace")
        file = options.get(b"filename")
        is_file = name == "file"
        if is_file and self.file is not None:
            raise BadRequest("there are two files: send one", param="file")
        if file is not None and not is_file:
            raise BadRequest(f"the file must be in a field named file, not {name}", param=name)
        if is_file:
            self.file = (file or b"").decode(errors="replace")
        elif len(self.fields) >= N_FIELDS:
            raise BadRequest("the form has too many fields")
        self._part = _Part(name, self.file if is_file else None, bytearray())

    def _add(self, data: bytes) -> None:
        assert self._part is not None
        if self._part.file is not None:
            self._pieces.append(bytes(data))
            return
        self._part.value.extend(data)
        if len(self._part.value) > FIELD_BYTES:
            raise BadRequest(f"the field {self._part.name} is too long", param=self._part.name)

    def _end(self) -> None:
        assert self._part is not None
        if self._part.file is not None:
            self._pieces.append(None)
        else:
            value = self._part.value.decode(errors="replace")
            self.fields.setdefault(self._part.name, []).append(value)


class Decoders:
    """Processes that decode one file each; one of them is always ready."""

    def __init__(self, limit: int) -> None:
        """Keep the most bytes of a file."""
        self._limit = limit
        self._spare: asyncio.Task[Process] | None = None

    def prepare(self) -> None:
        """Start the next one."""
        self._spare = asyncio.create_task(self._start())

    @contextlib.asynccontextmanager
    async def decoding(self) -> AsyncIterator[Decoding]:
        """Hold a process."""
        spare, self._spare = self._spare, None
        process = await (spare or self._start())
        self.prepare()
        try:
            yield Decoding(process)
        finally:
            await _end(process)

    async def aclose(self) -> None:
        """End the one that is ready."""
        if self._spare:
            await _end(await self._spare)

    async def _start(self) -> Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "voxtral_edge.serve.intake.decoder",
            str(self._limit),
            str(CPU_S),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )


class Decoding:
    """A file on its way through a process: bytes in, samples out."""

    def __init__(self, process: Process) -> None:
        """Begin with a process of its own."""
        assert process.stdin and process.stdout and process.stderr
        self._in, self._out, self._errors = process.stdin, process.stdout, process.stderr
        self._process = process
        self.n_samples = 0
        self.warning: str | None = None  # that the file breaks off

    @property
    def duration_s(self) -> float:
        """Seconds of audio that were decoded."""
        return self.n_samples / RATE

    async def write(self, data: bytes) -> None:
        """Give it bytes, when it has taken those before; an error shows in samples()."""
        if not self._in.is_closing():  # it has given up
            with contextlib.suppress(ConnectionError):
                self._in.write(data)
                await self._in.drain()

    def end(self) -> None:
        """Say that the file is whole."""
        self._in.close()

    async def samples(self) -> AsyncIterator[Samples]:
        """Yield what was decoded; raise AudioError for what cannot be."""
        rest = b""
        while data := await self._out.read(BLOCK):
            data = rest + data
            whole = len(data) - len(data) % 4
            rest = data[whole:]
            samples: Samples = np.frombuffer(data[:whole], "<f4")
            self.n_samples += len(samples)
            yield samples
        lines = (await self._errors.read(BLOCK)).decode(errors="replace").splitlines()
        said = lines[-1] if lines else ""
        status = await self._process.wait()
        if status == TRUNCATED:
            self.warning = said
        elif status:
            raise AudioError(said or "the upload needs too much time or memory")


async def _end(process: Process) -> None:
    """End a process, whatever it does."""
    assert process.stdin and process.stdout and process.stderr
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.stdin.close()
    for pipe in (process.stdout, process.stderr):
        while await pipe.read(BLOCK):  # to its end, which closes it
            pass
    await process.wait()
