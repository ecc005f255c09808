"""Errors in OpenAI's shape: {"error": {"message", "type", "param", "code"}} with the right HTTP status."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Send

from genwerk.core.errors import GenwerkError, RequestError

_TYPES = {
    401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error",
}  # fmt: skip
_LOG = logging.getLogger("genwerk.serving")


def error_body(message: str, status: int, *, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """The JSON of one error."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param or None, "code": code or None}}


def describe(error: BaseException) -> tuple[int, dict[str, Any]]:
    """Status and body for any error. What is not a GenwerkError is logged and leaves no detail to the client."""
    if isinstance(error, RequestError):
        return error.status, error_body(str(error), error.status, param=error.param, code=error.code)
    if isinstance(error, GenwerkError):
        _LOG.error("%s", error)
        return error.status, error_body(str(error), error.status, code=error.code)
    _LOG.error("unexpected error", exc_info=error)
    message = "The server met an unexpected error; its log names it."
    return 500, error_body(message, 500, code="internal_error")


def error_response(error: BaseException, headers: Mapping[str, str] | None = None) -> Response:
    """The HTTP response for an error."""
    status, body = describe(error)
    extra = dict(headers or {})
    if status == 401:
        extra["WWW-Authenticate"] = "Bearer"
    if status == 413:
        extra["Connection"] = "close"
    if status == 429:
        extra["Retry-After"] = "2"
    return JSONResponse(body, status_code=status, headers=extra)


async def handle_genwerk_error(request: Request, error: Exception) -> Response:
    """Starlette's handler for errors of ours and for surprises."""
    return error_response(error)


async def handle_http_error(request: Request, error: Exception) -> Response:
    """Starlette's handler for its own: no such route, wrong method."""
    assert isinstance(error, HTTPException)
    path, method = request.url.path, request.method
    code, message = None, str(error.detail)
    if error.status_code == 404:
        code, message = "unknown_url", f"There is nothing at {method} {path}."
    elif error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        code, message = "method_not_allowed", f"{path} does not take {method}; use {allowed}."
    body = error_body(message, error.status_code, code=code)
    return JSONResponse(body, status_code=error.status_code, headers=error.headers)


async def send_error(send: Send, error: RequestError, *, close: bool = False) -> None:
    """Answer from below Starlette, in a middleware. `close` ends the connection, unread body and all."""
    status, body = describe(error)
    data = json.dumps(body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})
