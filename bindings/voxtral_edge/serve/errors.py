"""What clients are told when something cannot be done, in the words of each protocol."""

from __future__ import annotations

import json
import logging
from typing import Any

from starlette.responses import Response

from ..errors import ArgumentError, OutOfMemory
from .sessions.engine import Refused

log = logging.getLogger("voxtral.serve")


class BadRequest(Exception):  # noqa: N818
    """The request cannot be used; `status` and `code` go to the client with the message."""

    def __init__(
        self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None
    ) -> None:
        """Keep what the client is told."""
        super().__init__(message)
        self.status, self.param, self.code = status, param, code


def status_of(error: Exception) -> int:
    """Return the HTTP status of an error."""
    if isinstance(error, BadRequest):
        return error.status
    if isinstance(error, (Refused, OutOfMemory)):
        return 503
    return 400 if isinstance(error, ArgumentError) else 500


def described(error: Exception) -> dict[str, Any]:
    """Return the error object of OpenAI's interfaces; faults of our own are logged, not told."""
    status = status_of(error)
    param, code = None, None
    if isinstance(error, BadRequest):
        param, code = error.param, error.code
    elif isinstance(error, Refused):
        code = "server_busy"
    message = str(error)
    if status == 500:
        log.error("a request failed", exc_info=error)
        message = "the server failed; its log says why"
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"message": message, "type": kind, "param": param, "code": code}


def response(error: Exception) -> Response:
    """Return the HTTP answer to a request that failed."""
    headers = {}
    if isinstance(error, Refused) and error.retry_s is not None:
        headers["retry-after"] = str(error.retry_s)
    if status_of(error) == 401:
        headers["www-authenticate"] = "Bearer"
    body = json.dumps({"error": described(error)})
    return Response(body, status_of(error), headers, "application/json")
