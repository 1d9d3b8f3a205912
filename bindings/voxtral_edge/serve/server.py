"""The HTTP side of the server: its routes, its start and its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import uvicorn
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles

from .. import __version__
from ..errors import ArgumentError
from ..streaming.model import Model
from ..system import here
from . import errors
from .dialects import files, live, mistral, realtime
from .dialects.wyoming import Listener
from .door.doorstep import Http
from .door.guard import Guard, is_loopback
from .errors import BadRequest
from .intake.upload import Decoders
from .sessions.engine import Engine, Limits
from .sessions.metrics import Metrics

log = logging.getLogger("voxtral.serve")

PAGE = Path(__file__).with_name("page")
POLICY = "default-src 'self'; connect-src 'self' ws: wss:; frame-ancestors 'none'"
SAMPLE = Path(__file__).parents[1] / "samples" / "digits_1.wav"  # measured before the first stream


@dataclass(frozen=True)
class Options:
    """How the server is run."""

    host: str = "127.0.0.1"
    port: int = 8000
    delay_ms: int | None = None
    gain: float | Literal["auto"] | None = None
    token: str | None = None
    is_insecure: bool = False
    origins: tuple[str, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    wyoming: str | None = None  # tcp://host:port
    zeroconf: str | None = None  # the name that is announced
    state_dir: Path | None = None
    drain_s: float = 30.0
    limits: Limits = field(default_factory=Limits)


def application(engine: Engine, options: Options) -> FastAPI:
    """Return the ASGI application."""
    # Pages that show the description run scripts from elsewhere, which could read the token.
    app = FastAPI(
        title="voxtral",
        version=__version__,
        description=engine.model.description,
        docs_url=None,
        redoc_url=None,
    )
    app.state.engine, app.state.is_ready = engine, False
    app.state.decoders = Decoders(engine.limits.max_upload)
    for room in (files, live, realtime, mistral):
        app.include_router(room.router)
    created = int(time.time())

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        """Say what is not there, as everything else that is wrong."""
        method, path = request.method, request.url.path
        told = BadRequest(f"{method} {path}: {error.detail}", status=error.status_code)
        answer = errors.response(told)
        answer.headers.update(error.headers or {})
        return answer

    @app.head("/health", include_in_schema=False)
    @app.get("/health")
    async def health() -> dict[str, str]:
        """Say that the server lives."""
        return {"status": "draining" if engine.is_draining else "ok"}

    @app.head("/ready", include_in_schema=False)
    @app.get("/ready")
    async def ready() -> Response:
        """Say whether a stream would be taken now."""
        is_ready = app.state.is_ready and not engine.is_draining
        return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)

    known = Metrics(engine)

    @app.get("/metrics")
    async def metrics() -> Response:
        """Tell what was done, for Prometheus."""
        return Response(known.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """List the one model; requests may call it as they like."""
        return {"object": "list", "data": [described()]}

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        """Describe the model, by whatever name."""
        return {**described(), "id": name}

    def described() -> dict[str, Any]:
        return {
            "id": engine.model.name,
            "object": "model",
            "created": created,
            "owned_by": "voxtral-edge",
        }

    @app.head("/", include_in_schema=False)
    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        """Return the page that listens and shows captions."""
        return FileResponse(PAGE / "index.html", headers={"content-security-policy": POLICY})

    app.mount("/page", StaticFiles(directory=PAGE))
    app.add_middleware(
        Guard,
        token=options.token,
        origins=options.origins,
        is_local=options.token is None and is_loopback(options.host),
    )
    return app


class Server:
    """One server: HTTP, and what else listens beside it. `port` is known when it is ready."""

    def __init__(self, model: Model, options: Options) -> None:
        """Check the options; open nothing yet. Raises ArgumentError."""
        if not is_loopback(options.host) and options.token is None and not options.is_insecure:
            raise ArgumentError(
                f"everybody who reaches {options.host} could use this server: give --token-file, "
                "or --insecure if that is meant"
            )
        self._model, self._options = model, options
        self.port = options.port
        self.wyoming = Listener(options.wyoming) if options.wyoming else None
        host = self.wyoming.host if self.wyoming else None
        if host and not is_loopback(host):
            if options.token is None and not options.is_insecure:
                raise ArgumentError(
                    f"everybody who reaches {host} could use this server, since Wyoming has no "
                    "tokens: give --insecure if that is meant"
                )
            log.warning("wyoming has no tokens: everybody may use it who reaches %s", host)

    async def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Listen and answer until stop() or a signal; raise OSError if the port cannot be had."""
        options = self._options
        listening = _listen(options.host, options.port)
        self.port = listening.getsockname()[1]
        self._engine = Engine(
            self._model,
            delay_ms=options.delay_ms,
            gain=options.gain,
            limits=options.limits,
            state_dir=options.state_dir,
        )
        app = application(self._engine, options)
        self._http = _Http(
            uvicorn.Config(
                app,
                http=partial(Http, self._engine.doorstep),  # type: ignore[arg-type]
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="websockets-sansio",
                ws_max_size=options.limits.max_message,
                ws_ping_timeout=None,  # the answer waits behind audio that is read later
                ws_per_message_deflate=False,  # audio takes long to shrink by little
                ssl_certfile=options.certificate,
                ssl_keyfile=options.key,
                server_header=False,
                timeout_graceful_shutdown=5,
            )
        )
        app.state.connections = self._http.server_state.connections
        # uvicorn says so of every socket that was refused with an answer, which is no fault.
        logging.getLogger("uvicorn.error").addFilter(_is_no_refusal)
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ValueError, RuntimeError):  # not in the main thread
            here.on_stop(loop, self.stop)
        if self.wyoming:
            await self.wyoming.start(self._engine)
            if options.zeroconf:
                await self.wyoming.announce(options.zeroconf)
        serving = asyncio.create_task(self._http.serve([listening]))
        try:
            await self._engine.measure(SAMPLE)
            app.state.is_ready = True
            places = {"host": options.host, "port": self.port}
            log.info("ready", extra={**places, "wyoming": options.wyoming or "off"})
            on_ready()
            app.state.decoders.prepare()
            await serving
        finally:
            if self.wyoming:
                await self.wyoming.aclose()
            await app.state.decoders.aclose()
            await asyncio.to_thread(self._engine.scheduler.close)

    def stop(self) -> None:
        """Take no new work, let what is there end within a limit, and stop; again: stop now."""
        if self._engine.is_draining:
            self._http.should_exit = self._http.force_exit = True
            return
        self._engine.is_draining = True
        self._draining = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        until = time.monotonic() + self._options.drain_s
        for client in tuple(self._engine.clients):
            client.leave()
        while (
            self._engine.scheduler.sessions or self._engine.clients
        ) and time.monotonic() < until:
            await asyncio.sleep(0.05)
        self._http.should_exit = True


class _Http(uvicorn.Server):
    """A uvicorn server that leaves signals alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _is_no_refusal(record: logging.LogRecord) -> bool:
    return record.msg != "ASGI callable returned without completing handshake."


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"{host}:{port}") from None
