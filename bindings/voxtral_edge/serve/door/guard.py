"""Who may come in: tokens, hosts and origins, looked at before anything else of a request.

Without a token the server belongs to this machine: requests must name it as such, so that no page
of the web can reach it by a name that leads here. A browser tells the origin of a page, which must
be this server's own or one that was allowed. Pages and signs of health need no token.
"""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from .. import errors
from ..errors import BadRequest

LOOPBACK = ("localhost", "127.0.0.1", "::1")
OPEN = ("/", "/health", "/ready", "/favicon.ico")  # and what the page consists of
PAGE = "/page/"
METHODS = "GET, HEAD, POST, PUT"
# Of pages; the openai package adds to its requests what it runs on.
HEADERS = b"*, authorization, content-type"


def is_loopback(host: str) -> bool:
    """Whether a host is this machine alone."""
    return host in LOOPBACK or host.startswith("127.")


class Guard:
    """ASGI middleware that refuses whoever may not come in."""

    def __init__(
        self, app: ASGIApp, *, token: str | None, origins: tuple[str, ...], is_local: bool
    ) -> None:
        """Keep the rules; `is_local`: only names of this machine are believed."""
        self._app, self._origins, self._is_local = app, origins, is_local
        self._digest = None if token is None else _digest(token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        error = self._error(scope, headers)
        if origin and (error is None or error.status != 403):
            send = _with_origin(send, origin)
        if error is None and _is_preflight(scope, headers):
            allowed = {"access-control-allow-methods": METHODS, "access-control-max-age": "600"}
            await Response(status_code=204, headers=allowed)(scope, receive, send)
        elif error is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            answer = errors.response(error)
            kind = "websocket.http.response"
            raw = [(name, value) for name, value in answer.raw_headers if name != b"content-length"]
            await send({"type": f"{kind}.start", "status": error.status, "headers": raw})
            await send({"type": f"{kind}.body", "body": answer.body})
        else:
            await errors.response(error)(scope, receive, send)

    def _error(self, scope: Scope, headers: Headers) -> BadRequest | None:
        host = headers.get("host", "")
        if self._is_local and not is_loopback(urlsplit(f"//{host}").hostname or ""):
            return BadRequest(f"{host!r} is not a name of this machine", status=403)
        origin = headers.get("origin")
        if origin and urlsplit(origin).netloc != host and origin not in self._origins:
            return BadRequest(f"pages of {origin} may not use this server", status=403)
        path = scope["path"]
        if self._digest is None or path in OPEN or path.startswith(PAGE):
            return None
        if _is_preflight(scope, headers):
            return None
        if any(hmac.compare_digest(_digest(token), self._digest) for token in _tokens(scope)):
            return None
        return BadRequest("the token is missing or wrong", status=401, code="invalid_api_key")


def _is_preflight(scope: Scope, headers: Headers) -> bool:
    """Whether a browser asks what a page may send, for which it brings no token."""
    is_asking = scope["type"] == "http" and scope["method"] == "OPTIONS"
    return is_asking and "access-control-request-method" in headers


def _tokens(scope: Scope) -> list[str]:
    """Return the tokens that a request brings, in a header or, as browsers must, in the query."""
    given = Headers(scope=scope).get("authorization", "")
    kind, _, token = given.partition(" ")
    query = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=100)
    found = [token.strip()] if kind.lower() == "bearer" else []
    return (found + query.get("token", []))[:2]


def _digest(token: str) -> bytes:
    """Return as many bytes for any token, so that comparing tells nothing of its length."""
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()


def _with_origin(send: Send, origin: str) -> Send:
    """Let the page that asked read the answer."""

    async def wrapped(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", [])]  # type: ignore[misc]
            headers += [
                (b"access-control-allow-origin", origin.encode()),
                (b"access-control-allow-headers", HEADERS),
                (b"access-control-expose-headers", b"retry-after"),
                (b"vary", b"origin"),
            ]
            message = {**message, "headers": headers}
        await send(message)

    return wrapped  # type: ignore[return-value]
