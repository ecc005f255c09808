"""What every request passes on its way in: measuring, headers, the door, the limit on bodies. Plain ASGI.

The door refuses foreign hosts and origins as well as wrong keys: a page of another site, open in the same browser,
can reach a server on loopback, by its address or by rebinding a name to it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from urllib.parse import urlsplit

import anyio.to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from genwerk.core.errors import RequestError
from genwerk.monitoring.metrics import ServerMetrics
from genwerk.serving.auth import KeyStore, is_loopback
from genwerk.serving.errors import send_error

_OPEN_PREFIXES = ("/health", "/static/")
PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data:; frame-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'self'"
)
_HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class SecurityHeaders:
    """Adds the headers that keep a browser strict; a response that sets one itself keeps its own."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers)


class Measured:
    """Counts every request by route pattern, method and status, and times it to its last byte."""

    def __init__(self, app: ASGIApp, metrics: ServerMetrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 499  # nothing was answered: the client had gone

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except Exception:  # noted for the metrics, answered further out
            status = 500
            raise
        finally:
            route = getattr(scope.get("route"), "path", None) or "(none)"
            self.metrics.request(route, scope["method"], status, time.perf_counter() - started)


class Door:
    """Lets in who may ask: known host, same origin, and, where keys are configured, a right key.

    hosts  names under which this server may be addressed; None allows all (a server with keys behind a proxy).
    """

    def __init__(self, app: ASGIApp, keys: KeyStore, hosts: Iterable[str] | None) -> None:
        self.app, self.keys = app, keys
        self.hosts = None if hosts is None else {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, path = Headers(scope=scope), str(scope["path"])
        try:
            self._check_host(headers)
            if path != "/" and not path.startswith(_OPEN_PREFIXES) and not path.endswith("/report"):
                scope["genwerk.user"] = await self._check_key(headers)
        except RequestError as error:
            await send_error(send, error)
            return
        await self.app(scope, receive, send)

    def _check_host(self, headers: Headers) -> None:
        host = headers.get("host", "")
        name = (urlsplit(f"//{host}").hostname or "") if "@" not in host else ""
        if self.hosts is not None and name not in self.hosts and not is_loopback(name):
            raise RequestError(
                f"this server is not `{name}`", status=403, code="wrong_host", remedy="Use its own address."
            )
        origin = headers.get("origin")
        if origin is not None and origin != "null" and urlsplit(origin).netloc.lower() != host.lower():
            raise RequestError(
                f"a page of {origin} may not use this server", status=403, code="wrong_origin",
                remedy="Call it from its own page, or from a program.",
            )  # fmt: skip
        if origin == "null":
            raise RequestError("a page without an origin may not use this server", status=403, code="wrong_origin")

    async def _check_key(self, headers: Headers) -> str:
        if not await anyio.to_thread.run_sync(self.keys.names):
            return ""
        scheme, _, key = headers.get("authorization", "").partition(" ")
        name = await anyio.to_thread.run_sync(self.keys.check, key.strip()) if scheme.lower() == "bearer" else None
        if name is None:
            what = "no key was sent" if not key else "the key is not known here"
            remedy = "Send `Authorization: Bearer KEY`; keys are made with `genwerk keys add NAME`."
            raise RequestError(what, status=401, code="invalid_api_key", remedy=remedy)
        return name


class BodyLimit:
    """Refuses bodies over `limit` bytes with status 413: by their announced length, or as soon as they pass it."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app, self.limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdigit() and int(announced) > self.limit:
            await send_error(send, self._too_large(), close=True)
            return
        read = 0

        async def receive_counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.limit:
                raise self._too_large()
            return message

        await self.app(scope, receive_counted, send)

    def _too_large(self) -> RequestError:
        size = f"{self.limit / 1_000_000:g} MB" if self.limit >= 10_000 else f"{self.limit} bytes"
        remedy = "Send less, or start the server with a higher limit."
        return RequestError(f"the request body is over {size}", status=413, code="request_too_large", remedy=remedy)
